package chain

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
)

// The score of an exchange is a sum of terms in the manner of a log-likelihood ratio: each
// says how much more likely the exchange is as a step of the intrusion than as everyday
// traffic. The values are set by judgement, not fitted; every term that counted is named
// in the edge's reason. An exchange is accepted from threshold on.
const (
	threshold = 3.0

	baseMeeting  = 3.0 // with an address that compromised hosts report to
	baseAttacker = 2.0 // payload from an outside attacker into a suspicious host
	baseKnocker  = 1.5 // remote access by an outside attacker into any other host
	baseBoth     = 1.5 // between two suspicious inside hosts
	baseTransfer = 2.0 // much sent out, little received

	termActsSoon   = 2.0  // the target turns suspicious within an hour
	termActsLater  = 1.0  // the target turns suspicious later
	termProbed     = 1.5  // the originator had probed the target before
	termNew        = 1.0  // the two had not talked in the evidence before
	termKnown      = -2.0 // the two had talked before the compromise
	termMinutes    = 1.0  // within ten minutes of the compromise
	termHour       = 0.5  // within an hour
	termWrites     = 1.5  // for the first time far more was written to the target than read
	termSame       = 1.0  // another step from the same host to the same target was accepted
	termPayload    = 0.5  // more than a greeting was sent
	termInnocent   = -1.0 // the originator shows nothing else (only looking backward)
	termInferred   = -0.5 // the originator is suspicious only through other edges
	maxPopularity  = 3.0  // at most this is taken off for a destination many hosts use
	maxVolume      = 1.5  // at most this is added for the volume of a transfer
	baselineNeeded = 10 * time.Minute

	// TransferBytes is the least that counts as a transfer out, and TransferRatio how many
	// times more must be sent than received.
	TransferBytes = 1 << 20
	TransferRatio = 4
)

// term is one reason for or against an exchange.
type term struct {
	value float64
	text  string
}

// verdict is the judgement on one exchange.
type verdict struct {
	exchange  store.Exchange
	flows     []store.ExchangeFlow // those it rests on
	phase     string               // empty: out of the question
	technique string
	act       string // what was done, as the middle of a sentence
	backward  bool
	callback  bool       // a host called the one that attacked it
	at        model.Time // of the influence
	terms     []term
}

func (v verdict) score() float64 {
	var sum float64
	for _, t := range v.terms {
		sum += t.value
	}
	return sum
}

func (v *verdict) term(value float64, format string, args ...any) {
	v.terms = append(v.terms, term{value, fmt.Sprintf(format, args...)})
}

// confidence turns the score into 0 to 95: what was inferred is never certain.
func (v verdict) confidence() uint8 {
	p := 1 / (1 + math.Exp(-(v.score() - threshold + 0.5)))
	return uint8(min(95, max(5, math.Round(100*p))))
}

// judge scores an exchange, first as a step onward from its originator, then as the way
// by which its responder was reached.
func (m *Map) judge(c store.Exchange) verdict {
	if v := m.forward(c); v.phase != "" {
		return v
	}
	return m.back(c)
}

// usable keeps the flows that carried payload and were open when or after the threat can
// have been at the originator, leaving out those that a scan is made of.
func (m *Map) usable(c store.Exchange, from model.Time) []store.ExchangeFlow {
	var out []store.ExchangeFlow
	for _, f := range c.Flows {
		if f.OrigData != 0 && !m.probes[f.FlowID] && from <= f.End.Add(m.eps(f.EvidenceID)) {
			out = append(out, f)
		}
	}
	return out
}

