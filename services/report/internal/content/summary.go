package content

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Bounds of the summary: it is one page.
const (
	maxNamed  = 4  // hosts named in one sentence
	maxTraces = 3  // traces told one by one
	maxDone   = 10 // sentences on what was done in one trace
)

// summary answers a leader's five questions by fixed sentences. A sentence without ids to
// rest on is not written, apart from those that say that there is nothing to tell.
func summary(r *Report) []Paragraph {
	if len(r.Detections) == 0 {
		return []Paragraph{{"What was found", []Statement{{quiet(r), sourceIDs(r)}}}, surety(r)}
	}
	out := []Paragraph{headline(r), hit(r), began(r), done(r), left(r), surety(r)}
	return slices.DeleteFunc(out, func(p Paragraph) bool { return len(p.Statements) == 0 })
}

func quiet(r *Report) string {
	return fmt.Sprintf("No detector and no threat profile found anything suspicious in %s of %s. This does not prove that nothing happened: what the evidence does not show cannot be found in it.",
		Plural(r.Traffic.Flows, "flow", "flows"), Plural(uint64(len(r.Inputs)), "input", "inputs"))
}

func sourceIDs(r *Report) []string {
	var ids []string
	for _, s := range r.Inputs {
		ids = append(ids, s.EvidenceID)
	}
	return filled(ids)
}

func headline(r *Report) Paragraph {
	bySeverity := map[string]uint64{}
	var ids []string
	for _, d := range r.Detections {
		bySeverity[d.Severity]++
		if d.Severity == r.Severity {
			ids = append(ids, d.DetectionID)
		}
	}
	var counts []string
	for _, s := range slices.Backward(Severities) {
		if n := bySeverity[s]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, s))
		}
	}
	first, last := r.Detections[0].FirstSeen, r.Detections[0].LastSeen
	for _, d := range r.Detections {
		first, last = min(first, d.FirstSeen), max(last, d.LastSeen)
	}
	p := Paragraph{Heading: "What was found", Statements: []Statement{{
		fmt.Sprintf("%s (%s) in %s between %s and %s.", Plural(uint64(len(r.Detections)), "detection", "detections"), strings.Join(counts, ", "),
			Plural(r.Traffic.Flows, "flow", "flows"), When(first), When(last)), ids,
	}}}
	if n := len(r.Traces); n > 0 {
		var traceIDs []string
		traced := map[string]bool{}
		for _, t := range r.Traces {
			traceIDs = append(traceIDs, t.TraceID)
			for _, id := range t.From {
				traced[id] = true
			}
		}
		who, rest := "They", ""
		if out := len(r.Detections) - len(traced); out > 0 && len(traced) > 0 {
			who, rest = fmt.Sprintf("%d of them", len(traced)), " The others are too weak, each by itself, to belong to a trace."
			if out == 1 {
				rest = " The other is too weak by itself to belong to a trace."
			}
		}
		text := who + " belong together in one trace." + rest
		if len(traced) == 1 {
			text = map[bool]string{true: "It makes one trace.", false: "1 of them makes one trace."}[len(r.Detections) == 1] + rest
		}
		if n > 1 {
			text = fmt.Sprintf("%s form %d traces that the evidence does not connect with each other.%s", who, n, rest)
		}
		p.Statements = append(p.Statements, Statement{text, traceIDs})
	}
	return p
}

