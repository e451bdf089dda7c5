package detect

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
)

// Threshold random walk (Jung, Paxson, Berger, Balakrishnan: "Fast Portscan Detection Using
// Sequential Hypothesis Testing", Oakland 2004): each first contact multiplies the
// likelihood ratio "scanner : ordinary host" by 4 if it came to nothing and by 1/4 if not.
// The walk is held at its lower bound instead of ending there, so that a host that first
// behaves and then scans is found as well.
const (
	trwFail  = 4.0  // 0.8 / 0.2
	trwPass  = 0.25 // 0.2 / 0.8
	trwUpper = 99.0 // detection 0.99, false alarm 0.01
	trwLower = 0.0101
)

// scanShare is the share of first contacts that must have come to nothing: a walk alone is
// also crossed by a busy client with a run of dead servers.
const scanShare = 0.7

// emptyRepeats bounds the connections to one target for which "accepted, nothing said"
// counts as a probe; a health check comes back again and again.
const emptyRepeats = 3

// scanPorts are services that scanners look for. A sweep over another port must be larger:
// peer-to-peer programs too meet many dead peers, though on ports of their own.
var scanPorts = []uint16{
	7, 19, 21, 22, 23, 25, 53, 69, 80, 81, 88, 102, 110, 111, 123, 135, 137, 139, 143, 161, 389, 443, 445, 500, 502, 512, 513, 514, 515,
	548, 554, 587, 623, 631, 636, 873, 902, 993, 995, 1080, 1099, 1433, 1434, 1521, 1723, 1883, 1900, 2049, 2181, 2222, 2323, 2375, 2376,
	3128, 3268, 3306, 3389, 3702, 4786, 5000, 5060, 5353, 5432, 5555, 5683, 5800, 5900, 5901, 5985, 5986, 6379, 6443, 7001, 7547, 8000,
	8009, 8080, 8081, 8088, 8291, 8443, 8888, 9000, 9001, 9090, 9100, 9200, 9389, 9999, 10000, 10250, 11211, 17185, 27017, 37215, 47808, 49152, 52869,
}

// scanPortsUDP are those of them that are looked for over UDP. 443 is not among them, and no
// sweep of it counts: a browser whose QUIC is filtered meets nothing but silence there.
var scanPortsUDP = []uint16{7, 19, 53, 69, 111, 123, 137, 161, 389, 500, 623, 1434, 1900, 3702, 5060, 5353, 5683, 11211, 17185, 47808}

// largeSweep is the number of dead targets from which the port no longer matters.
const largeSweep = 25

// groupAbove is the number of ports (or hosts) of one scanner from which its scans are told
// as one block scan instead of one by one.
const groupAbove = 5

var horizontalScan = Detector{
	ID:         "horizontal_scan",
	Title:      "One host probes many hosts",
	Techniques: []Technique{serviceDiscovery, scanningIPBlocks, systemDiscovery},
	FalsePositives: []string{
		"vulnerability and asset scanners, network management discovery",
		"a client of many servers that are switched off",
		"peer-to-peer programs that call many absent peers on one well-known port",
	},
	Detect: detectHorizontal,
}

var verticalScan = Detector{
	ID:         "vertical_scan",
	Title:      "One host probes many ports of another",
	Techniques: []Technique{serviceDiscovery, scanningIPBlocks},
	FalsePositives: []string{
		"vulnerability scanners and service monitors",
		"a client that tries alternative ports of a server behind a firewall",
	},
	Detect: detectVertical,
}

// walk judges first contacts in time order: which were probes, and whether the walk crossed
// its upper bound.
func walk(contacts []store.Contact, probe func(store.Contact) bool) (probes []store.Contact, crossed bool) {
	c := slices.Clone(contacts)
	slices.SortFunc(c, func(a, b store.Contact) int {
		return cmp.Or(cmp.Compare(a.TS, b.TS), a.IP.Compare(b.IP), cmp.Compare(a.Port, b.Port))
	})
	ratio := 1.0
	for _, x := range c {
		if probe(x) {
			probes = append(probes, x)
			ratio *= trwFail
		} else {
			ratio = max(trwLower, ratio*trwPass)
		}
		ratio = min(ratio, trwUpper)
		crossed = crossed || ratio >= trwUpper
	}
	return probes, crossed
}

