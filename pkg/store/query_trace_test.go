package store_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/pkg/testkit"
)

const traced = "feed"

func traceIP(s string) netip.Addr { return netip.MustParseAddr(s) }

// tracedStore holds flows of one evidence beside one of another that no query may see.
func tracedStore(t *testing.T) *store.Store {
	s := testkit.Store(t)
	b := record.NewBatch()
	add := func(id uint64, evidence string, start model.Time, from, to string, port uint16, service, state string, out, in uint64) {
		f := model.Flow{
			FlowID: model.FlowID(id), EvidenceID: evidence, Start: start, End: start + 10, OrigIP: traceIP(from), RespIP: traceIP(to), OrigPort: 40000, RespPort: port,
			Proto: "tcp", Service: service, ConnState: state, OrigBytes: out, RespBytes: in, TLSSNI: map[string]string{"tls": "mail.example.org"}[service], OrigL2Addr: "02:00:00:00:00:01",
		}
		if out > 0 {
			f.OrigDataStart = start + 1
		}
		b.Flow.Append(&f)
		f.Seq, f.Open, f.OrigBytes = 0, true, out/2 // an earlier record of the same flow
		if out > 1 {
			g := f
			g.Seq, g.Open, g.OrigBytes = 1, false, out
			b.Flow.Append(&g)
		}
	}
	const t0 = model.Time(1_790_000_000_000_000)
	for i := range uint64(250) {
		add(1000+i, traced, t0+model.Time(i)*1_000_000, "10.0.0.5", "192.0.2.9", 443, "tls", "SF", 100, 300)
	}
	add(1, traced, t0, "10.0.0.5", "10.0.0.7", 445, "", "SF", 700, 70)
	add(2, traced, t0+5, "10.0.0.5", "10.0.0.8", 445, "", "S0", 0, 0)
	add(3, traced, t0+6, "10.0.0.6", "10.0.0.7", 445, "", "SF", 10, 10)
	add(4, traced, t0+7, "10.0.0.5", "192.0.2.10", 8443, "tls", "SF", 50_000_000, 10)
	add(5, traced, t0+8, "10.0.0.5", "192.0.2.11", 8443, "", "SF", 50, 10)
	add(6, traced, t0+9, "2001:db8::1", "2001:db8::2", 22, "ssh", "SF", 50, 10)
	add(7, "other", t0, "10.0.0.5", "10.0.0.7", 445, "", "SF", 9999, 9999)
	d := model.DNS{Endpoints: model.Endpoints{FlowID: 9, EvidenceID: traced, TS: t0, OrigIP: traceIP("10.0.0.5"), RespIP: traceIP("10.0.0.1"), RespPort: 53, Proto: "udp"}, Query: "c2.example.net", Answers: []string{"192.0.2.9", "alias.example"}}
	b.DNS.Append(&d)
	if err := s.Insert(t.Context(), "traced", b); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDomainExchanges(t *testing.T) {
	s := testkit.Store(t)
	const t0 = model.Time(1_790_000_000_000_000)
	b := record.NewBatch()
	ask := func(id uint64, n uint32, evidence string, at model.Time, from, to, query string) {
		b.DNS.Append(&model.DNS{
			Endpoints: model.Endpoints{FlowID: model.FlowID(id), EvidenceID: evidence, TS: at, N: n, OrigIP: traceIP(from), RespIP: traceIP(to), RespPort: 53, Proto: "udp"},
			Query:     query, Queried: true, RequestBytes: 100, ResponseBytes: 300,
		})
	}
	for i := range uint32(250) { // one long flow to the resolver, one flow each from there on
		ask(1, i, traced, t0+model.Time(i), "10.0.0.5", "10.0.0.1", fmt.Sprintf("x%d.evil.example", i))
		ask(1000+uint64(i), 0, traced, t0+model.Time(i)+5, "10.0.0.1", "203.0.113.53", fmt.Sprintf("x%d.evil.example", i))
	}
	ask(2, 0, traced, t0-9, "10.0.0.5", "10.0.0.1", "www.example.org")
	ask(3, 0, traced, t0-8, "10.0.0.1", "203.0.113.53", "notevil.example")
	ask(4, 0, "other", t0, "10.0.0.5", "10.0.0.1", "y.evil.example")
	if err := s.Insert(t.Context(), "domains", b); err != nil {
		t.Fatal(err)
	}
	got, err := s.DomainExchanges(t.Context(), []string{traced}, []string{"evil.example", "never.example"})
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	var lines []string
	for _, x := range got["evil.example"] {
		lines = append(lines, fmt.Sprintf("%s>%s:%d %s %s flows=%d queries=%d out=%d in=%d listed=%d first=%d from %d to %d server=%d/%d", x.OrigIP, x.RespIP, x.RespPort, x.Proto, x.Service,
			x.FlowCount, x.Queries, x.OrigBytes, x.RespBytes, len(x.Flows), x.Flows[0].FlowID, x.Start-t0, x.End-t0, x.ServerUnder, x.ServerOthers))
	}
	want := []string{
		"10.0.0.1>203.0.113.53:53 udp dns flows=250 queries=250 out=25000 in=75000 listed=200 first=1000 from 5 to 254 server=250/1",
		"10.0.0.5>10.0.0.1:53 udp dns flows=1 queries=250 out=25000 in=75000 listed=1 first=1 from 0 to 249 server=250/1",
	}
	if !reflect.DeepEqual(lines, want) {
		t.Errorf("got  %q\nwant %q", lines, want)
	}
}

func TestExchanges(t *testing.T) {
	s := tracedStore(t)
	q := store.ExchangeQuery{
		EvidenceIDs: []string{traced}, Hosts: []netip.Addr{traceIP("10.0.0.5"), traceIP("2001:db8::2")}, Suspects: []netip.Addr{traceIP("10.0.0.5"), traceIP("192.0.2.9")},
		Outside: []netip.Addr{traceIP("192.0.2.9")}, Ports: []uint16{445}, Services: []string{"ssh"}, TransferBytes: 1 << 20, TransferRatio: 4, Limit: 100,
	}
	list, more, err := s.Exchanges(t.Context(), q)
	if err != nil || more {
		t.Fatal(more, err)
	}
	var got []string
	for _, x := range list {
		got = append(got, fmt.Sprintf("%s>%s:%d %s n=%d out=%d in=%d listed=%d", x.OrigIP, x.RespIP, x.RespPort, x.Service, x.FlowCount, x.OrigBytes, x.RespBytes, len(x.Flows)))
	}
	want := []string{
		"10.0.0.5>10.0.0.7:445  n=1 out=700 in=70 listed=1",
		"10.0.0.5>192.0.2.9:443 tls n=250 out=25000 in=75000 listed=200",
		"10.0.0.5>192.0.2.10:8443 tls n=1 out=50000000 in=10 listed=1",
		"2001:db8::1>2001:db8::2:22 ssh n=1 out=50 in=10 listed=1",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
	if f := list[1].Flows; f[0].FlowID != 1000 || f[199].FlowID != 1199 || f[0].OrigData != f[0].Start+1 || f[0].RespData != f[0].Start || f[0].EvidenceID != traced {
		t.Errorf("flows %+v", f[0])
	}
	q.Limit = 2
	if list, more, err = s.Exchanges(t.Context(), q); err != nil || !more || len(list) != 2 {
		t.Errorf("%d exchanges, more %v, %v", len(list), more, err)
	}
	q.Suspects, q.Outside = nil, nil
	if _, _, err = s.Exchanges(t.Context(), q); err != nil {
		t.Error(err)
	}
}

func TestFlowsByIDClientsNames(t *testing.T) {
	s := tracedStore(t)
	flows, err := s.FlowsByID(t.Context(), []string{traced}, []model.FlowID{6, 1, 1, 7, 1 << 63})
	if err != nil || len(flows) != 2 || flows[0].FlowID != 1 || flows[0].OrigBytes != 700 || flows[1].RespIP != traceIP("2001:db8::2") {
		t.Errorf("%+v %v", flows, err)
	}
	clients, err := s.Clients(t.Context(), []string{traced}, []store.Dest{{IP: traceIP("10.0.0.7"), Port: 445}, {IP: traceIP("10.0.0.9"), Port: 1}})
	if err != nil || len(clients[store.Dest{IP: traceIP("10.0.0.7"), Port: 445}]) != 2 {
		t.Errorf("%+v %v", clients, err)
	}
	names, err := s.HostNames(t.Context(), []string{traced}, []netip.Addr{traceIP("192.0.2.9"), traceIP("10.0.0.7")})
	if err != nil || !reflect.DeepEqual(names, map[netip.Addr][]string{traceIP("192.0.2.9"): {"c2.example.net", "mail.example.org"}}) {
		t.Errorf("%+v %v", names, err)
	}
}

func TestTraffic(t *testing.T) {
	s := tracedStore(t)
	tr, err := s.Traffic(t.Context(), []string{traced})
	if err != nil {
		t.Fatal(err)
	}
	if tr.Flows != 256 || tr.Hosts != 9 || tr.OrigBytes != 250*100+700+10+50_000_000+50+50 || tr.Talkers[0].IP != traceIP("10.0.0.5") || tr.Talkers[0].Peers != 5 || tr.Step != 5 {
		t.Errorf("%+v", tr)
	}
	if tr.Services[0].Service != "tls" || tr.Services[0].Port != 443 || tr.Services[0].Flows != 251 || len(tr.Volume) == 0 || len(tr.Volume) > 120 {
		t.Errorf("%+v", tr)
	}
	var flows uint64
	for _, v := range tr.Volume {
		flows += v.Flows
	}
	if flows != tr.Flows {
		t.Errorf("volume counts %d flows of %d", flows, tr.Flows)
	}
	of, err := s.TrafficOf(t.Context(), []string{traced}, []netip.Addr{traceIP("10.0.0.7"), traceIP("10.0.0.5"), traceIP("10.9.9.9")})
	if err != nil || len(of) != 2 || of[0].IP != traceIP("10.0.0.5") || of[1].BytesIn != 710 || of[0].L2Addrs[0] != "02:00:00:00:00:01" {
		t.Errorf("%+v %v", of, err)
	}
	if empty, err := s.Traffic(t.Context(), []string{"nothing"}); err != nil || empty.Flows != 0 {
		t.Errorf("%+v %v", empty, err)
	}
}