func hit(r *Report) Paragraph {
	p := Paragraph{Heading: "Who was hit"}
	var entered, attackers, weak, used, looked []Host
	for _, h := range r.Hosts {
		switch {
		case h.Internal && h.Role != "target" && h.Role != "relay" && h.Role != "" && len(h.Detections) > 0 && Rank(h.Severity) < Rank(model.SeverityMedium):
			weak = append(weak, h)
		case h.Internal && h.Role != "target" && h.Role != "relay" && h.Role != "" && len(h.Detections) == 0:
			used = append(used, h)
		case h.Compromised() && attacksOnly(r, h.IP):
			attackers = append(attackers, h)
		case h.Compromised():
			entered = append(entered, h)
		case h.Role == "target" && h.Internal:
			looked = append(looked, h)
		}
	}
	if len(entered) > 0 {
		verb := "shows"
		if len(entered) > 1 {
			verb = "show"
		}
		p.Statements = append(p.Statements, Statement{
			fmt.Sprintf("%s of the inside network %s signs of compromise: %s.", Plural(uint64(len(entered)), "host", "hosts"), verb, some(sortedByIP(entered))),
			hostIDs(entered),
		})
	}
	if len(attackers) > 0 {
		p.Statements = append(p.Statements, Statement{
			fmt.Sprintf("%s of the inside network attacked others; nothing shows that %s entered: %s.", Plural(uint64(len(attackers)), "host", "hosts"),
				map[bool]string{true: "it was", false: "they were"}[len(attackers) == 1], some(sortedByIP(attackers))), hostIDs(attackers),
		})
	}
	if len(weak) > 0 {
		verb := "has"
		if len(weak) > 1 {
			verb = "have"
		}
		p.Statements = append(p.Statements, Statement{
			fmt.Sprintf("%s %s weak signs only (detections of low severity, often harmless): %s.", Plural(uint64(len(weak)), "host", "hosts"), verb, some(sortedByIP(weak))), hostIDs(weak),
		})
	}
	if len(used) > 0 {
		p.Statements = append(p.Statements, Statement{
			fmt.Sprintf("%s may have been used on the way, though no detection names %s: %s.", Plural(uint64(len(used)), "further host", "further hosts"), map[bool]string{true: "it", false: "them"}[len(used) == 1], some(sortedByIP(used))),
			hostIDs(used),
		})
	}
	if len(looked) > 0 {
		verb := "was"
		if len(looked) > 1 {
			verb = "were"
		}
		p.Statements = append(p.Statements, Statement{
			fmt.Sprintf("%s %s probed without a sign of having been entered: %s.", Plural(uint64(len(looked)), "further host", "further hosts"), verb, some(sortedByIP(looked))),
			hostIDs(looked),
		})
	}
	if len(p.Statements) == 0 {
		if s, ok := probed(r); ok {
			p.Statements = append(p.Statements, s)
			return p
		}
		var outside []Host
		for _, h := range r.Hosts {
			if len(h.Detections) > 0 {
				outside = append(outside, h)
			}
		}
		if len(outside) > 0 {
			p.Statements = append(p.Statements, Statement{
				fmt.Sprintf("No address of a private network is involved. The detections name %s.", some(sortedByIP(outside))), hostIDs(outside),
			})
		}
	}
	return p
}

// attacksOnly tells whether a host exploited others, did nothing else that a trace tells,
// and was entered by nobody.
func attacksOnly(r *Report, ip netip.Addr) bool {
	attacks := false
	for i := range r.Traces {
		t := &r.Traces[i]
		for k := range t.Edges {
			e := &t.Edges[k]
			enters := e.Phase == model.PhaseTraversal || e.Phase == model.PhaseExploit && e.Direction != "outbound" && !calledBack(t, e)
			switch {
			case e.OrigIP == ip && (e.Phase != model.PhaseExploit || !enters), e.RespIP == ip && enters:
				return false
			case e.OrigIP == ip:
				attacks = true
			}
		}
	}
	return attacks
}

