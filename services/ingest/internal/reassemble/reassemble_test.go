package reassemble_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/tracer-framework/tracer/services/ingest/internal/reassemble"
)

// text collects what a stream delivers; a gap shows as <n>.
type text struct {
	strings.Builder
	t    testing.TB
	next uint64
}

func (o *text) Data(seq uint64, n int, data []byte) {
	o.order(seq, uint64(n))
	o.Write(data)
}

func (o *text) Gap(seq, n uint64) {
	o.order(seq, n)
	o.WriteString("<" + strings.Repeat("?", int(min(n, 80))) + ">")
}

func (o *text) order(seq, n uint64) {
	if seq != o.next {
		o.t.Fatalf("delivered %d at %d, expected %d next", n, seq, o.next)
	}
	o.next = seq + n
}

type step struct {
	seq  uint64
	data string
	ack  uint64
	end  bool
}

func TestOrder(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []step
		want  string
	}{
		{"in order", []step{{seq: 1, data: "abc"}, {seq: 4, data: "def"}}, "abcdef"},
		{"exchanged", []step{{seq: 4, data: "def"}, {seq: 1, data: "abc"}}, "abcdef"},
		{"sent again", []step{{seq: 1, data: "abc"}, {seq: 1, data: "XYZ"}, {seq: 4, data: "d"}}, "abcd"},
		{"first bytes hold behind a hole", []step{{seq: 3, data: "cd"}, {seq: 2, data: "BXXE"}, {seq: 1, data: "a"}}, "aBcdE"},
		{"first bytes hold when sent again longer", []step{{seq: 1, data: "abc"}, {seq: 2, data: "XXde"}}, "abcde"},
		{"several holes", []step{{seq: 7, data: "g"}, {seq: 3, data: "c"}, {seq: 5, data: "e"}, {seq: 1, data: "abXdXf"}}, "abcdefg"},
		{"hole given up by acknowledgement", []step{{seq: 1, data: "ab"}, {seq: 5, data: "ef"}, {ack: 7}}, "ab<??>ef"},
		{"two holes given up", []step{{seq: 2, data: "b"}, {seq: 4, data: "d"}, {ack: 5}}, "<?>b<?>d"},
		{"acknowledged but never seen", []step{{seq: 1, data: "a"}, {ack: 4}, {seq: 4, data: "d"}}, "a<??>d"},
		{"late bytes of a hole given up", []step{{seq: 1, data: "a"}, {seq: 4, data: "d"}, {ack: 5}, {seq: 2, data: "bc"}}, "a<??>d"},
		{"end", []step{{seq: 1, data: "a"}, {seq: 3, data: "c"}, {end: true}}, "a<?>c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := reassemble.NewPool(1 << 20)
			s := reassemble.Stream{Next: 1, Trim: 1}
			o := &text{t: t, next: 1}
			for _, st := range c.steps {
				switch {
				case st.ack > 0:
					p.Ack(&s, st.ack, false, o)
				case st.end:
					p.End(&s, o)
				default:
					p.Insert(&s, st.seq, len(st.data), []byte(st.data), o)
				}
			}
			if o.String() != c.want {
				t.Errorf("delivered %q, want %q", o.String(), c.want)
			}
			p.Free(&s)
			if p.Held() != 0 {
				t.Errorf("%d bytes still held", p.Held())
			}
		})
	}
}

// TestBounds fills a stream behind a hole that is never closed.
func TestBounds(t *testing.T) {
	p := reassemble.NewPool(1 << 20)
	s := reassemble.Stream{Next: 1, Trim: 1}
	o := &text{t: t, next: 1}
	data := bytes.Repeat([]byte("x"), 1000)
	for i := range uint64(4000) {
		p.Insert(&s, 100+2000*i, len(data), data, o)
		if p.Held() > 1<<20+4096 {
			t.Fatalf("%d bytes held, limit is %d", p.Held(), 1<<20)
		}
	}
	if p.MemoryForced+p.HolesForced == 0 {
		t.Error("no hole was given up")
	}
}

// FuzzStream sends segments of one known text in any order, with acknowledgements: what is
// delivered must be in order, and every byte that of the first segment that held it.
func FuzzStream(f *testing.F) {
	f.Add([]byte{0, 1, 5, 0, 0, 9, 4, 1, 0, 3, 9, 2})
	f.Add([]byte{1, 0, 200, 0, 0, 100, 200, 3, 0, 0, 50, 0})
	f.Fuzz(func(t *testing.T, ops []byte) {
		p := reassemble.NewPool(2048)
		s := reassemble.Stream{Next: 1, Trim: 1}
		o := &checker{t: t, next: 1}
		for n := byte(1); len(ops) >= 4; ops, n = ops[4:], n+1 {
			seq, size := uint64(binary.BigEndian.Uint16(ops))%5000+1, int(ops[2])
			switch ops[3] % 8 {
			case 0:
				p.Ack(&s, seq, false, o)
			case 1:
				p.Forget(&s)
			case 2:
				p.Insert(&s, seq, size, nil, o)
			case 3: // captured in part
				p.Insert(&s, seq, size, bytes.Repeat([]byte{n}, size/2), o)
			default:
				p.Insert(&s, seq, size, bytes.Repeat([]byte{n}, size), o)
			}
			if s.Next != o.next {
				t.Fatalf("stream says %d is next, delivered up to %d", s.Next, o.next)
			}
		}
		p.End(&s, o)
		if s.Holds() || p.Held() != 0 {
			t.Fatalf("%d bytes held after the end", p.Held())
		}
	})
}

type checker struct {
	t    *testing.T
	next uint64
}

func (o *checker) Data(seq uint64, n int, data []byte) {
	if seq != o.next || n <= 0 || len(data) > n {
		o.t.Fatalf("delivered %d bytes (%d kept) at %d, expected %d next", n, len(data), seq, o.next)
	}
	o.next += uint64(n)
}

func (o *checker) Gap(seq, n uint64) {
	if seq != o.next || n == 0 {
		o.t.Fatalf("gap of %d at %d, expected %d next", n, seq, o.next)
	}
	o.next += n
}
