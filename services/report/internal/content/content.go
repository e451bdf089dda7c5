// Package content works out what a report says: every statement with the ids it rests on,
// in one fixed order. How it looks is the business of package render.
package content

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
)

// Input is all that a report is made from.
type Input struct {
	Case       model.Case
	Evidence   []model.Evidence // the captures of the case
	Detections []model.Detection
	Traces     []model.Trace
	Traffic    store.Traffic
	Hosts      []store.Talker // traffic of the hosts that detections and traces name
	Listed     []model.Flow   // flows that detections upon several hosts list, with their ends
}

// Report is what the documents say. It holds no time of writing, no run, no path: the
// same evidence and the same configuration give the same report.
type Report struct {
	CaseID     string            `json:"case_id"`
	Title      string            `json:"title"`
	Severity   string            `json:"severity"` // of the worst detection; empty without any
	Profiles   string            `json:"profiles"` // digest of the threat profiles in force
	Summary    []Paragraph       `json:"summary"`
	Inputs     []Source          `json:"inputs"`
	Limits     []Statement       `json:"limits"` // what could not be read, and what follows from it
	Detections []model.Detection `json:"detections"`
	Hosts      []Host            `json:"hosts"`
	Chronology []Moment          `json:"chronology"`
	Traces     []model.Trace     `json:"traces"`
	Attack     []Technique       `json:"attack"`
	Traffic    store.Traffic     `json:"traffic"`
	Files      []File            `json:"files"` // the machine-readable documents beside this one

	listed map[model.FlowID]netip.Addr // responders of the flows that detections upon several hosts list
}

// Statement is one sentence and the ids of the records it rests on.
type Statement struct {
	Text string   `json:"text"`
	IDs  []string `json:"ids"`
}

// Paragraph is a question of the reader and its answer.
type Paragraph struct {
	Heading    string      `json:"heading"`
	Statements []Statement `json:"statements"`
}

// Source is an input with what was read of it.
type Source struct {
	EvidenceID  string            `json:"evidence_id"` // SHA-256 of the file
	Names       []string          `json:"names"`       // base names, sorted: the same bytes may lie under several
	Size        uint64            `json:"size"`
	MediaType   string            `json:"media_type"`
	LinkTypes   []string          `json:"link_types"`
	Packets     uint64            `json:"packets"`
	Flows       uint64            `json:"flows"`
	FirstPacket model.Time        `json:"first_packet"`
	LastPacket  model.Time        `json:"last_packet"`
	BytesRead   uint64            `json:"bytes_read"`
	BytesUnread uint64            `json:"bytes_unread"`
	Problems    []string          `json:"problems"`
	Counters    map[string]uint64 `json:"counters"`
	Tool        string            `json:"tool"`
	ToolVersion string            `json:"tool_version"`
}

// Host is an address that a detection or a trace names.
type Host struct {
	IP         netip.Addr `json:"ip"`
	Role       string     `json:"role"` // in the traces; empty if it is in none
	Internal   bool       `json:"internal"`
	Names      []string   `json:"names"`
	L2Addrs    []string   `json:"l2_addrs"`
	FirstSeen  model.Time `json:"first_seen"` // in the traffic
	LastSeen   model.Time `json:"last_seen"`
	Suspicious model.Time `json:"suspicious"` // from when on the threat can have been there, zero if it is in no trace
	Certainty  string     `json:"certainty"`
	BytesOut   uint64     `json:"bytes_out"`
	BytesIn    uint64     `json:"bytes_in"`
	Peers      uint64     `json:"peers"`
	Flows      uint64     `json:"flows"`
	Severity   string     `json:"severity"` // of its worst detection
	Phases     []string   `json:"phases"`   // in the order of an attack chain
	Detections []string   `json:"detections"`
	Traces     []string   `json:"traces"`
}

// Compromised says that an inside host shows signs of having been entered: it has a part
// in a trace, and a detection above low severity names it.
func (h Host) Compromised() bool {
	return h.Internal && (h.Role == "victim" || h.Role == "pivot" || h.Role == "origin") && Rank(h.Severity) >= Rank(model.SeverityMedium)
}

