package record

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
)

// maxItems bounds the items of all rows of one array column in one block.
const maxItems = 4 << 20

// ends are the offsets of an array column: for each row the number of items up to its end.
type ends []uint64

func (e ends) span(i int) (start, end int) {
	if i > 0 {
		start = int(e[i-1])
	}
	return start, int(e[i])
}

func (e *ends) read(r *reader, rows int) (items int, err error) {
	*e, err = readUints(r, []uint64(*e), rows)
	if err != nil {
		return 0, err
	}
	var last uint64
	for i, v := range *e {
		if v < last || v > maxItems {
			*e = (*e)[:0]
			return 0, fmt.Errorf("row %d: array offset %d after %d, at most %d", i, v, last, maxItems)
		}
		last = v
	}
	return int(last), nil
}

// array is what all array columns do alike; items is the column of their items.
type array struct {
	ends  ends
	items column
}

// Rows is the number of rows.
func (c *array) Rows() int { return len(c.ends) }

// Reset drops all rows and keeps the memory.
func (c *array) Reset() {
	c.ends = c.ends[:0]
	c.items.Reset()
}

// Type is the column's ClickHouse type.
func (c *array) Type() string { return "Array(" + c.items.Type() + ")" }

// close ends a row behind the first n items.
func (c *array) close(n int) { c.ends = append(c.ends, uint64(n)) }

func (c *array) prefix(dst []byte) []byte   { return c.items.prefix(dst) }
func (c *array) readPrefix(r *reader) error { return c.items.readPrefix(r) }

func (c *array) data(dst []byte) []byte {
	return c.items.data(appendUints(dst, []uint64(c.ends)))
}

func (c *array) readData(r *reader, rows int) error {
	n, err := c.ends.read(r, rows)
	if err != nil {
		return err
	}
	return c.items.readData(r, n)
}

// The array columns of a kind are bound to their items before first use, see bind in each
// kind's columns.

// Texts is an Array(String) column.
type Texts struct {
	array
	text Text
}

func (c *Texts) bind() { c.items = &c.text }

// Append adds a row.
func (c *Texts) Append(v []string) {
	for _, s := range v {
		c.text.Append(s)
	}
	c.close(c.text.Rows())
}

// Row returns row i, nil if it is empty.
func (c *Texts) Row(i int) []string { return rows(&c.array, i, c.text.Row) }

// Words is an Array(LowCardinality(String)) column.
type Words struct {
	array
	word Word
}

func (c *Words) bind() { c.items = &c.word }

// Append adds a row.
func (c *Words) Append(v []string) {
	for _, s := range v {
		c.word.Append(s)
	}
	c.close(c.word.Rows())
}

// Row returns row i, nil if it is empty.
func (c *Words) Row(i int) []string { return rows(&c.array, i, c.word.Row) }

// Uints is an array column of whole numbers.
type Uints[T uint8 | uint16 | uint32 | uint64] struct {
	array
	values Uint[T]
}

func (c *Uints[T]) bind() { c.items = &c.values }

// Append adds a row.
func (c *Uints[T]) Append(v []T) {
	c.values.values = append(c.values.values, v...)
	c.close(c.values.Rows())
}

// Row returns row i, nil if it is empty.
func (c *Uints[T]) Row(i int) []T { return rows(&c.array, i, c.values.Row) }

// FlowLists is an Array(UInt64) column of flow ids.
type FlowLists struct {
	array
	ids FlowIDs
}

func (c *FlowLists) bind() { c.items = &c.ids }

// Append adds a row.
func (c *FlowLists) Append(v []model.FlowID) {
	for _, id := range v {
		c.ids.Append(id)
	}
	c.close(c.ids.Rows())
}

// Row returns row i, nil if it is empty.
func (c *FlowLists) Row(i int) []model.FlowID { return rows(&c.array, i, c.ids.Row) }

// IPs is an Array(IPv6) column.
type IPs struct {
	array
	ips IP
}

func (c *IPs) bind() { c.items = &c.ips }

