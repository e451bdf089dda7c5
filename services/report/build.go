package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/report/internal/content"
	"github.com/tracer-framework/tracer/services/report/internal/render"
)

// Input is all that the documents of a case are made from.
type Input = content.Input

// Documents are the documents of a case by file name.
type Documents map[string][]byte

// Names of the documents.
const (
	FileDetections = "detections.jsonl"
	FileFindings   = "findings.jsonl"
	FileTraces     = "traces.json"
	FileNavigator  = "attack-navigator.json"
	FileJSON       = "report.json"
	FileMarkdown   = "report.md"
	FileHTML       = "report.html"
	FileSummary    = "summary.json"
)

// Summary is the short document that programs read first.
type Summary struct {
	CaseID     string              `json:"case_id"`
	Title      string              `json:"title"`
	Severity   string              `json:"severity"` // of the worst detection; empty without any
	Inputs     []SummaryInput      `json:"inputs"`
	Flows      uint64              `json:"flows"`
	Packets    uint64              `json:"packets"`
	Detections int                 `json:"detections"`
	Severities map[string]int      `json:"severities"`
	Findings   int                 `json:"findings"`
	Traces     int                 `json:"traces"`
	Problems   int                 `json:"problems"` // sentences under "what could not be read"
	Documents  []model.ReportFile  `json:"documents"`
	Statements []content.Paragraph `json:"summary"`
}

// SummaryInput is an input with its hash.
type SummaryInput struct {
	Names      []string `json:"names"`
	EvidenceID string   `json:"evidence_id"` // SHA-256
	Packets    uint64   `json:"packets"`
	Problems   int      `json:"problems"`
}

// Build makes the documents of a case. It is a pure function: the same input gives the
// same bytes, whatever the order of its lists; the run, paths and times of processing in
// the input appear in no document.
func Build(in Input) (Documents, error) {
	r := content.New(in)
	docs := Documents{FileFindings: {}}

	var lines bytes.Buffer
	for _, d := range r.Detections {
		b, err := json.Marshal(d)
		if err != nil {
			return nil, fmt.Errorf("write detection %s: %w", d.DetectionID, err)
		}
		lines.Write(append(b, '\n'))
	}
	docs[FileDetections] = append([]byte{}, lines.Bytes()...)
	var err error
	if docs[FileTraces], err = indented(r.Traces); err != nil {
		return nil, fmt.Errorf("write traces: %w", err)
	}
	if docs[FileNavigator], err = render.Navigator(r); err != nil {
		return nil, err
	}
	for _, f := range []content.File{
		{Name: FileDetections, What: "the detections, one JSON object a line"},
		{Name: FileTraces, What: "the traces with hosts, steps and flow ids"},
		{Name: FileFindings, What: "findings about appliances, one JSON object a line; this case has none"},
		{Name: FileNavigator, What: "layer for the MITRE ATT&CK Navigator"},
	} {
		f.Size, f.SHA256 = len(docs[f.Name]), digest(docs[f.Name])
		r.Files = append(r.Files, f)
	}
	if docs[FileJSON], err = indented(r); err != nil {
		return nil, fmt.Errorf("write report: %w", err)
	}
	docs[FileMarkdown] = render.ReportMarkdown(r)
	if docs[FileHTML], err = render.HTML(r); err != nil {
		return nil, err
	}
	if docs[FileSummary], err = indented(summary(r, docs)); err != nil {
		return nil, fmt.Errorf("write summary: %w", err)
	}
	return docs, nil
}

func summary(r *content.Report, docs Documents) Summary {
	s := Summary{
		CaseID: r.CaseID, Title: r.Title, Severity: r.Severity, Flows: r.Traffic.Flows, Detections: len(r.Detections),
		Severities: map[string]int{}, Traces: len(r.Traces), Problems: len(r.Limits), Inputs: []SummaryInput{}, Documents: docs.Files(), Statements: r.Summary,
	}
	for _, d := range r.Detections {
		s.Severities[d.Severity]++
	}
	for _, in := range r.Inputs {
		s.Packets += in.Packets
		s.Inputs = append(s.Inputs, SummaryInput{in.Names, in.EvidenceID, in.Packets, len(in.Problems)})
	}
	return s
}

// Files lists the documents with their digests, sorted by name.
func (d Documents) Files() []model.ReportFile {
	out := make([]model.ReportFile, 0, len(d))
	for _, name := range slices.Sorted(maps.Keys(d)) {
		out = append(out, model.ReportFile{Name: name, SHA256: digest(d[name]), Size: uint64(len(d[name]))})
	}
	return out
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func indented(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}
