// Package chain grows traces: from the hosts that detections point at, forward and back
// in time over the exchanges of those hosts, keeping what the time rule of package reach
// allows and the evidence makes likely.
//
// A Map asks for what it needs (Frontier) and is told (Add), round by round, until
// nothing new comes up; so it does no input or output itself, and the same facts give the
// same traces whatever order they come in.
package chain

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/services/tracemap/internal/reach"
)

// Limits says how far traces may grow and what counts as ours.
type Limits struct {
	Internal   []netip.Prefix                        // own networks; empty: the address ranges not routed on the Internet
	ClockBound func(evidenceID string) time.Duration // bound of the clock error of an input; nil: exact
	MaxHosts   int                                   // of one trace, and hosts expanded in one case
	MaxEdges   int                                   // of one trace
	MaxTargets int                                   // targets drawn of one detection with many
	MaxRounds  int                                   // of expansion
}

// Map is a case's map of suspicious hosts and exchanges.
type Map struct {
	lim      Limits
	caseID   string
	run      string
	internal func(netip.Addr) bool
	begin    model.Time // of the evidence, for "never seen before"

	dets     map[string]*model.Detection
	suspects map[netip.Addr]*suspect
	edges    map[edgeKey]*edge // accepted
	notes    []note            // what was not drawn

	candidates map[exchangeKey]*candidate
	clients    map[store.Dest][]store.Client
	expanded   map[netip.Addr]bool
	rounds     uint32
	budget     bool // MaxRounds or MaxHosts ended the expansion
	bounds     map[netip.Addr]reach.Bound
	probes     map[model.FlowID]bool        // flows that scans are made of
	probed     map[[2]netip.Addr]model.Time // who probed whom, and when first
	claimed    map[model.FlowID]edgeKey     // flows of other detections, and their edge
}

// suspect is a host that a detection or an accepted edge makes suspicious.
type suspect struct {
	ip       netip.Addr
	internal bool
	detected bool       // a detection names it as an actor, a victim or a meeting point
	strong   bool       // a detection that names it is of weight: not of low severity and low confidence
	attacker bool       // acts, from outside
	meeting  bool       // outside address that compromised hosts report to or send to
	at       model.Time // when it was suspicious at the latest
	eps      time.Duration
	acts     model.Time // earliest detection in which it is the actor, zero if none
	dets     map[string]bool
}

// note says something that a trace left out; it belongs to the traces of its host.
type note struct {
	host netip.Addr
	text string
}

type exchangeKey struct {
	orig, resp netip.Addr
	port       uint16
	proto      string
	service    string
}

func keyOf(c store.Exchange) exchangeKey {
	return exchangeKey{c.OrigIP, c.RespIP, c.RespPort, c.Proto, c.Service}
}

type candidate struct {
	exchange store.Exchange
	taken    bool
	score    float64 // last score, for the list of what was left open
}

// New starts a map from the detections of a case and the flows they list. begin is the
// first packet of the evidence. Detections below severity low are left aside.
func New(lim Limits, caseID, run string, begin model.Time, dets []model.Detection, flows []model.Flow) *Map {
	m := &Map{
		lim: lim, caseID: caseID, run: run, begin: begin, internal: internalBy(lim.Internal),
		dets: map[string]*model.Detection{}, suspects: map[netip.Addr]*suspect{}, edges: map[edgeKey]*edge{},
		candidates: map[exchangeKey]*candidate{}, clients: map[store.Dest][]store.Client{}, expanded: map[netip.Addr]bool{},
		probes: map[model.FlowID]bool{}, probed: map[[2]netip.Addr]model.Time{}, claimed: map[model.FlowID]edgeKey{},
	}
	byID := make(map[model.FlowID]*model.Flow, len(flows))
	for i := range flows {
		byID[flows[i].FlowID] = &flows[i]
	}
	dets = slices.Clone(dets)
	slices.SortFunc(dets, func(a, b model.Detection) int {
		return cmp.Or(cmp.Compare(a.FirstSeen, b.FirstSeen), strings.Compare(a.DetectionID, b.DetectionID))
	})
	dets = slices.DeleteFunc(dets, func(d model.Detection) bool { return d.Severity == model.SeverityInformational })
	for i := range dets {
		m.dets[dets[i].DetectionID] = &dets[i]
	}
	pairs := make([][]pair, len(dets))
	for i := range dets {
		pairs[i] = m.pairsOf(&dets[i], byID)
		m.suspect(&dets[i], pairs[i])
		m.probe(&dets[i], pairs[i])
	}
	for i := range dets {
		m.draw(&dets[i], pairs[i])
	}
	return m
}

