package chain

import (
	"net/netip"
	"strings"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
)

const (
	dynamicPort  = 49152 // from here on RPC services listen where the endpoint mapper says (RFC 6335: dynamic ports)
	mapperPort   = 135   // endpoint mapper of DCE/RPC
	kerberosPort = 88    // what uses it tells a domain controller

	ingressTransfer = "T1105" // MITRE ATT&CK: tools brought in from outside

	mapperWithin = time.Minute      // from the question to the mapper to the call
	fetchWithin  = 10 * time.Minute // between the steps by which an exploit fetches its code
	channelFrom  = time.Hour        // a connection held this long is a channel, no single piece of work

	replicaBytes = 256 << 10 // least that is read when a directory is replicated
	writtenBytes = 64 << 10  // least that counts as a program written to another host
)

// rpc tells whether an exchange is a call to an RPC service on a port that the endpoint
// mapper of the same host had just named.
func (m *Map) rpc(c store.Exchange) (remote, bool) {
	if c.Proto != "tcp" || c.Service != "" || c.RespPort < dynamicPort {
		return remote{}, false
	}
	for _, service := range []string{"", "dcerpc"} {
		mapper := m.candidates[exchangeKey{c.OrigIP, c.RespIP, mapperPort, "tcp", service}]
		if mapper == nil {
			continue
		}
		for _, asked := range mapper.exchange.Flows {
			for _, f := range c.Flows {
				if d := f.Start.Sub(asked.Start); d >= 0 && d <= mapperWithin {
					return remoteOf(mapper.exchange)
				}
			}
		}
	}
	return remote{}, false
}

// replicates tells whether a domain controller gave far more over RPC than it was sent, to
// a host that is none itself: what DRSGetNCChanges looks like when its content is sealed.
func (m *Map) replicates(c store.Exchange, flows []store.ExchangeFlow) bool {
	if c.RespPort < dynamicPort || len(m.clients[store.Dest{IP: c.RespIP, Port: kerberosPort}]) == 0 {
		return false
	}
	for _, f := range flows {
		if f.RespBytes >= replicaBytes && f.RespBytes/TransferRatio >= f.OrigBytes {
			return true
		}
	}
	return false
}

// fetching tells whether flows to an outside address belong to an attack in which a host
// fetches the attacker's code from it.
func (m *Map) fetching(c store.Exchange, flows []store.ExchangeFlow) bool {
	at, ok := m.fetched[[2]netip.Addr{c.OrigIP, c.RespIP}]
	if !ok {
		return false
	}
	for _, f := range flows {
		if d := f.Start.Sub(at).Abs(); d > fetchWithin || f.End.Sub(f.Start) > fetchWithin {
			return false
		}
	}
	return true
}

// callsBack tells whether a host called the one that had attacked it before, as an attack
// makes it do to fetch code or to open a shell.
func (m *Map) callsBack(c store.Exchange, flows []store.ExchangeFlow) bool {
	a, ok := m.attacked[[2]netip.Addr{c.RespIP, c.OrigIP}]
	return ok && a.at <= flows[0].Start.Add(m.eps(flows[0].EvidenceID))
}

// fetchTechnique is that of the attack on a service if one came from outside just before,
// else that of a program that was led to open something.
func (m *Map) fetchTechnique(by netip.Addr, at model.Time) string {
	for k, e := range m.edges {
		if k.resp == by && entering(k.phase) && !m.internal(k.orig) && e.start <= at && at.Sub(e.start) <= fetchWithin {
			return "T1190"
		}
	}
	return "T1203"
}

// firstWritten is how much was written to the target when that came for the first time:
// a program copied to another host goes this way, while shares are mostly read.
func firstWritten(v *verdict, since model.Time) uint64 {
	if v.phase != model.PhaseTraversal || v.backward {
		return 0
	}
	writes := func(f store.ExchangeFlow) bool {
		return f.OrigBytes >= writtenBytes && f.OrigBytes/TransferRatio >= f.RespBytes
	}
	for _, f := range v.exchange.Flows {
		if f.Start < since && f.End < since && writes(f) {
			return 0
		}
	}
	var most uint64
	for _, f := range v.flows {
		if writes(f) {
			most = max(most, f.OrigBytes)
		}
	}
	return most
}

// sameStep tells whether another exchange between the same two inside hosts was accepted
// within an hour.
func (m *Map) sameStep(v *verdict) bool {
	c := v.exchange
	if v.backward || !m.internal(c.OrigIP) || !m.internal(c.RespIP) {
		return false
	}
	for k, e := range m.edges {
		if k.orig == c.OrigIP && k.resp == c.RespIP && e.best != nil && (e.enters || k.phase == model.PhaseCredential) && v.at.Sub(e.start).Abs() <= time.Hour {
			return true
		}
	}
	return false
}

// channel splits off the connections over SMB that were held for long after the first
// work on the target: a named pipe by which an implant is steered.
func channel(v verdict) (held verdict, rest []store.ExchangeFlow, ok bool) {
	if v.phase != model.PhaseTraversal || v.backward || !strings.Contains(serviceOf(v.exchange), "smb") {
		return held, nil, false
	}
	held = v
	held.phase, held.technique, held.act, held.flows = model.PhaseC2, "T1090.001", "held a connection to it open", nil
	for i, f := range v.flows {
		if i > 0 && len(rest) > 0 && f.End.Sub(f.Start) >= channelFrom {
			held.flows = append(held.flows, f)
		} else {
			rest = append(rest, f)
		}
	}
	return held, rest, len(held.flows) > 0
}