func isProbe(c store.Contact) bool {
	return c.Outcome <= store.OutcomeRefused || c.Outcome == store.OutcomeEmpty && c.Flows <= emptyRepeats
}

// scanHit is one group that was judged to be a scan.
type scanHit struct {
	group   store.ScanGroup
	probes  []store.Contact
	judged  int
	refused int
	empty   int
	silent  int
}

func judge(g store.ScanGroup) (scanHit, bool) {
	probes, crossed := walk(g.Contacts, isProbe)
	h := scanHit{group: g, probes: probes, judged: len(g.Contacts)}
	for _, p := range probes {
		switch p.Outcome {
		case store.OutcomeRefused:
			h.refused++
		case store.OutcomeEmpty:
			h.empty++
		default:
			h.silent++
		}
	}
	return h, crossed && h.share() >= scanShare
}

func (h scanHit) share() float64 {
	return float64(len(h.probes)) / float64(max(1, h.judged))
}

func detectHorizontal(s Scope, rows *Rows) []model.Detection {
	bySource := map[string][]scanHit{}
	for _, g := range rows.Horizontal {
		if unsolicited(g.OrigIP) {
			continue
		}
		h, ok := judge(g)
		if strings.HasPrefix(g.Proto, "icmp") {
			ok = sweep(s, g, h)
		} else {
			need, known := s.ScanTargets, scanPorts
			if g.Proto == "udp" {
				need, known = max(2*need, 10), scanPortsUDP // silence is the usual answer of UDP
				ok = ok && g.Port != 443
			}
			ok = ok && len(h.probes) >= need &&
				(slices.Contains(known, g.Port) && concentrated(h, 0.2) || len(h.probes) >= largeSweep && concentrated(h, 0.5))
		}
		if ok {
			key := g.OrigIP.String() + " " + g.Proto
			bySource[key] = append(bySource[key], h)
		}
	}
	byPort := func(a, b scanHit) int { return cmp.Compare(a.group.Port, b.group.Port) }
	return perSource(s, bySource, byPort, horizontal)
}

// perSource raises the scans of each source in order: one detection for each, or one for
// all of a source that has more than groupAbove.
func perSource(s Scope, bySource map[string][]scanHit, order func(a, b scanHit) int, raise func(Scope, []scanHit) model.Detection) []model.Detection {
	var out []model.Detection
	for _, key := range sortedKeys(bySource) {
		hits := bySource[key]
		slices.SortFunc(hits, order)
		if len(hits) > groupAbove {
			out = append(out, raise(s, hits))
			continue
		}
		for _, h := range hits {
			out = append(out, raise(s, []scanHit{h}))
		}
	}
	return out
}

// concentrated reports whether the dead targets on this port are a fair part of all the
// dead hosts the originator met: a scanner's targets share ports, a peer's do not.
func concentrated(h scanHit, share float64) bool {
	return float64(len(h.probes)) >= share*float64(h.group.Reach)
}

// sweep judges echo requests: many silent targets, or very many that lie close together.
func sweep(s Scope, g store.ScanGroup, h scanHit) bool {
	silent := h.silent + h.refused
	if silent >= s.ScanTargets && float64(silent) >= 0.25*float64(h.judged) {
		return true
	}
	near := map[netip.Prefix]int{}
	for _, c := range g.Contacts {
		ip := c.IP.Unmap()
		bits := 24
		if ip.Is6() {
			bits = 64
		}
		if p, err := ip.Prefix(bits); err == nil && c.Flows <= emptyRepeats {
			near[p]++
			if near[p] >= 3*s.ScanTargets {
				return true
			}
		}
	}
	return false
}