// eps is the clock bound of an input.
func (m *Map) eps(evidenceID string) time.Duration {
	if m.lim.ClockBound == nil {
		return 0
	}
	return max(0, m.lim.ClockBound(evidenceID))
}

func (m *Map) epsOf(evidenceIDs []string) time.Duration {
	var e time.Duration
	for _, id := range evidenceIDs {
		e = max(e, m.eps(id))
	}
	return e
}

// pair is what a detection saw between two hosts.
type pair struct {
	orig, resp netip.Addr
	flows      []*model.Flow // sorted by start, id; may be empty when the detection lists none
}

func (p pair) answered() bool {
	return slices.ContainsFunc(p.flows, func(f *model.Flow) bool { return f.RespBytes > 0 || f.Established() })
}

// throughDNS reports whether the flows are DNS: what answers is then as likely a resolver
// that everybody uses as the other end.
func (p pair) throughDNS() bool {
	return slices.ContainsFunc(p.flows, func(f *model.Flow) bool {
		return f.RespPort == 53 || strings.Contains(f.Service, "dns")
	})
}

// probe remembers who probed whom, so that what follows can be told from the probing.
func (m *Map) probe(d *model.Detection, pairs []pair) {
	for _, p := range pairs {
		for _, f := range p.flows {
			if scanning(d.Phase) {
				m.probes[f.FlowID] = true
			}
		}
		if !probing(d.Phase) {
			continue
		}
		at := d.FirstSeen
		if len(p.flows) > 0 {
			at = p.flows[0].Start
		}
		k := [2]netip.Addr{p.orig, p.resp}
		if t, ok := m.probed[k]; !ok || at < t {
			m.probed[k] = at
		}
	}
}

func (m *Map) pairsOf(d *model.Detection, byID map[model.FlowID]*model.Flow) []pair {
	by := map[[2]netip.Addr]*pair{}
	for _, id := range d.Flows {
		f := byID[id]
		if f == nil || !host(f.OrigIP) || !host(f.RespIP) {
			continue
		}
		k := [2]netip.Addr{f.OrigIP, f.RespIP}
		if by[k] == nil {
			by[k] = &pair{orig: f.OrigIP, resp: f.RespIP}
		}
		by[k].flows = append(by[k].flows, f)
	}
	if len(by) == 0 && host(d.OrigIP) && host(d.RespIP) {
		by[[2]netip.Addr{d.OrigIP, d.RespIP}] = &pair{orig: d.OrigIP, resp: d.RespIP}
	}
	out := make([]pair, 0, len(by))
	for _, p := range by {
		slices.SortFunc(p.flows, func(a, b *model.Flow) int {
			return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.FlowID, b.FlowID))
		})
		p.flows = slices.CompactFunc(p.flows, func(a, b *model.Flow) bool { return a.FlowID == b.FlowID })
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b pair) int {
		var at, bt model.Time
		if len(a.flows) > 0 {
			at = a.flows[0].Start
		}
		if len(b.flows) > 0 {
			bt = b.flows[0].Start
		}
		return cmp.Or(cmp.Compare(at, bt), a.orig.Compare(b.orig), a.resp.Compare(b.resp))
	})
	return out
}

// suspect marks the hosts that a detection makes suspicious: who acted; who was acted
// upon with success; the outside address that was reported or sent to. A host that was
// merely probed is not suspicious, and neither is an inside host that passed traffic on,
// such as a resolver.
func (m *Map) suspect(d *model.Detection, pairs []pair) {
	eps := m.epsOf(d.EvidenceIDs)
	for _, p := range pairs {
		at := d.FirstSeen
		if len(p.flows) > 0 {
			at = p.flows[0].Start
		}
		orig := m.mark(p.orig, at, eps, d)
		orig.attacker = orig.attacker || !orig.internal
		if orig.acts == 0 || at < orig.acts {
			orig.acts = at
		}
		switch {
		case entering(d.Phase) && orig.internal && !m.internal(p.resp):
			// The inside host fetched what attacked it.
			m.mark(p.resp, at, eps, d).meeting = true
		case entering(d.Phase):
			if len(p.flows) > 0 && p.flows[0].OrigDataStart > at {
				at = p.flows[0].OrigDataStart
			}
			m.mark(p.resp, at, eps, d)
		case !probing(d.Phase) && !m.internal(p.resp) && m.internal(p.orig) && !p.throughDNS():
			m.mark(p.resp, at, eps, d).meeting = true
		}
	}
	if len(pairs) == 0 && host(d.OrigIP) {
		s := m.mark(d.OrigIP, d.FirstSeen, eps, d)
		s.attacker = !s.internal
		s.acts = d.FirstSeen
	}
}

