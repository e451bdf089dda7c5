package source_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/ingest/internal/source"
)

// pcap writes a capture of packets "a", "bb", "ccc" ... taken second by second.
func pcap(o binary.AppendByteOrder, magic uint32, n int) []byte {
	b := o.AppendUint32(nil, magic)
	b = o.AppendUint16(o.AppendUint16(b, 2), 4)
	b = append(b, make([]byte, 8)...)
	b = o.AppendUint32(o.AppendUint32(b, 65535), 1)
	for i := range n {
		data := bytes.Repeat([]byte{'a' + byte(i)}, i+1)
		frac := uint32(5)
		if magic == 0xa1b23c4d {
			frac = 5999
		}
		b = o.AppendUint32(o.AppendUint32(b, uint32(i+1)), frac)
		b = o.AppendUint32(o.AppendUint32(b, uint32(len(data))), 100)
		if magic == 0xa1b2cd34 {
			b = append(b, make([]byte, 8)...)
		}
		b = append(b, data...)
	}
	return b
}

// ng builds pcapng blocks.
type ng struct {
	binary.AppendByteOrder
	b []byte
}

func (n *ng) block(typ uint32, body ...[]byte) {
	all := bytes.Join(body, nil)
	for len(all)%4 != 0 {
		all = append(all, 0)
	}
	n.b = n.AppendUint32(n.AppendUint32(n.b, typ), uint32(len(all)+12))
	n.b = n.AppendUint32(append(n.b, all...), uint32(len(all)+12))
}

func (n *ng) u16(v ...uint16) (b []byte) {
	for _, x := range v {
		b = n.AppendUint16(b, x)
	}
	return b
}

func (n *ng) u32(v ...uint32) (b []byte) {
	for _, x := range v {
		b = n.AppendUint32(b, x)
	}
	return b
}

func (n *ng) section() {
	n.block(0x0a0d0d0a, n.u32(0x1a2b3c4d), n.u16(1, 0), n.u32(0xffffffff, 0xffffffff))
}

func (n *ng) iface(link uint16, options ...[]byte) {
	n.block(1, n.u16(link, 0), n.u32(65535), bytes.Join(options, nil))
}

func (n *ng) packet(ifc uint32, ticks uint64, data string) {
	n.block(6, n.u32(ifc, uint32(ticks>>32), uint32(ticks), uint32(len(data)), uint32(len(data))), []byte(data))
}

// pcapng writes two sections with several interfaces, times and kinds of blocks.
func pcapng(o binary.AppendByteOrder) []byte {
	n := &ng{AppendByteOrder: o}
	n.section()
	n.iface(1)
	n.iface(101, n.u16(9, 1), []byte{9, 0, 0, 0}, n.u16(14, 8), n.offset(10), n.u16(0, 0)) // nanoseconds, ten seconds on
	n.iface(1, n.u16(9, 1), []byte{0x80 | 10, 0, 0, 0})                                    // 1/1024 s
	n.packet(0, 1_000_005, "one")
	n.block(4, []byte("name resolution"))
	n.packet(1, 2_000_000_999, "two")
	n.packet(2, 3*1024+512, "three")
	n.block(2, n.u16(0, 7), n.u32(0, 4_000_000, 4, 4), []byte("four"))
	n.block(3, n.u32(4), []byte("five"))
	n.block(0x80000001, []byte("unknown"))
	n.section()
	n.iface(113)
	n.packet(0, 6_000_000, "six")
	return n.b
}

func (n *ng) offset(s int64) []byte { return n.AppendUint64(nil, uint64(s)) }

var orders = []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian}

func compress(t testing.TB, how string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	switch how {
	case "gzip":
		w := gzip.NewWriter(&out)
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	case "zstd":
		w, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	default:
		return b
	}
	return out.Bytes()
}

// read gives each packet as "time link data".
func read(t testing.TB, content []byte) ([]string, source.Result, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := source.Open(path, math.MaxInt64)
	if err != nil {
		return nil, source.Result{}, err
	}
	var out []string
	var p source.Packet
	for r.Next(&p) {
		out = append(out, fmt.Sprintf("%d %d %s", p.TS, p.Link, p.Data))
	}
	res, err := r.Close()
	return out, res, err
}

func TestPcap(t *testing.T) {
	want := "1000005 1 a|2000005 1 bb|3000005 1 ccc"
	for _, o := range orders {
		for _, magic := range []uint32{0xa1b2c3d4, 0xa1b23c4d, 0xa1b2cd34} {
			for _, how := range []string{"plain", "gzip", "zstd"} {
				got, res, err := read(t, compress(t, how, pcap(o, magic, 3)))
				if err != nil || strings.Join(got, "|") != want || len(res.Problems) > 0 || res.BytesUnread != 0 {
					t.Errorf("%s %x %s: %q, %+v, %v", o, magic, how, got, res, err)
				}
			}
		}
	}
}

