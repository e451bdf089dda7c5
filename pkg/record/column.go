package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/tracer-framework/tracer/pkg/model"
)

// column is one column of a table in the form of ClickHouse's Native format at protocol
// revision 0. A value may need a prefix that comes before all data of its column
// (LowCardinality anywhere inside the type); the other parts come in data.
type column interface {
	Type() string
	Rows() int
	Reset()
	prefix(dst []byte) []byte
	data(dst []byte) []byte
	readPrefix(r *reader) error
	readData(r *reader, rows int) error
}

// named is a column with its name: one line of a kind's column table.
type named struct {
	name string
	col  column
}

// reader walks over encoded bytes; every length is checked against what is left before
// anything is allocated.
type reader struct {
	b []byte
}

func (r *reader) take(n int) ([]byte, error) {
	if n < 0 || n > len(r.b) {
		return nil, fmt.Errorf("cut off: %d bytes wanted, %d left", n, len(r.b))
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b, nil
}

// items takes n items of size bytes each.
func (r *reader) items(n, size int) ([]byte, error) {
	if n < 0 || n > len(r.b)/size {
		return nil, fmt.Errorf("cut off: %d items of %d bytes wanted, %d bytes left", n, size, len(r.b))
	}
	return r.take(n * size)
}

func (r *reader) uvarint() (uint64, error) {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		return 0, errors.New("bad variable-length number")
	}
	r.b = r.b[n:]
	return v, nil
}

