package chain

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
)

const (
	// leakBytes is what names can have carried from which a tunnel in them is drawn as a
	// transfer out too: more than a conversation over hours sends upward.
	leakBytes = 256 << 10

	// actorShare is the least part, as 1/actorShare, of what a resolver was asked under a
	// domain that makes a client one who acts; many small parts are a name in common use.
	actorShare = 4

	// authorityShare is how many queries under the domain a server must get for one about
	// anything else to be taken for the domain's own.
	authorityShare = 9

	tunnelDetector = "dns_tunnel"
	maxDomains     = 100 // whose queries are looked at
	maxForwarders  = 8   // resolvers one behind the other
)

// TunnelDomains lists the domains of which the queries are wanted, those of the gravest
// detections first, then by name.
func TunnelDomains(dets []model.Detection) []string {
	grave := map[string]int{}
	for _, d := range dets {
		if d.Detector == tunnelDetector && d.Domain != "" && d.Severity != model.SeverityInformational {
			grave[d.Domain] = max(grave[d.Domain], severityRank(d.Severity))
		}
	}
	out := slices.SortedFunc(maps.Keys(grave), func(a, b string) int {
		return cmp.Or(cmp.Compare(grave[b], grave[a]), strings.Compare(a, b))
	})
	return out[:min(len(out), maxDomains)]
}

// tunnelPairs gives the ways that the names of a tunnel took: from the host that asked to
// the server asked, and on from a server that asked others in turn. Only queries under the
// domain of the detection count. Empty if d is no such detection.
func (m *Map) tunnelPairs(d *model.Detection, asked []store.DomainExchange) []pair {
	if d.Domain == "" || d.Detector != tunnelDetector || !host(d.OrigIP) {
		return nil
	}
	actors := askers(d.OrigIP, asked)
	leak := slices.ContainsFunc(d.Numbers, func(n model.Number) bool { return n.Name == "carried" && n.Value >= leakBytes })
	var out []pair
	at, seen := slices.Clone(actors), map[netip.Addr]bool{}
	for len(at) > 0 {
		from := at[0]
		at = at[1:]
		if seen[from] {
			continue
		}
		seen[from] = true
		for i := range asked {
			x := &asked[i]
			if x.OrigIP != from || !host(x.RespIP) || x.RespIP == from {
				continue
			}
			p := pair{orig: from, resp: x.RespIP, phase: d.Phase, asked: x, flows: namesOf(x)}
			if !slices.Contains(actors, from) {
				p.actors = actors
			}
			out = append(out, p)
			if leak && d.Phase != model.PhaseExfil && !m.internal(x.RespIP) {
				p.phase, p.technique = model.PhaseExfil, exfilTechnique("dns", false)
				p.remark = fmt.Sprintf(" So much in the names is data that went out, besides commands: %s of queries.", bytesText(x.OrigBytes))
				out = append(out, p)
			}
			at = append(at, x.RespIP)
		}
	}
	slices.SortFunc(out, func(a, b pair) int {
		return cmp.Or(cmp.Compare(a.asked.Start, b.asked.Start), a.orig.Compare(b.orig), a.resp.Compare(b.resp), cmp.Compare(a.phase, b.phase))
	})
	return out
}

// askers are the hosts on whose behalf a host asked: those that asked it most of it in
// turn, or itself if there are none.
func askers(of netip.Addr, asked []store.DomainExchange) []netip.Addr {
	actors := []netip.Addr{of}
	for range maxForwarders {
		var before []netip.Addr
		for _, a := range actors {
			var sum uint64
			by := map[netip.Addr]uint64{}
			for _, x := range asked {
				if x.RespIP == a && x.OrigIP != a && host(x.OrigIP) {
					sum += x.Queries
					by[x.OrigIP] += x.Queries
				}
			}
			own := true
			for _, x := range asked {
				if n := by[x.OrigIP]; x.RespIP == a && n > 0 && n*actorShare >= sum {
					before, own = append(before, x.OrigIP), false
				}
			}
			if own {
				before = append(before, a)
			}
		}
		slices.SortFunc(before, netip.Addr.Compare)
		before = slices.Compact(before)
		if slices.Equal(before, actors) {
			break
		}
		actors = before
	}
	return actors
}

// authority reports whether a server is the domain's own name server, which is where the
// names of a tunnel end, and not a resolver that is asked about everything.
func (m *Map) authority(x *store.DomainExchange) bool {
	return !m.internal(x.RespIP) && x.ServerOthers*authorityShare <= x.ServerUnder
}

// namesOf writes the queries under a domain as flows that hold nothing else.
func namesOf(x *store.DomainExchange) []*model.Flow {
	out := make([]*model.Flow, len(x.Flows))
	for i, f := range x.Flows {
		out[i] = &model.Flow{
			FlowID: f.FlowID, EvidenceID: f.EvidenceID, Start: f.Start, End: f.End, OrigIP: x.OrigIP, RespIP: x.RespIP, RespPort: x.RespPort,
			Proto: x.Proto, Service: x.Service, ConnState: "SF", OrigBytes: f.OrigBytes, RespBytes: f.RespBytes, OrigDataStart: f.OrigData, RespDataStart: f.RespData,
		}
	}
	return out
}
