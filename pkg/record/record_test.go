package record_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
)

// fill gives every field below v a value that no other field has.
func fill(v reflect.Value, n *int) {
	switch p := v.Addr().Interface().(type) {
	case *netip.Addr:
		*n++
		if *n%2 == 0 {
			*p = netip.AddrFrom4([4]byte{10, 0, byte(*n >> 8), byte(*n)})
		} else {
			*p = netip.AddrFrom16([16]byte{0x20, 1, 14: byte(*n >> 8), 15: byte(*n)})
		}
		return
	case *model.Number:
		*n++
		*p = model.Number{Name: fmt.Sprint("n", *n), Value: float64(*n) / 3, Unit: "s"}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		*n++
		v.Set(reflect.MakeSlice(v.Type(), 1+*n%3, 1+*n%3))
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		*n += 2
		v.Set(reflect.ValueOf(map[string]uint64{fmt.Sprint("b", *n): 7, fmt.Sprint("a", *n): uint64(*n)}))
	case reflect.String:
		*n++
		v.SetString(fmt.Sprintf("text-%d\x00\n\t\\'ü", *n))
	case reflect.Bool:
		*n++
		v.SetBool(*n%2 == 0)
	case reflect.Int64:
		*n++
		v.SetInt(1_700_000_000_000_000 + int64(*n))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		*n++
		v.SetUint(uint64(*n) & (1<<min(v.Type().Bits(), 16) - 1))
	default:
		panic("no value for " + v.Type().String())
	}
}

func filled[T any](n *int) *T {
	v := new(T)
	fill(reflect.ValueOf(v).Elem(), n)
	return v
}

// sample is a batch with rows of every kind, the second of which is all zero.
func sample() *record.Batch {
	b := record.NewBatch()
	n := 0
	b.Flow.Append(filled[model.Flow](&n))
	b.Flow.Append(&model.Flow{OrigIP: netip.IPv6Unspecified(), RespIP: netip.MustParseAddr("ff02::1")})
	b.DNS.Append(filled[model.DNS](&n))
	b.DNS.Append(&model.DNS{})
	b.HTTP.Append(filled[model.HTTP](&n))
	b.HTTP.Append(&model.HTTP{})
	b.TLS.Append(filled[model.TLS](&n))
	b.TLS.Append(&model.TLS{})
	b.SSH.Append(filled[model.SSH](&n))
	b.SSH.Append(&model.SSH{})
	b.Evidence.Append(filled[model.Evidence](&n))
	b.Evidence.Append(&model.Evidence{})
	b.Detection.Append(filled[model.Detection](&n))
	b.Detection.Append(&model.Detection{})
	b.Trace.Append(filled[model.Trace](&n))
	b.Trace.Append(&model.Trace{})
	b.TraceEdge.Append(filled[model.TraceEdge](&n))
	b.TraceEdge.Append(&model.TraceEdge{})
	b.Case.Append(filled[model.Case](&n))
	b.Case.Append(&model.Case{})
	return b
}

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

func TestRowReturnsWhatWasAppended(t *testing.T) {
	n := 0
	want := filled[model.TLS](&n)
	b := record.NewBatch()
	b.TLS.Append(want)
	var got model.TLS
	b.TLS.Row(0, &got)
	if !reflect.DeepEqual(*want, got) {
		t.Errorf("got %+v\nwant %+v", got, *want)
	}
	n = 0
	flow := filled[model.Flow](&n)
	b.Flow.Append(flow)
	var gotFlow model.Flow
	b.Flow.Row(0, &gotFlow)
	if !reflect.DeepEqual(*flow, gotFlow) {
		t.Errorf("got %+v\nwant %+v", gotFlow, *flow)
	}
	trace := filled[model.Trace](&n)
	b.Trace.Append(trace)
	var gotTrace model.Trace
	b.Trace.Row(0, &gotTrace)
	if !reflect.DeepEqual(*trace, gotTrace) {
		t.Errorf("got %+v\nwant %+v", gotTrace, *trace)
	}
}

func TestRoundTrip(t *testing.T) {
	want := sample()
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

func TestBlocks(t *testing.T) {
	want := sample()
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
	b := sample()
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
	good, err := sample().Encode(nil)
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