func (r *reader) uint64() (uint64, error) {
	b, err := r.take(8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// text takes a string: its length as varint, then its bytes.
func (r *reader) text() ([]byte, error) {
	n, err := r.uvarint()
	if err != nil {
		return nil, err
	}
	if n > uint64(len(r.b)) {
		return nil, fmt.Errorf("cut off: text of %d bytes, %d left", n, len(r.b))
	}
	return r.take(int(n))
}

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// plain is for columns without a prefix.
type plain struct{}

func (plain) prefix(dst []byte) []byte { return dst }
func (plain) readPrefix(*reader) error { return nil }

// Uint is a column of UInt8, UInt16, UInt32 or UInt64.
type Uint[T uint8 | uint16 | uint32 | uint64] struct {
	plain
	values []T
}

// Append adds a row.
func (c *Uint[T]) Append(v T) { c.values = append(c.values, v) }

// Row returns row i.
func (c *Uint[T]) Row(i int) T { return c.values[i] }

// Rows is the number of rows.
func (c *Uint[T]) Rows() int { return len(c.values) }

// Reset drops all rows and keeps the memory.
func (c *Uint[T]) Reset() { c.values = c.values[:0] }

// Type is the column's ClickHouse type.
func (c *Uint[T]) Type() string {
	switch any(c.values).(type) {
	case []uint8:
		return "UInt8"
	case []uint16:
		return "UInt16"
	case []uint32:
		return "UInt32"
	}
	return "UInt64"
}

func (c *Uint[T]) data(dst []byte) []byte { return appendUints(dst, c.values) }

func (c *Uint[T]) readData(r *reader, rows int) (err error) {
	c.values, err = readUints(r, c.values, rows)
	return err
}

func appendUints[T uint8 | uint16 | uint32 | uint64](dst []byte, values []T) []byte {
	switch v := any(values).(type) {
	case []uint8:
		return append(dst, v...)
	case []uint16:
		for _, x := range v {
			dst = binary.LittleEndian.AppendUint16(dst, x)
		}
	case []uint32:
		for _, x := range v {
			dst = binary.LittleEndian.AppendUint32(dst, x)
		}
	case []uint64:
		for _, x := range v {
			dst = binary.LittleEndian.AppendUint64(dst, x)
		}
	}
	return dst
}

func readUints[T uint8 | uint16 | uint32 | uint64](r *reader, values []T, rows int) ([]T, error) {
	size := binary.Size(T(0))
	b, err := r.items(rows, size)
	if err != nil {
		return values[:0], err
	}
	values = grow(values, rows)
	switch v := any(values).(type) {
	case []uint8:
		copy(v, b)
	case []uint16:
		for i := range v {
			v[i] = binary.LittleEndian.Uint16(b[2*i:])
		}
	case []uint32:
		for i := range v {
			v[i] = binary.LittleEndian.Uint32(b[4*i:])
		}
	case []uint64:
		for i := range v {
			v[i] = binary.LittleEndian.Uint64(b[8*i:])
		}
	}
	return values, nil
}

// grow returns a slice of n items that reuses the memory of s.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// FlowIDs is a UInt64 column of flow ids.
type FlowIDs struct {
	plain
	values []uint64
}

// Append adds a row.
func (c *FlowIDs) Append(v model.FlowID) { c.values = append(c.values, uint64(v)) }

// Row returns row i.
func (c *FlowIDs) Row(i int) model.FlowID { return model.FlowID(c.values[i]) }

// Rows is the number of rows.
func (c *FlowIDs) Rows() int { return len(c.values) }

// Reset drops all rows and keeps the memory.
func (c *FlowIDs) Reset() { c.values = c.values[:0] }

// Type is the column's ClickHouse type.
func (c *FlowIDs) Type() string { return "UInt64" }

func (c *FlowIDs) data(dst []byte) []byte { return appendUints(dst, c.values) }

func (c *FlowIDs) readData(r *reader, rows int) (err error) {
	c.values, err = readUints(r, c.values, rows)
	return err
}

// Float is a Float64 column.
type Float struct {
	plain
	values []float64
}

// Append adds a row.
func (c *Float) Append(v float64) { c.values = append(c.values, v) }

// Row returns row i.
func (c *Float) Row(i int) float64 { return c.values[i] }

// Rows is the number of rows.
func (c *Float) Rows() int { return len(c.values) }

// Reset drops all rows and keeps the memory.
func (c *Float) Reset() { c.values = c.values[:0] }

// Type is the column's ClickHouse type.
func (c *Float) Type() string { return "Float64" }

func (c *Float) data(dst []byte) []byte {
	for _, v := range c.values {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
	}
	return dst
}

func (c *Float) readData(r *reader, rows int) error {
	b, err := r.items(rows, 8)
	if err != nil {
		return err
	}
	c.values = grow(c.values, rows)
	for i := range c.values {
		c.values[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return nil
}

// Bool is a Bool column.
type Bool struct {
	plain
	values []bool
}

// Append adds a row.
func (c *Bool) Append(v bool) { c.values = append(c.values, v) }

// Row returns row i.
func (c *Bool) Row(i int) bool { return c.values[i] }

// Rows is the number of rows.
func (c *Bool) Rows() int { return len(c.values) }

// Reset drops all rows and keeps the memory.
func (c *Bool) Reset() { c.values = c.values[:0] }

// Type is the column's ClickHouse type.
func (c *Bool) Type() string { return "Bool" }

func (c *Bool) data(dst []byte) []byte {
	for _, v := range c.values {
		if v {
			dst = append(dst, 1)
		} else {
			dst = append(dst, 0)
		}
	}
	return dst
}

func (c *Bool) readData(r *reader, rows int) error {
	b, err := r.take(rows)
	if err != nil {
		return err
	}
	c.values = grow(c.values, rows)
	for i, v := range b {
		if v > 1 {
			return fmt.Errorf("row %d: %d is neither true nor false", i, v)
		}
		c.values[i] = v == 1
	}
	return nil
}

// Time is a DateTime64(6, 'UTC') column: microseconds since 1970.
type Time struct {
	plain
	values []uint64
}

// Append adds a row.
func (c *Time) Append(v model.Time) { c.values = append(c.values, uint64(v)) }

// Row returns row i.
func (c *Time) Row(i int) model.Time { return model.Time(c.values[i]) }

// Rows is the number of rows.
func (c *Time) Rows() int { return len(c.values) }

// Reset drops all rows and keeps the memory.
func (c *Time) Reset() { c.values = c.values[:0] }

// Type is the column's ClickHouse type.
func (c *Time) Type() string { return "DateTime64(6, 'UTC')" }

func (c *Time) data(dst []byte) []byte { return appendUints(dst, c.values) }

func (c *Time) readData(r *reader, rows int) (err error) {
	c.values, err = readUints(r, c.values, rows)
	return err
}

// IP is an IPv6 column; IPv4 addresses are mapped (::ffff:a.b.c.d) and an invalid address
// is "::".
type IP struct {
	plain
	values [][16]byte
}

// Append adds a row. A zone is dropped.
func (c *IP) Append(v netip.Addr) {
	var b [16]byte
	if v.IsValid() {
		b = v.As16()
	}
	c.values = append(c.values, b)
}

// Row returns row i: IPv4 unmapped, "::" as the invalid address.
func (c *IP) Row(i int) netip.Addr {
	b := c.values[i]
	if b == ([16]byte{}) {
		return netip.Addr{}
	}
	return netip.AddrFrom16(b).Unmap()
}

// Endpoint returns row i where an address is always present: there "::" is the unspecified
// address, which IPv6 hosts send from before they have another (RFC 4862).
func (c *IP) Endpoint(i int) netip.Addr { return netip.AddrFrom16(c.values[i]).Unmap() }

// Rows is the number of rows.
func (c *IP) Rows() int { return len(c.values) }

// Reset drops all rows and keeps the memory.
func (c *IP) Reset() { c.values = c.values[:0] }

// Type is the column's ClickHouse type.
func (c *IP) Type() string { return "IPv6" }

func (c *IP) data(dst []byte) []byte {
	for i := range c.values {
		dst = append(dst, c.values[i][:]...)
	}
	return dst
}

func (c *IP) readData(r *reader, rows int) error {
	b, err := r.items(rows, 16)
	if err != nil {
		return err
	}
	c.values = grow(c.values, rows)
	for i := range c.values {
		copy(c.values[i][:], b[16*i:])
	}
	return nil
}