// Moment is one entry of the chronology: an edge of a trace, or a detection that no edge
// draws.
type Moment struct {
	ID         string     `json:"id"` // edge id or detection id
	Start      model.Time `json:"start"`
	End        model.Time `json:"end"`
	Phase      string     `json:"phase"`
	Technique  string     `json:"technique"`
	OrigIP     netip.Addr `json:"orig_ip"`
	RespIP     netip.Addr `json:"resp_ip"`
	RespPort   uint16     `json:"resp_port"`
	Proto      string     `json:"proto"`
	Service    string     `json:"service"`
	What       string     `json:"what"`
	Order      string     `json:"order"`
	Confidence uint8      `json:"confidence"`
	FlowCount  uint64     `json:"flow_count"`
	OrigBytes  uint64     `json:"orig_bytes"`
	RespBytes  uint64     `json:"resp_bytes"`
	IDs        []string   `json:"ids"` // what it rests on
}

// Technique is a MITRE ATT&CK technique with what speaks for it.
type Technique struct {
	ID         string   `json:"id"`     // v19
	Legacy     string   `json:"legacy"` // v18 and older
	Name       string   `json:"name"`
	Tactic     string   `json:"tactic"`
	Confidence uint8    `json:"confidence"`
	Severity   string   `json:"severity"`
	Detections []string `json:"detections"`
	Edges      []string `json:"edges"`
}

// File is another document of the case.
type File struct {
	Name   string `json:"name"`
	Size   int    `json:"size"`
	SHA256 string `json:"sha256"`
	What   string `json:"what"`
}

// Severities from weak to strong.
var Severities = []string{model.SeverityInformational, model.SeverityLow, model.SeverityMedium, model.SeverityHigh, model.SeverityCritical}

// Rank is the place of a severity, -1 for none.
func Rank(severity string) int { return slices.Index(Severities, severity) }

// Phases in the order of an attack chain.
var Phases = []string{
	model.PhaseRecon, model.PhaseExploit, model.PhaseC2, model.PhaseDiscovery, model.PhaseCredential,
	model.PhaseTraversal, model.PhaseCollection, model.PhaseExfil, model.PhaseUnknown,
}

// New works out a report. Its input is not changed.
func New(in Input) *Report {
	r := &Report{
		CaseID: in.Case.CaseID, Title: in.Case.Title, Profiles: in.Case.Profiles,
		Detections: detections(in.Detections), Traces: traces(in.Traces), Traffic: in.Traffic, Files: []File{},
	}
	if r.Title == "" {
		r.Title = titleOf(in.Case)
	}
	if len(r.Detections) > 0 {
		r.Severity = r.Detections[0].Severity
	}
	if r.Traffic.Talkers == nil {
		r.Traffic.Talkers = []store.Talker{}
	}
	if r.Traffic.Services == nil {
		r.Traffic.Services = []store.Service{}
	}
	if r.Traffic.Volume == nil {
		r.Traffic.Volume = []store.Volume{}
	}
	r.listed = make(map[model.FlowID]netip.Addr, len(in.Listed))
	for _, f := range in.Listed {
		r.listed[f.FlowID] = f.RespIP
	}
	worstFirst(r)
	r.Inputs = sources(in.Case, in.Evidence)
	r.Hosts = hosts(r, in.Hosts)
	r.Chronology = chronology(r)
	r.Attack = attack(r)
	r.Limits = limits(r)
	r.Summary = summary(r)
	return r
}

// titleOf names a case without a title after its inputs.
func titleOf(c model.Case) string {
	var names []string
	for _, in := range c.Inputs {
		if in.Name != "" {
			names = append(names, in.Name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	switch n := len(names); n {
	case 0:
		return "Network evidence " + c.CaseID
	case 1:
		return names[0]
	case 2:
		return names[0] + " and " + names[1]
	default:
		return fmt.Sprintf("%s, %s and %d more", names[0], names[1], n-2)
	}
}

// detections are sorted from severe to slight, then by time, without the run.
func detections(list []model.Detection) []model.Detection {
	out := slices.Clone(filled(list))
	for i := range out {
		d := &out[i]
		d.Run = ""
		d.FalsePositives, d.Numbers, d.Flows = filled(d.FalsePositives), filled(d.Numbers), filled(d.Flows)
		d.EvidenceIDs, d.From = filled(d.EvidenceIDs), filled(d.From)
	}
	slices.SortFunc(out, func(a, b model.Detection) int {
		return cmp.Or(cmp.Compare(Rank(b.Severity), Rank(a.Severity)), cmp.Compare(b.Confidence, a.Confidence),
			cmp.Compare(a.FirstSeen, b.FirstSeen), strings.Compare(a.DetectionID, b.DetectionID))
	})
	return slices.CompactFunc(out, func(a, b model.Detection) bool { return a.DetectionID == b.DetectionID })
}

// traces are sorted by time, without the run.
func traces(list []model.Trace) []model.Trace {
	out := slices.Clone(filled(list))
	for i := range out {
		t := &out[i]
		t.Run = ""
		t.Seed, t.From, t.Origins, t.Stop.Open = filled(t.Seed), filled(t.From), filled(t.Origins), filled(t.Stop.Open)
		t.Hosts = slices.Clone(filled(t.Hosts))
		for j := range t.Hosts {
			t.Hosts[j].Names, t.Hosts[j].Detections = filled(t.Hosts[j].Names), filled(t.Hosts[j].Detections)
		}
		t.Edges = slices.Clone(filled(t.Edges))
		for j := range t.Edges {
			e := &t.Edges[j]
			e.Run = ""
			e.Flows, e.EvidenceIDs, e.Detections, e.From = filled(e.Flows), filled(e.EvidenceIDs), filled(e.Detections), filled(e.From)
		}
		slices.SortFunc(t.Edges, func(a, b model.TraceEdge) int {
			return cmp.Or(cmp.Compare(a.Start, b.Start), strings.Compare(a.EdgeID, b.EdgeID))
		})
	}
	slices.SortFunc(out, func(a, b model.Trace) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), strings.Compare(a.TraceID, b.TraceID))
	})
	return slices.CompactFunc(out, func(a, b model.Trace) bool { return a.TraceID == b.TraceID })
}

