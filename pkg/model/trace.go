package model

import "net/netip"

// Order says how sure the place of an edge in time is.
const (
	OrderCertain  = "certain"  // the clocks leave no doubt
	OrderPossible = "possible" // the time rule allows it, within the clock bounds
)

// Trace is the way a threat took through the network: hosts, and edges between them in
// an order that time permits. Tables trace and trace_edge.
type Trace struct {
	TraceID string      `json:"trace_id"` // DeriveID("trc", case, seed host)
	CaseID  string      `json:"case_id"`
	Run     string      `json:"run,omitempty"`
	Seed    []string    `json:"seed"`  // detection ids the trace grew from, sorted
	Title   string      `json:"title"` // one line: from where to where
	Start   Time        `json:"start"`
	End     Time        `json:"end"`
	Hosts   []TraceHost `json:"hosts"` // sorted by first_seen, address
	Edges   []TraceEdge `json:"edges"` // sorted by start, edge_id
	Origins []Origin    `json:"origins"`
	Stop    Stop        `json:"stop"`
	From    []string    `json:"from"` // detection ids, sorted
}

// TraceHost is one address in a trace.
type TraceHost struct {
	IP         netip.Addr `json:"ip"`
	Role       string     `json:"role"` // origin, victim, pivot, relay (passes on for others, such as a resolver or proxy), target, c2, exfil, relay (passed it on without being compromised, such as a resolver)
	Internal   bool       `json:"internal"`
	Names      []string   `json:"names"`      // names the traffic gave it, sorted
	FirstSeen  Time       `json:"first_seen"` // earliest time it can have been influenced
	Certainty  string     `json:"certainty"`  // certain or possible
	Detections []string   `json:"detections"` // sorted
}

// TraceEdge is influence of one host on another in one phase: a group of flows.
type TraceEdge struct {
	EdgeID      string     `json:"edge_id"` // DeriveID("edg", trace, orig, resp, phase, service)
	TraceID     string     `json:"trace_id"`
	CaseID      string     `json:"case_id"`
	Run         string     `json:"run,omitempty"`
	OrigIP      netip.Addr `json:"orig_ip"`
	RespIP      netip.Addr `json:"resp_ip"`
	RespPort    uint16     `json:"resp_port"`
	Proto       string     `json:"proto"`
	Service     string     `json:"service"`
	Phase       string     `json:"phase"`
	Technique   string     `json:"technique"`
	Direction   string     `json:"direction"` // inbound, outbound, lateral, external
	Order       string     `json:"order"`     // certain or possible
	Start       Time       `json:"start"`
	End         Time       `json:"end"`
	OrigBytes   uint64     `json:"orig_bytes"`
	RespBytes   uint64     `json:"resp_bytes"`
	FlowCount   uint64     `json:"flow_count"`
	Flows       []FlowID   `json:"flows"` // first FlowsCap in time order
	EvidenceIDs []string   `json:"evidence_ids"`
	Detections  []string   `json:"detections"`
	Confidence  uint8      `json:"confidence"` // 0 to 100
	Why         string     `json:"why"`
	From        []string   `json:"from"`
}

// Origin is a host the trace may have begun at, with the share of the evidence for it.
type Origin struct {
	IP         netip.Addr `json:"ip"`
	Confidence uint8      `json:"confidence"`
	Why        string     `json:"why"`
}

// Stop is the certificate of why the analysis ended.
type Stop struct {
	Reason string   `json:"reason"` // fixpoint, budget, no_seed
	Open   []string `json:"open"`   // what was left unexpanded, sorted
	Rounds uint32   `json:"rounds"`
}