func (m *Map) forward(c store.Exchange) (v verdict) {
	v.exchange = c
	from, to := m.suspects[c.OrigIP], m.suspects[c.RespIP]
	bound, reached := m.bounds[c.OrigIP]
	if from == nil || !reached || from.detected && !from.strong {
		return v
	}
	v.flows = m.usable(c, bound.At)
	if len(v.flows) == 0 {
		return v
	}
	v.at = max(bound.At, v.flows[0].OrigData)
	inside, toInside := m.internal(c.OrigIP), m.internal(c.RespIP)
	r, isRemote := remoteOf(c)
	if !isRemote && inside && toInside {
		r, isRemote = m.rpc(c)
	}
	if inside && toInside && housekeeping[c.RespPort] {
		return v
	}
	meeting := to != nil && to.meeting && (to.strong || !to.detected)
	transfer, sent := transferred(c, v.flows)
	switch {
	case inside && !toInside && transfer:
		v.phase, v.technique, v.act = model.PhaseExfil, exfilTechnique(c.Service, meeting), "sent it far more than came back"
		v.flows = bulk(v.flows)
		if meeting {
			v.term(baseMeeting, "the address is one that compromised hosts report to")
		} else {
			v.term(baseTransfer, "%s were sent and little came back", bytesText(sent))
		}
		v.term(min(maxVolume, 0.75*math.Log10(float64(sent)/TransferBytes)), "the volume of the transfer")
	case inside && meeting && m.fetching(c, v.flows):
		v.phase, v.technique, v.act = model.PhaseExploit, m.fetchTechnique(c.OrigIP, v.at), "called it while it was being attacked"
		v.term(baseMeeting, "the address delivered what attacked the host")
	case inside && meeting:
		v.phase, v.technique, v.act = model.PhaseC2, c2Technique(c.Service), "talked to it"
		v.term(baseMeeting, "the address is one that compromised hosts report to")
	case from.attacker && toInside && to != nil && to.strong:
		v.phase, v.technique, v.act = model.PhaseExploit, "T1190", "sent it payload"
		if isRemote && r.External {
			v.technique, v.act = "T1133", "used its "+strings.ToUpper(r.Service)+" service from outside"
		}
		v.term(baseAttacker, "an outside attacker reached a host that is suspicious itself")
	case from.attacker && toInside && isRemote && r.External:
		v.phase, v.technique, v.act = model.PhaseExploit, "T1133", "used its "+strings.ToUpper(r.Service)+" service from outside"
		v.term(baseKnocker, "remote access by an outside attacker")
	case inside && toInside && isRemote && m.replicates(c, v.flows):
		v.phase, v.technique, v.act = model.PhaseCredential, "T1003.006", "read much from it over RPC, as the replication of a directory does"
		v.term(r.Weight, "a domain controller gave far more over RPC than it was sent")
	case inside && toInside && isRemote:
		v.phase, v.technique, v.act = model.PhaseTraversal, r.Technique, "worked on it over "+strings.ToUpper(r.Service)
		v.term(r.Weight, "%s lets one host work on another", strings.ToUpper(r.Service))
		if to != nil && to.strong {
			v.term(baseBoth, "both hosts are suspicious by themselves")
		}
	case inside && toInside && m.callsBack(c, v.flows):
		v.phase, v.technique, v.act = model.PhaseExploit, m.attacked[[2]netip.Addr{c.RespIP, c.OrigIP}].technique, "called it back"
		v.callback = true
		v.term(baseBoth, "the host was attacked from the one it called")
	case inside && toInside && to != nil && to.strong:
		v.phase, v.technique, v.act = model.PhaseExploit, "T1210", "sent it payload"
		v.term(baseBoth, "both hosts are suspicious by themselves")
	default:
		return v
	}
	m.context(&v, from, to, bound.At)
	if !from.detected {
		v.term(termInferred, "its originator is suspicious only through other edges")
	}
	return v
}

// back judges an exchange as the way in: it came before the first suspicious act of its
// responder.
func (m *Map) back(c store.Exchange) (v verdict) {
	v.exchange = c
	from, to := m.suspects[c.OrigIP], m.suspects[c.RespIP]
	if to == nil || !to.strong || to.meeting || !m.internal(c.RespIP) || (from != nil && !from.internal) {
		return v
	}
	inside := m.internal(c.OrigIP)
	r, isRemote := remoteOf(c)
	if !isRemote && (from == nil || housekeeping[c.RespPort]) {
		return v
	}
	for _, f := range m.usable(c, 0) {
		if f.OrigData.Add(-m.eps(f.EvidenceID)) <= to.at.Add(to.eps) {
			v.flows = append(v.flows, f)
		}
	}
	if len(v.flows) == 0 {
		return v
	}
	v.backward = true
	v.at = v.flows[len(v.flows)-1].OrigData
	switch {
	case isRemote && inside:
		v.phase, v.technique, v.act = model.PhaseTraversal, r.Technique, "worked on it over "+strings.ToUpper(r.Service)
		v.term(r.Weight, "%s lets one host work on another", strings.ToUpper(r.Service))
	case isRemote && r.External:
		v.phase, v.technique, v.act = model.PhaseExploit, "T1133", "used its "+strings.ToUpper(r.Service)+" service from outside"
		v.term(r.Weight, "%s from outside is a way in", strings.ToUpper(r.Service))
	case inside && from.strong:
		v.phase, v.technique, v.act = model.PhaseExploit, "T1210", "sent it payload"
		v.term(baseBoth, "both hosts are suspicious by themselves")
	default:
		return v
	}
	m.context(&v, from, to, v.at)
	if from == nil || !from.strong {
		v.term(termInnocent, "its originator shows nothing else suspicious")
	}
	return v
}

