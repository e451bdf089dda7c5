package render

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/netip"
	"slices"
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/report/internal/content"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

// maxGraphs bounds the traces drawn as a graph; the others have their tables.
const maxGraphs = 12

// page is what the template shows beside the report.
type page struct {
	R           *content.Report
	Policy      string
	Style       template.CSS
	Script      template.JS
	Lanes       template.HTML
	HiddenHosts int
	HiddenSteps int
	Graphs      []template.HTML
	Volume      template.HTML

	Compromised    int
	Out            uint64
	Packets        uint64
	PhasesUsed     []string
	Counters       []counter
	Tools          []string
	AttackVersion  string
	VerifyText     string
	VerifyCommands string
}

type counter struct {
	Input, Name string
	N           uint64
}

type ref struct{ ID, Label string }

type refList struct {
	Shown []ref
	More  int
}

// HTML writes the report as one page that needs nothing from anywhere: style, script and
// pictures are inside, and its own policy forbids everything else.
func HTML(r *content.Report) ([]byte, error) {
	p := page{
		R: r, Policy: Policy(), Style: template.CSS(pageCSS), Script: template.JS(pageJS), //nolint:gosec // constants of this package
		Volume: volume(r.Traffic), Graphs: make([]template.HTML, len(r.Traces)),
		AttackVersion: content.AttackVersion, VerifyText: verifyText, VerifyCommands: verifyCommands,
	}
	p.Lanes, p.HiddenHosts, p.HiddenSteps = lanes(r)
	for i := range r.Traces[:min(len(r.Traces), maxGraphs)] {
		p.Graphs[i] = graph(r.Traces[i])
	}
	flows := map[string][]model.FlowID{}
	for _, t := range r.Traces {
		for _, e := range t.Edges {
			flows[e.EdgeID] = e.Flows
			if e.Phase == model.PhaseExfil {
				p.Out += e.OrigBytes
			}
		}
	}
	for _, h := range r.Hosts {
		if h.Compromised() {
			p.Compromised++
		}
	}
	for _, m := range r.Chronology {
		if !slices.Contains(p.PhasesUsed, m.Phase) {
			p.PhasesUsed = append(p.PhasesUsed, m.Phase)
		}
	}
	slices.SortFunc(p.PhasesUsed, func(a, b string) int { return slices.Index(content.Phases, a) - slices.Index(content.Phases, b) })
	for _, s := range r.Inputs {
		p.Packets += s.Packets
		names := make([]string, 0, len(s.Counters))
		for n := range s.Counters {
			names = append(names, n)
		}
		slices.Sort(names)
		for _, n := range names {
			if s.Counters[n] > 0 {
				p.Counters = append(p.Counters, counter{s.Names[0], n, s.Counters[n]})
			}
		}
		if tool := strings.TrimSpace(s.Tool + " " + s.ToolVersion); tool != "" && !slices.Contains(p.Tools, tool) {
			p.Tools = append(p.Tools, tool)
		}
	}
	slices.Sort(p.Tools)

	l := labelsOf(r)
	tmpl, err := template.New("page").Funcs(template.FuncMap{
		"see": Visible, "when": content.When, "bytes": content.Bytes, "count": content.Count, "short": short, "rank": content.Rank,
		"clock":      func(t model.Time) string { return strings.TrimSuffix(content.When(t), " UTC") },
		"sinceClock": func(h content.Host) string { return strings.Replace(since(h), " UTC", "", 1) },
		"bytesInt":   func(n int) string { return content.Bytes(uint64(max(0, n))) },
		"label":      l.of, "query": query, "number": number, "parties": parties, "party": end, "since": since, "stop": stopText, "usualPort": usualPort,
		"plural":     func(n int, one, many string) string { return content.Plural(uint64(max(0, n)), one, many) },
		"rounds":     func(n uint32) string { return content.Plural(uint64(n), "round", "rounds") },
		"service":    serviceName,
		"legacy":     func(d model.Detection) string { return legacyText(d.Technique, d.TechniqueLegacy) },
		"more":       func(f []model.FlowID) bool { return len(f) > maxFlows },
		"shown":      func() int { return maxFlows },
		"hostid":     hostAnchor,
		"ipkey":      ipKey,
		"isEdge":     func(id string) bool { _, ok := flows[id]; return ok },
		"flowsOf":    func(id string) []model.FlowID { return flows[id] },
		"phaseClass": phaseClass,
		"phaseName":  func(p string) string { return content.PhaseNames[phaseClass(p)] },
		"refs": func(ids []string) refList {
			var out refList
			for i, id := range l.sorted(ids) {
				if i == maxRefs {
					out.More = len(ids) - i
					break
				}
				out.Shown = append(out.Shown, ref{id, short(l.of(id), 24)})
			}
			return out
		},
	}).Parse(pageHTML)
	if err != nil {
		return nil, fmt.Errorf("read the page's template: %w", err)
	}
	var b bytes.Buffer
	if err := tmpl.Execute(&b, p); err != nil {
		return nil, fmt.Errorf("write the page: %w", err)
	}
	return b.Bytes(), nil
}

// Policy allows exactly the page's own style and script, by their hashes.
func Policy() string {
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return "default-src 'none'; style-src " + hash(pageCSS) + "; script-src " + hash(pageJS) + "; img-src data:; base-uri 'none'; form-action 'none'"
}

// ipKey sorts as the address does.
func ipKey(ip netip.Addr) string {
	b := ip.As16()
	return "x" + hex.EncodeToString(b[:])
}

func legacyText(id, before string) string {
	if before == "" || before == id {
		return ""
	}
	return " (before v19: " + Visible(before) + ")"
}