// probed names the addresses of private networks that the listed flows of scans went to,
// for cases in which no trace tells of them.
func probed(r *Report) (Statement, bool) {
	found := map[netip.Addr]bool{}
	var ids []string
	atLeast := ""
	for _, d := range r.Detections {
		if !scanned(r, []string{d.DetectionID}) {
			continue
		}
		own := map[netip.Addr]bool{}
		for _, id := range d.Flows {
			to := r.listed[id]
			own[to] = true
			if to.IsPrivate() {
				found[to] = true
				ids = append(ids, d.DetectionID)
			}
		}
		for _, n := range d.Numbers {
			if n.Name == "targets" && n.Value > float64(len(own)) {
				atLeast = "At least "
			}
		}
	}
	if len(found) == 0 {
		return Statement{}, false
	}
	var names []string
	for _, ip := range slices.SortedFunc(maps.Keys(found), netip.Addr.Compare) {
		names = append(names, label(r, ip))
	}
	return Statement{fmt.Sprintf("%s%s of a private network %s probed; no trace leads into them: %s.", atLeast, Plural(uint64(len(names)), "address", "addresses"),
		map[bool]string{true: "was", false: "were"}[len(names) == 1], some(names)), unique(ids)}, true
}

func hostIDs(hosts []Host) []string {
	var ids []string
	for _, h := range hosts {
		if len(h.Detections) > 0 {
			ids = append(ids, h.Detections...)
		} else {
			ids = append(ids, h.Traces...)
		}
	}
	return unique(ids)
}

// foremost are the traces that are told one by one: those with a detection above low
// severity or, if there are none, the first.
func foremost(r *Report) []model.Trace {
	grave := map[string]bool{}
	for _, d := range r.Detections {
		grave[d.DetectionID] = Rank(d.Severity) >= Rank(model.SeverityMedium)
	}
	var list []model.Trace
	for _, t := range r.Traces {
		if slices.ContainsFunc(t.From, func(id string) bool { return grave[id] }) {
			list = append(list, t)
		}
	}
	if len(list) == 0 {
		list = r.Traces
	}
	return list[:min(len(list), maxTraces)]
}