// context adds the terms that hold for every kind of exchange. since is when the
// originator had the threat.
func (m *Map) context(v *verdict, from, to *suspect, since model.Time) {
	c := v.exchange
	if t, ok := m.probed[[2]netip.Addr{c.OrigIP, c.RespIP}]; ok && t <= v.at {
		v.term(termProbed, "it had probed the target before")
	}
	if to != nil && to.strong && to.acts != 0 && to.acts >= v.at {
		if d := to.acts.Sub(v.at); d <= time.Hour {
			v.term(termActsSoon, "the target turned suspicious %s later", durationText(d))
		} else {
			v.term(termActsLater, "the target turned suspicious later")
		}
	}
	ordinary := v.phase != model.PhaseC2 // how a C2 address was used before does not speak for it
	if n := firstWritten(v, since); n > 0 {
		v.term(termWrites, "for the first time far more was written than read, %s", bytesText(n))
		ordinary = false
	}
	if m.sameStep(v) {
		v.term(termSame, "another step between the two was accepted")
	}
	if ordinary && !v.backward && c.Start < since && c.Start < v.flows[0].Start {
		v.term(termKnown, "the two had talked before")
	} else if m.begin != 0 && c.Start.Sub(m.begin) >= baselineNeeded {
		v.term(termNew, "the two had not talked in the %s of traffic before", durationText(c.Start.Sub(m.begin)))
	}
	if !v.backward && from != nil {
		switch d := v.at.Sub(since); {
		case d <= 10*time.Minute:
			v.term(termMinutes, "it came within ten minutes of the originator's first suspicious act")
		case d <= time.Hour:
			v.term(termHour, "it came within an hour of the originator's first suspicious act")
		}
	}
	var sent uint64
	for _, f := range v.flows {
		sent += f.OrigBytes
	}
	if sent >= 256 {
		v.term(termPayload, "%s of payload were sent", bytesText(sent))
	}
	if n := m.popularity(c, v, since); n > 0 {
		v.term(-min(maxPopularity, math.Log2(float64(1+n))), "%d other hosts without findings use this service too", n)
	}
}

// popularity counts the other hosts that used the same service of the responder, apart
// from those with detections. A destination inside counts by its use before the
// compromise, since a worm's victims would otherwise excuse each other; outside by its
// use at any time.
func (m *Map) popularity(c store.Exchange, v *verdict, since model.Time) int {
	n := 0
	for _, cl := range m.clients[store.Dest{IP: c.RespIP, Port: c.RespPort}] {
		if s := m.suspects[cl.IP]; cl.IP == c.OrigIP || s != nil && s.detected {
			continue
		}
		if v.phase == model.PhaseC2 || v.phase == model.PhaseExfil || cl.First < since {
			n++
		}
	}
	return n
}

// transferred tells whether the flows sent far more than they received, and how much.
func transferred(c store.Exchange, flows []store.ExchangeFlow) (bool, uint64) {
	out, in := c.OrigBytes, c.RespBytes
	if len(flows) < len(c.Flows) {
		out, in = 0, 0
		for _, f := range flows {
			out += f.OrigBytes
			in += f.RespBytes
		}
	}
	return out >= TransferBytes && out/TransferRatio >= in, out
}

// bulk keeps the flows that made a transfer, if single ones did.
func bulk(flows []store.ExchangeFlow) []store.ExchangeFlow {
	var out []store.ExchangeFlow
	for _, f := range flows {
		if f.OrigBytes >= TransferBytes/16 && f.OrigBytes/TransferRatio >= f.RespBytes {
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		return flows
	}
	return out
}

// bytesText writes a volume with three digits at most.
func bytesText(n uint64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d bytes", n)
	}
	f, i := float64(n)/1000, 0
	for f >= 999.5 && i < len(units)-1 {
		f /= 1000
		i++
	}
	if f < 9.95 {
		return fmt.Sprintf("%.1f %cB", f, units[i])
	}
	return fmt.Sprintf("%.0f %cB", f, units[i])
}

func durationText(d time.Duration) string {
	switch {
	case d < 2*time.Second:
		return "a second"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d seconds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	default:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
}
