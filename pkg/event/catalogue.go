// Package event says which events exist and how one travels: the catalogue of event
// types, the CloudEvents envelope, and the codec that maps it to NATS headers and bodies.
package event

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Names of the event types. The last element is the major version of the data: a change
// that a reader could trip over gets a new name.
const (
	EvidenceSealed      = "io.tracer.evidence.sealed.v1"
	FlowObserved        = "io.tracer.flow.observed.v1"
	FlowRecognized      = "io.tracer.flow.recognized.v1"
	DetectionRaised     = "io.tracer.detection.raised.v1"
	FindingRaised       = "io.tracer.finding.raised.v1"
	TraceMapped         = "io.tracer.trace.mapped.v1"
	CaseOpened          = "io.tracer.case.opened.v1"
	CaseUpdated         = "io.tracer.case.updated.v1"
	ReportIssued        = "io.tracer.report.issued.v1"
	ControlPlanned      = "io.tracer.control.planned.v1"
	ControlApproved     = "io.tracer.control.approved.v1"
	ControlWithdrawn    = "io.tracer.control.withdrawn.v1"
	ValidationCompleted = "io.tracer.validation.completed.v1"
)

// Partitions is the fixed number of partitions that flows are spread over by their key,
// whatever the number of workers.
const Partitions = 8

// Type is one event type.
type Type struct {
	Name      string   // CloudEvents type: io.tracer.<noun>.<verb>.v<major>
	Noun      string   // noun the event tells about; see Nouns
	Subject   string   // NATS subject; a bulk type appends its partition: <subject>.<0..7>
	Stream    string   // JetStream stream that keeps it; empty while Planned
	Bulk      bool     // binary mode: the data is a batch of columns, not JSON
	Planned   bool     // the name is fixed, its data is not: New refuses it
	WrittenBy string   // components that publish it, comma separated
	ReadBy    []string // components that act on it
	Summary   string   // one sentence

	data reflect.Type // Go type of the data; of bulk types, of its JSON view
}

// Noun is one row of the map of TRACER: a thing, who writes it and who reads it.
type Noun struct {
	Number    int
	Name      string
	WrittenBy string
	ReadBy    string
}

// Nouns are the rows of the map in the order of the data's way.
var Nouns = []Noun{
	{1, "evidence", "archive (ledger)", "all; report verifies"},
	{2, "flow and protocol records (`dns http tls quic ssh smb dcerpc kerberos ntlm ldap rdp dhcp snmp ftp smtp file` …)", "ingest, then fingerprint", "archive, detectors"},
	{3, "detection (traffic)", "fingerprint", "tracemap, report, SIEM"},
	{4, "finding (appliance)", "integrity", "tracemap, report, SIEM"},
	{5, "trace", "tracemap", "report, respond"},
	{6, "case, report", "report", "people, SIEM"},
	{7, "control", "respond", "validate, report"},
	{8, "validation", "validate", "report (closes the loop)"},
}

// nounOf gives the row of Nouns that a type's noun stands in.
var nounOf = map[string]int{
	"evidence": 1, "flow": 2, "detection": 3, "finding": 4, "trace": 5, "case": 6, "report": 6, "control": 7, "validation": 8,
}

