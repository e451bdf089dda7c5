package model

import (
	"encoding/json"
	"slices"
)

// OCSFVersion is the release of the Open Cybersecurity Schema Framework whose ids are used
// (https://schema.ocsf.io/1.8.0).
const OCSFVersion = "1.8.0"

// OCSF are the ids by which a consumer of the Open Cybersecurity Schema Framework tells
// what a record is and how grave: enough to route it. They follow from the record when it
// is written as JSON and are stored nowhere. A whole OCSF event needs more, among it the
// time of its making and an assignee, which a record of ours does not have.
type OCSF struct {
	ActivityID   uint8        `json:"activity_id"` // 1 create, 2 update
	CategoryUID  uint8        `json:"category_uid"`
	ClassUID     uint32       `json:"class_uid"` // 2004 detection_finding, 2005 incident_finding
	TypeUID      uint64       `json:"type_uid"`  // class_uid * 100 + activity_id
	SeverityID   uint8        `json:"severity_id"`
	ConfidenceID uint8        `json:"confidence_id"`
	StatusID     uint8        `json:"status_id"` // 1 new: nobody has looked at it
	Metadata     OCSFMetadata `json:"metadata"`
}

// OCSFMetadata says by which release of the schema the ids are to be read, and whose
// record it is.
type OCSFMetadata struct {
	Version string      `json:"version"`
	Product OCSFProduct `json:"product"`
}

// OCSFProduct names who made a record.
type OCSFProduct struct {
	Name string `json:"name"`
}

const (
	ocsfFindings         = 2 // category
	ocsfDetectionFinding = 2004
	ocsfIncidentFinding  = 2005
	ocsfCreate           = 1
	ocsfUpdate           = 2
)

func ocsf(class uint32, activity, severity, confidence uint8) OCSF {
	return OCSF{
		ActivityID: activity, CategoryUID: ocsfFindings, ClassUID: class, TypeUID: uint64(class)*100 + uint64(activity),
		SeverityID: severity, ConfidenceID: confidence, StatusID: 1,
		Metadata: OCSFMetadata{Version: OCSFVersion, Product: OCSFProduct{Name: "TRACER"}},
	}
}

// ocsfSeverity is 1 informational to 5 critical, 0 for what is none of ours.
func ocsfSeverity(severity string) uint8 {
	return uint8(1 + slices.Index([]string{SeverityInformational, SeverityLow, SeverityMedium, SeverityHigh, SeverityCritical}, severity))
}

// ocsfConfidence is 1 low below 40 of 100, 2 medium below 75, else 3 high.
func ocsfConfidence(confidence uint8) uint8 {
	switch {
	case confidence < 40:
		return 1
	case confidence < 75:
		return 2
	default:
		return 3
	}
}

// MarshalJSON writes the detection with its OCSF ids: a detection_finding that is created.
func (d Detection) MarshalJSON() ([]byte, error) {
	type plain Detection
	d.OCSF = ocsf(ocsfDetectionFinding, ocsfCreate, ocsfSeverity(d.Severity), ocsfConfidence(d.Confidence))
	return json.Marshal(plain(d))
}

// MarshalJSON writes the case with its OCSF ids: an incident_finding, created when the
// case is opened and updated by each further stage. A case has no severity of its own.
func (c Case) MarshalJSON() ([]byte, error) {
	type plain Case
	activity := uint8(ocsfUpdate)
	if c.Stage == StageOpened {
		activity = ocsfCreate
	}
	c.OCSF = ocsf(ocsfIncidentFinding, activity, 0, 0)
	return json.Marshal(plain(c))
}
