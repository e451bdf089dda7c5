package analyze_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/ingest/internal/analyze"
)

var update = flag.Bool("update", false, "write the want files anew; read the difference before committing it")

// step is one piece of a conversation: bytes, or a gap, of one side.
type step struct {
	fromOrig bool
	data     []byte
	gap      int64
}

// conversation is what a fixture file holds: one line per piece,
//
//	orig "text with Go escapes"
//	resp hex 0a0b0c
//	resp "x" * 1000
//	orig gap 100
//
// Lines that begin with # are comments.
func conversation(t testing.TB, path string) []step {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var steps []step
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		who, rest, _ := strings.Cut(line, " ")
		s := step{fromOrig: who == "orig"}
		ok := who == "orig" || who == "resp"
		switch {
		case strings.HasPrefix(rest, "gap "):
			s.gap, err = strconv.ParseInt(rest[4:], 10, 64)
		case strings.HasPrefix(rest, "hex "):
			s.data, err = hex.DecodeString(strings.ReplaceAll(rest[4:], " ", ""))
		default:
			times := 1
			if j := strings.LastIndex(rest, `" * `); j >= 0 {
				if times, err = strconv.Atoi(rest[j+4:]); err != nil {
					break
				}
				rest = rest[:j+1]
			}
			var s0 string
			s0, err = strconv.Unquote(rest)
			s.data = bytes.Repeat([]byte(s0), times)
		}
		if err != nil || !ok {
			t.Fatalf("%s:%d: %q: %v", path, i+1, line, err)
		}
		steps = append(steps, s)
	}
	return steps
}

// rows collects what an analyzer emits.
type rows struct {
	DNSs  []model.DNS
	HTTPs []model.HTTP
	TLSs  []model.TLS
	SSHs  []model.SSH
}

// through copies a row as the columns would: by value, lists included.
func through[T any](v *T) (out T) {
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		panic(err)
	}
	return out
}

func (r *rows) DNS(v *model.DNS)   { r.DNSs = append(r.DNSs, through(v)) }
func (r *rows) HTTP(v *model.HTTP) { r.HTTPs = append(r.HTTPs, through(v)) }
func (r *rows) TLS(v *model.TLS)   { r.TLSs = append(r.TLSs, through(v)) }
func (r *rows) SSH(v *model.SSH)   { r.SSHs = append(r.SSHs, through(v)) }

// text is the readable form of the rows and of what the flow is told: fields that are set,
// one line per row.
func (r *rows) text(t testing.TB, c *analyze.Conn, counters *analyze.Counters) string {
	t.Helper()
	var out strings.Builder
	line := func(kind string, v any) {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		for _, k := range []string{"flow_id", "evidence_id", "orig_ip", "orig_port", "resp_ip", "resp_port", "proto"} {
			delete(m, k)
		}
		for k, v := range m {
			switch x := v.(type) {
			case nil:
				delete(m, k)
			case string:
				if x == "" {
					delete(m, k)
				}
			case float64:
				if x == 0 {
					delete(m, k)
				}
			case bool:
				if !x {
					delete(m, k)
				}
			case []any:
				if len(x) == 0 {
					delete(m, k)
				}
			}
		}
		b, err = json.Marshal(map[string]any{kind: m})
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
		out.WriteByte('\n')
	}
	for i := range r.DNSs {
		line("dns", &r.DNSs[i])
	}
	for i := range r.HTTPs {
		line("http", &r.HTTPs[i])
	}
	for i := range r.TLSs {
		line("tls", &r.TLSs[i])
	}
	for i := range r.SSHs {
		line("ssh", &r.SSHs[i])
	}
	flow := map[string]string{
		"service": c.Service, "tls_version": c.TLSVersion, "tls_sni": c.TLSSNI, "tls_alpn": c.TLSALPN,
		"http_host": c.HTTPHost, "http_user_agent": c.HTTPUserAgent, "dns_query": c.DNSQuery,
	}
	line("flow", flow)
	count := map[string]uint64{}
	for i, n := range counters {
		if n > 0 {
			count[analyze.CounterNames[i]] = n
		}
	}
	if len(count) > 0 {
		line("counters", count)
	}
	return out.String()
}

func newConn(counters *analyze.Counters) *analyze.Conn {
	return &analyze.Conn{
		Endpoints: model.Endpoints{
			FlowID: 1, OrigIP: netip.MustParseAddr("192.0.2.1"), OrigPort: 40000,
			RespIP: netip.MustParseAddr("192.0.2.2"), RespPort: 9999, Proto: "tcp",
		},
		Counters: counters,
	}
}

