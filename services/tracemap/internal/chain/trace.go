package chain

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/tracemap/internal/reach"
)

// Roles of a host in a trace.
const (
	roleOrigin = "origin"
	roleVictim = "victim"
	rolePivot  = "pivot"
	roleTarget = "target"
	roleC2     = "c2"
	roleExfil  = "exfil"
	roleRelay  = "relay"
)

const (
	maxOrigins    = 5
	flowsPerTrace = 8000    // flow ids listed in one trace
	messageBytes  = 700_000 // estimated size of a trace as a message, of 1 MiB at most
	maxWhy        = 2000    // bytes of a detection's reason repeated with an edge
	leastFlows    = 10      // flow ids listed with an edge at least
	maxOpen       = 20      // near misses named in a stop certificate
	nearMiss      = 1.5     // score from which an exchange is worth naming there
)

// Traces gives the traces of the map, one for each group of suspicious hosts that edges
// connect, sorted by start and id. names are what the traffic called the hosts.
func (m *Map) Traces(names map[netip.Addr][]string) []model.Trace {
	m.bounds = reach.Forward(m.events(), m.seeds())
	keys := slices.SortedFunc(maps.Keys(m.edges), compareEdge)
	group := m.groups(keys)
	by := map[netip.Addr][]*edge{}
	for _, k := range keys {
		e := m.edges[k]
		by[group[e.actor()]] = append(by[group[e.actor()]], e)
	}
	out := make([]model.Trace, 0, len(by))
	for _, edges := range by {
		out = append(out, m.trace(edges, names))
	}
	slices.SortFunc(out, func(a, b model.Trace) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), strings.Compare(a.TraceID, b.TraceID))
	})
	return out
}

// groups joins the suspicious hosts that edges connect. A host that was only probed, or
// only passed traffic on, joins nothing: it would tie strangers together.
func (m *Map) groups(keys []edgeKey) map[netip.Addr]netip.Addr {
	parent := map[netip.Addr]netip.Addr{}
	var find func(netip.Addr) netip.Addr
	find = func(a netip.Addr) netip.Addr {
		p, ok := parent[a]
		if !ok || p == a {
			parent[a] = a
			return a
		}
		root := find(p)
		parent[a] = root
		return root
	}
	for _, k := range keys {
		e := m.edges[k]
		a := find(e.actor())
		for other := range e.actors {
			if b := find(other); a != b {
				if b.Less(a) {
					a, b = b, a
				}
				parent[b] = a
			}
		}
		if m.suspects[k.resp] == nil {
			continue
		}
		if b := find(k.resp); a != b {
			if b.Less(a) {
				a, b = b, a
			}
			parent[b] = a
		}
	}
	for a := range parent {
		find(a)
	}
	return parent
}

// actor is the host whose doing the edge is: its originator, or the first of those it
// passed it on for.
func (e *edge) actor() netip.Addr {
	first := e.key.orig
	for a := range e.actors {
		if first == e.key.orig || a.Less(first) {
			first = a
		}
	}
	return first
}

// trace writes one group of edges as a trace.
func (m *Map) trace(edges []*edge, names map[netip.Addr][]string) model.Trace {
	members := map[netip.Addr]bool{}
	for _, e := range edges {
		members[e.key.orig], members[e.key.resp] = true, true
	}
	seed := m.seedOf(members)
	t := model.Trace{CaseID: m.caseID, Run: m.run, TraceID: model.DeriveID("trc", m.caseID, seed.String())}

	dets := map[string]bool{}
	for _, e := range edges {
		for id := range e.dets {
			dets[id] = true
		}
	}
	t.Seed = slices.Sorted(maps.Keys(dets))
	t.From = slices.Clone(t.Seed)

	t.Stop = model.Stop{Reason: "fixpoint", Rounds: m.rounds, Open: m.open(members)}
	if m.budget {
		t.Stop.Reason = "budget"
	}
	drawn := m.fit(&t, edges)
	for _, e := range drawn {
		if t.Start == 0 || e.start < t.Start {
			t.Start = e.start
		}
		t.End = max(t.End, e.end)
	}
	slices.Sort(t.Stop.Open)
	slices.SortFunc(t.Edges, func(a, b model.TraceEdge) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), strings.Compare(a.EdgeID, b.EdgeID))
	})
	t.Origins = m.origins(edges, members)
	t.Hosts = m.hosts(drawn, t.Origins, names)
	t.Title = title(&t)
	return t
}