func TestPcapng(t *testing.T) {
	want := []string{"1000005 1 one", "12000000 101 two", "3500000 1 three", "4000000 1 four", "4000000 1 five", "6000000 113 six"}
	for _, o := range orders {
		got, res, err := read(t, pcapng(o))
		if err != nil || strings.Join(got, "|") != strings.Join(want, "|") || len(res.Problems) > 0 {
			t.Errorf("%s: %q, %+v, %v", o, got, res, err)
		}
		if res.Skipped != 2 || res.Untimed != 1 || strings.Join(res.LinkTypes, " ") != "ETHERNET LINUX_SLL RAW" {
			t.Errorf("%s: %+v", o, res)
		}
	}
}

// TestCut cuts captures at every byte: what comes before the cut is kept, what is read and
// what is not add up, and a cut inside of a packet is told in one sentence.
func TestCut(t *testing.T) {
	for name, whole := range map[string][]byte{"pcap": pcap(binary.LittleEndian, 0xa1b2c3d4, 3), "pcapng": pcapng(binary.BigEndian)} {
		all, _, err := read(t, whole)
		if err != nil {
			t.Fatal(err)
		}
		for n := range whole {
			got, res, err := read(t, whole[:n])
			if err != nil {
				if n >= 24 {
					t.Errorf("%s cut at %d: %v", name, n, err)
				}
				continue
			}
			if len(got) > 0 && strings.Join(got, "|") != strings.Join(all[:len(got)], "|") {
				t.Errorf("%s cut at %d: %q", name, n, got)
			}
			if res.BytesRead+res.BytesUnread != uint64(n) {
				t.Errorf("%s cut at %d: %d bytes read, %d not", name, n, res.BytesRead, res.BytesUnread)
			}
			if (res.BytesUnread > 0) != (len(res.Problems) == 1) {
				t.Errorf("%s cut at %d: %d bytes unread, problems %q", name, n, res.BytesUnread, res.Problems)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	n := &ng{AppendByteOrder: binary.LittleEndian}
	n.section()
	n.packet(0, 1, "x")
	cut := compress(t, "gzip", pcap(binary.LittleEndian, 0xa1b2c3d4, 26))
	long := pcap(binary.LittleEndian, 0xa1b2c3d4, 2)
	binary.LittleEndian.PutUint32(long[24+8+16+1:], 1<<30)
	for _, c := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"empty", nil, "x: byte 0: the file is empty, expected a pcap or pcapng header"},
		{"text", []byte("hello, this is no capture at all"), "x: byte 0: neither a pcap nor a pcapng header"},
		{"short header", pcap(binary.LittleEndian, 0xa1b2c3d4, 0)[:20], "x: byte 20: file ends inside the pcap header of 24 bytes"},
		{"no interface", n.b, "x: byte 28: packet of an interface that was not described"},
		{"cut gzip", cut[:len(cut)-20], "the compressed data ends in the middle"},
		{"huge packet", long, "x: byte 41: packet of 1073741824 bytes, expected at most 262144"},
	} {
		_, res, err := read(t, c.content)
		got := strings.Join(res.Problems, "; ")
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestLarge reads a capture of many blocks of memory, with packets retained across them.
func TestLarge(t *testing.T) {
	o := binary.LittleEndian
	b := pcap(o, 0xa1b2c3d4, 0)
	const n = 3000
	for i := range n {
		data := bytes.Repeat([]byte{byte(i)}, 100+i*7%60000)
		b = o.AppendUint32(o.AppendUint32(b, uint32(i)), 0)
		b = o.AppendUint32(o.AppendUint32(b, uint32(len(data))), uint32(len(data)))
		b = append(b, data...)
	}
	path := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := source.Open(path, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	var p source.Packet
	type kept struct {
		i    int
		data []byte
		b    *source.Block
	}
	var held []kept
	check := func(k kept) {
		if len(k.data) != 100+k.i*7%60000 || k.data[0] != byte(k.i) || k.data[len(k.data)-1] != byte(k.i) {
			t.Fatalf("packet %d was overwritten", k.i)
		}
		k.b.Release()
	}
	i := 0
	for ; r.Next(&p); i++ {
		r.Block().Retain()
		held = append(held, kept{i, p.Data, r.Block()})
		if len(held) > 40 {
			check(held[0])
			held = held[1:]
		}
		if p.TS != model.Time(i)*1e6 {
			t.Fatalf("packet %d has time %d", i, p.TS)
		}
	}
	for _, k := range held {
		check(k)
	}
	res, err := r.Close()
	if err != nil || i != n || res.BytesRead != uint64(len(b)) {
		t.Fatalf("%d packets, %+v, %v", i, res, err)
	}
}

// FuzzReader reads anything as a capture.
func FuzzReader(f *testing.F) {
	f.Add(pcap(binary.LittleEndian, 0xa1b2c3d4, 3))
	f.Add(pcap(binary.BigEndian, 0xa1b2cd34, 3))
	f.Add(pcapng(binary.LittleEndian))
	f.Add(pcapng(binary.BigEndian))
	f.Add(compress(f, "gzip", pcap(binary.LittleEndian, 0xa1b23c4d, 3)))
	f.Add(compress(f, "zstd", pcapng(binary.LittleEndian)))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, res, err := read(t, b)
		if err != nil {
			return
		}
		if res.BytesRead+res.BytesUnread == 0 && len(b) > 0 && len(res.Problems) == 0 {
			t.Errorf("%d bytes, neither read nor unread: %+v", len(b), res)
		}
	})
}
