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

// edgeKey is what one edge groups.
type edgeKey struct {
	orig, resp     netip.Addr
	phase, service string
}

func compareEdge(a, b edgeKey) int {
	return cmp.Or(a.orig.Compare(b.orig), a.resp.Compare(b.resp), cmp.Compare(a.phase, b.phase), cmp.Compare(a.service, b.service))
}

// edge is an accepted edge with all it rests on.
type edge struct {
	key       edgeKey
	technique string
	enters    bool   // it acts upon its responder: a way in, and not a call back to an attacker
	targeted  bool   // it is aimed at its responder, which does not merely answer a question, as a resolver does
	instead   string // technique where it is not that of the detections
	remark    string // why the edge is in another phase than its detection
	flows     map[model.FlowID]store.ExchangeFlow
	epsOf     map[model.FlowID]time.Duration
	hidden    uint64 // flows known to belong here beyond those listed
	hiddenOut uint64 // their bytes, where known
	hiddenIn  uint64
	start     model.Time
	end       model.Time
	ports     map[uint16]bool
	protos    map[string]bool
	evidence  map[string]bool
	dets      map[string]*model.Detection
	targets   int // targets of the detection with most of them, of which this is one
	best      *verdict
	domains   map[string]bool     // of tunnels, whose queries alone count
	actors    map[netip.Addr]bool // for whom the originator passed it on
}

func (m *Map) edge(k edgeKey) *edge {
	e := m.edges[k]
	if e == nil {
		e = &edge{
			key: k, flows: map[model.FlowID]store.ExchangeFlow{}, epsOf: map[model.FlowID]time.Duration{},
			ports: map[uint16]bool{}, protos: map[string]bool{}, evidence: map[string]bool{}, dets: map[string]*model.Detection{},
			domains: map[string]bool{}, actors: map[netip.Addr]bool{},
		}
		m.edges[k] = e
	}
	return e
}

func (e *edge) span(start, end model.Time) {
	if start != 0 && (e.start == 0 || start < e.start) {
		e.start = start
	}
	e.end = max(e.end, end)
}

func (e *edge) add(f store.ExchangeFlow, eps time.Duration) {
	e.flows[f.FlowID] = f
	e.epsOf[f.FlowID] = eps
	e.evidence[f.EvidenceID] = true
	e.span(f.Start, f.End)
}

// take adds the flows of an exchange that a verdict rests on.
func (e *edge) take(v verdict, eps func(string) time.Duration) {
	c := v.exchange
	for _, f := range v.flows {
		e.add(f, eps(f.EvidenceID))
	}
	e.ports[c.RespPort] = true
	e.protos[c.Proto] = true
	e.enters = e.enters || entering(v.phase) && !v.callback
	e.targeted = true
	if len(v.flows) == len(c.Flows) && c.FlowCount > uint64(len(c.Flows)) {
		var out, in uint64
		for _, f := range c.Flows {
			out += f.OrigBytes
			in += f.RespBytes
		}
		e.hidden += c.FlowCount - uint64(len(c.Flows))
		e.hiddenOut += c.OrigBytes - min(out, c.OrigBytes)
		e.hiddenIn += c.RespBytes - min(in, c.RespBytes)
		for _, id := range c.EvidenceIDs {
			e.evidence[id] = true
		}
		e.span(c.Start, c.End)
	}
	if e.technique == "" {
		e.technique = v.technique
	}
	if e.best == nil || v.score() > e.best.score() {
		e.best = &v
	}
}

