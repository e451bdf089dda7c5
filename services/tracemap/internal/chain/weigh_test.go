package chain_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
)

// asked is what one host asked one server under a domain, a query a second.
func asked(n *network, at model.Time, from, to string, queries, under, others uint64) store.DomainExchange {
	x := store.DomainExchange{Queries: queries, ServerUnder: under, ServerOthers: others}
	for i := range min(queries, model.FlowsCap) {
		id := n.flow(at+model.Time(i)*second, from, to, 53, "dns", 100, 200)
		f := n.flows[id-1]
		x.Flows = append(x.Flows, store.ExchangeFlow{FlowID: id, EvidenceID: "e1", Start: f.Start, End: f.End, OrigData: f.OrigDataStart, RespData: f.RespDataStart, OrigBytes: 100, RespBytes: 200})
	}
	x.OrigIP, x.RespIP, x.RespPort, x.Proto, x.Service = ip(from), ip(to), 53, "udp", "dns"
	x.Start, x.End, x.FlowCount = at, at+model.Time(queries)*second, queries
	x.OrigBytes, x.RespBytes, x.EvidenceIDs = 100*queries, 200*queries, []string{"e1"}
	return x
}

func tunnel(n *network, id, severity, from, domain string, carried float64) {
	n.dets = append(n.dets, model.Detection{
		DetectionID: id, CaseID: "case", Detector: "dns_tunnel", Title: "DNS tunnel", Why: "It was seen.", Severity: severity, Confidence: 90, Phase: model.PhaseC2,
		Technique: "T1071.004", OrigIP: ip(from), Domain: domain, FirstSeen: t0 + 30*minute, LastSeen: t0 + 40*minute, FlowCount: 1, EvidenceIDs: []string{"e1"},
		Numbers: []model.Number{{Name: "carried", Value: carried, Unit: "bytes"}},
	})
}

func TestTunnelThroughResolver(t *testing.T) {
	n := &network{}
	// All day the resolver passes everybody's names on; a scanner's lookups stand out a little.
	for i := range 12 {
		ws := fmt.Sprintf("10.0.0.%d", 50+i)
		n.flow(t0+model.Time(i)*minute, ws, "10.0.0.1", 53, "dns", 50, 90)
		n.names = map[string][]store.DomainExchange{"avshield.example": append(n.names["avshield.example"], asked(n, t0+model.Time(i)*minute, ws, "10.0.0.1", 20, 240, 9000))}
	}
	n.names["avshield.example"] = append(n.names["avshield.example"], asked(n, t0, "10.0.0.1", "192.0.2.53", 240, 240, 0))
	// One host tunnels through it for ten minutes.
	n.names["tunnel.example"] = []store.DomainExchange{
		asked(n, t0+30*minute, "10.0.0.5", "10.0.0.1", 600, 600, 9000),
		asked(n, t0+30*minute, "10.0.0.1", "203.0.113.53", 600, 600, 3),
	}
	tunnel(n, "det-client", model.SeverityHigh, "10.0.0.5", "tunnel.example", 700_000)
	tunnel(n, "det-resolver", model.SeverityHigh, "10.0.0.1", "tunnel.example", 700_000)
	tunnel(n, "det-popular", model.SeverityLow, "10.0.0.1", "avshield.example", 2000)
	traces := n.traces(t, limits)
	if len(traces) != 1 {
		t.Fatalf("%d traces, want one", len(traces))
	}
	tr := traces[0]
	check(t, tr)
	want := []string{
		"c2 10.0.0.1>203.0.113.53:53 T1071.004 certain", "c2 10.0.0.5>10.0.0.1:53 T1071.004 certain",
		"exfil 10.0.0.1>203.0.113.53:53 T1048.003 certain",
	}
	got := sketch(tr)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("edges\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, e := range tr.Edges {
		if e.Start < t0+30*minute || e.FlowCount != 600 || e.OrigBytes != 60_000 || e.RespBytes != 120_000 {
			t.Errorf("edge %s>%s rests on more than the tunnel: from %s, %d flows, %d and %d bytes", e.OrigIP, e.RespIP, e.Start, e.FlowCount, e.OrigBytes, e.RespBytes)
		}
	}
	r := roles(tr)
	if r["10.0.0.1"] != "relay" || r["203.0.113.53"] != "c2" || len(tr.Origins) == 0 || tr.Origins[0].IP != ip("10.0.0.5") {
		t.Errorf("roles %v, origins %v", r, tr.Origins)
	}
}