// Append adds a row.
func (c *IPs) Append(v []netip.Addr) {
	for _, ip := range v {
		c.ips.Append(ip)
	}
	c.close(c.ips.Rows())
}

// Row returns row i, nil if it is empty.
func (c *IPs) Row(i int) []netip.Addr { return rows(&c.array, i, c.ips.Row) }

func rows[T any](c *array, i int, row func(int) T) []T {
	start, end := c.ends.span(i)
	if start == end {
		return nil
	}
	out := make([]T, end-start)
	for j := range out {
		out[j] = row(start + j)
	}
	return out
}

// tuple is the items of an array of named tuples, or of a map: columns side by side.
type tuple struct {
	kind   string // Tuple or Map
	fields []named
}

func (c *tuple) Rows() int { return c.fields[0].col.Rows() }

func (c *tuple) Reset() {
	for _, f := range c.fields {
		f.col.Reset()
	}
}

func (c *tuple) Type() string {
	var s strings.Builder
	s.WriteString(c.kind + "(")
	for i, f := range c.fields {
		if i > 0 {
			s.WriteString(", ")
		}
		if f.name != "" {
			s.WriteString(f.name + " ")
		}
		s.WriteString(f.col.Type())
	}
	return s.String() + ")"
}

func (c *tuple) prefix(dst []byte) []byte {
	for _, f := range c.fields {
		dst = f.col.prefix(dst)
	}
	return dst
}

func (c *tuple) data(dst []byte) []byte {
	for _, f := range c.fields {
		dst = f.col.data(dst)
	}
	return dst
}

func (c *tuple) readPrefix(r *reader) error {
	for _, f := range c.fields {
		if err := f.col.readPrefix(r); err != nil {
			return err
		}
	}
	return nil
}