// fit draws as many edges, with as many flow ids each, as the limits and the size of a
// message allow.
func (m *Map) fit(t *model.Trace, edges []*edge) []*edge {
	drawn := m.cut(edges, m.lim.MaxEdges, &t.Stop)
	listed := min(model.FlowsCap, max(leastFlows, flowsPerTrace/len(drawn)))
	for {
		t.Edges = t.Edges[:0]
		size := 0
		for _, e := range drawn {
			w := m.write(e, t.TraceID, listed)
			size += 600 + len(w.Why) + 42*len(w.Flows) + 50*len(w.Detections) + 70*len(w.EvidenceIDs)
			t.Edges = append(t.Edges, w)
		}
		size += 150 * len(t.From)
		switch {
		case size <= messageBytes || len(drawn) == 1:
			return drawn
		case listed > leastFlows:
			listed = max(leastFlows, listed/2)
		default:
			drawn = m.cut(drawn, max(1, len(drawn)*3/4), &t.Stop)
		}
	}
}

// seedOf is the host that a trace is named after: inside before outside, then earliest.
func (m *Map) seedOf(members map[netip.Addr]bool) netip.Addr {
	var best *suspect
	for ip := range members {
		s := m.suspects[ip]
		if s == nil {
			continue
		}
		if best == nil || before(s, best) {
			best = s
		}
	}
	return best.ip
}

func before(a, b *suspect) bool {
	if a.detected != b.detected {
		return a.detected
	}
	if a.internal != b.internal {
		return a.internal
	}
	return cmp.Or(cmp.Compare(a.at, b.at), a.ip.Compare(b.ip)) < 0
}

// cut keeps the edges with the best evidence when there are more than a trace may have.
func (m *Map) cut(edges []*edge, most int, stop *model.Stop) []*edge {
	if len(edges) <= most {
		return edges
	}
	kept := slices.Clone(edges)
	slices.SortStableFunc(kept, func(a, b *edge) int {
		return cmp.Or(cmp.Compare(phaseWeight(b.key.phase), phaseWeight(a.key.phase)), cmp.Compare(b.confidence(), a.confidence()), cmp.Compare(a.start, b.start))
	})
	stop.Reason = "budget"
	stop.Open = append(stop.Open, fmt.Sprintf("%d further edges of probing or low confidence are not drawn: a trace holds %d", len(edges)-most, most))
	return kept[:most]
}

func phaseWeight(phase string) int {
	if probing(phase) {
		return 0
	}
	return 1
}

// confidence of an edge: that of its best detection or, without any, of its score.
func (e *edge) confidence() uint8 {
	var c uint8
	for _, d := range e.dets {
		c = max(c, d.Confidence)
	}
	if len(e.dets) == 0 && e.best != nil {
		c = e.best.confidence()
	}
	return c
}

// strongest is the detection that speaks for the edge.
func (e *edge) strongest() *model.Detection {
	var best *model.Detection
	for _, id := range slices.Sorted(maps.Keys(e.dets)) {
		d := e.dets[id]
		if best == nil || severityRank(d.Severity) > severityRank(best.Severity) ||
			severityRank(d.Severity) == severityRank(best.Severity) && d.Confidence > best.Confidence {
			best = d
		}
	}
	return best
}

// capped bounds a list of detection ids; the trace itself names them all.
func capped(ids []string) []string {
	if ids == nil {
		return []string{}
	}
	return ids[:min(len(ids), model.FlowsCap)]
}

func severityRank(s string) int {
	return slices.Index([]string{model.SeverityInformational, model.SeverityLow, model.SeverityMedium, model.SeverityHigh, model.SeverityCritical}, s)
}

