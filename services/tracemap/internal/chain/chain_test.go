package chain_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/services/tracemap/internal/chain"
)

const (
	second = model.Time(1_000_000)
	minute = 60 * second
	t0     = model.Time(1_790_000_000) * second
)

var limits = chain.Limits{MaxHosts: 100, MaxEdges: 100, MaxTargets: 8, MaxRounds: 16}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// network is a list of flows that answers a Map's questions as the store would.
type network struct {
	flows []model.Flow
	dets  []model.Detection
	names map[string][]store.DomainExchange
}

// flow adds a flow; out and in are its payload bytes.
func (n *network) flow(at model.Time, from, to string, port uint16, service string, out, in uint64) model.FlowID {
	f := model.Flow{
		FlowID: model.FlowID(len(n.flows) + 1), EvidenceID: "e1", Start: at, End: at + 5*second, OrigIP: ip(from), RespIP: ip(to),
		RespPort: port, Proto: "tcp", Service: service, ConnState: "SF", OrigBytes: out, RespBytes: in,
	}
	if out > 0 {
		f.OrigDataStart = at + 100
	}
	if in > 0 {
		f.RespDataStart = at + 200
	}
	if out+in == 0 {
		f.ConnState = "S0"
	}
	n.flows = append(n.flows, f)
	return f.FlowID
}

func (n *network) detect(id, phase, severity string, ids ...model.FlowID) {
	first, last := n.flows[ids[0]-1], n.flows[ids[len(ids)-1]-1]
	n.dets = append(n.dets, model.Detection{
		DetectionID: id, CaseID: "case", Detector: "test", Title: phase + " of " + first.OrigIP.String(), Why: "It was seen.", Severity: severity, Confidence: 80,
		Phase: phase, Technique: "T0000", OrigIP: first.OrigIP, FirstSeen: first.Start, LastSeen: last.End,
		FlowCount: uint64(len(ids)), Flows: ids[:min(len(ids), model.FlowsCap)], EvidenceIDs: []string{"e1"},
	})
}

func (n *network) traces(t testing.TB, lim chain.Limits) []model.Trace {
	t.Helper()
	begin := n.flows[0].Start
	for _, f := range n.flows {
		begin = min(begin, f.Start)
	}
	m := chain.New(lim, "case", "", begin, n.dets, n.flows, n.names)
	for {
		hosts := m.Frontier()
		if len(hosts) == 0 {
			break
		}
		xs := n.exchanges(hosts)
		m.Add(hosts, xs, n.clients(m.Dests(xs)))
	}
	return m.Traces(nil)
}

func (n *network) exchanges(hosts []netip.Addr) []store.Exchange {
	type key struct {
		a, b netip.Addr
		port uint16
		svc  string
	}
	by := map[key]*store.Exchange{}
	flows := slices.Clone(n.flows)
	slices.SortFunc(flows, func(a, b model.Flow) int {
		if a.Start != b.Start {
			return int(a.Start - b.Start)
		}
		return int(int64(a.FlowID) - int64(b.FlowID))
	})
	for _, f := range flows {
		if f.OrigBytes+f.RespBytes == 0 || !slices.Contains(hosts, f.OrigIP) && !slices.Contains(hosts, f.RespIP) {
			continue
		}
		k := key{f.OrigIP, f.RespIP, f.RespPort, f.Service}
		x := by[k]
		if x == nil {
			x = &store.Exchange{OrigIP: f.OrigIP, RespIP: f.RespIP, RespPort: f.RespPort, Proto: f.Proto, Service: f.Service, Start: f.Start, EvidenceIDs: []string{f.EvidenceID}}
			by[k] = x
		}
		x.End = max(x.End, f.End)
		x.FlowCount++
		x.OrigBytes += f.OrigBytes
		x.RespBytes += f.RespBytes
		if len(x.Flows) < model.FlowsCap {
			x.Flows = append(x.Flows, store.ExchangeFlow{
				FlowID: f.FlowID, EvidenceID: f.EvidenceID, Start: f.Start, End: f.End,
				OrigData: f.OrigDataStart, RespData: f.RespDataStart, OrigBytes: f.OrigBytes, RespBytes: f.RespBytes,
			})
		}
	}
	var out []store.Exchange
	for _, x := range by { // any order: the map must not care
		out = append(out, *x)
	}
	return out
}

