package model

import "net/netip"

// Severity of a detection or finding, from weak to strong.
const (
	SeverityInformational = "informational"
	SeverityLow           = "low"
	SeverityMedium        = "medium"
	SeverityHigh          = "high"
	SeverityCritical      = "critical"
)

// Phase of an intrusion, in the usual order of an attack chain.
const (
	PhaseRecon      = "recon"
	PhaseExploit    = "exploit"
	PhaseC2         = "c2"
	PhaseDiscovery  = "discovery"
	PhaseCredential = "credential"
	PhaseTraversal  = "traversal"
	PhaseCollection = "collection"
	PhaseExfil      = "exfil"
	PhaseUnknown    = "unknown"
)

// Number is one figure a statement rests on, with its unit ("" for a plain count).
type Number struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// Detection says that traffic is suspicious, why, and on what it rests. Table detection.
type Detection struct {
	DetectionID string `json:"detection_id"` // DeriveID("det", case, detector, entities...)
	CaseID      string `json:"case_id"`
	Run         string `json:"run,omitempty"` // run of the case that raised it; not part of any document

	Detector   string `json:"detector"` // horizontal_scan, vertical_scan, beacon, long_connection, dns_tunnel, profile
	Profile    string `json:"profile"`  // id of the threat profile, for detector "profile"
	Title      string `json:"title"`
	Why        string `json:"why"` // one or two plain sentences with the numbers in them
	Severity   string `json:"severity"`
	Confidence uint8  `json:"confidence"` // 0 to 100

	Phase           string   `json:"phase"`
	Technique       string   `json:"technique"` // MITRE ATT&CK v19 id
	TechniqueName   string   `json:"technique_name"`
	TechniqueLegacy string   `json:"technique_legacy"` // id in v18 and older where it differs, else the same id
	Tactic          string   `json:"tactic"`
	FalsePositives  []string `json:"false_positives"` // what benign traffic looks the same

	OrigIP    netip.Addr `json:"orig_ip"`   // who acted; invalid if several
	RespIP    netip.Addr `json:"resp_ip"`   // upon whom; invalid if several
	RespPort  uint16     `json:"resp_port"` // 0 if several
	Proto     string     `json:"proto"`
	Domain    string     `json:"domain"`    // name involved: SNI, host or registrable domain
	Indicator string     `json:"indicator"` // what matched, for detector "profile"

	FirstSeen Time     `json:"first_seen"`
	LastSeen  Time     `json:"last_seen"`
	Numbers   []Number `json:"numbers"` // sorted by name

	FlowCount   uint64   `json:"flow_count"`   // flows it rests on
	Flows       []FlowID `json:"flows"`        // the first FlowsCap of them in time order
	EvidenceIDs []string `json:"evidence_ids"` // inputs of those flows, sorted
	From        []string `json:"from"`         // ids of the records it was made from, sorted: flow ids as text, detection ids

	OCSF OCSF `json:"ocsf"` // follows from the rest whenever the detection is written as JSON
}

// FlowsCap bounds the list of flow ids a detection or edge carries; FlowCount holds the whole number.
const FlowsCap = 200