// write turns an edge into its record with at most listed flow ids.
func (m *Map) write(e *edge, traceID string, listed int) model.TraceEdge {
	k := e.key
	out := model.TraceEdge{
		EdgeID:  model.DeriveID("edg", traceID, k.orig.String(), k.resp.String(), k.phase, k.service),
		TraceID: traceID, CaseID: m.caseID, Run: m.run,
		OrigIP: k.orig, RespIP: k.resp, Service: k.service, Phase: k.phase, Technique: e.technique,
		Direction: direction(m.internal(k.orig), m.internal(k.resp)),
		Order:     e.order(m.bounds[k.orig]),
		Start:     e.start, End: e.end,
		OrigBytes: e.hiddenOut, RespBytes: e.hiddenIn, FlowCount: e.hidden + uint64(len(e.flows)),
		Flows:       []model.FlowID{},
		EvidenceIDs: slices.Sorted(maps.Keys(e.evidence)),
		Detections:  capped(slices.Sorted(maps.Keys(e.dets))),
		Confidence:  e.confidence(),
	}
	for _, f := range e.list() {
		out.OrigBytes += f.OrigBytes
		out.RespBytes += f.RespBytes
		if len(out.Flows) < listed {
			out.Flows = append(out.Flows, f.FlowID)
		}
	}
	if len(e.ports) == 1 {
		for p := range e.ports {
			out.RespPort = p
		}
	}
	if len(e.protos) == 1 {
		for p := range e.protos {
			out.Proto = p
		}
	}
	if d := e.strongest(); d != nil {
		out.Technique = cmp.Or(e.instead, d.Technique)
	}
	out.Why = e.why(&out, m.bounds[k.orig].At)
	out.From = append(out.From, out.Detections...)
	for _, id := range out.Flows {
		out.From = append(out.From, id.String())
	}
	slices.Sort(out.From)
	return out
}

// why is the reason for the edge in plain words. since is when its originator was
// suspicious.
func (e *edge) why(out *model.TraceEdge, since model.Time) string {
	if d := e.strongest(); d != nil {
		s := d.Why
		if len(s) > maxWhy {
			s = strings.ToValidUTF8(s[:maxWhy], "") + "…"
		}
		if s == "" {
			s = d.Title + "."
		}
		if e.targets > 1 {
			s += fmt.Sprintf(" This is one of %d address pairs of that detection.", e.targets)
		}
		switch n := len(e.dets) - 1; {
		case n == 1:
			s += " One more detection says the same of these two hosts."
		case n > 1:
			s += fmt.Sprintf(" %d more detections speak of these two hosts.", n)
		}
		return s + e.remark
	}
	if e.best == nil {
		return ""
	}
	var pro, con []string
	for _, t := range e.best.terms {
		if t.value >= 0 {
			pro = append(pro, fmt.Sprintf("%s (%+.1f)", t.text, t.value))
		} else {
			con = append(con, fmt.Sprintf("%s (%+.1f)", t.text, t.value))
		}
	}
	where := ""
	if out.RespPort != 0 {
		where = fmt.Sprintf(" on port %d/%s", out.RespPort, out.Proto)
	}
	s := fmt.Sprintf("%s %s, %s,%s in %s with %s sent and %s received. For it: %s", out.OrigIP, strings.Replace(e.best.act, "it", "host "+out.RespIP.String(), 1), e.tense(since), where, flowsText(out.FlowCount), bytesText(out.OrigBytes), bytesText(out.RespBytes), strings.Join(pro, "; "))
	if len(con) > 0 {
		s += ". Against it: " + strings.Join(con, "; ")
	}
	return s + fmt.Sprintf(". Score %.1f, accepted from %.1f.", e.best.score(), threshold)
}

func (e *edge) tense(since model.Time) string {
	switch {
	case e.best.backward:
		return "before that host's first suspicious act"
	case e.start >= since:
		return "after it had turned suspicious itself"
	}
	for _, f := range e.flows {
		if f.Start >= since {
			return "partly before and partly after it turned suspicious itself"
		}
	}
	return "begun before and still open when it turned suspicious itself"
}

