package render

import (
	"fmt"
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/report/internal/content"
)

// ReportMarkdown writes the report as Markdown (CommonMark with GitHub's tables).
func ReportMarkdown(r *content.Report) []byte {
	var b strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	labels := labelsOf(r)
	refs := func(ids []string) string {
		if len(ids) == 0 {
			return ""
		}
		var list []string
		for _, id := range labels.sorted(ids)[:min(len(ids), maxRefs)] {
			list = append(list, fmt.Sprintf("[%s](#%s)", labels.of(id), id))
		}
		if more := len(ids) - maxRefs; more > 0 {
			list = append(list, fmt.Sprintf("and %d more", more))
		}
		return " \\[" + strings.Join(list, ", ") + "\\]"
	}
	row := func(cells ...string) {
		for i := range cells {
			cells[i] = strings.ReplaceAll(cells[i], "\n", " ")
		}
		w("| %s |\n", strings.Join(cells, " | "))
	}
	head := func(cells ...string) {
		row(cells...)
		w("|%s\n", strings.Repeat(" --- |", len(cells)))
	}

	w("# %s\n\n", Markdown(r.Title))
	w("Case `%s`", r.CaseID)
	if r.Severity != "" {
		w(" · worst severity **%s**", r.Severity)
	}
	w(" · times are UTC\n\n## Summary\n\n")
	for _, p := range r.Summary {
		w("### %s\n\n", p.Heading)
		for _, s := range p.Statements {
			w("- %s%s\n", Markdown(s.Text), refs(s.IDs))
		}
		w("\n")
	}

	w("## What was looked at\n\n")
	head("Id", "Input", "SHA-256", "Size", "Packets", "Flows", "First packet", "Last packet", "Link types")
	for _, s := range r.Inputs {
		row(anchor(s.EvidenceID)+labels.of(s.EvidenceID), Markdown(strings.Join(s.Names, ", ")), code(s.EvidenceID), content.Bytes(s.Size), content.Count(s.Packets), content.Count(s.Flows),
			content.When(s.FirstPacket), content.When(s.LastPacket), Markdown(strings.Join(s.LinkTypes, ", ")))
	}
	w("\n### What could not be read\n\n")
	if len(r.Limits) == 0 {
		w("Everything was read.\n")
	}
	for _, s := range r.Limits {
		w("- %s%s\n", Markdown(s.Text), refs(s.IDs))
	}

	w("\n## Detections\n\n")
	if len(r.Detections) == 0 {
		w("None.\n\n")
	}
	for _, d := range r.Detections {
		w("### %s%s · %s\n\n", anchor(d.DetectionID), labels.of(d.DetectionID), Markdown(d.Title))
		w("%s\n\n", Markdown(d.Why))
		w("- severity **%s**, confidence %d of 100, phase %s\n", Markdown(d.Severity), d.Confidence, Markdown(d.Phase))
		if d.Technique != "" {
			w("- ATT&CK %s %s%s\n", Markdown(d.Technique), Markdown(d.TechniqueName), legacy(d.Technique, d.TechniqueLegacy))
		}
		w("- %s\n", Markdown(parties(d)))
		w("- seen from %s to %s\n", content.When(d.FirstSeen), content.When(d.LastSeen))
		if len(d.Numbers) > 0 {
			var list []string
			for _, n := range d.Numbers {
				list = append(list, Markdown(number(n)))
			}
			w("- numbers: %s\n", strings.Join(list, "; "))
		}
		if len(d.FalsePositives) > 0 {
			w("- looks the same when harmless: %s\n", Markdown(strings.Join(d.FalsePositives, "; ")))
		}
		w("- %s", content.Plural(d.FlowCount, "flow", "flows"))
		if len(d.Flows) > 0 {
			if shown := min(len(d.Flows), maxFlows); uint64(shown) < d.FlowCount {
				w(", the first %d of them", shown)
			}
			w(": `%s`", query(d.Flows))
		}
		w("\n- id `%s`\n\n", d.DetectionID)
	}

	w("## Hosts\n\n")
	head("Host", "Role", "Severity", "Names", "Suspicious from", "First seen", "Sent", "Received", "Phases", "Detections")
	for _, h := range r.Hosts {
		row(h.IP.String(), Markdown(h.Role), Markdown(h.Severity), Markdown(strings.Join(h.Names, ", ")), since(h), content.When(h.FirstSeen), content.Bytes(h.BytesOut), content.Bytes(h.BytesIn),
			strings.Join(h.Phases, ", "), strings.TrimSpace(refs(h.Detections)))
	}

	w("\n## Chronology\n\n")
	head("Id", "Time", "Phase", "From", "To", "What", "Order", "Confidence", "Rests on")
	for _, m := range r.Chronology {
		id := labels.of(m.ID)
		if strings.HasPrefix(m.ID, "edg-") {
			id = anchor(m.ID) + id
		}
		row(id, content.When(m.Start), Markdown(m.Phase), end(m.OrigIP, 0, "", ""), end(m.RespIP, m.RespPort, m.Proto, Markdown(m.Service)), Markdown(m.What), Markdown(m.Order), fmt.Sprint(m.Confidence), strings.TrimSpace(refs(m.IDs)))
	}

	w("\n## Traces\n\n")
	if len(r.Traces) == 0 {
		w("None.\n")
	}
	for _, t := range r.Traces {
		w("### %s%s · %s\n\n", anchor(t.TraceID), labels.of(t.TraceID), Markdown(t.Title))
		w("From %s to %s: %s, %s. Id `%s`.\n\n", content.When(t.Start), content.When(t.End), content.Plural(uint64(len(t.Hosts)), "host", "hosts"), content.Plural(uint64(len(t.Edges)), "step", "steps"), t.TraceID)
		for _, o := range t.Origins {
			w("- origin %s, confidence %d of 100: %s\n", o.IP, o.Confidence, Markdown(o.Why))
		}
		w("- the analysis ended after %s: %s\n", content.Plural(uint64(t.Stop.Rounds), "round", "rounds"), Markdown(stopText(t.Stop.Reason)))
		for _, o := range t.Stop.Open {
			w("- left open: %s\n", Markdown(o))
		}
		w("\n")
	}

	w("\n## MITRE ATT&CK (version %s)\n\n", content.AttackVersion)
	head("Technique", "Before v19", "Name", "Tactic", "Confidence", "Detections", "Steps")
	for _, t := range r.Attack {
		row(Markdown(t.ID), Markdown(t.Legacy), Markdown(t.Name), Markdown(t.Tactic), fmt.Sprint(t.Confidence), strings.TrimSpace(refs(t.Detections)), strings.TrimSpace(refs(t.Edges)))
	}

	w("\n## Traffic\n\n%s flows between %s addresses; %s sent by originators, %s by responders; %s to %s.\n\n", content.Count(r.Traffic.Flows), content.Count(r.Traffic.Hosts),
		content.Bytes(r.Traffic.OrigBytes), content.Bytes(r.Traffic.RespBytes), content.When(r.Traffic.First), content.When(r.Traffic.Last))
	head("Host", "Sent", "Received", "Flows", "Peers")
	for _, t := range r.Traffic.Talkers {
		row(t.IP.String(), content.Bytes(t.BytesOut), content.Bytes(t.BytesIn), content.Count(t.Flows), content.Count(t.Peers))
	}
	w("\n")
	head("Protocol", "Service", "Usual port", "Flows", "Servers", "Bytes")
	for _, s := range r.Traffic.Services {
		row(Markdown(s.Proto), Markdown(serviceName(s.Service)), usualPort(s), content.Count(s.Flows), content.Count(s.Hosts), content.Bytes(s.Bytes))
	}

	w("\n## Evidence and verification\n\n")
	head("Document", "What it is", "Size", "SHA-256")
	for _, f := range r.Files {
		row("`"+f.Name+"`", Markdown(f.What), content.Bytes(uint64(f.Size)), code(f.SHA256))
	}
	w("\n%s\n\n```\n%s\n```\n", verifyText, verifyCommands)
	return []byte(b.String())
}

func anchor(id string) string { return `<a id="` + id + `"></a>` }
func code(s string) string    { return "`" + s + "`" }

func legacy(id, before string) string {
	if before == "" || before == id {
		return ""
	}
	return " (before v19: " + Markdown(before) + ")"
}

func since(h content.Host) string {
	if h.Suspicious == 0 {
		return ""
	}
	if h.Certainty == model.OrderPossible {
		return content.When(h.Suspicious) + " (possible)"
	}
	return content.When(h.Suspicious)
}
