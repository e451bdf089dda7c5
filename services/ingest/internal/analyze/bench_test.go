package analyze_test

import (
	"slices"
	"testing"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/ingest/internal/analyze"
)

// nowhere drops rows.
type nowhere struct{}

func (nowhere) DNS(*model.DNS)   {}
func (nowhere) HTTP(*model.HTTP) {}
func (nowhere) TLS(*model.TLS)   {}
func (nowhere) SSH(*model.SSH)   {}

func protocol(transport uint8, name string) analyze.Protocol {
	return analyze.All[slices.IndexFunc(analyze.All, func(p analyze.Protocol) bool { return p.Name == name && p.Transport == transport })]
}

// benchmarkFlow measures whole flows from recognition to the end.
func benchmarkFlow(b *testing.B, transport uint8, name, fixture string) {
	steps := conversation(b, "testdata/"+fixture)
	p := protocol(transport, name)
	bytes := 0
	for _, s := range steps {
		bytes += len(s.data)
	}
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	for b.Loop() {
		c := analyze.Conn{}
		a := p.New(&c, nowhere{})
		for _, s := range steps {
			a.Data(1, s.fromOrig, s.data)
		}
		a.End(2)
	}
}

func BenchmarkDNSFlow(b *testing.B)  { benchmarkFlow(b, 17, "dns", "dns-udp/common.txt") }
func BenchmarkHTTPFlow(b *testing.B) { benchmarkFlow(b, 6, "http", "http/plain.txt") }
func BenchmarkTLSFlow(b *testing.B)  { benchmarkFlow(b, 6, "tls", "tls/retry13.txt") }
func BenchmarkSSHFlow(b *testing.B)  { benchmarkFlow(b, 6, "ssh", "ssh/plain.txt") }

// Bytes of a body and of unreadable records are passed over.
func BenchmarkHTTPBody(b *testing.B) {
	c := analyze.Conn{}
	a := protocol(6, "http").New(&c, nowhere{})
	a.Data(1, true, []byte("GET / HTTP/1.1\r\n\r\n"))
	a.Data(1, false, []byte("HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000000\r\n\r\n"))
	segment := make([]byte, 1448)
	b.SetBytes(int64(len(segment)))
	b.ReportAllocs()
	for b.Loop() {
		a.Data(1, false, segment)
	}
}

func BenchmarkTLSRecords(b *testing.B) {
	c := analyze.Conn{}
	a := protocol(6, "tls").New(&c, nowhere{})
	record := make([]byte, 5+1443)
	copy(record, []byte{23, 3, 3, 1443 >> 8, 1443 & 0xff})
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		a.Data(1, false, record)
	}
}

// Skipping costs no memory.
func TestSkippingAllocatesNothing(t *testing.T) {
	c := analyze.Conn{}
	a := protocol(6, "http").New(&c, nowhere{})
	a.Data(1, true, []byte("GET / HTTP/1.1\r\n\r\n"))
	a.Data(1, false, []byte("HTTP/1.1 200 OK\r\n\r\n"))
	segment := make([]byte, 1448)
	if n := testing.AllocsPerRun(100, func() { a.Data(1, false, segment) }); n != 0 {
		t.Errorf("http: %v allocations per segment", n)
	}
	tl := protocol(6, "tls").New(&c, nowhere{})
	record := append([]byte{23, 3, 3, 0x05, 0xa3}, segment[5:]...)
	if n := testing.AllocsPerRun(100, func() { tl.Data(1, false, record) }); n != 0 {
		t.Errorf("tls: %v allocations per record", n)
	}
}

// Random bytes are nobody's protocol.
func TestRandomIsNothing(t *testing.T) {
	seed := uint64(1)
	next := func() uint64 { // a fixed sequence (xorshift)
		seed ^= seed << 13
		seed ^= seed >> 7
		seed ^= seed << 17
		return seed
	}
	b := make([]byte, 512)
	for range 300_000 {
		for i := 0; i < len(b); i += 8 {
			v := next()
			for j := range 8 {
				b[i+j] = byte(v >> (8 * j))
			}
		}
		for _, p := range analyze.All {
			if p.Match(true, b[:8+next()%504]) == analyze.Yes {
				t.Fatalf("%s recognised in % x", p.Name, b)
			}
		}
	}
}