// draw makes the edges of a detection, one for each two hosts. Of a detection with many
// targets only those are drawn that matter to the trace or answered; if there are none,
// the first stands for all.
func (m *Map) draw(d *model.Detection, pairs []pair) {
	all := len(pairs)
	if all > m.lim.MaxTargets {
		rank := func(p pair) int {
			switch {
			case m.suspects[p.resp] != nil:
				return 0
			case p.answered():
				return 1
			}
			return 2
		}
		drawn := slices.Clone(pairs)
		slices.SortStableFunc(drawn, func(a, b pair) int { return cmp.Compare(rank(a), rank(b)) })
		n := 0
		for n < len(drawn) && n < m.lim.MaxTargets && rank(drawn[n]) < 2 {
			n++
		}
		pairs = drawn[:max(n, 1)]
		m.notes = append(m.notes, note{pairs[0].orig, fmt.Sprintf("%d of the %d address pairs of detection %s are not drawn: nothing shows that they were entered", all-len(pairs), all, d.DetectionID)})
	}
	for _, p := range pairs {
		service := ""
		if !p.scan && len(p.flows) > 0 {
			f := p.flows[0]
			service = serviceOf(store.Exchange{Proto: f.Proto, RespPort: f.RespPort, Service: f.Service})
		}
		e := m.edge(edgeKey{p.orig, p.resp, p.phase, service})
		e.dets[d.DetectionID] = d
		e.enters = e.enters || entering(p.phase)
		e.targeted = e.targeted || !scanning(p.phase) || p.scan
		if p.technique != "" {
			e.instead = p.technique
		}
		if p.remark != "" {
			e.remark = p.remark
		}
		for _, a := range p.actors {
			e.actors[a] = true
		}
		if p.asked != nil && e.domains[d.Domain] {
			continue
		}
		e.targets = max(e.targets, all)
		for _, f := range p.flows {
			x := exchangeFlow(f)
			if had, ok := e.flows[x.FlowID]; ok && p.asked != nil {
				x.OrigBytes, x.RespBytes = x.OrigBytes+had.OrigBytes, x.RespBytes+had.RespBytes
			}
			e.add(x, m.eps(f.EvidenceID))
			if _, ok := m.claimed[f.FlowID]; !ok && !scanning(p.phase) {
				m.claimed[f.FlowID] = e.key
			}
			e.ports[f.RespPort] = true
			e.protos[f.Proto] = true
		}
		if len(p.flows) == 0 {
			e.span(d.FirstSeen, d.LastSeen)
			e.ports[d.RespPort] = true
			e.protos[d.Proto] = true
			for _, id := range d.EvidenceIDs {
				e.evidence[id] = true
			}
		}
		listed := uint64(len(p.flows))
		switch {
		case p.asked != nil:
			e.domains[d.Domain] = true
			e.targets = 1
			e.hidden += p.asked.FlowCount - min(listed, p.asked.FlowCount)
			out, in := p.asked.OrigBytes, p.asked.RespBytes
			for _, f := range p.flows {
				out -= min(f.OrigBytes, out)
				in -= min(f.RespBytes, in)
			}
			e.hiddenOut += out
			e.hiddenIn += in
			e.span(p.asked.Start, p.asked.End)
		case all == 1 && d.FlowCount > listed:
			e.hidden = max(e.hidden, d.FlowCount-listed)
			e.span(d.FirstSeen, d.LastSeen)
		case all > 1 && d.FlowCount > uint64(len(d.Flows)) && !scanning(p.phase):
			m.unlisted[d.DetectionID] = d.FlowCount - uint64(len(d.Flows))
		}
	}
}

