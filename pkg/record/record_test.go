package record_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/testkit"
)

type kind[T any] interface {
	Rows() int
	Row(i int, v *T)
}

func same[T any](t *testing.T, want, got kind[T]) {
	t.Helper()
	if want.Rows() != got.Rows() {
		t.Fatalf("%T: %d rows, want %d", got, got.Rows(), want.Rows())
	}
	for i := range want.Rows() {
		var w, g T
		want.Row(i, &w)
		got.Row(i, &g)
		if !reflect.DeepEqual(w, g) {
			t.Errorf("%T row %d:\n got %+v\nwant %+v", g, i, g, w)
		}
	}
}

func sameBatch(t *testing.T, want, got *record.Batch) {
	t.Helper()
	same[model.Flow](t, want.Flow, got.Flow)
	same[model.DNS](t, want.DNS, got.DNS)
	same[model.HTTP](t, want.HTTP, got.HTTP)
	same[model.TLS](t, want.TLS, got.TLS)
	same[model.SSH](t, want.SSH, got.SSH)
	same[model.Evidence](t, want.Evidence, got.Evidence)
	same[model.Detection](t, want.Detection, got.Detection)
	same[model.Trace](t, want.Trace, got.Trace)
	same[model.TraceEdge](t, want.TraceEdge, got.TraceEdge)
	same[model.Case](t, want.Case, got.Case)
}

// TestRowReturnsWhatWasAppended fails for a field of the model that has no column.
func TestRowReturnsWhatWasAppended(t *testing.T) {
	b := record.NewBatch()
	appended[model.Flow](t, b.Flow)
	appended[model.DNS](t, b.DNS)
	appended[model.HTTP](t, b.HTTP)
	appended[model.TLS](t, b.TLS)
	appended[model.SSH](t, b.SSH)
	appended[model.Evidence](t, b.Evidence)
	appended[model.Detection](t, b.Detection)
	appended[model.Trace](t, b.Trace)
	appended[model.TraceEdge](t, b.TraceEdge)
	appended[model.Case](t, b.Case)
}

func appended[T any](t *testing.T, k interface {
	kind[T]
	Append(v *T)
},
) {
	t.Helper()
	n := 0
	want := testkit.Filled[T](&n)
	k.Append(want)
	var got T
	k.Row(0, &got)
	if !reflect.DeepEqual(*want, got) {
		t.Errorf("got %+v\nwant %+v", got, *want)
	}
}

func TestRoundTrip(t *testing.T) {
	want := testkit.FilledBatch()
	data, err := want.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	got := record.NewBatch()
	for range 2 { // the second time into used columns
		if err := got.Decode(data); err != nil {
			t.Fatal(err)
		}
		sameBatch(t, want, got)
		again, err := got.Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(data, again) {
			t.Fatal("encoding the decoded batch gave other bytes")
		}
	}
}

// TestEncodeIsPure: the bytes do not depend on what a pooled compressor did before.
func TestEncodeIsPure(t *testing.T) {
	b := testkit.FilledBatch()
	flows := benchFlows()
	for i := range flows[:1000] {
		b.Flow.Append(&flows[i])
	}
	want, err := b.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	other := record.NewBatch()
	for n := 1; n < len(flows); n *= 3 {
		other.Reset()
		for i := range flows[:n] {
			other.Flow.Append(&flows[i])
		}
		if _, err := other.Encode(nil); err != nil {
			t.Fatal(err)
		}
		got, err := b.Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("other bytes after a batch of %d rows", n)
		}
	}
}

func TestBlocks(t *testing.T) {
	want := testkit.FilledBatch()
	data, err := want.Encode([]byte("before"))
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := record.Blocks(data[len("before"):])
	if err != nil {
		t.Fatal(err)
	}
	native, err := want.Native()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(blocks, native) {
		t.Error("Blocks and Native differ")
	}
	if len(blocks) != len(record.Tables()) {
		t.Errorf("%d blocks, want one per table", len(blocks))
	}
}

// TestColumnRewrite replaces one column of a decoded batch, as fingerprint does.
func TestColumnRewrite(t *testing.T) {
	b := testkit.FilledBatch()
	data, err := b.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Decode(data); err != nil {
		t.Fatal(err)
	}
	b.TLS.JA3.Reset()
	b.TLS.JA3.Append("first")
	if _, err := b.Encode(nil); err == nil || !strings.Contains(err.Error(), "ja3 has 1 rows") {
		t.Errorf("a column with a row missing was encoded: %v", err)
	}
	b.TLS.JA3.Append("second")
	if data, err = b.Encode(nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Decode(data); err != nil {
		t.Fatal(err)
	}
	if got := b.TLS.JA3.Row(0) + " " + b.TLS.JA3.Row(1); got != "first second" {
		t.Errorf("ja3 is %q", got)
	}
}

func TestWideDictionary(t *testing.T) {
	for _, n := range []int{1, 256, 257, 65536, 65537} {
		b, got := record.NewBatch(), record.NewBatch()
		for i := range n {
			b.Flow.Append(&model.Flow{TLSSNI: fmt.Sprint(i)})
		}
		data, err := b.Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := got.Decode(data); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if s := got.Flow.TLSSNI.Row(i); s != fmt.Sprint(i) {
				t.Fatalf("%d values: row %d is %q", n, i, s)
			}
		}
		got.Flow.Append(&model.Flow{TLSSNI: "0"}) // the dictionary is found again
		if got.Flow.TLSSNI.Row(n) != "0" {
			t.Error("append after decode went wrong")
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, err := testkit.FilledBatch().Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty":         nil,
		"other magic":   []byte("PK\x03\x04"),
		"other version": append([]byte("TRB\x02"), good[4:]...),
		"cut off":       good[:len(good)-7],
		"no frame":      good[:4],
	} {
		b := record.NewBatch()
		err := b.Decode(data)
		if name == "no frame" { // no bytes decompress to no blocks
			if err != nil || b.Rows() != 0 {
				t.Errorf("%s: %v, %d rows", name, err, b.Rows())
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if b.Rows() != 0 {
			t.Errorf("%s: %d rows left behind", name, b.Rows())
		}
		if _, err := record.Blocks(data); err == nil {
			t.Errorf("%s: accepted by Blocks", name)
		}
	}
}
