package content

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
)

// AttackVersion is the version of MITRE ATT&CK whose ids the report uses.
const AttackVersion = "19"

// named holds name and tactic of the techniques that edges carry without a detection, by
// their ATT&CK v19 id; none of them had another id before.
var named = map[string][2]string{
	"T1021":     {"Remote Services", "lateral-movement"},
	"T1021.001": {"Remote Services: Remote Desktop Protocol", "lateral-movement"},
	"T1021.002": {"Remote Services: SMB/Windows Admin Shares", "lateral-movement"},
	"T1021.004": {"Remote Services: SSH", "lateral-movement"},
	"T1021.005": {"Remote Services: VNC", "lateral-movement"},
	"T1021.006": {"Remote Services: Windows Remote Management", "lateral-movement"},
	"T1041":     {"Exfiltration Over C2 Channel", "exfiltration"},
	"T1047":     {"Windows Management Instrumentation", "execution"},
	"T1048.002": {"Exfiltration Over Asymmetric Encrypted Non-C2 Protocol", "exfiltration"},
	"T1048.003": {"Exfiltration Over Unencrypted Non-C2 Protocol", "exfiltration"},
	"T1071.001": {"Application Layer Protocol: Web Protocols", "command-and-control"},
	"T1071.004": {"Application Layer Protocol: DNS", "command-and-control"},
	"T1095":     {"Non-Application Layer Protocol", "command-and-control"},
	"T1133":     {"External Remote Services", "initial-access"},
	"T1190":     {"Exploit Public-Facing Application", "initial-access"},
	"T1210":     {"Exploitation of Remote Services", "lateral-movement"},
}

// attack gathers detections and edges by technique, sorted by tactic's first phase and id.
func attack(r *Report) []Technique {
	by := map[string]*Technique{}
	get := func(id string) *Technique {
		t := by[id]
		if t == nil {
			n := named[id]
			t = &Technique{ID: id, Legacy: id, Name: n[0], Tactic: n[1]}
			by[id] = t
		}
		return t
	}
	for _, d := range r.Detections {
		if d.Technique == "" {
			continue
		}
		t := get(d.Technique)
		if d.TechniqueName != "" {
			t.Name = d.TechniqueName
		}
		if d.TechniqueLegacy != "" {
			t.Legacy = d.TechniqueLegacy
		}
		if d.Tactic != "" {
			t.Tactic = d.Tactic
		}
		t.Detections = append(t.Detections, d.DetectionID)
		t.Confidence = max(t.Confidence, d.Confidence)
		if Rank(d.Severity) > Rank(t.Severity) {
			t.Severity = d.Severity
		}
	}
	for _, tr := range r.Traces {
		for _, e := range tr.Edges {
			if e.Technique == "" {
				continue
			}
			t := get(e.Technique)
			t.Edges = append(t.Edges, e.EdgeID)
			t.Confidence = max(t.Confidence, e.Confidence)
		}
	}
	out := make([]Technique, 0, len(by))
	for _, t := range by {
		t.Detections, t.Edges = unique(t.Detections), unique(t.Edges)
		if t.Severity == "" {
			t.Severity = model.SeverityLow
		}
		out = append(out, *t)
	}
	slices.SortFunc(out, func(a, b Technique) int {
		return cmp.Or(cmp.Compare(tacticOrder(a.Tactic), tacticOrder(b.Tactic)), strings.Compare(a.ID, b.ID))
	})
	return out
}

// tactics in the order of the ATT&CK matrix.
var tactics = []string{
	"reconnaissance", "resource-development", "initial-access", "execution", "persistence", "privilege-escalation", "stealth", "defense-impairment",
	"defense-evasion", "credential-access", "discovery", "lateral-movement", "collection", "command-and-control", "exfiltration", "impact",
}

func tacticOrder(t string) int {
	if i := slices.Index(tactics, strings.ToLower(strings.ReplaceAll(t, " ", "-"))); i >= 0 {
		return i
	}
	return len(tactics)
}
