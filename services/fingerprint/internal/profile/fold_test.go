package profile

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
)

func set(t *testing.T, sources ...string) *Set {
	t.Helper()
	e, err := NewEngine(func(ip netip.Addr) bool { return ip.IsPrivate() })
	if err != nil {
		t.Fatal(err)
	}
	var all []*Compiled
	for _, src := range sources {
		c, err := e.Parse("p.yaml", []byte(src), nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return NewSet(all...)
}

const head = "title: T\nseverity: low\nconfidence: 50\nphase: c2\ntechnique: T1071.001\nshow: [uri]\non: http\n"

var base = model.TimeOf(time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC))

func request(n int, resp, uri string) *store.Record {
	return &store.Record{HTTP: model.HTTP{
		Endpoints: model.Endpoints{
			FlowID: model.FlowID(n / 2), N: uint32(n % 2), EvidenceID: fmt.Sprint("e", n%3), TS: base.Add(time.Duration(n) * time.Second),
			OrigIP: netip.MustParseAddr("10.0.0.1"), RespIP: netip.MustParseAddr(resp), RespPort: 80, Proto: "tcp",
		},
		URI: uri, Host: "www.example.org",
	}}
}

// TestFold checks how matches become detections, and that their order does not matter.
func TestFold(t *testing.T) {
	s := set(t, "id: bad-path\n"+head+"when: 'uri.startsWith(\"/bad\") && !internal(resp_ip)'\n")
	var rows []*store.Record
	for i := range 500 {
		rows = append(rows, request(i, "203.0.113.1", fmt.Sprintf("/bad/%d", i)))
	}
	rows = append(rows, request(1000, "203.0.113.1", "/good"), request(1001, "10.0.0.2", "/bad"), request(1002, "203.0.113.2", "/bad\nx"))
	var want []model.Detection
	for seed := range uint64(4) {
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		f := NewFold(s)
		for _, r := range rows {
			f.Add("http", r)
		}
		got := f.Detections("case", "run")
		if want == nil {
			want = got
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatal("the order of the rows changed the detections")
		}
	}
	if len(want) != 2 {
		t.Fatalf("%d detections, want 2", len(want))
	}
	for _, d := range want {
		if d.RespIP.String() == "203.0.113.2" {
			continue
		}
		if d.FlowCount != 250 || len(d.Flows) != model.FlowsCap || d.Flows[0] != 0 || d.Flows[199] != 199 || len(d.EvidenceIDs) != 3 || d.Domain != "www.example.org" ||
			d.FirstSeen != base || d.LastSeen != base.Add(499*time.Second) || d.Numbers[1].Value != 500 || d.TechniqueLegacy != "T1071.001" {
			t.Errorf("%+v", d)
		}
	}
}

// TestFoldMany: a profile that matches towards very many destinations is told once.
func TestFoldMany(t *testing.T) {
	f := NewFold(set(t, "id: any-path\n"+head+"when: 'true'\n"))
	for i := range GroupsCap + 10 {
		f.Add("http", request(i, fmt.Sprintf("203.0.113.%d", i), "/"))
	}
	got := f.Detections("case", "run")
	if len(got) != 1 || got[0].RespIP.IsValid() || got[0].Numbers[0].Value != float64((GroupsCap+10)/2) || got[0].Numbers[2].Value != GroupsCap+10 {
		t.Errorf("%+v", got)
	}
}

// TestColumns: only what profiles read is asked of the store.
func TestColumns(t *testing.T) {
	s := set(t,
		"id: a\n"+head+"when: 'flow.conn_state == \"SF\" && method == \"GET\"'\n",
		"id: b\ntitle: T\nseverity: low\nconfidence: 50\nphase: c2\nindicators: {ja4: [x]}\n",
		"id: c\ndisabled: true\n"+head+"when: 'referrer == \"\"'\n")
	own, flow := s.Columns("http")
	if fmt.Sprint(own, flow) != "[method uri] [conn_state]" {
		t.Errorf("http: %v %v", own, flow)
	}
	if own, flow = s.Columns("flow"); fmt.Sprint(own, flow) != "[ja4] []" {
		t.Errorf("flow: %v %v", own, flow)
	}
}

func BenchmarkMatch(b *testing.B) {
	e, err := NewEngine(func(ip netip.Addr) bool { return ip.IsPrivate() })
	if err != nil {
		b.Fatal(err)
	}
	c, err := e.Parse("p.yaml", []byte("id: a\n"+head+"when: 'decoded(uri + \" \" + user_agent).matches(\"jndi:(ldaps?|rmi|dns):\")'\n"), nil)
	if err != nil {
		b.Fatal(err)
	}
	r := request(1, "203.0.113.1", "/index.html?id=1&name=some%20thing")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := c.Match(r); ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

// BenchmarkShipped matches one ordinary HTTP request against the shipped HTTP profiles.
func BenchmarkShipped(b *testing.B) {
	e, err := NewEngine(func(ip netip.Addr) bool { return ip.IsPrivate() })
	if err != nil {
		b.Fatal(err)
	}
	files, err := filepath.Glob("../../profiles/*.yaml")
	if err != nil {
		b.Fatal(err)
	}
	var all []*Compiled
	for _, f := range files {
		src, err := os.ReadFile(f)
		if err != nil {
			b.Fatal(err)
		}
		c, err := e.Parse(f, src, nil)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, c)
	}
	f := NewFold(NewSet(all...))
	r := request(1, "203.0.113.1", "/index.html?id=1&name=some%20thing")
	r.HTTP.UserAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0"
	b.ReportAllocs()
	for b.Loop() {
		f.Add("http", r)
	}
}
