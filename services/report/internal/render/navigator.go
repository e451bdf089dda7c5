package render

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tracer-framework/tracer/services/report/internal/content"
)

type navigatorLayer struct {
	Name        string               `json:"name"`
	Versions    navigatorVersions    `json:"versions"`
	Domain      string               `json:"domain"`
	Description string               `json:"description"`
	Filters     navigatorFilters     `json:"filters"`
	Sorting     int                  `json:"sorting"` // 3: by descending score
	HideDisable bool                 `json:"hideDisabled"`
	Techniques  []navigatorTechnique `json:"techniques"`
	Gradient    navigatorGradient    `json:"gradient"`
	LegendItems []navigatorLegend    `json:"legendItems"`
	Metadata    []navigatorPair      `json:"metadata"`
}

type navigatorVersions struct {
	Attack    string `json:"attack"`
	Navigator string `json:"navigator"`
	Layer     string `json:"layer"`
}

type navigatorFilters struct {
	Platforms []string `json:"platforms"`
}

type navigatorTechnique struct {
	TechniqueID string          `json:"techniqueID"`
	Tactic      string          `json:"tactic,omitempty"`
	Score       uint8           `json:"score"`
	Color       string          `json:"color"`
	Comment     string          `json:"comment"`
	Enabled     bool            `json:"enabled"`
	Metadata    []navigatorPair `json:"metadata"`
}

type navigatorGradient struct {
	Colors   []string `json:"colors"`
	MinValue int      `json:"minValue"`
	MaxValue int      `json:"maxValue"`
}

type navigatorLegend struct {
	Label string `json:"label"`
	Color string `json:"color"`
}

type navigatorPair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// severityColor colours techniques by the worst detection that speaks for them.
var severityColor = map[string]string{
	"informational": "#c9d1d9", "low": "#a8c7e8", "medium": "#f2cc60", "high": "#f0883e", "critical": "#da3633",
}

// Navigator writes the techniques as a layer for the ATT&CK Navigator (layer format 4.5,
// https://github.com/mitre-attack/attack-navigator/tree/master/layers).
func Navigator(r *content.Report) ([]byte, error) {
	l := navigatorLayer{
		Name: "TRACER " + r.CaseID, Domain: "enterprise-attack", Description: "Techniques seen in the network evidence of case " + r.CaseID + ".",
		Versions: navigatorVersions{Attack: content.AttackVersion, Navigator: "5.1.0", Layer: "4.5"},
		Filters:  navigatorFilters{Platforms: []string{"Windows", "Linux", "macOS", "Network", "Network Devices"}},
		Sorting:  3, Techniques: []navigatorTechnique{},
		Gradient: navigatorGradient{Colors: []string{"#ffffff", "#da3633"}, MinValue: 0, MaxValue: 100},
		Metadata: []navigatorPair{{"case_id", r.CaseID}},
	}
	for _, s := range content.Severities {
		l.LegendItems = append(l.LegendItems, navigatorLegend{"worst detection: " + s, severityColor[s]})
	}
	for _, t := range r.Attack {
		n := navigatorTechnique{
			TechniqueID: t.ID, Tactic: strings.ToLower(strings.ReplaceAll(t.Tactic, " ", "-")), Score: t.Confidence, Color: severityColor[t.Severity], Enabled: true,
			Comment:  fmt.Sprintf("%d detections, %d steps of traces; confidence %d of 100", len(t.Detections), len(t.Edges), t.Confidence),
			Metadata: []navigatorPair{},
		}
		for _, id := range t.Detections {
			n.Metadata = append(n.Metadata, navigatorPair{"detection", id})
		}
		for _, id := range t.Edges {
			n.Metadata = append(n.Metadata, navigatorPair{"step", id})
		}
		if t.Legacy != "" && t.Legacy != t.ID {
			n.Metadata = append(n.Metadata, navigatorPair{"id before v19", t.Legacy})
		}
		l.Techniques = append(l.Techniques, n)
	}
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the ATT&CK Navigator layer: %w", err)
	}
	return append(b, '\n'), nil
}
