package render

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/services/report/internal/content"
)

const (
	maxRefs  = 12 // ids shown behind a statement
	maxFlows = 6  // flow ids shown with a detection or step; the JSON documents hold them all

	verifyText = "Every input, every stored batch of records and these documents are leaves of the evidence ledger. The command below checks offline, from the folder of this report, that " +
		"the files are the ones whose hashes stand here, that the ledger contains them, and that its signed checkpoint fits. A changed byte is found and named."
	verifyCommands = "tracer verify DIR\nsha256sum FILE      # of an input: must equal the hash above"
)

// labels give each record a short name to point at it in running text: D1 for the first
// detection, E1 for the first step, T1 for the first trace, I1 for the first input.
type labels map[string]string

func labelsOf(r *content.Report) labels {
	l := labels{}
	for i, d := range r.Detections {
		l[d.DetectionID] = "D" + strconv.Itoa(i+1)
	}
	n := 0
	for _, m := range r.Chronology {
		if _, known := l[m.ID]; !known {
			n++
			l[m.ID] = "E" + strconv.Itoa(n)
		}
	}
	for i, t := range r.Traces {
		l[t.TraceID] = "T" + strconv.Itoa(i+1)
	}
	for i, s := range r.Inputs {
		l[s.EvidenceID] = "I" + strconv.Itoa(i+1)
	}
	return l
}

// sorted puts ids in the order of their short names.
func (l labels) sorted(ids []string) []string {
	out := slices.Clone(ids)
	slices.SortStableFunc(out, func(a, b string) int {
		x, y := l.of(a), l.of(b)
		return cmp.Or(cmp.Compare(x[:min(1, len(x))], y[:min(1, len(y))]), cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
	})
	return out
}

func (l labels) of(id string) string {
	if s, ok := l[id]; ok {
		return s
	}
	return id
}

// query is the command that shows the flows.
func query(ids []model.FlowID) string {
	var list []string
	for _, id := range ids[:min(len(ids), maxFlows)] {
		list = append(list, id.String())
	}
	if len(list) == 1 {
		return fmt.Sprintf(`tracer query "SELECT * FROM flow WHERE flow_id = %s"`, list[0])
	}
	return fmt.Sprintf(`tracer query "SELECT * FROM flow WHERE flow_id IN (%s)"`, strings.Join(list, ", "))
}

// usualPort is the port of a service. What was not recognised has none, unless it is a
// single flow: the most used port of a scan says nothing.
func usualPort(s store.Service) string {
	if s.Service == "" && s.Flows > 1 {
		return "–"
	}
	return strconv.Itoa(int(s.Port))
}

// number writes a figure with its unit.
func number(n model.Number) string {
	s := strconv.FormatFloat(n.Value, 'f', -1, 64)
	if i := strings.IndexByte(s, '.'); i >= 0 && len(s) > i+4 {
		s = strconv.FormatFloat(n.Value, 'f', 3, 64)
	}
	s = strings.ReplaceAll(n.Name, "_", " ") + " " + s
	if n.Unit != "" {
		s += " " + n.Unit
	}
	return s
}

// parties says between whom a detection stands.
func parties(d model.Detection) string {
	from, to := "several hosts", "several hosts"
	if d.OrigIP.IsValid() {
		from = d.OrigIP.String()
	}
	if d.RespIP.IsValid() {
		to = d.RespIP.String()
	}
	s := from + " to " + to
	if d.RespPort != 0 {
		s += fmt.Sprintf(", port %d/%s", d.RespPort, d.Proto)
	} else if d.Proto != "" {
		s += ", " + d.Proto
	}
	if d.Domain != "" {
		s += ", " + d.Domain
	}
	if d.Indicator != "" {
		s += ", matched " + d.Indicator
	}
	return s
}

// end writes one end of a step.
func end(ip netip.Addr, port uint16, proto, service string) string {
	if !ip.IsValid() {
		return "several"
	}
	s := ip.String()
	if port != 0 {
		s += fmt.Sprintf(" %d/%s", port, proto)
	}
	if service != "" {
		s += " " + service
	}
	return s
}

func serviceName(s string) string {
	if s == "" {
		return "not recognised"
	}
	return s
}

func stopText(reason string) string {
	switch reason {
	case "fixpoint":
		return "nothing further was likely enough to belong to it"
	case "budget":
		return "its budget of hosts, steps or rounds was spent"
	default:
		return reason
	}
}
