// Package record holds batches of records in columns, one kind of record per table of the
// store. A batch travels as a container of Native blocks, which the store takes as they
// are. Names and types of the columns equal those of the tables.
//
// The columns are TRACER's own and not those of ch-go's proto package: batches come from
// the bus, where a decoder must not allocate what a length field asks for, must check
// array offsets and Booleans, and must not copy every dictionary value per row.
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Limits of what Decode and Blocks accept.
const (
	MaxRows    = 1 << 20  // rows of one block
	MaxDecoded = 64 << 20 // bytes of a container after decompression
	maxColumns = 1 << 10
)

// Batch is a set of rows of every kind. Not safe for concurrent use.
type Batch struct {
	Flow      *Flows
	DNS       *DNSs
	HTTP      *HTTPs
	TLS       *TLSs
	SSH       *SSHs
	Evidence  *Evidences
	Detection *Detections
	Trace     *Traces
	TraceEdge *TraceEdges
	Case      *Cases

	kinds []kind
	raw   []byte // scratch of Encode
}

// kind is the columns of one table.
type kind struct {
	table   string
	columns []named
}

func (k kind) rows() int { return k.columns[0].col.Rows() }

// NewBatch returns an empty batch.
func NewBatch() *Batch {
	b := &Batch{
		Flow: new(Flows), DNS: new(DNSs), HTTP: new(HTTPs), TLS: new(TLSs), SSH: new(SSHs),
		Evidence: new(Evidences), Detection: new(Detections),
		Trace: new(Traces), TraceEdge: new(TraceEdges), Case: new(Cases),
	}
	b.kinds = []kind{ // the order of the blocks in a container
		{"flow", b.Flow.columns()},
		{"dns", b.DNS.columns()},
		{"http", b.HTTP.columns()},
		{"tls", b.TLS.columns()},
		{"ssh", b.SSH.columns()},
		{"evidence", b.Evidence.columns()},
		{"detection", b.Detection.columns()},
		{"trace", b.Trace.columns()},
		{"trace_edge", b.TraceEdge.columns()},
		{"case", b.Case.columns()},
	}
	return b
}

// Column names one column of a table.
type Column struct {
	Name string
	Type string // ClickHouse type
}

// Table is a table of the store with its columns in the order of the blocks.
type Table struct {
	Name    string
	Columns []Column
}

// Tables lists the tables that records are stored in.
func Tables() []Table {
	var out []Table
	for _, k := range NewBatch().kinds {
		t := Table{Name: k.table}
		for _, c := range k.columns {
			t.Columns = append(t.Columns, Column{c.name, c.col.Type()})
		}
		out = append(out, t)
	}
	return out
}

// Reset drops all rows and keeps the memory.
func (b *Batch) Reset() {
	for _, k := range b.kinds {
		reset(k.columns)
	}
}

func reset(columns []named) {
	for _, c := range columns {
		c.col.Reset()
	}
}

// Rows is the number of rows of all kinds.
func (b *Batch) Rows() int {
	n := 0
	for _, k := range b.kinds {
		n += k.rows()
	}
	return n
}

// Block is the rows of one table as one Native block, which
// INSERT INTO <table> (<columns>) FORMAT Native takes.
type Block struct {
	Table  string
	Rows   int
	Native []byte
}

// Native returns the rows of every kind that has any as Native blocks.
func (b *Batch) Native() ([]Block, error) {
	var out []Block
	for _, k := range b.kinds {
		if k.rows() == 0 {
			continue
		}
		native, err := appendBlock(nil, k.columns)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", k.table, err)
		}
		out = append(out, Block{k.table, k.rows(), native})
	}
	return out, nil
}

// A container is magic, then one zstd frame over: per block the table's name, the number
// of rows, the length of the Native block, the block. Numbers are varints.
const magic = "TRB\x01" // the last byte is the version

var (
	encoders = sync.Pool{New: func() any {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return err
		}
		return e
	}}
	decoders = sync.Pool{New: func() any {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxDecoded))
		if err != nil {
			return err
		}
		return d
	}}
)

// Encode appends the container of b to dst. The same rows give the same bytes.
func (b *Batch) Encode(dst []byte) ([]byte, error) {
	raw := b.raw[:0]
	var block []byte
	for _, k := range b.kinds {
		if k.rows() == 0 {
			continue
		}
		start := len(raw)
		var err error
		if raw, err = appendBlock(raw, k.columns); err != nil {
			return dst, fmt.Errorf("encode %s: %w", k.table, err)
		}
		// The head stands before the block but holds its length: move the block up.
		size := len(raw) - start
		block = appendText(block[:0], k.table)
		block = binary.AppendUvarint(block, uint64(k.rows()))
		block = binary.AppendUvarint(block, uint64(size))
		raw = append(raw, block...)
		copy(raw[start+len(block):], raw[start:start+size])
		copy(raw[start:], block)
	}
	b.raw = raw
	if len(raw) > MaxDecoded {
		return dst, fmt.Errorf("encode batch: %d bytes, at most %d", len(raw), MaxDecoded)
	}
	e, ok := encoders.Get().(*zstd.Encoder)
	if !ok {
		return dst, errors.New("encode batch: no zstd encoder")
	}
	defer encoders.Put(e)
	return e.EncodeAll(raw, append(dst, magic...)), nil
}