func (n *network) clients(dests []store.Dest) map[store.Dest][]store.Client {
	out := map[store.Dest][]store.Client{}
	for _, d := range dests {
		first := map[netip.Addr]model.Time{}
		for _, f := range n.flows {
			if f.RespIP == d.IP && f.RespPort == d.Port && f.OrigBytes+f.RespBytes > 0 && (first[f.OrigIP] == 0 || f.Start < first[f.OrigIP]) {
				first[f.OrigIP] = f.Start
			}
		}
		out[d] = nil
		for a, at := range first {
			out[d] = append(out[d], store.Client{IP: a, First: at})
		}
	}
	return out
}

// intrusion is a full chain among ordinary traffic: an outside host probes a web server,
// exploits it, the server reports to a C2 address, scans inside, works on a second host
// over SMB, and that one sends data out.
func intrusion() *network {
	n := &network{}
	for i := range 40 { // ordinary: every workstation uses the file server and a web site
		ws := fmt.Sprintf("10.0.0.%d", 100+i%10)
		n.flow(t0+model.Time(i)*30*second, ws, "10.0.0.2", 445, "", 4000, 90000)
		n.flow(t0+model.Time(i)*30*second+second, ws, "93.184.216.34", 443, "tls", 900, 50000)
	}
	var scan, beacon, inner []model.FlowID
	for p := range uint16(30) {
		scan = append(scan, n.flow(t0+20*minute+model.Time(p)*second, "203.0.113.7", "10.0.0.10", 1000+p, "", 0, 0))
	}
	n.flow(t0+22*minute, "203.0.113.7", "10.0.0.10", 80, "http", 2400, 800) // exploit, no detection
	for i := range 20 {
		beacon = append(beacon, n.flow(t0+23*minute+model.Time(i)*minute, "10.0.0.10", "198.51.100.9", 443, "tls", 500, 700))
	}
	for i := range 12 {
		inner = append(inner, n.flow(t0+25*minute+model.Time(i)*second, "10.0.0.10", fmt.Sprintf("10.0.0.%d", 20+i), 445, "", 0, 0))
	}
	n.flow(t0+27*minute, "10.0.0.10", "10.0.0.21", 445, "", 60000, 9000)               // lateral
	n.flow(t0+28*minute, "10.0.0.10", "10.0.0.2", 445, "", 3000, 60000)                // the file server, like everybody
	n.flow(t0+30*minute, "10.0.0.21", "192.0.2.77", 443, "tls", 80_000_000, 200_000)   // exfiltration
	n.flow(t0+31*minute, "10.0.0.103", "93.184.216.34", 443, "tls", 2_000_000, 50_000) // somebody's upload
	n.detect("det-scan", model.PhaseRecon, model.SeverityLow, scan...)
	n.detect("det-beacon", model.PhaseC2, model.SeverityHigh, beacon...)
	n.detect("det-inner", model.PhaseDiscovery, model.SeverityMedium, inner...)
	return n
}

func sketch(t model.Trace) []string {
	var out []string
	for _, e := range t.Edges {
		out = append(out, fmt.Sprintf("%s %s>%s:%d %s %s", e.Phase, e.OrigIP, e.RespIP, e.RespPort, e.Technique, e.Order))
	}
	return out
}

func roles(t model.Trace) map[string]string {
	out := map[string]string{}
	for _, h := range t.Hosts {
		out[h.IP.String()] = h.Role
	}
	return out
}

func TestIntrusion(t *testing.T) {
	traces := intrusion().traces(t, limits)
	if len(traces) != 1 {
		t.Fatalf("%d traces, want one", len(traces))
	}
	tr := traces[0]
	got := strings.Join(sketch(tr), "\n")
	for _, want := range []string{
		"recon 203.0.113.7>10.0.0.10:0 T0000 certain",
		"exploit 203.0.113.7>10.0.0.10:80 T1190 certain",
		"c2 10.0.0.10>198.51.100.9:443 T0000 certain",
		"traversal 10.0.0.10>10.0.0.21:445 T1021.002 certain",
		"exfil 10.0.0.21>192.0.2.77:443 T1048.002 certain",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing edge %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "10.0.0.2:445") || strings.Contains(got, "93.184.216.34") || len(tr.Edges) > 6 {
		t.Errorf("ordinary traffic drawn:\n%s", got)
	}
	want := map[string]string{"203.0.113.7": "origin", "10.0.0.10": "pivot", "10.0.0.21": "victim", "198.51.100.9": "c2", "192.0.2.77": "exfil"}
	for h, role := range want {
		if r := roles(tr)[h]; r != role {
			t.Errorf("%s is %q, want %q", h, r, role)
		}
	}
	if len(tr.Origins) == 0 || tr.Origins[0].IP != ip("203.0.113.7") {
		t.Errorf("origins %v", tr.Origins)
	}
	if tr.Stop.Reason != "fixpoint" {
		t.Errorf("stop %+v", tr.Stop)
	}
	check(t, tr)
}