var catalogue = []Type{
	{
		Name: EvidenceSealed, Noun: "evidence", Subject: "tracer.v1.evidence.sealed", Stream: "EVIDENCE",
		WrittenBy: "archive", ReadBy: []string{"report"},
		Summary: "An input, a batch of records, an event or a report is in the ledger.",
		data:    reflect.TypeFor[model.Evidence](),
	},
	{
		Name: FlowObserved, Noun: "flow", Subject: "tracer.v1.flow.observed", Stream: "FLOW_OBSERVED", Bulk: true,
		WrittenBy: "ingest", ReadBy: []string{"fingerprint"},
		Summary: "A batch of flows and protocol records as read from one input.",
		data:    reflect.TypeFor[Records](),
	},
	{
		Name: FlowRecognized, Noun: "flow", Subject: "tracer.v1.flow.recognized", Stream: "FLOW_RECOGNIZED", Bulk: true,
		WrittenBy: "fingerprint", ReadBy: []string{"archive"},
		Summary: "The same batch with its fingerprint columns filled.",
		data:    reflect.TypeFor[Records](),
	},
	{
		Name: DetectionRaised, Noun: "detection", Subject: "tracer.v1.detection.raised", Stream: "DETECTION",
		WrittenBy: "fingerprint", ReadBy: []string{"archive", "tracemap", "report", "SIEM"},
		Summary: "Traffic is suspicious: why, with which numbers, and on which flows it rests.",
		data:    reflect.TypeFor[model.Detection](),
	},
	{
		Name: FindingRaised, Noun: "finding", Subject: "tracer.v1.finding.raised", Planned: true,
		WrittenBy: "integrity", ReadBy: []string{"archive", "tracemap", "report", "SIEM"},
		Summary: "An appliance is not configured as it should be.",
	},
	{
		Name: TraceMapped, Noun: "trace", Subject: "tracer.v1.trace.mapped", Stream: "TRACE",
		WrittenBy: "tracemap", ReadBy: []string{"archive", "report", "respond"},
		Summary: "The way a threat took through the network.",
		data:    reflect.TypeFor[model.Trace](),
	},
	{
		Name: CaseOpened, Noun: "case", Subject: "tracer.v1.case.opened", Stream: "CASE",
		WrittenBy: "tracer", ReadBy: []string{"ingest", "fingerprint", "archive", "people", "SIEM"},
		Summary: "An investigation begins: its inputs are named.",
		data:    reflect.TypeFor[model.Case](),
	},
	{
		Name: CaseUpdated, Noun: "case", Subject: "tracer.v1.case.updated", Stream: "CASE",
		WrittenBy: "fingerprint, tracemap, report", ReadBy: []string{"tracemap", "report", "archive", "people", "SIEM"},
		Summary: "A case has reached its next stage.",
		data:    reflect.TypeFor[model.Case](),
	},
	{
		Name: ReportIssued, Noun: "report", Subject: "tracer.v1.report.issued", Stream: "REPORT",
		WrittenBy: "report", ReadBy: []string{"archive", "people", "SIEM"},
		Summary: "The documents of a case are ready.",
		data:    reflect.TypeFor[model.ReportIssued](),
	},
	{
		Name: ControlPlanned, Noun: "control", Subject: "tracer.v1.control.planned", Planned: true,
		WrittenBy: "respond", ReadBy: []string{"validate", "report"},
		Summary: "A countermeasure is chosen, rendered and costed.",
	},
	{
		Name: ControlApproved, Noun: "control", Subject: "tracer.v1.control.approved", Planned: true,
		WrittenBy: "respond", ReadBy: []string{"validate", "report"},
		Summary: "A person approved a countermeasure.",
	},
	{
		Name: ControlWithdrawn, Noun: "control", Subject: "tracer.v1.control.withdrawn", Planned: true,
		WrittenBy: "respond", ReadBy: []string{"validate", "report"},
		Summary: "A countermeasure no longer holds.",
	},
	{
		Name: ValidationCompleted, Noun: "validation", Subject: "tracer.v1.validation.completed", Planned: true,
		WrittenBy: "validate", ReadBy: []string{"report"},
		Summary: "It is known whether a countermeasure works.",
	},
}

// Types lists every event type, in the order of the data's way.
func Types() []Type { return slices.Clone(catalogue) }

// Lookup finds a type by its name.
func Lookup(name string) (Type, bool) {
	for _, t := range catalogue {
		if t.Name == name {
			return t, true
		}
	}
	return Type{}, false
}

// Number is the row of Nouns the type stands in.
func (t Type) Number() int { return nounOf[t.Noun] }

// DataType is the Go type of the data; of a bulk type, the type of its JSON view. Nil
// while the type is planned.
func (t Type) DataType() reflect.Type { return t.data }

// Schema is the identifier of the type's JSON Schema, the CloudEvents attribute dataschema.
func (t Type) Schema() string {
	return "https://github.com/tracer-framework/tracer/schemas/events/" + t.Name + "/schema.json"
}

// Table renders the map of TRACER as Markdown: one row per noun with its event types.
func Table() string {
	var b strings.Builder
	b.WriteString("| # | noun | event type | written by | read by |\n|---|---|---|---|---|\n")
	for _, n := range Nouns {
		var types []string
		for _, t := range catalogue {
			if t.Number() != n.Number {
				continue
			}
			s := "`" + t.Name + "`"
			if t.Bulk {
				s += " (bulk)"
			}
			if t.Planned {
				s += " (planned)"
			}
			types = append(types, s)
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s |\n", n.Number, n.Name, strings.Join(types, ", "), n.WrittenBy, n.ReadBy)
	}
	return b.String()
}