func (c *tuple) readData(r *reader, rows int) error {
	for _, f := range c.fields {
		if err := f.col.readData(r, rows); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// Counters is a Map(LowCardinality(String), UInt64) column; the keys of a row stand in
// order, so that equal maps give equal bytes.
type Counters struct {
	array
	tuple  tuple
	keys   Word
	values Uint[uint64]
	sorted []string
}

func (c *Counters) bind() {
	c.tuple = tuple{kind: "Map", fields: []named{{"", &c.keys}, {"", &c.values}}}
	c.items = &c.tuple
}

// Type is the column's ClickHouse type.
func (c *Counters) Type() string { return c.tuple.Type() }

// Append adds a row.
func (c *Counters) Append(v map[string]uint64) {
	c.sorted = c.sorted[:0]
	for k := range v {
		c.sorted = append(c.sorted, k)
	}
	slices.Sort(c.sorted)
	for _, k := range c.sorted {
		c.keys.Append(k)
		c.values.Append(v[k])
	}
	c.close(c.keys.Rows())
}

// Row returns row i, nil if it is empty.
func (c *Counters) Row(i int) map[string]uint64 {
	start, end := c.ends.span(i)
	if start == end {
		return nil
	}
	out := make(map[string]uint64, end-start)
	for j := start; j < end; j++ {
		out[c.keys.Row(j)] = c.values.Row(j)
	}
	return out
}

// Numbers is a column of figures: an array of tuples (name, value, unit).
type Numbers struct {
	array
	tuple tuple
	name  Word
	value Float
	unit  Word
}

func (c *Numbers) bind() {
	c.tuple = tuple{kind: "Tuple", fields: []named{{"name", &c.name}, {"value", &c.value}, {"unit", &c.unit}}}
	c.items = &c.tuple
}

// Append adds a row.
func (c *Numbers) Append(v []model.Number) {
	for i := range v {
		c.name.Append(v[i].Name)
		c.value.Append(v[i].Value)
		c.unit.Append(v[i].Unit)
	}
	c.close(c.name.Rows())
}

// Row returns row i, nil if it is empty.
func (c *Numbers) Row(i int) []model.Number {
	return rows(&c.array, i, func(j int) model.Number {
		return model.Number{Name: c.name.Row(j), Value: c.value.Row(j), Unit: c.unit.Row(j)}
	})
}

// Inputs is a column of the inputs of a case: an array of tuples.
type Inputs struct {
	array
	tuple      tuple
	evidenceID Text
	name       Text
	uri        Text
	size       Uint[uint64]
	modTime    Time
}

func (c *Inputs) bind() {
	c.tuple = tuple{kind: "Tuple", fields: []named{
		{"evidence_id", &c.evidenceID},
		{"name", &c.name},
		{"uri", &c.uri},
		{"size", &c.size},
		{"mod_time", &c.modTime},
	}}
	c.items = &c.tuple
}

// Append adds a row.
func (c *Inputs) Append(v []model.Input) {
	for i := range v {
		c.evidenceID.Append(v[i].EvidenceID)
		c.name.Append(v[i].Name)
		c.uri.Append(v[i].URI)
		c.size.Append(v[i].Size)
		c.modTime.Append(v[i].ModTime)
	}
	c.close(c.name.Rows())
}

// Row returns row i, nil if it is empty.
func (c *Inputs) Row(i int) []model.Input {
	return rows(&c.array, i, func(j int) model.Input {
		return model.Input{
			EvidenceID: c.evidenceID.Row(j), Name: c.name.Row(j), URI: c.uri.Row(j),
			Size: c.size.Row(j), ModTime: c.modTime.Row(j),
		}
	})
}

// appendBlock writes the columns as one Native block: number of columns, number of rows,
// then per column name, type, data.
func appendBlock(dst []byte, cols []named) ([]byte, error) {
	n := cols[0].col.Rows()
	dst = binary.AppendUvarint(dst, uint64(len(cols)))
	dst = binary.AppendUvarint(dst, uint64(n))
	for _, c := range cols {
		if c.col.Rows() != n {
			return dst, fmt.Errorf("column %s has %d rows, %s has %d", c.name, c.col.Rows(), cols[0].name, n)
		}
		dst = appendText(dst, c.name)
		dst = appendText(dst, c.col.Type())
		if n > 0 {
			dst = c.col.data(c.col.prefix(dst))
		}
	}
	return dst, nil
}

// readBlock reads one Native block into the columns, which must match in number, order,
// name and type.
func readBlock(r *reader, cols []named) error {
	width, n, err := readShape(r)
	if err != nil {
		return err
	}
	if width != len(cols) {
		return fmt.Errorf("block has %d columns, this version knows %d: it was written by another version", width, len(cols))
	}
	for _, c := range cols {
		c.col.Reset()
		name, err := r.text()
		if err != nil {
			return fmt.Errorf("column %s: %w", c.name, err)
		}
		if string(name) != c.name {
			return fmt.Errorf("column %q where %s is expected", name, c.name)
		}
		typ, err := r.text()
		if err != nil {
			return fmt.Errorf("column %s: %w", c.name, err)
		}
		if string(typ) != c.col.Type() {
			return fmt.Errorf("column %s has type %q, expected %s", c.name, typ, c.col.Type())
		}
		if n == 0 {
			continue
		}
		if err := c.col.readPrefix(r); err != nil {
			return fmt.Errorf("column %s: %w", c.name, err)
		}
		if err := c.col.readData(r, n); err != nil {
			return fmt.Errorf("column %s: %w", c.name, err)
		}
	}
	return nil
}

// readShape reads the head of a block: number of columns and rows.
func readShape(r *reader) (columns, rows int, err error) {
	c, err := r.uvarint()
	if err != nil {
		return 0, 0, err
	}
	n, err := r.uvarint()
	if err != nil {
		return 0, 0, err
	}
	if n > MaxRows {
		return 0, 0, fmt.Errorf("block of %d rows, at most %d", n, MaxRows)
	}
	if c > maxColumns {
		return 0, 0, fmt.Errorf("block of %d columns, at most %d", c, maxColumns)
	}
	return int(c), int(n), nil
}