// worstFirst sorts the traces by their worst detection, then by size, then by time.
func worstFirst(r *Report) {
	rank := map[string]int{}
	for _, d := range r.Detections {
		rank[d.DetectionID] = Rank(d.Severity)
	}
	worst := map[string]int{}
	for _, t := range r.Traces {
		for _, id := range t.From {
			worst[t.TraceID] = max(worst[t.TraceID], rank[id])
		}
	}
	slices.SortStableFunc(r.Traces, func(a, b model.Trace) int {
		return cmp.Or(cmp.Compare(worst[b.TraceID], worst[a.TraceID]), cmp.Compare(len(b.Edges), len(a.Edges)))
	})
}

// filled makes an absent list an empty one, so that JSON says [] always.
func filled[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// sources joins the inputs of the case with their evidence records. An input without one
// was not read.
func sources(c model.Case, evidence []model.Evidence) []Source {
	by := map[string]*Source{}
	for _, in := range c.Inputs {
		s := by[in.EvidenceID]
		if s == nil {
			s = &Source{EvidenceID: in.EvidenceID, Size: in.Size}
			by[in.EvidenceID] = s
		}
		s.Names = append(s.Names, in.Name)
	}
	for _, e := range evidence {
		s := by[e.EvidenceID]
		if s == nil || e.Kind != "capture" {
			continue
		}
		s.MediaType, s.LinkTypes, s.Packets, s.Flows = e.MediaType, e.LinkTypes, e.Packets, e.Flows
		s.FirstPacket, s.LastPacket, s.BytesRead, s.BytesUnread = e.FirstPacket, e.LastPacket, e.BytesRead, e.BytesUnread
		s.Problems, s.Counters, s.Tool, s.ToolVersion = e.Problems, e.Counters, e.Tool, e.ToolVersion
	}
	out := make([]Source, 0, len(by))
	for _, s := range by {
		slices.Sort(s.Names)
		s.Names = slices.Compact(s.Names)
		s.LinkTypes, s.Problems = filled(s.LinkTypes), filled(slices.Sorted(slices.Values(s.Problems)))
		counters := map[string]uint64{}
		maps.Copy(counters, s.Counters)
		s.Counters = counters
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Source) int {
		return cmp.Or(cmp.Compare(a.FirstPacket, b.FirstPacket), strings.Compare(a.Names[0], b.Names[0]), strings.Compare(a.EvidenceID, b.EvidenceID))
	})
	return out
}

// roleOrder ranks roles when a host has several in different traces.
var roleOrder = []string{"relay", "target", "exfil", "c2", "victim", "pivot", "origin"}

