package lab

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
)

// capture writes one capture file. The format follows from the name: .pcap (microseconds)
// or .pcapng (nanoseconds), and .gz behind either.
type capture struct {
	file File
	f    *os.File
	buf  *bufio.Writer
	gz   *gzip.Writer
	out  io.Writer // where packets go: buf or gz over it
	sum  hash.Hash
	ng   bool
	head [32]byte

	limit   int64 // size the file may have before compression, 0 for any
	written int64
}

// createCapture opens dir/name and writes the file header.
func createCapture(dir, name, sensor string) (*capture, error) {
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("create capture: %w", err)
	}
	c := &capture{file: File{Name: name, Sensor: sensor}, f: f, sum: sha256.New()}
	c.buf = bufio.NewWriterSize(io.MultiWriter(f, c.sum), 1<<18)
	c.out = c.buf
	plain, packed := strings.CutSuffix(name, ".gz")
	if packed {
		c.gz, _ = gzip.NewWriterLevel(c.buf, gzip.BestSpeed) // the level is valid
		c.out = c.gz
	}
	c.ng = strings.HasSuffix(plain, ".pcapng")
	var b []byte
	if c.ng {
		b = appendSectionHeader(b)
		b = appendInterface(b, sensor)
	} else {
		b = appendPcapHeader(b)
	}
	c.written = int64(len(b))
	if _, err := c.out.Write(b); err != nil {
		f.Close()
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	return c, nil
}

// appendPcapHeader writes the header of a little-endian microsecond Ethernet capture.
func appendPcapHeader(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, 262144)
	return binary.LittleEndian.AppendUint32(b, 1)
}

// appendOption writes one pcapng option with its padding.
func appendOption(b []byte, code uint16, value []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// appendBlock writes one pcapng block around a body.
func appendBlock(b []byte, kind uint32, body []byte) []byte {
	n := uint32(12 + len(body))
	b = binary.LittleEndian.AppendUint32(b, kind)
	b = binary.LittleEndian.AppendUint32(b, n)
	b = append(b, body...)
	return binary.LittleEndian.AppendUint32(b, n)
}

func appendSectionHeader(b []byte) []byte {
	body := binary.LittleEndian.AppendUint32(nil, 0x1a2b3c4d)
	body = append(body, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	body = appendOption(body, 4, []byte("tracer lab")) // shb_userappl
	return appendBlock(b, 0x0a0d0d0a, appendOption(body, 0, nil))
}

func appendInterface(b []byte, sensor string) []byte {
	body := binary.LittleEndian.AppendUint32([]byte{1, 0, 0, 0}, 262144)
	body = appendOption(body, 2, []byte(sensor)) // if_name
	body = appendOption(body, 9, []byte{9})      // if_tsresol: nanoseconds
	return appendBlock(b, 1, appendOption(body, 0, nil))
}

// write adds one packet seen at t (nanoseconds since 1970).
func (c *capture) write(t int64, frame []byte) error {
	h := c.head[:0]
	n := uint32(len(frame))
	var tail [8]byte
	rest := tail[:0]
	if c.ng {
		size := 32 + (n+3)&^3
		h = binary.LittleEndian.AppendUint32(h, 6)
		h = binary.LittleEndian.AppendUint32(h, size)
		h = binary.LittleEndian.AppendUint32(h, 0)
		h = binary.LittleEndian.AppendUint32(h, uint32(uint64(t)>>32))
		h = binary.LittleEndian.AppendUint32(h, uint32(t))
		h = binary.LittleEndian.AppendUint32(h, n)
		h = binary.LittleEndian.AppendUint32(h, n)
		rest = tail[:(4-n%4)%4]
		rest = binary.LittleEndian.AppendUint32(rest, size)
	} else {
		h = binary.LittleEndian.AppendUint32(h, uint32(t/second))
		h = binary.LittleEndian.AppendUint32(h, uint32(t%second/1000))
		h = binary.LittleEndian.AppendUint32(h, n)
		h = binary.LittleEndian.AppendUint32(h, n)
	}
	c.written += int64(len(h) + len(frame) + len(rest))
	if c.limit > 0 && c.written > c.limit {
		return errFull
	}
	for _, part := range [3][]byte{h, frame, rest} {
		if _, err := c.out.Write(part); err != nil {
			return fmt.Errorf("write %s: %w", c.file.Name, err)
		}
	}
	if c.file.Packets == 0 {
		c.file.First = model.Time(t / 1000)
	}
	c.file.Last = model.Time(t / 1000)
	c.file.Packets++
	c.file.Bytes += uint64(n)
	return nil
}

// close completes the file and describes it.
func (c *capture) close() (File, error) {
	var err error
	if c.gz != nil {
		err = c.gz.Close()
	}
	if e := c.buf.Flush(); err == nil {
		err = e
	}
	if st, e := c.f.Stat(); e == nil {
		c.file.Size = uint64(st.Size())
	}
	if e := c.f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return File{}, fmt.Errorf("finish %s: %w", c.file.Name, err)
	}
	c.file.SHA256 = hex.EncodeToString(c.sum.Sum(nil))
	return c.file, nil
}