func horizontal(s Scope, hits []scanHit) model.Detection {
	g := hits[0].group
	targets := map[netip.Addr]bool{}
	var ports []string
	total := scanHit{}
	var sup store.Support
	for _, h := range hits {
		for _, p := range h.probes {
			targets[p.IP] = true
		}
		total.judged += h.judged
		total.silent += h.silent
		total.refused += h.refused
		total.empty += h.empty
		total.probes = append(total.probes, h.probes...)
		ports = append(ports, strconv.Itoa(int(h.group.Port))+"/"+h.group.Proto)
		sup = combine(sup, h.group.Support)
	}
	icmp := strings.HasPrefix(g.Proto, "icmp")
	if icmp { // every echo request counts, answered or not
		for _, h := range hits {
			for _, c := range h.group.Contacts {
				targets[c.IP] = true
			}
		}
	}
	t := s.scanTechnique(g.OrigIP, icmp)
	entities := []string{g.OrigIP.String(), g.Proto}
	if len(hits) == 1 {
		entities = append(entities, strconv.Itoa(int(g.Port)))
	}
	d := s.raise("horizontal_scan", t, sup, entities...)
	d.OrigIP, d.Proto = g.OrigIP, g.Proto
	what := "port " + ports[0]
	switch {
	case icmp:
		what = "with ICMP echo requests"
		d.Title = "Ping sweep from " + g.OrigIP.String()
	case len(hits) == 1:
		d.RespPort = g.Port
		d.Title = fmt.Sprintf("Scan of port %s from %s", ports[0], g.OrigIP)
		what = "on " + what
	default:
		d.Title = fmt.Sprintf("Scan of %d ports on many hosts from %s", len(hits), g.OrigIP)
		what = fmt.Sprintf("on %d ports (%s)", len(hits), list(ports, 10))
	}
	took := lastProbe(total.probes).Sub(firstProbe(total.probes))
	if icmp {
		took = sup.Last.Sub(sup.First)
	}
	d.Why = fmt.Sprintf("%s contacted %d hosts %s within %s; %d of %d first contacts came to nothing (%s) and none of those addresses had been looked up in DNS.",
		g.OrigIP, len(targets), what, span(took), len(total.probes), total.judged, total.outcomes())
	d.Numbers = numbers(
		number("targets", float64(len(targets)), ""),
		number("probes", float64(len(total.probes)), ""),
		number("first_contacts", float64(total.judged), ""),
		number("failed_share", total.share(), ""),
		number("ports", float64(len(hits)), ""),
		number("unanswered", float64(total.silent), ""),
		number("refused", float64(total.refused), ""),
		number("empty", float64(total.empty), ""),
		number("duration", took.Seconds(), "s"),
	)
	d.Confidence = scanConfidence(len(targets), total.share())
	if icmp {
		d.Confidence = scanConfidence(len(targets), max(scanShare, total.share()))
	}
	d.Severity = s.scanSeverity(g.OrigIP, len(targets))
	return d
}

func detectVertical(s Scope, rows *Rows) []model.Detection {
	bySource := map[string][]scanHit{}
	for _, g := range rows.Vertical {
		if unsolicited(g.OrigIP) || unsolicited(g.RespIP) {
			continue
		}
		h, ok := judge(g)
		need := s.ScanTargets
		if g.Proto == "udp" {
			if need = max(4*need, 20); ok {
				ok = !tracerouteLike(h.probes)
			}
		}
		if ok && len(h.probes) >= need {
			key := g.OrigIP.String() + " " + g.Proto
			bySource[key] = append(bySource[key], h)
		}
	}
	byTarget := func(a, b scanHit) int { return a.group.RespIP.Compare(b.group.RespIP) }
	return perSource(s, bySource, byTarget, vertical)
}

// tracerouteLike reports whether UDP probes walk the port range traceroute uses.
func tracerouteLike(probes []store.Contact) bool {
	n := 0
	for _, p := range probes {
		if p.Port >= 33434 && p.Port <= 33689 {
			n++
		}
	}
	return 2*n > len(probes)
}