// Unlisted names the hosts at both ends of the detections over several address pairs that
// count more flows than they list. Complete takes the exchanges between them.
func (m *Map) Unlisted() (orig, all []netip.Addr) {
	from, both := map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for k, e := range m.edges {
		for id := range e.dets {
			if m.unlisted[id] > 0 {
				from[k.orig], both[k.orig], both[k.resp] = true, true, true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(from), netip.Addr.Compare), slices.SortedFunc(maps.Keys(both), netip.Addr.Compare)
}

// Complete adds to the edges what their detections count but do not list, as far as the
// exchanges account for it: the exchange began with the detection, not before it, and has
// no more further flows than the detection.
func (m *Map) Complete(exchanges []store.Exchange) {
	exchanges = slices.Clone(exchanges)
	slices.SortFunc(exchanges, func(a, b store.Exchange) int { return compareExchange(keyOf(a), keyOf(b)) })
	for _, c := range exchanges {
		var e *edge
		var listed, out, in uint64
		for _, f := range c.Flows {
			if k, ok := m.claimed[f.FlowID]; ok && (e == nil || e.key == k) {
				e = m.edges[k]
				listed, out, in = listed+1, out+f.OrigBytes, in+f.RespBytes
			}
		}
		if e == nil || len(e.domains) > 0 || c.FlowCount <= listed {
			continue
		}
		more := c.FlowCount - listed
		for _, id := range slices.Sorted(maps.Keys(e.dets)) {
			if more <= m.unlisted[id] && c.Start >= e.dets[id].FirstSeen {
				m.unlisted[id] -= more
				e.hidden += more
				e.hiddenOut += c.OrigBytes - min(out, c.OrigBytes)
				e.hiddenIn += c.RespBytes - min(in, c.RespBytes)
				e.span(c.Start, c.End)
				for _, id := range c.EvidenceIDs {
					e.evidence[id] = true
				}
				break
			}
		}
	}
}

// scanning phases look only; their flows influence nobody.
func scanning(phase string) bool {
	return phase == model.PhaseRecon || phase == model.PhaseDiscovery
}

// scan reports whether a detection is of tries that look for hosts or services, not of a
// question such as that for one's own public address.
func scan(d *model.Detection) bool {
	return scanning(d.Phase) && (d.Detector != "profile" || strings.HasPrefix(d.Technique, "T1595") || d.Technique == "T1046")
}

// failed are the connection states in which no payload can have been understood.
var failed = map[string]bool{"S0": true, "REJ": true, "RSTOS0": true, "RSTRH": true, "SH": true, "SHR": true}

// exchangeFlow reduces a flow to what an edge keeps of it.
func exchangeFlow(f *model.Flow) store.ExchangeFlow {
	x := store.ExchangeFlow{
		FlowID: f.FlowID, EvidenceID: f.EvidenceID, Start: f.Start, End: f.End,
		OrigData: f.OrigDataStart, RespData: f.RespDataStart, OrigBytes: f.OrigBytes, RespBytes: f.RespBytes,
	}
	if failed[f.ConnState] {
		x.OrigData, x.RespData = 0, 0
		return x
	}
	if x.OrigData == 0 && f.OrigBytes > 0 {
		x.OrigData = f.Start
	}
	if x.RespData == 0 && f.RespBytes > 0 {
		x.RespData = f.Start
	}
	return x
}

// events are the influences of the edge, both ways. Probing influences nobody.
func (e *edge) events() []reach.Event {
	if scanning(e.key.phase) {
		return nil
	}
	out := make([]reach.Event, 0, 2*len(e.flows))
	for id, f := range e.flows {
		if f.OrigData != 0 {
			out = append(out, reach.Event{From: e.key.orig, To: e.key.resp, Start: f.OrigData, End: max(f.OrigData, f.End), Eps: e.epsOf[id]})
		}
		if f.RespData != 0 {
			out = append(out, reach.Event{From: e.key.resp, To: e.key.orig, Start: f.RespData, End: max(f.RespData, f.End), Eps: e.epsOf[id]})
		}
	}
	return out
}

// order tells whether the edge surely came after its originator had the threat.
func (e *edge) order(from reach.Bound) string {
	if !from.Certain {
		return model.OrderPossible
	}
	for id, f := range e.flows {
		at := f.Start
		if f.OrigData != 0 && !scanning(e.key.phase) {
			at = f.OrigData
		}
		if from.Sure <= at.Add(-e.epsOf[id]) {
			return model.OrderCertain
		}
	}
	return model.OrderPossible
}

// list gives the flows of the edge in time order.
func (e *edge) list() []store.ExchangeFlow {
	return slices.SortedFunc(maps.Values(e.flows), func(a, b store.ExchangeFlow) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.FlowID, b.FlowID))
	})
}