// Decode replaces the content of b by that of the container data. On error b is empty.
func (b *Batch) Decode(data []byte) error {
	b.Reset()
	raw, err := decompress(data, b.raw[:0])
	if err != nil {
		return fmt.Errorf("decode batch: %w", err)
	}
	b.raw = raw
	if err := b.decode(raw); err != nil {
		b.Reset()
		return fmt.Errorf("decode batch: %w", err)
	}
	return nil
}

func (b *Batch) decode(raw []byte) error {
	next := 0
	return eachBlock(raw, func(block Block) error {
		i := next
		for i < len(b.kinds) && b.kinds[i].table != block.Table {
			i++
		}
		if i == len(b.kinds) {
			return fmt.Errorf("table %q is not known, stands twice or out of order", block.Table)
		}
		next = i + 1
		k := b.kinds[i]
		r := reader{block.Native}
		if err := readBlock(&r, k.columns); err != nil {
			return fmt.Errorf("%s: %w", k.table, err)
		}
		if len(r.b) > 0 {
			return fmt.Errorf("%s: %d bytes behind the block", k.table, len(r.b))
		}
		if k.rows() != block.Rows {
			return fmt.Errorf("%s: %d rows, %d announced", k.table, k.rows(), block.Rows)
		}
		return nil
	})
}

// Blocks returns the blocks of the container data without decoding their columns; only
// names, sizes and the heads of the blocks are checked.
func Blocks(data []byte) ([]Block, error) {
	raw, err := decompress(data, nil)
	if err != nil {
		return nil, fmt.Errorf("read batch: %w", err)
	}
	tables := widths()
	var out []Block
	err = eachBlock(raw, func(block Block) error {
		want, ok := tables[block.Table]
		if !ok {
			return fmt.Errorf("table %q is not known", block.Table)
		}
		columns, rows, err := readShape(&reader{block.Native})
		if err != nil {
			return fmt.Errorf("%s: %w", block.Table, err)
		}
		if columns != want {
			return fmt.Errorf("%s: block has %d columns, this version knows %d: it was written by another version", block.Table, columns, want)
		}
		if rows != block.Rows {
			return fmt.Errorf("%s: %d rows, %d announced", block.Table, rows, block.Rows)
		}
		out = append(out, block)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read batch: %w", err)
	}
	return out, nil
}

// widths is the number of columns per table.
var widths = sync.OnceValue(func() map[string]int {
	m := make(map[string]int)
	for _, t := range Tables() {
		m[t.Name] = len(t.Columns)
	}
	return m
})

func decompress(data, dst []byte) ([]byte, error) {
	if len(data) < len(magic) || string(data[:len(magic)-1]) != magic[:len(magic)-1] {
		return nil, fmt.Errorf("not a record batch: it does not begin with %q", magic[:len(magic)-1])
	}
	if v := data[len(magic)-1]; v != magic[len(magic)-1] {
		return nil, fmt.Errorf("record batch of version %d, this program knows version %d", v, magic[len(magic)-1])
	}
	d, ok := decoders.Get().(*zstd.Decoder)
	if !ok {
		return nil, errors.New("no zstd decoder")
	}
	defer decoders.Put(d)
	raw, err := d.DecodeAll(data[len(magic):], dst)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return raw, nil
}

// eachBlock calls fn for each block of a decompressed container; Native aliases raw.
func eachBlock(raw []byte, fn func(Block) error) error {
	r := reader{raw}
	for len(r.b) > 0 {
		name, err := r.text()
		if err != nil {
			return fmt.Errorf("table name: %w", err)
		}
		rows, err := r.uvarint()
		if err != nil {
			return fmt.Errorf("rows of %q: %w", name, err)
		}
		if rows == 0 || rows > MaxRows {
			return fmt.Errorf("%q has %d rows, 1 to %d are allowed", name, rows, MaxRows)
		}
		native, err := r.text()
		if err != nil {
			return fmt.Errorf("block of %q: %w", name, err)
		}
		if err := fn(Block{string(name), int(rows), native}); err != nil {
			return err
		}
	}
	return nil
}

// ReadNative replaces the rows of one table by those of the first Native block in data,
// which has the table's columns in order, and returns what follows the block.
func (b *Batch) ReadNative(table string, data []byte) (rest []byte, err error) {
	for _, k := range b.kinds {
		if k.table != table {
			continue
		}
		r := reader{data}
		if err := readBlock(&r, k.columns); err != nil {
			reset(k.columns)
			return nil, fmt.Errorf("read %s: %w", table, err)
		}
		return r.b, nil
	}
	return nil, fmt.Errorf("read %s: no such table", table)
}
