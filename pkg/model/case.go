package model

// Stage of a case: what has been done for it.
const (
	StageOpened   = "opened"   // inputs named, reading may begin
	StageDetected = "detected" // all inputs stored, detectors have run
	StageMapped   = "mapped"   // traces made
	StageReported = "reported" // report issued
)

// Input is one file named for an investigation.
type Input struct {
	EvidenceID string `json:"evidence_id"` // SHA-256 (hex) of the file's bytes
	Name       string `json:"name"`        // base name
	URI        string `json:"uri"`         // absolute path
	Size       uint64 `json:"size"`
	ModTime    Time   `json:"mod_time"`
}

// Case is one investigation: a set of inputs and all that was concluded from them.
// Table case. The id derives from the inputs, so that the same files give the same case;
// Run tells one treatment of the case from the next and appears in no document.
type Case struct {
	CaseID     string  `json:"case_id"` // DeriveID("case", sorted evidence ids...)
	Run        string  `json:"run"`
	Title      string  `json:"title"`
	Stage      string  `json:"stage"`
	Inputs     []Input `json:"inputs"` // sorted by evidence_id, name
	Detections uint64  `json:"detections"`
	Traces     uint64  `json:"traces"`
	Profiles   string  `json:"profiles"` // digest of the threat profiles in force, set at stage detected
	Updated    Time    `json:"updated"`  // when the case was opened; the stages that follow add microseconds, so that the latest holds

	OCSF OCSF `json:"ocsf"` // follows from the rest whenever the case is written as JSON
}

// EvidenceIDs lists the ids of the inputs, sorted, without repeats.
func (c *Case) EvidenceIDs() []string {
	var out []string
	for _, in := range c.Inputs {
		if len(out) == 0 || out[len(out)-1] != in.EvidenceID {
			out = append(out, in.EvidenceID)
		}
	}
	return out
}

// ReportIssued tells that the documents of a case are ready.
type ReportIssued struct {
	CaseID string       `json:"case_id"`
	Run    string       `json:"run"`
	Dir    string       `json:"dir"` // folder of the documents at the report service
	Files  []ReportFile `json:"files"`
}

// ReportFile is one document with its digest.
type ReportFile struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Size   uint64 `json:"size"`
}
