package chain

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
)

// pair is what a detection saw between two hosts.
type pair struct {
	orig, resp netip.Addr
	phase      string
	technique  string        // of this pair where it is not that of the detection
	remark     string        // why it is in another phase than the detection
	flows      []*model.Flow // sorted by start, id; may be empty when the detection lists none
	scan       bool          // the flows are tries that look for hosts or services
	strong     bool          // it makes its hosts suspicious by itself

	asked  *store.DomainExchange // what was asked under the domain of a tunnel, of which flows are the first
	actors []netip.Addr          // for whom the originator only passed the names on; empty if it asked itself
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

// who acted between the two: the originator, or those it passed something on for.
func (p pair) who() []netip.Addr {
	if len(p.actors) > 0 {
		return p.actors
	}
	return []netip.Addr{p.orig}
}

// deliver moves what a host fetched from outside in the minutes after it was attacked into
// the phase of the attack: that is how an exploit brings in its code.
func (m *Map) deliver(dets []model.Detection, pairs [][]pair) {
	attacked := map[netip.Addr][]model.Time{}
	for i, list := range pairs {
		for _, p := range list {
			if entering(p.phase) && m.internal(p.resp) && severityRank(dets[i].Severity) >= severityRank(model.SeverityMedium) {
				for _, f := range p.flows {
					attacked[p.resp] = append(attacked[p.resp], f.Start)
				}
			}
		}
	}
	for i, list := range pairs {
		for k := range list {
			p := &list[k]
			if p.phase != model.PhaseC2 || dets[i].Technique != ingressTransfer || m.internal(p.resp) || len(p.flows) == 0 {
				continue
			}
			for _, at := range attacked[p.orig] {
				if d := p.flows[0].Start.Sub(at); d >= 0 && d <= fetchWithin {
					p.phase, p.remark = model.PhaseExploit, fmt.Sprintf(" The host had been attacked %s before: this is how the attack brought in its code.", durationText(d))
				}
			}
		}
	}
}

// probe remembers who probed whom, so that what follows can be told from the probing.
func (m *Map) probe(d *model.Detection, pairs []pair) {
	for _, p := range pairs {
		for _, f := range p.flows {
			if scanning(p.phase) {
				m.probes[f.FlowID] = true
			}
		}
		if !probing(p.phase) || scanning(p.phase) && !p.scan {
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
	type key struct {
		orig, resp netip.Addr
		phase      string
	}
	by := map[key]*pair{}
	for _, id := range d.Flows {
		f := byID[id]
		if f == nil || !host(f.OrigIP) || !host(f.RespIP) {
			continue
		}
		p := pair{orig: f.OrigIP, resp: f.RespIP, phase: d.Phase, scan: scan(d)}
		if d.Phase == model.PhaseCredential {
			m.session(&p, f)
		}
		k := key{p.orig, p.resp, p.phase}
		if by[k] == nil {
			by[k] = &p
		}
		by[k].flows = append(by[k].flows, f)
	}
	if len(by) == 0 && host(d.OrigIP) && host(d.RespIP) {
		by[key{d.OrigIP, d.RespIP, d.Phase}] = &pair{orig: d.OrigIP, resp: d.RespIP, phase: d.Phase, scan: scan(d)}
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
		return cmp.Or(cmp.Compare(at, bt), a.orig.Compare(b.orig), a.resp.Compare(b.resp), cmp.Compare(a.phase, b.phase))
	})
	return out
}

// sessionBytes is what a login that fails does not reach: an SSH key exchange with the few
// tries a server allows takes under 10 kB both ways together.
const sessionBytes = 24_000

// session tells a login that was only tried from one that a session followed: that one is
// itself the way onward.
func (m *Map) session(p *pair, f *model.Flow) {
	r, ok := remoteOf(store.Exchange{Proto: f.Proto, RespPort: f.RespPort, Service: f.Service})
	if !ok || failed[f.ConnState] || f.OrigBytes == 0 || f.RespBytes == 0 || f.OrigBytes+f.RespBytes < sessionBytes || !m.internal(f.RespIP) {
		return
	}
	p.phase, p.technique = model.PhaseTraversal, r.Technique
	if !m.internal(f.OrigIP) {
		p.phase, p.technique = model.PhaseExploit, "T1133"
	}
	p.remark = fmt.Sprintf(" A session followed, with %s sent and %s received, so the login was not only tried.", bytesText(f.OrigBytes), bytesText(f.RespBytes))
}

// strongFrom is the confidence from which a detection of low severity, once something
// else speaks for it, makes its hosts suspicious.
const strongFrom = 60

// popularFrom is how many otherwise unsuspicious hosts make an outside address of
// detections of low severity a service that people use.
const popularFrom = 2

// weigh marks the hosts that detections make suspicious and drops what is as often
// everyday traffic. A pair of hosts counts from severity medium on, or when two different
// detectors name it. What is weaker counts where one of its hosts is suspicious anyway,
// unless it is the use of an outside service by several hosts that are not.
func (m *Map) weigh(dets []model.Detection, pairs [][]pair) [][]pair {
	detectors := map[[2]netip.Addr]map[string]bool{}
	for i, list := range pairs {
		for _, p := range list {
			k := [2]netip.Addr{p.orig, p.resp}
			if detectors[k] == nil {
				detectors[k] = map[string]bool{}
			}
			detectors[k][dets[i].Detector] = true
		}
	}
	counts := func(i int, p pair) bool {
		return severityRank(dets[i].Severity) >= severityRank(model.SeverityMedium) || len(detectors[[2]netip.Addr{p.orig, p.resp}]) > 1
	}
	for i, list := range pairs {
		for k := range list {
			if list[k].strong = counts(i, list[k]); list[k].strong {
				m.suspect(&dets[i], list[k])
			}
		}
		if d := &dets[i]; len(list) == 0 && host(d.OrigIP) && severityRank(d.Severity) >= severityRank(model.SeverityMedium) {
			s := m.mark(d.OrigIP, d.FirstSeen, m.epsOf(d.EvidenceIDs), d, true)
			s.attacker = !s.internal
			s.acts = d.FirstSeen
		}
	}
	strong := map[netip.Addr]bool{}
	for ip := range m.suspects {
		strong[ip] = true
	}
	users := map[netip.Addr]map[netip.Addr]bool{} // of outside services, by detections of little weight
	for i, list := range pairs {
		for _, p := range list {
			if counts(i, p) || m.internal(p.resp) {
				continue
			}
			for _, who := range p.who() {
				if strong[who] {
					continue
				}
				if users[p.resp] == nil {
					users[p.resp] = map[netip.Addr]bool{}
				}
				users[p.resp][who] = true
			}
		}
	}
	out := make([][]pair, len(pairs))
	for i, list := range pairs {
		for _, p := range list {
			if !p.strong {
				actor := slices.ContainsFunc(p.who(), func(ip netip.Addr) bool { return strong[ip] }) && len(users[p.resp]) < popularFrom
				if !actor && (!strong[p.resp] || len(p.actors) > 0) {
					continue
				}
				p.strong = dets[i].Confidence >= strongFrom
				m.suspect(&dets[i], p)
			}
			out[i] = append(out[i], p)
		}
	}
	return out
}

// suspect marks the hosts that a detection makes suspicious: who acted; who was acted
// upon with success; the outside address that was reported or sent to. A host that was
// merely probed is not suspicious, and neither is one that passed traffic on, such as a
// resolver.
func (m *Map) suspect(d *model.Detection, p pair) {
	eps := m.epsOf(d.EvidenceIDs)
	at := d.FirstSeen
	if len(p.flows) > 0 {
		at = p.flows[0].Start
	}
	if len(p.actors) == 0 {
		orig := m.mark(p.orig, at, eps, d, p.strong)
		orig.attacker = orig.attacker || !orig.internal
		if orig.acts == 0 || at < orig.acts {
			orig.acts = at
		}
	}
	switch {
	case entering(p.phase) && m.internal(p.orig) && !m.internal(p.resp):
		// The inside host fetched what attacked it.
		m.mark(p.resp, at, eps, d, p.strong).meeting = true
		k := [2]netip.Addr{p.orig, p.resp}
		if t, ok := m.fetched[k]; !ok || at < t {
			m.fetched[k] = at
		}
	case entering(p.phase):
		if len(p.flows) > 0 && p.flows[0].OrigDataStart > at {
			at = p.flows[0].OrigDataStart
		}
		k := [2]netip.Addr{p.orig, p.resp}
		if a, ok := m.attacked[k]; !ok || at < a.at {
			m.attacked[k] = attack{at, cmp.Or(p.technique, d.Technique)}
		}
		m.mark(p.resp, at, eps, d, p.strong)
	case p.asked != nil:
		if m.authority(p.asked) {
			m.mark(p.resp, at, eps, d, p.strong).meeting = true
		}
	case !probing(p.phase) && !m.internal(p.resp) && m.internal(p.orig) && !p.throughDNS():
		m.mark(p.resp, at, eps, d, p.strong).meeting = true
	}
}

func (m *Map) mark(ip netip.Addr, at model.Time, eps time.Duration, d *model.Detection, strong bool) *suspect {
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
		s.strong = s.strong || strong
		s.dets[d.DetectionID] = true
	}
	return s
}
