package record_test

import (
	"bytes"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/testkit"
)

// FuzzDecode feeds the bytes inside the compression, where the structure is: whatever
// Decode accepts must be readable row by row and come out the same once encoded.
func FuzzDecode(f *testing.F) {
	seed, err := testkit.FilledBatch().Encode(nil)
	if err != nil {
		f.Fatal(err)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		f.Fatal(err)
	}
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		f.Fatal(err)
	}
	raw, err := d.DecodeAll(seed[4:], nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	b := record.NewBatch()
	b.Flow.Append(&model.Flow{Tags: []string{"gap"}})
	if data, err := b.Encode(nil); err == nil {
		raw, _ := d.DecodeAll(data[4:], nil)
		f.Add(raw)
	}
	got, again := record.NewBatch(), record.NewBatch()
	f.Fuzz(func(t *testing.T, raw []byte) {
		data := e.EncodeAll(raw, []byte("TRB\x01"))
		_, _ = record.Blocks(data)
		if got.Decode(data) != nil {
			return
		}
		first, err := got.Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Decode(first); err != nil {
			t.Fatal(err)
		}
		second, err := again.Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, second) {
			t.Fatal("encoding is not stable")
		}
		read(got)
	})
}

// read touches every row of every kind.
func read(b *record.Batch) {
	rows[model.Flow](b.Flow)
	rows[model.DNS](b.DNS)
	rows[model.HTTP](b.HTTP)
	rows[model.TLS](b.TLS)
	rows[model.SSH](b.SSH)
	rows[model.Evidence](b.Evidence)
	rows[model.Detection](b.Detection)
	rows[model.Trace](b.Trace)
	rows[model.TraceEdge](b.TraceEdge)
	rows[model.Case](b.Case)
}

func rows[T any](k kind[T]) {
	var v T
	for i := range k.Rows() {
		k.Row(i, &v)
	}
}