func (m *Map) mark(ip netip.Addr, at model.Time, eps time.Duration, d *model.Detection) *suspect {
	s := m.suspects[ip]
	if s == nil {
		s = &suspect{ip: ip, internal: m.internal(ip), at: at, eps: eps, dets: map[string]bool{}}
		m.suspects[ip] = s
	}
	if at < s.at {
		s.at, s.eps = at, eps
	}
	if d != nil {
		s.detected = true
		s.strong = s.strong || weighty(d)
		s.dets[d.DetectionID] = true
	}
	return s
}

// strongFrom is the confidence from which a detection of low severity has weight.
const strongFrom = 60

// weighty detections grow traces. The others are drawn, but nothing is inferred from them
// alone: they are as often everyday traffic.
func weighty(d *model.Detection) bool {
	return severityRank(d.Severity) >= severityRank(model.SeverityMedium) || d.Confidence >= strongFrom
}

// Frontier lists suspicious hosts whose exchanges have not been asked for, inside hosts
// first, sorted. Empty means that the map is complete, or that its budget is spent.
func (m *Map) Frontier() []netip.Addr {
	var next []netip.Addr
	for ip, s := range m.suspects {
		if !m.expanded[ip] && (s.strong || !s.detected) {
			next = append(next, ip)
		}
	}
	if len(next) == 0 {
		return nil
	}
	if int(m.rounds) >= m.lim.MaxRounds || len(m.expanded) >= m.lim.MaxHosts {
		m.budget = true
		return nil
	}
	slices.SortFunc(next, func(a, b netip.Addr) int {
		sa, sb := m.suspects[a], m.suspects[b]
		if sa.internal != sb.internal {
			if sa.internal {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(sa.at, sb.at), a.Compare(b))
	})
	if room := m.lim.MaxHosts - len(m.expanded); len(next) > room {
		next = next[:room]
	}
	slices.SortFunc(next, netip.Addr.Compare)
	return next
}

// Suspects lists all suspicious hosts, sorted.
func (m *Map) Suspects() []netip.Addr {
	return slices.SortedFunc(maps.Keys(m.suspects), netip.Addr.Compare)
}

// Meetings lists the outside addresses that compromised hosts report or send to, sorted.
func (m *Map) Meetings() []netip.Addr {
	var out []netip.Addr
	for _, ip := range m.Suspects() {
		if s := m.suspects[ip]; s.meeting && (s.strong || !s.detected) {
			out = append(out, ip)
		}
	}
	return out
}

// Hosts lists all hosts of accepted edges, sorted.
func (m *Map) Hosts() []netip.Addr {
	all := map[netip.Addr]bool{}
	for k := range m.edges {
		all[k.orig], all[k.resp] = true, true
	}
	return slices.SortedFunc(maps.Keys(all), netip.Addr.Compare)
}

// Cut notes that not all exchanges of the hosts could be looked at.
func (m *Map) Cut(hosts []netip.Addr, limit int) {
	m.budget = true
	for _, h := range hosts {
		m.notes = append(m.notes, note{h, fmt.Sprintf("only %d exchanges of %s and the other hosts of its round were looked at", limit, h)})
	}
}

// Dests lists the services of exchanges whose clients matter and are not known yet, sorted.
func (m *Map) Dests(exchanges []store.Exchange) []store.Dest {
	want := map[store.Dest]bool{}
	for _, c := range exchanges {
		d := store.Dest{IP: c.RespIP, Port: c.RespPort}
		if _, known := m.clients[d]; !known {
			want[d] = true
		}
	}
	return slices.SortedFunc(maps.Keys(want), compareDest)
}

func compareDest(a, b store.Dest) int {
	return cmp.Or(a.IP.Compare(b.IP), cmp.Compare(a.Port, b.Port))
}

// Add takes the exchanges of the hosts that Frontier named and the clients of the services
// that Dests named, and accepts what is likely.
func (m *Map) Add(hosts []netip.Addr, exchanges []store.Exchange, clients map[store.Dest][]store.Client) {
	m.rounds++
	for _, h := range hosts {
		m.expanded[h] = true
	}
	for d, list := range clients {
		m.clients[d] = list
	}
	for _, c := range exchanges {
		if !host(c.OrigIP) || !host(c.RespIP) || c.OrigIP == c.RespIP {
			continue
		}
		if k := keyOf(c); m.candidates[k] == nil {
			m.candidates[k] = &candidate{exchange: c, taken: m.absorb(c)}
		}
	}
	m.settle()
}

// absorb tells whether an exchange is what a detection already speaks of, and takes the
// sums of flows that the detection counts but does not list. A transfer out is judged
// all the same, as exfiltration is another step than command and control.
func (m *Map) absorb(c store.Exchange) bool {
	for _, f := range c.Flows {
		k, ok := m.claimed[f.FlowID]
		if !ok {
			continue
		}
		e := m.edges[k]
		if e.hidden > 0 && c.FlowCount == uint64(len(e.flows))+e.hidden {
			e.hiddenOut, e.hiddenIn = c.OrigBytes, c.RespBytes
			for _, f := range e.flows {
				e.hiddenOut -= min(f.OrigBytes, e.hiddenOut)
				e.hiddenIn -= min(f.RespBytes, e.hiddenIn)
			}
		}
		heavy, _ := transferred(c, c.Flows)
		return !heavy || k.phase == model.PhaseExfil
	}
	return false
}

// settle accepts candidates until no further one reaches the threshold. Each pass judges
// all candidates against the same bounds, so their order does not matter.
func (m *Map) settle() {
	keys := slices.SortedFunc(maps.Keys(m.candidates), compareExchange)
	for {
		m.bounds = reach.Forward(m.events(), m.seeds())
		var won []verdict
		for _, k := range keys {
			c := m.candidates[k]
			if c.taken {
				continue
			}
			v := m.judge(c.exchange)
			c.score = v.score()
			if v.phase != "" && c.score >= threshold {
				c.taken = true
				won = append(won, v)
			}
		}
		if len(won) == 0 {
			return
		}
		for _, v := range won {
			m.accept(v)
		}
	}
}

func compareExchange(a, b exchangeKey) int {
	return cmp.Or(a.orig.Compare(b.orig), a.resp.Compare(b.resp), cmp.Compare(a.port, b.port),
		strings.Compare(a.proto, b.proto), strings.Compare(a.service, b.service))
}

// seeds are the suspicious hosts with the time at which they were so at the latest.
func (m *Map) seeds() map[netip.Addr]reach.Seed {
	seeds := make(map[netip.Addr]reach.Seed, len(m.suspects))
	for ip, s := range m.suspects {
		if s.at != 0 {
			seeds[ip] = reach.Seed{At: s.at, Eps: s.eps}
		}
	}
	return seeds
}

// events are the influences of all accepted edges.
func (m *Map) events() []reach.Event {
	var out []reach.Event
	for _, e := range m.edges {
		out = append(out, e.events()...)
	}
	return out
}

// accept draws an edge and marks the hosts it makes suspicious.
func (m *Map) accept(v verdict) {
	c := v.exchange
	e := m.edge(edgeKey{c.OrigIP, c.RespIP, v.phase, serviceOf(c)})
	e.take(v, m.eps)
	switch {
	case v.backward:
		// What came in before the responder's first suspicious act: its sender had the
		// threat by then.
		s := m.mark(c.OrigIP, v.at, m.epsOf(c.EvidenceIDs), nil)
		s.attacker = s.attacker || !s.internal
	case v.phase == model.PhaseC2 || v.phase == model.PhaseExfil:
		if !m.internal(c.RespIP) {
			m.mark(c.RespIP, v.at, m.epsOf(c.EvidenceIDs), nil).meeting = true
		}
		m.mark(c.OrigIP, v.at, m.epsOf(c.EvidenceIDs), nil)
	default:
		m.mark(c.RespIP, v.at, m.epsOf(c.EvidenceIDs), nil)
	}
}
