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
	fetched    map[[2]netip.Addr]model.Time // which inside host fetched what attacked it, from whom, and when first
	attacked   map[[2]netip.Addr]attack     // who attacked whom by the detections
	unlisted   map[string]uint64            // detections over several pairs: how many of their flows no edge has yet
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

// attack is the first that a detection saw of one host attacking another.
type attack struct {
	at        model.Time
	technique string
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

// New starts a map from the detections of a case, the flows they list and, for tunnels in
// DNS names, what was asked about their domains. begin is the first packet of the evidence.
// Detections below severity low are left aside, and so are those of low severity that
// nothing else speaks for (see weigh).
func New(lim Limits, caseID, run string, begin model.Time, dets []model.Detection, flows []model.Flow, domains map[string][]store.DomainExchange) *Map {
	m := &Map{
		lim: lim, caseID: caseID, run: run, begin: begin, internal: internalBy(lim.Internal),
		dets: map[string]*model.Detection{}, suspects: map[netip.Addr]*suspect{}, edges: map[edgeKey]*edge{},
		candidates: map[exchangeKey]*candidate{}, clients: map[store.Dest][]store.Client{}, expanded: map[netip.Addr]bool{},
		probes: map[model.FlowID]bool{}, probed: map[[2]netip.Addr]model.Time{}, claimed: map[model.FlowID]edgeKey{},
		fetched: map[[2]netip.Addr]model.Time{}, attacked: map[[2]netip.Addr]attack{}, unlisted: map[string]uint64{},
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
		if pairs[i] = m.tunnelPairs(&dets[i], domains[dets[i].Domain]); len(pairs[i]) == 0 {
			pairs[i] = m.pairsOf(&dets[i], byID)
		}
	}
	m.deliver(dets, pairs)
	pairs = m.weigh(dets, pairs)
	for i := range dets {
		m.probe(&dets[i], pairs[i])
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
		ports := []uint16{c.RespPort}
		if c.RespPort >= dynamicPort && c.Service == "" {
			ports = append(ports, kerberosPort)
		}
		for _, port := range ports {
			d := store.Dest{IP: c.RespIP, Port: port}
			if _, known := m.clients[d]; !known {
				want[d] = true
			}
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
	maps.Copy(m.clients, clients)
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
		if len(e.domains) == 0 && e.hidden > 0 && c.FlowCount == uint64(len(e.flows))+e.hidden {
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
	if held, rest, ok := channel(v); ok {
		c := v.exchange
		m.edge(edgeKey{c.OrigIP, c.RespIP, held.phase, serviceOf(c)}).take(held, m.eps)
		v.flows = rest
	}
	c := v.exchange
	e := m.edge(edgeKey{c.OrigIP, c.RespIP, v.phase, serviceOf(c)})
	e.take(v, m.eps)
	switch {
	case v.backward:
		// What came in before the responder's first suspicious act: its sender had the
		// threat by then.
		s := m.mark(c.OrigIP, v.at, m.epsOf(c.EvidenceIDs), nil, false)
		s.attacker = s.attacker || !s.internal
	case v.phase == model.PhaseC2 || v.phase == model.PhaseExfil:
		if !m.internal(c.RespIP) {
			m.mark(c.RespIP, v.at, m.epsOf(c.EvidenceIDs), nil, false).meeting = true
		}
		m.mark(c.OrigIP, v.at, m.epsOf(c.EvidenceIDs), nil, false)
	case v.callback: // does nothing to its responder, which is the attacker
	default:
		m.mark(c.RespIP, v.at, m.epsOf(c.EvidenceIDs), nil, false)
	}
}