// hosts lists every address that a detection or a trace names.
func hosts(r *Report, traffic []store.Talker) []Host {
	by := map[netip.Addr]*Host{}
	get := func(ip netip.Addr) *Host {
		h := by[ip]
		if h == nil {
			h = &Host{IP: ip, Internal: ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsLoopback()}
			by[ip] = h
		}
		return h
	}
	named := func(ip netip.Addr, d *model.Detection) {
		if !ip.IsValid() {
			return
		}
		h := get(ip)
		h.Detections = append(h.Detections, d.DetectionID)
		h.Phases = append(h.Phases, d.Phase)
		if Rank(d.Severity) > Rank(h.Severity) {
			h.Severity = d.Severity
		}
	}
	severity := map[string]*model.Detection{}
	for i := range r.Detections {
		d := &r.Detections[i]
		severity[d.DetectionID] = d
		named(d.OrigIP, d)
		named(d.RespIP, d)
	}
	for i := range r.Traces {
		t := &r.Traces[i]
		for _, th := range t.Hosts {
			h := get(th.IP)
			h.Internal = th.Internal
			h.Names = append(h.Names, th.Names...)
			h.Traces = append(h.Traces, t.TraceID)
			if slices.Index(roleOrder, th.Role) > slices.Index(roleOrder, h.Role) {
				h.Role = th.Role
			}
			if h.Suspicious == 0 || th.FirstSeen != 0 && th.FirstSeen < h.Suspicious {
				h.Suspicious, h.Certainty = th.FirstSeen, th.Certainty
			}
			for _, id := range th.Detections {
				h.Detections = append(h.Detections, id)
				if d := severity[id]; d != nil && Rank(d.Severity) > Rank(h.Severity) {
					h.Severity = d.Severity
				}
			}
		}
		for _, e := range t.Edges {
			get(e.OrigIP).Phases = append(get(e.OrigIP).Phases, e.Phase)
			get(e.RespIP).Phases = append(get(e.RespIP).Phases, e.Phase)
		}
	}
	for _, tr := range traffic {
		h := by[tr.IP]
		if h == nil {
			continue
		}
		h.FirstSeen, h.LastSeen, h.BytesOut, h.BytesIn = tr.First, tr.Last, tr.BytesOut, tr.BytesIn
		h.Peers, h.Flows, h.L2Addrs = tr.Peers, tr.Flows, tr.L2Addrs
	}
	out := make([]Host, 0, len(by))
	for _, h := range by {
		h.Names, h.Detections, h.Traces = unique(h.Names), unique(h.Detections), unique(h.Traces)
		h.Phases = inOrder(h.Phases)
		h.L2Addrs = filled(h.L2Addrs)
		out = append(out, *h)
	}
	slices.SortFunc(out, func(a, b Host) int {
		return cmp.Or(cmp.Compare(slices.Index(roleOrder, b.Role), slices.Index(roleOrder, a.Role)),
			cmp.Compare(Rank(b.Severity), Rank(a.Severity)), cmp.Compare(a.Suspicious, b.Suspicious), a.IP.Compare(b.IP))
	})
	return out
}

// chronology lists all edges, and the detections that no edge draws, in time order.
func chronology(r *Report) []Moment {
	out := []Moment{}
	drawn := map[string]bool{}
	for _, t := range r.Traces {
		for _, e := range t.Edges {
			for _, id := range e.Detections {
				drawn[id] = true
			}
			out = append(out, Moment{
				ID: e.EdgeID, Start: e.Start, End: e.End, Phase: e.Phase, Technique: e.Technique, OrigIP: e.OrigIP, RespIP: e.RespIP,
				RespPort: e.RespPort, Proto: e.Proto, Service: e.Service, What: e.Why, Order: e.Order, Confidence: e.Confidence,
				FlowCount: e.FlowCount, OrigBytes: e.OrigBytes, RespBytes: e.RespBytes, IDs: unique(append([]string{t.TraceID}, e.Detections...)),
			})
		}
	}
	for _, d := range r.Detections {
		if drawn[d.DetectionID] {
			continue
		}
		out = append(out, Moment{
			ID: d.DetectionID, Start: d.FirstSeen, End: d.LastSeen, Phase: d.Phase, Technique: d.Technique, OrigIP: d.OrigIP, RespIP: d.RespIP,
			RespPort: d.RespPort, Proto: d.Proto, What: d.Why, Order: model.OrderCertain, Confidence: d.Confidence, FlowCount: d.FlowCount,
			IDs: []string{d.DetectionID},
		})
	}
	slices.SortFunc(out, func(a, b Moment) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End), strings.Compare(a.ID, b.ID))
	})
	return out
}

func unique(list []string) []string {
	out := slices.Clone(filled(list))
	slices.Sort(out)
	return slices.Compact(out)
}

// inOrder sorts phases by the attack chain, each once.
func inOrder(phases []string) []string {
	out := []string{}
	for _, p := range Phases {
		if slices.Contains(phases, p) {
			out = append(out, p)
		}
	}
	return out
}
