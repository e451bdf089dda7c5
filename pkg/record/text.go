package record

import (
	"encoding/binary"
	"fmt"
)

// Text is a String column.
type Text struct {
	plain
	buf  []byte
	ends []int // end of each row in buf
}

// Append adds a row.
func (c *Text) Append(v string) {
	c.buf = append(c.buf, v...)
	c.ends = append(c.ends, len(c.buf))
}

// Row returns row i.
func (c *Text) Row(i int) string { return string(c.Bytes(i)) }

// Bytes returns row i without a copy; valid until the column changes.
func (c *Text) Bytes(i int) []byte {
	start := 0
	if i > 0 {
		start = c.ends[i-1]
	}
	return c.buf[start:c.ends[i]]
}

// Rows is the number of rows.
func (c *Text) Rows() int { return len(c.ends) }

// Reset drops all rows and keeps the memory.
func (c *Text) Reset() { c.buf, c.ends = c.buf[:0], c.ends[:0] }

// Type is the column's ClickHouse type.
func (c *Text) Type() string { return "String" }

func (c *Text) data(dst []byte) []byte {
	start := 0
	for _, end := range c.ends {
		dst = binary.AppendUvarint(dst, uint64(end-start))
		dst = append(dst, c.buf[start:end]...)
		start = end
	}
	return dst
}

func (c *Text) readData(r *reader, rows int) error {
	c.Reset()
	if rows > len(r.b) {
		return fmt.Errorf("cut off: %d texts wanted, %d bytes left", rows, len(r.b))
	}
	for range rows {
		b, err := r.text()
		if err != nil {
			return err
		}
		c.buf = append(c.buf, b...)
		c.ends = append(c.ends, len(c.buf))
	}
	return nil
}

// Word is a LowCardinality(String) column: each distinct value is kept once, rows are
// indices. It keeps the strings it is given until Reset.
type Word struct {
	keys  []uint32
	dict  []string
	index map[string]uint32 // of dict; rebuilt at the first Append after a read
	last  uint32            // index of the value appended last
}

// Append adds a row.
func (c *Word) Append(v string) {
	if len(c.keys) > 0 && c.dict[c.last] == v {
		c.keys = append(c.keys, c.last)
		return
	}
	if c.index == nil {
		c.index = make(map[string]uint32)
	}
	if len(c.index) != len(c.dict) {
		clear(c.index)
		for i, s := range c.dict {
			c.index[s] = uint32(i)
		}
	}
	k, ok := c.index[v]
	if !ok {
		k = uint32(len(c.dict))
		c.dict = append(c.dict, v)
		c.index[v] = k
	}
	c.last = k
	c.keys = append(c.keys, k)
}

// Row returns row i.
func (c *Word) Row(i int) string { return c.dict[c.keys[i]] }

// Rows is the number of rows.
func (c *Word) Rows() int { return len(c.keys) }

// Reset drops all rows and keeps the memory.
func (c *Word) Reset() {
	clear(c.dict) // lets the strings go
	clear(c.index)
	c.keys, c.dict, c.last = c.keys[:0], c.dict[:0], 0
}

// Type is the column's ClickHouse type.
func (c *Word) Type() string { return "LowCardinality(String)" }

// Serialisation of LowCardinality: a version before all data; per block a word of flags
// and index width, the dictionary, the indices.
const (
	lowVersion        = 1
	lowWidthMask      = 0xff
	lowGlobal         = 1 << 8  // needs a dictionary shared between blocks: never used in Native
	lowAdditionalKeys = 1 << 9  // the dictionary stands in this block
	lowUpdate         = 1 << 10 // the dictionary replaces the one of the block before
)

func (c *Word) prefix(dst []byte) []byte {
	return binary.LittleEndian.AppendUint64(dst, lowVersion)
}

func (c *Word) readPrefix(r *reader) error {
	v, err := r.uint64()
	if err != nil {
		return err
	}
	if v != lowVersion {
		return fmt.Errorf("low cardinality serialisation %d: only %d is known", v, lowVersion)
	}
	return nil
}

func (c *Word) data(dst []byte) []byte {
	if len(c.keys) == 0 {
		return dst
	}
	width := uint64(0)
	switch n := len(c.dict); {
	case n > 1<<16:
		width = 2
	case n > 1<<8:
		width = 1
	}
	dst = binary.LittleEndian.AppendUint64(dst, lowAdditionalKeys|lowUpdate|width)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(c.dict)))
	for _, s := range c.dict {
		dst = appendText(dst, s)
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(c.keys)))
	switch width {
	case 0:
		for _, k := range c.keys {
			dst = append(dst, byte(k))
		}
	case 1:
		for _, k := range c.keys {
			dst = binary.LittleEndian.AppendUint16(dst, uint16(k))
		}
	default:
		dst = appendUints(dst, c.keys)
	}
	return dst
}

func (c *Word) readData(r *reader, rows int) error {
	c.Reset()
	if rows == 0 {
		return nil
	}
	meta, err := r.uint64()
	if err != nil {
		return err
	}
	if meta&lowGlobal != 0 || meta&lowAdditionalKeys == 0 {
		return fmt.Errorf("low cardinality flags %#x: a dictionary in the block is expected", meta)
	}
	size, err := r.uint64()
	if err != nil {
		return err
	}
	if size == 0 || size > uint64(rows)+1 || size > uint64(len(r.b)) {
		return fmt.Errorf("dictionary of %d values for %d rows in %d bytes", size, rows, len(r.b))
	}
	if err := c.readDict(r, int(size)); err != nil {
		return err
	}
	n, err := r.uint64()
	if err != nil {
		return err
	}
	if n != uint64(rows) {
		return fmt.Errorf("%d dictionary indices for %d rows", n, rows)
	}
	width := 1 << (meta & 3)
	if meta&lowWidthMask > 3 {
		return fmt.Errorf("low cardinality index width %d is not known", meta&lowWidthMask)
	}
	b, err := r.items(rows, width)
	if err != nil {
		return err
	}
	c.keys = grow(c.keys, rows)
	for i := range c.keys {
		var k uint64
		switch width {
		case 1:
			k = uint64(b[i])
		case 2:
			k = uint64(binary.LittleEndian.Uint16(b[2*i:]))
		case 4:
			k = uint64(binary.LittleEndian.Uint32(b[4*i:]))
		default:
			k = binary.LittleEndian.Uint64(b[8*i:])
		}
		if k >= size {
			c.keys = c.keys[:0]
			return fmt.Errorf("row %d: dictionary index %d of %d", i, k, size)
		}
		c.keys[i] = uint32(k)
	}
	c.last = c.keys[rows-1]
	return nil
}

// readDict reads n values; all share one copy of the dictionary's bytes.
func (c *Word) readDict(r *reader, n int) error {
	whole := r.b
	for range n {
		if _, err := r.text(); err != nil {
			return err
		}
	}
	text := string(whole[:len(whole)-len(r.b)])
	c.dict = grow(c.dict, n)
	pos := 0
	for i := range c.dict {
		size, width := binary.Uvarint(whole[pos:])
		start := pos + width
		pos = start + int(size)
		c.dict[i] = text[start:pos]
	}
	return nil
}
