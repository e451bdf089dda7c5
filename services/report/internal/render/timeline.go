package render

import (
	"cmp"
	"html/template"
	"math"
	"net/netip"
	"slices"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/report/internal/content"
)

// Bounds of the swim lanes: what is beyond stands in the chronology table.
const (
	maxLanes   = 24
	maxMoments = 400
	maxRows    = 6 // bars above each other in one lane
)

// lanes is the swim-lane picture of the chronology: a lane for each host, a bar for each
// step in the lane of the host that acted, a line to the lane of the host acted upon.
func lanes(r *content.Report) (picture template.HTML, hiddenHosts, hiddenSteps int) {
	order := laneOrder(r)
	if len(order) == 0 {
		return "", 0, 0
	}
	if len(order) > maxLanes {
		hiddenHosts = len(order) - maxLanes
		order = order[:maxLanes]
	}
	lane := map[netip.Addr]int{}
	for i, h := range order {
		lane[h.IP] = i
	}
	var shown []content.Moment
	for _, m := range r.Chronology {
		if _, ok := lane[m.OrigIP]; ok && m.Start != 0 && len(shown) < maxMoments {
			shown = append(shown, m)
		} else {
			hiddenSteps++
		}
	}
	if len(shown) == 0 {
		return "", 0, 0
	}

	const w, left, top, barH, rowH, pad = 1160.0, 216.0, 44.0, 9.0, 12.0, 9.0
	from, to := shown[0].Start, shown[0].End
	for _, m := range shown {
		from, to = min(from, m.Start), max(to, m.End)
	}
	s := newScale(from, to, left, w-10)

	rows := make([][]float64, len(order)) // right end of the last bar of each row of a lane
	row := make([]int, len(shown))
	for i, m := range shown {
		x0, x1 := bar(s, m)
		l := lane[m.OrigIP]
		k := slices.IndexFunc(rows[l], func(end float64) bool { return end+3 <= x0 })
		if k < 0 && len(rows[l]) < maxRows {
			rows[l] = append(rows[l], 0)
			k = len(rows[l]) - 1
		} else if k < 0 {
			k = maxRows - 1
		}
		rows[l][k] = math.Max(rows[l][k], x1)
		row[i] = k
	}
	y := make([]float64, len(order)+1)
	y[0] = top
	for i := range order {
		y[i+1] = y[i] + 2*pad + math.Max(2, float64(len(rows[i])))*rowH
	}
	height := y[len(order)] + 6

	d := &drawing{}
	for i, h := range order {
		class := "lane"
		if i%2 == 1 {
			class = "lane odd"
		}
		d.add(`<rect class="%v" x="0" y="%v" width="%v" height="%v"/>`, class, y[i], w, y[i+1]-y[i])
		mid := (y[i] + y[i+1]) / 2
		d.add(`<a href="#%v"><text class="host" x="12" y="%v">%v</text>`, hostAnchor(h.IP), mid-2, esc(short(h.IP.String(), 30)))
		sub := h.Role
		if len(h.Names) > 0 {
			sub += " · " + h.Names[0]
		}
		d.add(`<text class="sub" x="12" y="%v">%v</text></a>`, mid+12, esc(short(sub, 32)))
	}
	d.axis(s, top, y[len(order)])
	for i, m := range shown { // connections below the bars
		to, ok := lane[m.RespIP]
		if !ok || m.RespIP == m.OrigIP {
			continue
		}
		x, _ := bar(s, m)
		from := lane[m.OrigIP]
		y0 := y[from] + pad + float64(row[i])*rowH + barH/2
		y1 := (y[to] + y[to+1]) / 2
		d.add(`<line class="link ph-%v" x1="%v" x2="%v" y1="%v" y2="%v"/><circle class="dot ph-%v" cx="%v" cy="%v" r="3"/>`, phaseClass(m.Phase), x+1, x+1, y0, y1, phaseClass(m.Phase), x+1, y1)
	}
	for i, m := range shown {
		x0, x1 := bar(s, m)
		l := lane[m.OrigIP]
		d.add(`<a href="#%v"><rect class="step ph-%v" x="%v" y="%v" width="%v" height="%v" rx="2"><title>%v · %v · %v to %v · %v</title></rect></a>`,
			esc(m.ID), phaseClass(m.Phase), x0, y[l]+pad+float64(row[i])*rowH, x1-x0, barH,
			esc(content.When(m.Start)), esc(content.PhaseNames[m.Phase]), esc(end(m.OrigIP, 0, "", "")), esc(end(m.RespIP, m.RespPort, m.Proto, m.Service)), esc(short(m.What, 300)))
	}
	return d.svg("chart lanes", "Chronology of the steps, one lane for each host", w, height), hiddenHosts, hiddenSteps
}

func bar(s scale, m content.Moment) (x0, x1 float64) {
	x0 = s.x(m.Start)
	return x0, math.Max(x0+5, s.x(m.End))
}

// laneOrder lists the hosts that act or are acted upon, those of the worst trace first.
// Within a trace: origins outside first, then the
// inside hosts in the order in which they turned suspicious, then the rest.
func laneOrder(r *content.Report) []content.Host {
	part := map[netip.Addr]bool{}
	for _, m := range r.Chronology {
		part[m.OrigIP], part[m.RespIP] = true, true
	}
	group := func(h content.Host) int {
		switch {
		case h.Role == "origin" && !h.Internal:
			return 0
		case h.Role == "victim" || h.Role == "pivot" || h.Role == "origin":
			return 1
		case h.Role == "c2" || h.Role == "exfil":
			return 2
		case h.Role == "":
			return 3
		default:
			return 4
		}
	}
	trace := map[string]int{}
	for i, t := range r.Traces {
		trace[t.TraceID] = i
	}
	first := func(h content.Host) int {
		least := len(r.Traces)
		for _, id := range h.Traces {
			least = min(least, trace[id])
		}
		return least
	}
	var out []content.Host
	for _, h := range r.Hosts {
		if part[h.IP] {
			out = append(out, h)
		}
	}
	slices.SortStableFunc(out, func(a, b content.Host) int {
		return cmp.Or(cmp.Compare(first(a), first(b)), cmp.Compare(group(a), group(b)), cmp.Compare(a.Suspicious, b.Suspicious), a.IP.Compare(b.IP))
	})
	return out
}

func hostAnchor(ip netip.Addr) string { return "host-" + ip.String() }

// phaseClass is the name of a phase in the style sheet.
func phaseClass(phase string) string {
	if slices.Contains(content.Phases, phase) {
		return phase
	}
	return model.PhaseUnknown
}