// check holds for every trace: each edge has evidence and is long enough to be read, each
// id is where it belongs, the lists are sorted.
func check(t testing.TB, tr model.Trace) {
	t.Helper()
	hosts := map[netip.Addr]model.TraceHost{}
	for _, h := range tr.Hosts {
		hosts[h.IP] = h
	}
	for i, e := range tr.Edges {
		if len(e.From) == 0 || len(e.Flows) == 0 || e.Why == "" || e.FlowCount < uint64(len(e.Flows)) || len(e.EvidenceIDs) == 0 {
			t.Errorf("edge without evidence: %+v", e)
		}
		if e.TraceID != tr.TraceID || hosts[e.OrigIP].Role == "" || hosts[e.RespIP].Role == "" {
			t.Errorf("edge %s does not belong to its trace", e.EdgeID)
		}
		if i > 0 && e.Start < tr.Edges[i-1].Start {
			t.Errorf("edges are not sorted")
		}
	}
	if tr.Title == "" || len(tr.From) == 0 || len(tr.Hosts) < 2 && len(tr.Edges) > 0 {
		t.Errorf("trace is not complete: %+v", tr)
	}
}

func TestSmallCases(t *testing.T) {
	t.Run("one scan of one host", func(t *testing.T) {
		n := &network{}
		var ids []model.FlowID
		for p := range uint16(300) {
			ids = append(ids, n.flow(t0+model.Time(p)*1000, "192.168.1.5", "192.168.1.9", 1+p, "", 0, 0))
		}
		n.detect("det-1", model.PhaseDiscovery, model.SeverityMedium, ids...)
		traces := n.traces(t, limits)
		if len(traces) != 1 || len(traces[0].Edges) != 1 || traces[0].Edges[0].FlowCount != 300 {
			t.Fatalf("%+v", traces)
		}
		if r := roles(traces[0]); r["192.168.1.5"] != "origin" || r["192.168.1.9"] != "target" {
			t.Errorf("roles %v", r)
		}
		check(t, traces[0])
	})
	t.Run("one scan of a network that does not answer", func(t *testing.T) {
		n := &network{}
		var ids []model.FlowID
		for i := range 100 {
			ids = append(ids, n.flow(t0+model.Time(i)*1000, "203.0.113.5", fmt.Sprintf("198.51.100.%d", i+1), 22, "", 0, 0))
		}
		n.detect("det-1", model.PhaseRecon, model.SeverityMedium, ids...)
		traces := n.traces(t, limits)
		if len(traces) != 1 || len(traces[0].Edges) != 1 || len(traces[0].Stop.Open) != 1 {
			t.Fatalf("%+v", traces)
		}
		check(t, traces[0])
	})
	t.Run("a tunnel through the resolver ties nobody together", func(t *testing.T) {
		n := &network{}
		a := n.flow(t0, "10.0.0.5", "10.0.0.1", 53, "dns", 5000, 9000)
		b := n.flow(t0+second, "10.0.0.6", "10.0.0.1", 53, "dns", 5000, 9000)
		for i := range 10 {
			n.flow(t0+model.Time(i)*second, fmt.Sprintf("10.0.0.%d", 50+i), "10.0.0.1", 53, "dns", 50, 90)
		}
		n.detect("det-1", model.PhaseC2, model.SeverityHigh, a)
		n.detect("det-2", model.PhaseC2, model.SeverityHigh, b)
		traces := n.traces(t, limits)
		if len(traces) != 2 || len(traces[0].Edges) != 1 || roles(traces[0])["10.0.0.1"] != "relay" {
			t.Fatalf("%+v", traces)
		}
	})
	t.Run("a host that is made to call back attacks nobody", func(t *testing.T) {
		n := &network{}
		n.detect("det-1", model.PhaseExploit, model.SeverityHigh, n.flow(t0, "10.0.3.5", "10.0.2.5", 8080, "http", 900, 400))
		n.flow(t0+second, "10.0.2.5", "10.0.3.5", 1389, "", 3800, 17_000)
		n.detect("det-2", model.PhaseC2, model.SeverityHigh, n.flow(t0+4*second, "10.0.2.5", "10.0.3.5", 443, "http", 4000, 50_000))
		traces := n.traces(t, limits)
		if len(traces) != 1 || len(traces[0].Edges) != 3 {
			t.Fatalf("%+v", traces)
		}
		if r := roles(traces[0]); r["10.0.3.5"] != "origin" || r["10.0.2.5"] != "victim" {
			t.Errorf("roles %v", r)
		}
		if e := traces[0].Edges[1]; e.RespPort != 1389 || e.Phase != model.PhaseExploit || e.Technique != "T0000" || !strings.Contains(e.Why, "10.0.2.5 called host 10.0.3.5 back") {
			t.Errorf("call back: %+v", e)
		}
		if o := traces[0].Origins; len(o) != 1 || o[0].IP != ip("10.0.3.5") {
			t.Errorf("origins %+v", o)
		}
		check(t, traces[0])
	})
	t.Run("a question to the resolver does not make it a target", func(t *testing.T) {
		n := &network{}
		n.detect("det-1", model.PhaseC2, model.SeverityHigh, n.flow(t0, "10.0.0.5", "192.0.2.1", 4782, "tls", 100, 100))
		n.detect("det-2", model.PhaseDiscovery, model.SeverityLow, n.flow(t0+second, "10.0.0.5", "10.0.0.1", 53, "dns", 40, 80))
		n.dets[1].Detector, n.dets[1].Technique = "profile", "T1016"
		traces := n.traces(t, limits)
		if len(traces) != 1 || len(traces[0].Edges) != 2 || traces[0].Edges[1].Service != "dns" {
			t.Fatalf("%+v", traces)
		}
		if r := roles(traces[0]); r["10.0.0.1"] != "relay" {
			t.Errorf("roles %v", r)
		}
	})
	t.Run("a detection over two pairs with more flows than it lists", func(t *testing.T) {
		n := &network{}
		var ids []model.FlowID
		for i := range 299 {
			ids = append(ids, n.flow(t0+model.Time(i)*second, "10.0.0.5", []string{"192.0.2.1", "192.0.2.2"}[i%2], 443, "tls", 100, 200))
		}
		n.detect("det-1", model.PhaseC2, model.SeverityMedium, ids...)
		m := chain.New(limits, "case", "", t0, n.dets, n.flows[:model.FlowsCap], nil)
		orig, all := m.Unlisted()
		if len(orig) != 1 || len(all) != 3 {
			t.Fatalf("unlisted %v, %v", orig, all)
		}
		m.Complete(n.exchanges(orig))
		var flows, sent uint64
		var end model.Time
		for _, e := range m.Traces(nil)[0].Edges {
			flows, sent, end = flows+e.FlowCount, sent+e.OrigBytes, max(end, e.End)
		}
		if flows != 299 || sent != 29_900 || end != n.flows[298].End {
			t.Errorf("%d flows, %d bytes, until %s", flows, sent, end)
		}
	})
	t.Run("nothing is said to come after what it came before", func(t *testing.T) {
		for _, more := range []bool{false, true} {
			n := &network{}
			n.flow(t0, "10.0.0.5", "10.0.0.4", 22, "ssh", 900, 2000)
			want := "begun before and still open when it turned suspicious"
			if more {
				n.flow(t0+20*second, "10.0.0.5", "10.0.0.4", 22, "ssh", 900, 2000)
				want = "partly before and partly after it turned suspicious"
			}
			n.detect("det-1", model.PhaseC2, model.SeverityHigh, n.flow(t0+second, "10.0.0.5", "192.0.2.1", 443, "tls", 100, 100))
			traces := n.traces(t, limits)
			if len(traces) != 1 || len(traces[0].Edges) != 2 || !strings.Contains(traces[0].Edges[0].Why, want) {
				t.Errorf("expected %q: %+v", want, traces)
			}
		}
	})
	t.Run("informational detections grow nothing", func(t *testing.T) {
		n := &network{}
		n.detect("det-1", model.PhaseC2, model.SeverityInformational, n.flow(t0, "10.0.0.5", "192.0.2.1", 443, "tls", 100, 100))
		if traces := n.traces(t, limits); len(traces) != 0 {
			t.Fatalf("%+v", traces)
		}
	})
	t.Run("nothing inside", func(t *testing.T) {
		n := &network{}
		n.detect("det-1", model.PhaseC2, model.SeverityHigh, n.flow(t0, "192.0.2.5", "198.51.100.1", 443, "tls", 100, 100))
		traces := n.traces(t, limits)
		if len(traces) != 1 || traces[0].Edges[0].Direction != "external" {
			t.Fatalf("%+v", traces)
		}
	})
	t.Run("a way in over SSH before the first finding", func(t *testing.T) {
		n := &network{}
		n.flow(t0, "10.0.0.9", "10.0.0.3", 80, "http", 100, 100)
		n.flow(t0+20*minute, "10.0.0.4", "10.0.0.5", 22, "ssh", 9000, 9000)
		n.detect("det-1", model.PhaseC2, model.SeverityHigh, n.flow(t0+21*minute, "10.0.0.5", "192.0.2.1", 443, "tls", 100, 100))
		traces := n.traces(t, limits)
		if len(traces) != 1 || traces[0].Origins[0].IP != ip("10.0.0.4") {
			t.Fatalf("%+v", traces)
		}
	})
}