// run recognises and reads a conversation as the flow table does: bytes are kept until a
// protocol is sure. Bytes come in pieces of at most size; 0 leaves them as they are.
func run(t testing.TB, transport uint8, steps []step, size int) (string, string) {
	t.Helper()
	var got rows
	var counters analyze.Counters
	c := newConn(&counters)
	var a analyze.Analyzer
	name := ""
	var kept []step
	var first [2][]byte
	more := true
	ts := model.Time(1_000_000)
	for _, s := range steps {
		ts += 1000
		pieces := []step{s}
		if s.gap == 0 && size > 0 && transport == 6 {
			pieces = nil
			for p := s.data; len(p) > 0; p = p[min(size, len(p)):] {
				pieces = append(pieces, step{fromOrig: s.fromOrig, data: p[:min(size, len(p))]})
			}
		}
		for _, p := range pieces {
			if a == nil {
				kept = append(kept, p)
				i := 0
				if !p.fromOrig {
					i = 1
				}
				first[i] = append(first[i], p.data...)
				for _, proto := range analyze.All {
					if a == nil && proto.Transport == transport && proto.Match(p.fromOrig, first[i]) == analyze.Yes {
						a, name = proto.New(c, &got), proto.Name
					}
				}
				if a == nil {
					continue
				}
			} else {
				kept = append(kept[:0], p)
			}
			for _, k := range kept {
				switch {
				case !more:
				case k.gap > 0:
					a.Gap(ts, k.fromOrig, k.gap)
				default:
					b := bytes.Clone(k.data)
					more = a.Data(ts, k.fromOrig, b)
					for i := range b { // valid during the call only
						b[i] = 0xee
					}
				}
			}
			kept = kept[:0]
		}
	}
	if a != nil {
		a.End(ts)
	}
	return name, got.text(t, c, &counters)
}

func transportOf(folder string) uint8 {
	if strings.HasSuffix(folder, "udp") {
		return 17
	}
	return 6
}

// TestAll walks the protocols and testdata together: every fixture gives the rows beside
// it, however its bytes are cut, and every protocol has fixtures.
func TestAll(t *testing.T) {
	seen := map[string]bool{}
	paths, err := filepath.Glob("testdata/*/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		folder := filepath.Base(filepath.Dir(path))
		proto, _, _ := strings.Cut(folder, "-")
		seen[proto] = true
		t.Run(folder+"/"+strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			steps := conversation(t, path)
			want := strings.TrimSuffix(path, ".txt") + ".want.json"
			name, got := run(t, transportOf(folder), steps, 0)
			if proto == "none" {
				if name != "" {
					t.Errorf("recognised as %q", name)
				}
				return
			}
			if name != proto {
				t.Errorf("recognised as %q", name)
			}
			if *update {
				if os.Getenv("CI") != "" {
					t.Fatal("want files are not written in CI")
				}
				if err := os.WriteFile(want, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			b, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(b) {
				t.Errorf("got\n%swant\n%s", got, b)
			}
			for _, size := range []int{1, 7} {
				if _, cut := run(t, transportOf(folder), steps, size); cut != got && !strings.Contains(path, "resync") {
					t.Errorf("in pieces of %d:\n%swhole:\n%s", size, cut, got)
				}
			}
		})
	}
	for _, p := range analyze.All {
		if !seen[p.Name] {
			t.Errorf("protocol %s has no testdata/%s*/*.txt", p.Name, p.Name)
		}
	}
}

// FuzzAll feeds every analyzer any bytes in any pieces. Nothing may fail, and but for HTTP,
// which takes up reading at segment borders, the cut must not matter.
func FuzzAll(f *testing.F) {
	paths, err := filepath.Glob("testdata/*/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		var seed []byte
		for _, s := range conversation(f, path) {
			n := min(len(s.data), 0x7fff)
			head := n
			if s.fromOrig {
				head |= 0x8000
			}
			seed = append(seed, byte(head>>8), byte(head))
			seed = append(seed, s.data[:n]...)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var steps []step
		for len(b) >= 2 {
			head := int(b[0])<<8 | int(b[1])
			b = b[2:]
			n := min(head&0x7fff, len(b))
			s := step{fromOrig: head&0x8000 != 0, data: b[:n]}
			if n == 0 {
				s.gap = int64(head&0x7fff) + 1
			}
			steps = append(steps, s)
			b = b[n:]
		}
		for _, p := range analyze.All {
			for _, s := range steps {
				p.Match(s.fromOrig, s.data)
			}
			whole := feed(t, p, steps, 0)
			if p.Transport == 6 && p.Name != "http" {
				if cut := feed(t, p, steps, 3); cut != whole {
					t.Errorf("%s: in pieces\n%swhole\n%s", p.Name, cut, whole)
				}
			}
		}
	})
}

// feed gives steps to one protocol whether it recognises them or not.
func feed(t *testing.T, p analyze.Protocol, steps []step, size int) string {
	var got rows
	var counters analyze.Counters
	c := newConn(&counters)
	a := p.New(c, &got)
	more := true
	for i, s := range steps {
		ts := model.Time(1000 * (i + 1))
		switch {
		case !more:
		case s.gap > 0:
			a.Gap(ts, s.fromOrig, s.gap)
		case size == 0:
			more = a.Data(ts, s.fromOrig, s.data)
		default:
			for b := s.data; len(b) > 0 && more; b = b[min(size, len(b)):] {
				more = a.Data(ts, s.fromOrig, b[:min(size, len(b))])
			}
		}
	}
	a.End(1)
	if n := counters[analyze.AnalyzerPanics]; n > 0 {
		t.Fatalf("%s failed %d times", p.Name, n)
	}
	for i := range got.HTTPs {
		if int(got.HTTPs[i].N) != i {
			t.Fatalf("http row %d has number %d", i, got.HTTPs[i].N)
		}
	}
	for i := range got.DNSs {
		if int(got.DNSs[i].N) != i {
			t.Fatalf("dns row %d has number %d", i, got.DNSs[i].N)
		}
	}
	counters = analyze.Counters{} // counted per piece in places
	return fmt.Sprint(got.text(t, c, &counters))
}