func flowsText(n uint64) string {
	if n == 1 {
		return "1 flow"
	}
	return fmt.Sprintf("%d flows", n)
}

// hosts lists the hosts of the drawn edges with their roles.
func (m *Map) hosts(edges []*edge, origins []model.Origin, names map[netip.Addr][]string) []model.TraceHost {
	type facts struct {
		first             model.Time
		in, out           bool // way in, way on
		acts              bool // probes or enters others
		c2, exfil, passed bool // as the responder
		dets              map[string]bool
	}
	by := map[netip.Addr]*facts{}
	at := func(ip netip.Addr, e *edge) *facts {
		f := by[ip]
		if f == nil {
			f = &facts{first: e.start, dets: map[string]bool{}}
			by[ip] = f
		}
		f.first = min(f.first, e.start)
		for id := range e.dets {
			f.dets[id] = true
		}
		return f
	}
	for _, e := range edges {
		from, to := at(e.key.orig, e), at(e.key.resp, e)
		if e.enters {
			from.out, to.in = true, true
		}
		from.acts = from.acts || e.enters || probing(e.key.phase) && e.targeted
		to.c2 = to.c2 || e.key.phase == model.PhaseC2
		to.exfil = to.exfil || e.key.phase == model.PhaseExfil
		to.passed = to.passed || !probing(e.key.phase) || !e.targeted
	}
	isOrigin := map[netip.Addr]bool{}
	for _, o := range origins {
		isOrigin[o.IP] = true
	}
	out := make([]model.TraceHost, 0, len(by))
	for ip, f := range by {
		s := m.suspects[ip]
		h := model.TraceHost{IP: ip, Internal: m.internal(ip), Names: []string{}, FirstSeen: f.first, Certainty: model.OrderPossible, Detections: capped(slices.Sorted(maps.Keys(f.dets)))}
		h.Names = append(h.Names, names[ip]...)
		if b, ok := m.bounds[ip]; ok && s != nil {
			h.FirstSeen = b.At
			if b.Certain {
				h.Certainty = model.OrderCertain
			}
		}
		switch {
		case isOrigin[ip] && (f.acts || !h.Internal && !s.meeting), s != nil && s.attacker:
			h.Role = roleOrigin
		case s != nil && s.meeting && f.exfil && !f.c2:
			h.Role = roleExfil
		case s != nil && s.meeting:
			h.Role = roleC2
		case s != nil && f.out:
			h.Role = rolePivot
		case s != nil:
			h.Role = roleVictim
		case f.passed:
			h.Role = roleRelay
		default:
			h.Role = roleTarget
		}
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b model.TraceHost) int {
		return cmp.Or(cmp.Compare(a.FirstSeen, b.FirstSeen), a.IP.Compare(b.IP))
	})
	return out
}