func TestBudget(t *testing.T) {
	n := &network{}
	var dets [][]model.FlowID
	for i := range 60 {
		a, b := fmt.Sprintf("10.0.1.%d", i+1), fmt.Sprintf("10.0.1.%d", i+2)
		dets = append(dets, []model.FlowID{n.flow(t0+model.Time(i)*minute, a, b, 22, "ssh", 5000, 5000)})
	}
	for i, ids := range dets {
		n.detect(fmt.Sprintf("det-%03d", i), model.PhaseTraversal, model.SeverityHigh, ids...)
	}
	lim := limits
	lim.MaxEdges = 20
	traces := n.traces(t, lim)
	if len(traces) != 1 || len(traces[0].Edges) != 20 || traces[0].Stop.Reason != "budget" || len(traces[0].Stop.Open) == 0 {
		t.Fatalf("edges %d, stop %+v", len(traces[0].Edges), traces[0].Stop)
	}
	lim = limits
	lim.MaxHosts = 5
	if tr := n.traces(t, lim)[0]; tr.Stop.Reason != "budget" {
		t.Errorf("stop %+v", tr.Stop)
	}
}

func TestProperties(t *testing.T) {
	base, err := json.Marshal(intrusion().traces(t, limits))
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		n := intrusion()
		r.Shuffle(len(n.dets), func(i, j int) { n.dets[i], n.dets[j] = n.dets[j], n.dets[i] })
		r.Shuffle(len(n.flows), func(i, j int) { n.flows[i], n.flows[j] = n.flows[j], n.flows[i] })
		if got, _ := json.Marshal(n.traces(t, limits)); string(got) != string(base) {
			t.Fatalf("the order of the input changed the traces:\n%s\n%s", got, base)
		}
	}

	shifted := intrusion()
	for i := range shifted.flows {
		f := &shifted.flows[i]
		for _, at := range []*model.Time{&f.Start, &f.End, &f.OrigDataStart, &f.RespDataStart} {
			if *at != 0 {
				*at += 977 * minute
			}
		}
	}
	for i := range shifted.dets {
		shifted.dets[i].FirstSeen += 977 * minute
		shifted.dets[i].LastSeen += 977 * minute
	}
	a, b := intrusion().traces(t, limits)[0], shifted.traces(t, limits)[0]
	if fmt.Sprint(sketch(a)) != fmt.Sprint(sketch(b)) || a.TraceID != b.TraceID {
		t.Errorf("shifting all clocks changed the trace:\n%v\n%v", sketch(a), sketch(b))
	}

	wide := limits
	wide.ClockBound = func(string) time.Duration { return 3 * time.Minute }
	w := intrusion().traces(t, wide)[0]
	order := map[string]string{}
	for _, e := range w.Edges {
		order[e.EdgeID] = e.Order
	}
	for _, e := range a.Edges {
		switch {
		case order[e.EdgeID] == "":
			t.Errorf("wider clock bounds lost the edge %s %s>%s", e.Phase, e.OrigIP, e.RespIP)
		case e.Order == model.OrderPossible && order[e.EdgeID] == model.OrderCertain:
			t.Errorf("wider clock bounds made the edge %s %s>%s certain", e.Phase, e.OrigIP, e.RespIP)
		}
	}
}