func vertical(s Scope, hits []scanHit) model.Detection {
	g := hits[0].group
	total := scanHit{}
	var sup store.Support
	ports := map[uint16]bool{}
	var hosts []string
	for _, h := range hits {
		for _, p := range h.probes {
			ports[p.Port] = true
		}
		total.judged += h.judged
		total.silent += h.silent
		total.refused += h.refused
		total.empty += h.empty
		total.probes = append(total.probes, h.probes...)
		hosts = append(hosts, h.group.RespIP.String())
		sup = combine(sup, h.group.Support)
	}
	t := s.scanTechnique(g.OrigIP, false)
	entities := []string{g.OrigIP.String(), g.Proto}
	if len(hits) == 1 {
		entities = append(entities, g.RespIP.String())
	}
	d := s.raise("vertical_scan", t, sup, entities...)
	d.OrigIP, d.Proto = g.OrigIP, g.Proto
	on := hosts[0]
	if len(hits) == 1 {
		d.RespIP = g.RespIP
		d.Title = fmt.Sprintf("Port scan of %s from %s", g.RespIP, g.OrigIP)
	} else {
		d.Title = fmt.Sprintf("Port scan of %d hosts from %s", len(hits), g.OrigIP)
		on = fmt.Sprintf("%d hosts (%s)", len(hits), list(hosts, 10))
	}
	took := lastProbe(total.probes).Sub(firstProbe(total.probes))
	sorted := sortedKeys(ports)
	names := make([]string, len(sorted))
	for i, p := range sorted {
		names[i] = strconv.Itoa(int(p))
	}
	d.Why = fmt.Sprintf("%s probed %d %s ports (%s) of %s within %s; %d of %d first contacts came to nothing (%s).",
		g.OrigIP, len(ports), g.Proto, list(names, 12), on, span(took), len(total.probes), total.judged, total.outcomes())
	d.Numbers = numbers(
		number("ports", float64(len(ports)), ""),
		number("targets", float64(len(hits)), ""),
		number("probes", float64(len(total.probes)), ""),
		number("first_contacts", float64(total.judged), ""),
		number("failed_share", total.share(), ""),
		number("unanswered", float64(total.silent), ""),
		number("refused", float64(total.refused), ""),
		number("empty", float64(total.empty), ""),
		number("duration", took.Seconds(), "s"),
	)
	d.Confidence = scanConfidence(len(ports), total.share())
	d.Severity = s.scanSeverity(g.OrigIP, len(ports))
	return d
}

// scanTechnique is discovery for a host of the site and reconnaissance for a stranger.
func (s Scope) scanTechnique(from netip.Addr, icmp bool) Technique {
	switch {
	case !s.internal(from):
		return scanningIPBlocks
	case icmp:
		return systemDiscovery
	}
	return serviceDiscovery
}

// scanConfidence rises from 60 with five dead targets to 100 with forty, weighed by the
// share of contacts that failed: 100 * (0.6 + 0.4 * min(1, (n-5)/35)) * share. Of a ping
// sweep the share counts as 0.7 at least, because live hosts answer.
func scanConfidence(n int, share float64) uint8 {
	return percent((0.6 + 0.4*min(1, max(0, float64(n-5)/35))) * share)
}

// scanSeverity: strangers scan every day, a host of the site does not.
func (s Scope) scanSeverity(from netip.Addr, n int) string {
	switch {
	case s.internal(from) && n >= 50:
		return model.SeverityHigh
	case s.internal(from) || n >= 20:
		return model.SeverityMedium
	}
	return model.SeverityLow
}

func (h scanHit) outcomes() string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{h.silent, "unanswered"}, {h.refused, "refused"}, {h.empty, "accepted but left empty"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if len(parts) == 0 {
		return "all answered"
	}
	return strings.Join(parts, ", ")
}

func firstProbe(c []store.Contact) model.Time {
	if len(c) == 0 {
		return 0
	}
	return slices.MinFunc(c, func(a, b store.Contact) int { return cmp.Compare(a.TS, b.TS) }).TS
}

func lastProbe(c []store.Contact) model.Time {
	if len(c) == 0 {
		return 0
	}
	return slices.MaxFunc(c, func(a, b store.Contact) int { return cmp.Compare(a.TS, b.TS) }).TS
}

// combine joins the support of two groups of different flows. The flow lists are joined in
// the order given and cut; the counts stay exact.
func combine(a, b store.Support) store.Support {
	if a.FlowCount == 0 {
		return b
	}
	a.FlowCount += b.FlowCount
	a.Flows = append(slices.Clone(a.Flows), b.Flows...)
	if len(a.Flows) > model.FlowsCap {
		a.Flows = a.Flows[:model.FlowsCap]
	}
	a.EvidenceIDs = append(slices.Clone(a.EvidenceIDs), b.EvidenceIDs...)
	slices.Sort(a.EvidenceIDs)
	a.EvidenceIDs = slices.Compact(a.EvidenceIDs)
	if b.First < a.First {
		a.First = b.First
	}
	a.Last = max(a.Last, b.Last)
	return a
}

// list names the first n of v and says how many more there are.
func list(v []string, n int) string {
	if len(v) <= n {
		return strings.Join(v, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(v[:n], ", "), len(v)-n)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
