package store_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/pkg/testkit"
)

const detectEvidence = "aa00"

var detectBase = model.TimeOf(time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC))

func detectFlow(n int, orig, resp string, port uint16, at time.Duration) *model.Flow {
	return &model.Flow{
		FlowID: model.FlowID(n), EvidenceID: detectEvidence, Source: "pcap", Sensor: "file",
		Start: detectBase.Add(at), End: detectBase.Add(at + time.Second),
		OrigIP: netip.MustParseAddr(orig), OrigPort: uint16(40000 + n%20000), RespIP: netip.MustParseAddr(resp), RespPort: port, Proto: "tcp",
		ConnState: "SF", History: "ShADadFf", OrigBytes: 100, RespBytes: 200, OrigPkts: 5, RespPkts: 5, OrigIPBytes: 300, RespIPBytes: 400,
	}
}

func detectStore(t *testing.T, fill func(b *record.Batch)) *store.Store {
	t.Helper()
	s := testkit.Store(t)
	b := record.NewBatch()
	fill(b)
	if err := s.Insert(t.Context(), "detect", b); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestScanQueries(t *testing.T) {
	s := detectStore(t, func(b *record.Batch) {
		n := 0
		add := func(change func(*model.Flow), orig, resp string, port uint16) {
			n++
			f := detectFlow(n, orig, resp, port, time.Duration(n)*time.Second)
			if change != nil {
				change(f)
			}
			b.Flow.Append(f)
		}
		silent := func(f *model.Flow) { f.ConnState, f.History, f.RespPkts, f.OrigBytes, f.RespBytes = "S0", "S", 0, 0, 0 }
		refused := func(f *model.Flow) { f.ConnState, f.History, f.OrigBytes, f.RespBytes = "REJ", "Sr", 0, 0 }
		for i := range 6 {
			add(silent, "10.0.0.1", fmt.Sprintf("10.0.1.%d", i), 445)
		}
		add(silent, "10.0.0.1", "10.0.1.0", 445) // again: the first contact counts
		add(nil, "10.0.0.1", "10.0.2.1", 445)    // one success
		add(silent, "10.0.0.1", "10.0.3.1", 22)  // another port
		for i := range 6 {
			add(refused, "10.0.0.2", "10.0.1.1", uint16(i+1))
		}
		for i := range 9 { // one direction only: no scan
			add(func(f *model.Flow) { silent(f); f.History = "SAD" }, "10.0.0.3", fmt.Sprintf("10.0.1.%d", i), 445)
		}
		for i := range 9 { // backscatter: never a SYN of the originator
			add(func(f *model.Flow) { silent(f); f.ConnState, f.History = "OTH", "^h" }, "10.0.0.4", fmt.Sprintf("10.0.1.%d", i), 445)
		}
		b.DNS.Append(&model.DNS{
			Endpoints: model.Endpoints{
				FlowID: 999, EvidenceID: detectEvidence, TS: detectBase, OrigIP: netip.MustParseAddr("10.0.0.1"), RespIP: netip.MustParseAddr("10.0.0.53"), RespPort: 53, Proto: "udp",
			},
			Query: "srv.example", Answers: []string{"10.0.1.3", "alias.example"}, Answered: true,
		})
	})
	groups, err := s.HorizontalScans(t.Context(), []string{detectEvidence}, 5)
	if err != nil {
		t.Fatal(err)
	}
	if len(groups) != 1 {
		t.Fatalf("%d groups, want 1: %+v", len(groups), groups)
	}
	g := groups[0]
	if g.OrigIP.String() != "10.0.0.1" || g.Port != 445 || g.Targets != 6 || g.Reach != 6 || g.FlowCount != 7 || len(g.Flows) != 6 {
		t.Errorf("group %+v", g)
	}
	var got []string
	for _, c := range g.Contacts {
		got = append(got, fmt.Sprint(c.IP, c.Flows, c.Outcome))
	}
	want := []string{
		"10.0.1.0 2 0", "10.0.1.1 1 0", "10.0.1.2 1 0", "10.0.1.4 1 0", "10.0.1.5 1 0", "10.0.2.1 1 3", // 10.0.1.3 was given by DNS
	}
	if !slices.Equal(got, want) {
		t.Errorf("contacts\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	groups, err = s.VerticalScans(t.Context(), []string{detectEvidence}, 5)
	if err != nil {
		t.Fatal(err)
	}
	if len(groups) != 1 || groups[0].RespIP.String() != "10.0.1.1" || len(groups[0].Contacts) != 6 || groups[0].Contacts[5].Port != 6 || groups[0].Contacts[0].Outcome != store.OutcomeRefused {
		t.Errorf("vertical groups %+v", groups)
	}
}

func TestPairQueries(t *testing.T) {
	s := detectStore(t, func(b *record.Batch) {
		n := 0
		add := func(orig, resp, sni string, at time.Duration) {
			n++
			f := detectFlow(n, orig, resp, 443, at)
			f.TLSSNI, f.Service = sni, "tls"
			b.Flow.Append(f)
		}
		for i := range 30 {
			add("10.0.0.1", "203.0.113.1", "C2.example", time.Duration(i)*time.Minute)
			add("10.0.0.1", "203.0.113.2", "", time.Duration(i)*time.Minute)
		}
		add("10.0.0.1", "203.0.113.1", "", time.Hour) // explained by the name
		long := detectFlow(1000, "10.0.0.9", "203.0.113.9", 4444, 0)
		long.End, long.Open = long.Start.Add(2*time.Hour), true
		b.Flow.Append(long)
		grown := *long // a later record of the same flow
		grown.Seq, grown.Open, grown.End = 1, false, long.Start.Add(3*time.Hour)
		b.Flow.Append(&grown)
	})
	q := store.PairQuery{
		EvidenceIDs: []string{detectEvidence},
		Windows:     []store.Span{{First: detectBase.Add(-48 * time.Hour), Last: detectBase - 1}, {First: detectBase, Last: detectBase.Add(24 * time.Hour)}},
		Unique:      4, Connections: 20, Strobe: 86400, Long: time.Hour,
	}
	named, err := s.NamedPairs(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if len(named) != 1 || named[0].Window != 1 || named[0].Name != "c2.example" || named[0].Count != 30 || len(named[0].Starts) != 30 || named[0].RespIP.String() != "203.0.113.1" ||
		named[0].RespPort != 443 || named[0].Proto != "tcp" || !slices.Equal(named[0].Services, []string{"tls"}) || named[0].Starts[1] != detectBase.Add(time.Minute) || named[0].IPBytes[0] != 300 {
		t.Errorf("named pairs %+v", named)
	}
	pairs, err := s.AddressedPairs(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if len(pairs) != 1 || pairs[0].RespIP.String() != "203.0.113.2" {
		t.Errorf("addressed pairs %+v", pairs)
	}
	q.Strobe = 31
	strobes, err := s.Strobes(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if len(strobes) != 1 || strobes[0].RespIP.String() != "203.0.113.1" || strobes[0].Count != 31 || len(strobes[0].Flows) != 31 {
		t.Errorf("strobes %+v", strobes)
	}
	long, err := s.LongConnections(t.Context(), q.EvidenceIDs, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if len(long) != 1 || long[0].Longest != (3*time.Hour).Microseconds() || long[0].Open || long[0].FlowCount != 1 {
		t.Errorf("long connections %+v", long)
	}
	spans, err := s.Spans(t.Context(), q.EvidenceIDs)
	if err != nil || len(spans) != 1 || spans[0].First != detectBase || spans[0].Last != detectBase.Add(time.Hour) || spans[0].Flows != 62 {
		t.Errorf("spans %+v, %v", spans, err)
	}
}

func TestDNSQueries(t *testing.T) {
	s := detectStore(t, func(b *record.Batch) {
		for i, q := range []string{"a.t.example", "b.t.example", "b.t.example", "x.other.example"} {
			d := &model.DNS{
				Endpoints: model.Endpoints{
					FlowID: model.FlowID(i + 1), EvidenceID: detectEvidence, TS: detectBase.Add(time.Duration(i) * time.Second),
					OrigIP: netip.MustParseAddr("10.0.0.1"), RespIP: netip.MustParseAddr("10.0.0.53"), RespPort: 53, Proto: "udp",
				},
				Query: q, QType: 16, Answered: true, RequestBytes: 10, ResponseBytes: 20,
			}
			b.DNS.Append(d)
		}
	})
	got := map[string]store.DNSName{}
	if err := s.DNSNames(t.Context(), []string{detectEvidence}, func(n store.DNSName) { got[n.Query] = n }); err != nil {
		t.Fatal(err)
	}
	if n := got["b.t.example"]; len(got) != 3 || n.Queries != 2 || n.Bulky != 2 || n.RequestBytes != 20 || n.RespIP.String() != "10.0.0.53" {
		t.Errorf("names %+v", got)
	}
	sup, err := s.DNSSupport(t.Context(), []string{detectEvidence}, netip.MustParseAddr("10.0.0.1"), netip.Addr{}, "t.example")
	if err != nil || sup.FlowCount != 3 || !slices.Equal(sup.Flows, []model.FlowID{1, 2, 3}) || sup.Last != detectBase.Add(2*time.Second) {
		t.Errorf("support %+v, %v", sup, err)
	}
}

func TestRecordQueries(t *testing.T) {
	s := detectStore(t, func(b *record.Batch) {
		f := detectFlow(1, "10.0.0.1", "203.0.113.1", 80, 0)
		f.JA3 = "x"
		b.Flow.Append(f)
		b.HTTP.Append(&model.HTTP{
			Endpoints: model.Endpoints{FlowID: 1, EvidenceID: detectEvidence, TS: f.Start, OrigIP: f.OrigIP, RespIP: f.RespIP, RespPort: 80, Proto: "tcp"},
			Method:    "GET", URI: "/a", RequestHeaders: []string{"Host"},
		})
		b.TLS.Append(&model.TLS{
			Endpoints:     model.Endpoints{FlowID: 1, EvidenceID: detectEvidence, TS: f.Start, OrigIP: f.OrigIP, RespIP: f.RespIP, RespPort: 80, Proto: "tcp"},
			ClientCiphers: []uint16{1, 2}, CertNotAfter: f.End,
		})
	})
	n := 0
	err := s.Records(t.Context(), []string{detectEvidence}, "http", []string{"uri", "request_headers"}, []string{"conn_state", "end"}, func(r *store.Record) {
		n++
		if r.HTTP.URI != "/a" || r.HTTP.Method != "" || r.HTTP.OrigIP.String() != "10.0.0.1" || r.HTTP.FlowID != 1 || r.HTTP.TS != detectBase ||
			!slices.Equal(r.HTTP.RequestHeaders, []string{"Host"}) || r.Flow.ConnState != "SF" || r.Flow.End != detectBase.Add(time.Second) {
			t.Errorf("record %+v %+v", r.HTTP, r.Flow)
		}
	})
	if err != nil || n != 1 {
		t.Errorf("%d rows, %v", n, err)
	}
	err = s.Records(t.Context(), []string{detectEvidence}, "tls", []string{"client_ciphers", "cert_not_after"}, nil, func(r *store.Record) {
		n++
		if !slices.Equal(r.TLS.ClientCiphers, []uint16{1, 2}) || r.TLS.CertNotAfter != detectBase.Add(time.Second) {
			t.Errorf("record %+v", r.TLS)
		}
	})
	if err != nil || n != 2 {
		t.Errorf("%d rows, %v", n, err)
	}
	if err := s.Records(t.Context(), nil, "http", []string{"nothing"}, nil, nil); err == nil {
		t.Error("unknown column accepted")
	}
	for _, kind := range []string{"flow", "dns", "ssh"} {
		if err := s.Records(t.Context(), []string{detectEvidence}, kind, nil, nil, func(*store.Record) {}); err != nil {
			t.Error(err)
		}
	}
}