func TestWeigh(t *testing.T) {
	relay := func(n *network) {
		for i := range 8 {
			id := n.flow(t0+model.Time(i)*minute, fmt.Sprintf("10.0.0.%d", 50+i), "198.51.100.80", 443, "tls", 5000, 9000)
			n.detect(fmt.Sprintf("det-relay-%d", i), model.PhaseC2, model.SeverityLow, id)
		}
	}
	t.Run("a popular relay is no attack", func(t *testing.T) {
		n := &network{}
		relay(n)
		if traces := n.traces(t, limits); len(traces) != 0 {
			t.Fatalf("%+v", traces)
		}
	})
	t.Run("nor a part of one", func(t *testing.T) {
		n := &network{}
		relay(n)
		n.detect("det-beacon", model.PhaseC2, model.SeverityHigh, n.flow(t0, "10.0.0.50", "203.0.113.9", 443, "tls", 5000, 9000))
		traces := n.traces(t, limits)
		if len(traces) != 1 || len(traces[0].Edges) != 1 || traces[0].Edges[0].RespIP != ip("203.0.113.9") {
			t.Fatalf("%+v", traces)
		}
	})
	t.Run("two detectors that agree make a trace", func(t *testing.T) {
		n := &network{}
		id := n.flow(t0, "10.0.0.50", "203.0.113.9", 443, "tls", 5000, 9000)
		n.detect("det-1", model.PhaseC2, model.SeverityLow, id)
		n.detect("det-2", model.PhaseC2, model.SeverityLow, id)
		if traces := n.traces(t, limits); len(traces) != 0 {
			t.Fatalf("one detector twice: %+v", traces)
		}
		n.dets[1].Detector = "another"
		if traces := n.traces(t, limits); len(traces) != 1 {
			t.Fatalf("%+v", traces)
		}
	})
}

func TestPhases(t *testing.T) {
	n := &network{}
	for i := range 20 {
		n.flow(t0+model.Time(i)*minute, fmt.Sprintf("10.0.0.%d", 100+i), "10.0.0.1", 88, "", 900, 900)
	}
	in := n.flow(t0+20*minute, "203.0.113.7", "10.0.0.10", 80, "http", 900, 400)
	n.flow(t0+20*minute+second, "10.0.0.10", "198.51.100.7", 1389, "", 200, 300)
	class := n.flow(t0+20*minute+2*second, "10.0.0.10", "198.51.100.7", 8000, "http", 200, 9000)
	late := n.flow(t0+80*minute, "10.0.0.10", "198.51.100.7", 8001, "http", 200, 9000)
	n.flow(t0+90*minute, "10.0.0.10", "198.51.100.7", 4444, "", 2000, 900)
	tried := n.flow(t0+30*minute, "10.0.0.10", "10.0.0.11", 22, "ssh", 2000, 2500)
	login := n.flow(t0+31*minute, "10.0.0.10", "10.0.0.12", 22, "ssh", 300_000, 50_000)
	n.flow(t0+35*minute, "10.0.0.10", "10.0.0.1", 135, "", 280, 260)
	n.flow(t0+35*minute+second, "10.0.0.10", "10.0.0.1", 49667, "", 138_000, 870_000)
	n.flow(t0+40*minute, "10.0.0.10", "10.0.0.13", 445, "smb", 300_000, 3000)
	pipe := n.flow(t0+41*minute, "10.0.0.10", "10.0.0.13", 445, "smb", 150_000, 200_000)
	n.flows[pipe-1].End += 300 * minute
	n.detect("det-in", model.PhaseExploit, model.SeverityHigh, in)
	n.detect("det-class", model.PhaseC2, model.SeverityHigh, class)
	n.dets[1].Technique = "T1105"
	n.detect("det-late", model.PhaseC2, model.SeverityHigh, late)
	n.dets[2].Technique = "T1105"
	n.detect("det-ssh", model.PhaseCredential, model.SeverityMedium, tried, login)
	traces := n.traces(t, limits)
	if len(traces) != 1 {
		t.Fatalf("%+v", traces)
	}
	check(t, traces[0])
	got := strings.Join(sketch(traces[0]), "\n")
	for _, want := range []string{
		"exploit 10.0.0.10>198.51.100.7:1389 T1190", "exploit 10.0.0.10>198.51.100.7:8000 T1105", "c2 10.0.0.10>198.51.100.7:8001 T1105",
		"c2 10.0.0.10>198.51.100.7:4444 T1095",
		"credential 10.0.0.10>10.0.0.11:22 T0000", "traversal 10.0.0.10>10.0.0.12:22 T1021.004",
		"credential 10.0.0.10>10.0.0.1:49667 T1003.006", "traversal 10.0.0.10>10.0.0.13:445 T1021.002", "c2 10.0.0.10>10.0.0.13:445 T1090.001",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in\n%s", want, got)
		}
	}
}