// origins ranks the hosts that the trace may have begun at: those that nothing else in
// the trace entered. Each is weighed by how many of the other suspicious hosts the threat
// can have come to from it in time.
func (m *Map) origins(edges []*edge, members map[netip.Addr]bool) []model.Origin {
	entered := map[netip.Addr]bool{}
	var events []reach.Event
	for _, e := range edges {
		events = append(events, e.events()...)
		if (e.enters || e.key.phase == model.PhaseCredential) && m.suspects[e.key.resp] != nil {
			entered[e.key.resp] = true
		}
	}
	var roots, others []*suspect
	for ip := range members {
		if s := m.suspects[ip]; s != nil && !s.meeting {
			others = append(others, s)
			if !entered[ip] {
				roots = append(roots, s)
			}
		}
	}
	byTime := func(a, b *suspect) int { return cmp.Or(cmp.Compare(a.at, b.at), a.ip.Compare(b.ip)) }
	slices.SortFunc(others, byTime)
	slices.SortFunc(roots, byTime)
	if len(roots) == 0 && len(others) > 0 {
		roots = others[:1]
	}
	if len(roots) == 0 {
		return []model.Origin{}
	}
	type ranked struct {
		s       *suspect
		reached int
		weight  float64
	}
	list := make([]ranked, 0, len(roots))
	var sum float64
	for i, s := range roots[:min(len(roots), 4*maxOrigins)] {
		got := reach.Forward(events, map[netip.Addr]reach.Seed{s.ip: {At: s.at, Eps: s.eps}})
		r := ranked{s: s}
		for _, o := range others {
			if _, ok := got[o.ip]; ok && o != s {
				r.reached++
			}
		}
		r.weight = 1 + 4*float64(r.reached)/float64(max(1, len(others)-1))
		if i == 0 {
			r.weight *= 1.5
		}
		sum += r.weight
		list = append(list, r)
	}
	slices.SortStableFunc(list, func(a, b ranked) int { return cmp.Compare(b.weight, a.weight) })
	out := []model.Origin{}
	for _, r := range list[:min(len(list), maxOrigins)] {
		ceiling := 90.0 // an outside attacker seen to enter
		why := fmt.Sprintf("%s acted first at %s and nothing in the evidence led to it.", r.s.ip, clock(r.s.at))
		if r.s.internal {
			ceiling = 60 // inside: the way in was not seen
			why = fmt.Sprintf("%s is an inside host that turned suspicious at %s; how it was entered is not in the evidence.", r.s.ip, clock(r.s.at))
		}
		if len(others) > 1 {
			why += fmt.Sprintf(" In the order of time the threat can have come from it to %d of the %d other suspicious hosts.", r.reached, len(others)-1)
		}
		out = append(out, model.Origin{IP: r.s.ip, Confidence: uint8(math.Round(ceiling * r.weight / sum)), Why: why})
	}
	return out
}

func clock(t model.Time) string { return t.Time().Format("2006-01-02 15:04:05") + " UTC" }

// open lists what the trace left out: undrawn targets, near misses, hosts not expanded.
func (m *Map) open(members map[netip.Addr]bool) []string {
	out := []string{}
	for _, n := range m.notes {
		if members[n.host] {
			out = append(out, n.text)
		}
	}
	for _, ip := range m.Suspects() {
		if members[ip] && !m.expanded[ip] && m.budget {
			out = append(out, fmt.Sprintf("%s was not expanded: the budget of hosts or rounds was spent", ip))
		}
	}
	var near []*candidate
	for _, k := range slices.SortedFunc(maps.Keys(m.candidates), compareExchange) {
		if c := m.candidates[k]; !c.taken && c.score >= nearMiss && (members[k.orig] || members[k.resp]) {
			near = append(near, c)
		}
	}
	slices.SortStableFunc(near, func(a, b *candidate) int { return cmp.Compare(b.score, a.score) })
	for _, c := range near[:min(len(near), maxOpen)] {
		x := c.exchange
		out = append(out, fmt.Sprintf("%s to %s port %d/%s scored %.1f, below %.1f", x.OrigIP, x.RespIP, x.RespPort, x.Proto, c.score, threshold))
	}
	if more := len(near) - maxOpen; more > 0 {
		out = append(out, fmt.Sprintf("%d further exchanges scored between %.1f and %.1f", more, nearMiss, threshold))
	}
	return out
}

// title is one line: from where, over whom, to where.
func title(t *model.Trace) string {
	by := map[string][]string{}
	for _, h := range t.Hosts {
		by[h.Role] = append(by[h.Role], h.IP.String())
	}
	some := func(list []string, one, many string) string {
		if len(list) == 1 {
			return one + " " + list[0]
		}
		return fmt.Sprintf("%d %s", len(list), many)
	}
	var parts []string
	for _, r := range []struct{ role, one, many string }{
		{roleOrigin, "from", "possible origins"},
		{rolePivot, "over", "pivots"},
		{roleVictim, "to victim", "victims"},
		{roleTarget, "probing", "probed hosts"},
		{roleC2, "controlled from", "C2 addresses"},
		{roleExfil, "sending to", "exfiltration addresses"},
		{roleRelay, "through", "relays"},
	} {
		if list := by[r.role]; len(list) > 0 {
			parts = append(parts, some(list, r.one, r.many))
		}
	}
	s := strings.Join(parts, ", ")
	return strings.ToUpper(s[:1]) + s[1:]
}