// others says that there are traces which are not told.
func others(r *Report) []Statement {
	told := map[string]bool{}
	for _, t := range foremost(r) {
		told[t.TraceID] = true
	}
	var ids []string
	for _, t := range r.Traces {
		if !told[t.TraceID] {
			ids = append(ids, t.TraceID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return []Statement{{fmt.Sprintf("%s of less weight: see “Traces”.", Plural(uint64(len(ids)), "further trace is", "further traces are")), ids}}
}

func began(r *Report) Paragraph {
	p := Paragraph{Heading: "How it began"}
	for _, t := range foremost(r) {
		if len(t.Origins) == 0 {
			continue
		}
		o := t.Origins[0]
		at := t.Start
		for _, h := range t.Hosts {
			if h.IP == o.IP && h.FirstSeen != 0 {
				at = h.FirstSeen
			}
		}
		text := fmt.Sprintf("As far as the evidence shows, it began at %s on %s (confidence %d of 100). %s", label(r, o.IP), When(at), o.Confidence, o.Why)
		if n := len(t.Origins) - 1; n > 0 {
			text += " Also possible: "
			var others []string
			for _, o := range t.Origins[1:] {
				others = append(others, fmt.Sprintf("%s (%d of 100)", label(r, o.IP), o.Confidence))
			}
			text += some(others) + "."
		}
		p.Statements = append(p.Statements, Statement{text, []string{t.TraceID}})
	}
	return p
}

// label is the address with the host's name.
func label(r *Report, ip netip.Addr) string {
	for _, h := range r.Hosts {
		if h.IP == ip {
			return h.Label()
		}
	}
	return ip.String()
}

// verbs say what an edge of each phase did.
var verbs = map[string]string{
	model.PhaseRecon: "probed", model.PhaseExploit: "attacked", model.PhaseC2: "reported to", model.PhaseDiscovery: "scanned",
	model.PhaseCredential: "tried credentials on", model.PhaseTraversal: "worked on", model.PhaseCollection: "gathered data from",
	model.PhaseExfil: "sent data to", model.PhaseUnknown: "had suspicious traffic with",
}

// verb says what an edge did.
func verb(r *Report, t *model.Trace, e *model.TraceEdge) string {
	switch {
	case (e.Phase == model.PhaseRecon || e.Phase == model.PhaseDiscovery) && !scanned(r, e.Detections):
		if names := domainsOf(r, e.Detections); len(names) > 0 && strings.Contains(e.Service, "dns") {
			return "looked up " + some(names) + " through"
		}
		return "asked for information from"
	case e.Phase == model.PhaseExploit && e.Direction == "outbound":
		return "fetched hostile content from"
	case e.Phase == model.PhaseExploit && calledBack(t, e):
		return "called back to"
	case e.Phase == model.PhaseC2 && e.Direction == "lateral" && strings.Contains(e.Service, "dns"):
		return "tunnelled through"
	case e.Phase == model.PhaseC2 && e.Direction == "lateral":
		return "held a channel to"
	case e.Phase == model.PhaseCredential && strings.HasPrefix(e.Technique, "T1003"):
		return "took credentials from"
	}
	if v := verbs[e.Phase]; v != "" {
		return v
	}
	return verbs[model.PhaseUnknown]
}

// scanned tells whether one of the detections is a scan, and not a question such as that
// for one's own public address, which threat profiles find.
func scanned(r *Report, ids []string) bool {
	return slices.ContainsFunc(r.Detections, func(d model.Detection) bool {
		looks := d.Detector != "profile" || strings.HasPrefix(d.Technique, "T1595") || d.Technique == "T1046"
		return looks && (d.Phase == model.PhaseRecon || d.Phase == model.PhaseDiscovery) && slices.Contains(ids, d.DetectionID)
	})
}

// domainsOf lists the names that the detections are about.
func domainsOf(r *Report, ids []string) []string {
	var names []string
	for _, d := range r.Detections {
		if d.Domain != "" && slices.Contains(ids, d.DetectionID) {
			names = append(names, d.Domain)
		}
	}
	return unique(names)
}

// calledBack tells whether an edge without a detection of its own is the answer of a host
// to one that attacked it: the host was made to call.
func calledBack(t *model.Trace, e *model.TraceEdge) bool {
	return len(e.Detections) == 0 && slices.ContainsFunc(t.Edges, func(o model.TraceEdge) bool {
		return o.OrigIP == e.RespIP && o.RespIP == e.OrigIP && o.Start <= e.Start && len(o.Detections) > 0 &&
			(o.Phase == model.PhaseExploit || o.Phase == model.PhaseTraversal)
	})
}

// done tells what was done, one sentence for each actor and phase, in time order.
func done(r *Report) Paragraph {
	p := Paragraph{Heading: "What was done"}
	for _, t := range foremost(r) {
		type act struct {
			orig        netip.Addr
			phase, verb string
			outbound    bool
		}
		var order []act
		groups := map[act][]model.TraceEdge{}
		for _, e := range t.Edges {
			a := act{e.OrigIP, e.Phase, verb(r, &t, &e), e.Direction == "outbound"}
			if groups[a] == nil {
				order = append(order, a)
			}
			groups[a] = append(groups[a], e)
		}
		for i, a := range order {
			if i == maxDone {
				p.Statements = append(p.Statements, Statement{
					fmt.Sprintf("%s of this trace are told in the chronology.", Plural(uint64(len(order)-i), "further step", "further steps")), []string{t.TraceID},
				})
				break
			}
			edges := groups[a]
			var to, ids []string
			var flows uint64
			start, end := edges[0].Start, edges[0].End
			for _, e := range edges {
				to = append(to, label(r, e.RespIP))
				ids = append(ids, e.EdgeID)
				flows += e.FlowCount
				end = max(end, e.End)
			}
			how := ""
			if s := edges[0].Service; s != "" && len(edges) == 1 {
				how = " over " + s
			}
			text := fmt.Sprintf("%s: from %s on, %s %s %s%s in %s", PhaseNames[a.phase], When(start), label(r, a.orig), a.verb, some(unique(to)), how, Plural(flows, "flow", "flows"))
			if d := end.Sub(start); d >= 2e9 {
				text += " over " + Duration(d)
			}
			p.Statements = append(p.Statements, Statement{text + ".", unique(ids)})
		}
	}
	p.Statements = append(p.Statements, others(r)...)
	return p
}

func left(r *Report) Paragraph {
	p := Paragraph{Heading: "What left the network"}
	var commands uint64
	var ids []string
	for _, t := range r.Traces {
		for _, e := range t.Edges {
			switch {
			case e.Phase == model.PhaseExfil:
				what, from := Bytes(e.OrigBytes), label(r, e.OrigIP)
				if d := tunnelOf(r, &e); d != nil {
					for _, n := range d.Numbers {
						if n.Name == "carried" {
							what = "Up to " + Bytes(uint64(n.Value)) + ", carried in DNS names,"
						}
					}
					if d.OrigIP != e.OrigIP && d.OrigIP.IsValid() {
						from = label(r, d.OrigIP) + " through " + from
					}
				}
				p.Statements = append(p.Statements, Statement{
					fmt.Sprintf("%s went from %s to %s between %s and %s (%s).", what, from, label(r, e.RespIP), When(e.Start), When(e.End), sure(e.Confidence)),
					[]string{e.EdgeID},
				})
			case e.Phase == model.PhaseC2 && e.Direction != "lateral":
				commands += e.OrigBytes
				ids = append(ids, e.EdgeID)
			}
		}
	}
	if n := len(p.Statements); n > maxDone {
		var rest []string
		for _, s := range p.Statements[maxDone:] {
			rest = append(rest, s.IDs...)
		}
		p.Statements = append(p.Statements[:maxDone], Statement{fmt.Sprintf("%s are told in the chronology.", Plural(uint64(n-maxDone), "further transfer", "further transfers")), rest})
	}
	if len(ids) > 0 {
		p.Statements = append(p.Statements, Statement{
			fmt.Sprintf("At least %s were sent to command-and-control addresses; this can carry stolen data as well as commands' results.", Bytes(commands)), unique(ids),
		})
	}
	if len(p.Statements) == 0 && len(r.Traces) > 0 {
		var traceIDs []string
		for _, t := range r.Traces {
			traceIDs = append(traceIDs, t.TraceID)
		}
		p.Statements = append(p.Statements, Statement{"No transfer of data out of the network was recognised.", traceIDs})
	}
	return p
}

// tunnelOf is the DNS tunnel that an edge is drawn for; where a resolver passed it on, that
// of the host behind it.
func tunnelOf(r *Report, e *model.TraceEdge) *model.Detection {
	var found *model.Detection
	for i := range r.Detections {
		d := &r.Detections[i]
		if d.Detector == "dns_tunnel" && slices.Contains(e.Detections, d.DetectionID) && (found == nil || found.OrigIP == e.OrigIP) {
			found = d
		}
	}
	return found
}

func surety(r *Report) Paragraph {
	p := Paragraph{Heading: "How sure this is"}
	if len(r.Detections) > 0 {
		lowest, highest := r.Detections[0].Confidence, r.Detections[0].Confidence
		var ids []string
		for _, d := range r.Detections {
			if d.Severity != r.Severity {
				continue
			}
			lowest, highest = min(lowest, d.Confidence), max(highest, d.Confidence)
			ids = append(ids, d.DetectionID)
		}
		text := fmt.Sprintf("The detections of severity %s have a confidence of %d of 100 (%s).", r.Severity, highest, sure(highest))
		if lowest != highest && sure(lowest) == sure(highest) {
			text = fmt.Sprintf("The detections of severity %s have a confidence of %d to %d of 100 (%s).", r.Severity, lowest, highest, sure(highest))
		} else if lowest != highest {
			text = fmt.Sprintf("The detections of severity %s have a confidence of %d to %d of 100 (%s to %s).", r.Severity, lowest, highest, sure(lowest), sure(highest))
		}
		p.Statements = append(p.Statements, Statement{text, ids})
	}
	var certain, possible uint64
	var traceIDs []string
	for _, t := range r.Traces {
		traceIDs = append(traceIDs, t.TraceID)
		for _, e := range t.Edges {
			if e.Order == model.OrderCertain {
				certain++
			} else {
				possible++
			}
		}
	}
	if certain+possible > 0 {
		text := fmt.Sprintf("Within the clock bounds set for the inputs, the order in time is certain for %s.", allOf(certain, certain+possible))
		if possible > 0 {
			text = fmt.Sprintf("Within the clock bounds set for the inputs, the order in time is certain for %d of %s and possible for the others.", certain, Plural(certain+possible, "step", "steps"))
		}
		p.Statements = append(p.Statements, Statement{text, traceIDs})
	}
	if len(r.Limits) > 0 {
		p.Statements = append(p.Statements, Statement{
			fmt.Sprintf("%s the evidence; see “What could not be read”.", map[bool]string{true: "One limit applies to", false: fmt.Sprintf("%d limits apply to", len(r.Limits))}[len(r.Limits) == 1]),
			limitIDs(r),
		})
	} else {
		p.Statements = append(p.Statements, Statement{"All inputs were read completely.", sourceIDs(r)})
	}
	return p
}

func allOf(n, of uint64) string {
	if of == 1 {
		return "the one step"
	}
	return fmt.Sprintf("all %s", Plural(n, "step", "steps"))
}

func limitIDs(r *Report) []string {
	var ids []string
	for _, l := range r.Limits {
		ids = append(ids, l.IDs...)
	}
	return unique(ids)
}

// lossWords mark counters that stand for something the evidence did not yield.
var lossWords = []string{
	"bad", "cut", "discard", "drop", "error", "evict", "gap", "incomplete", "invalid", "limit", "lost", "malformed", "missed", "overflow",
	"panic", "timeout", "too_", "truncated", "unread", "unsupported", "unknown",
}

// Lossy reports whether a counter stands for something that was not read.
func Lossy(counter string) bool {
	return slices.ContainsFunc(lossWords, func(w string) bool { return strings.Contains(counter, w) })
}

// limits says what could not be read and what follows from it.
func limits(r *Report) []Statement {
	out := []Statement{}
	for _, s := range r.Inputs {
		ids := []string{s.EvidenceID}
		for _, problem := range s.Problems {
			out = append(out, Statement{fmt.Sprintf("%s: %s", s.Names[0], strings.TrimSuffix(problem, ".")+"."), ids})
		}
		if s.BytesUnread > 0 {
			out = append(out, Statement{fmt.Sprintf("%s: %s behind the damage were not read; what they hold is in no conclusion.", s.Names[0], Plural(s.BytesUnread, "byte", "bytes")), ids})
		}
		if s.Packets == 0 && len(s.Problems) == 0 {
			out = append(out, Statement{fmt.Sprintf("%s: it held no packet.", s.Names[0]), ids})
		}
		var lost []string
		for _, name := range sortedCounters(s.Counters) {
			if n := s.Counters[name]; n > 0 && Lossy(name) {
				lost = append(lost, fmt.Sprintf("%s %s", strings.ReplaceAll(name, "_", " "), Count(n)))
			}
		}
		if len(lost) > 0 {
			out = append(out, Statement{fmt.Sprintf("%s: read in part (%s). Conclusions that rest on these packets are weaker.", s.Names[0], strings.Join(lost, ", ")), ids})
		}
	}
	for _, t := range r.Traces {
		if t.Stop.Reason == "budget" {
			out = append(out, Statement{fmt.Sprintf("Trace %s was ended by its budget; more hosts or steps may belong to it.", t.TraceID), []string{t.TraceID}})
		}
	}
	return out
}

func sortedCounters(m map[string]uint64) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
