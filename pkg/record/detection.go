package record

import "github.com/tracer-framework/tracer/pkg/model"

// Detections are rows of table detection.
type Detections struct {
	DetectionID     Text
	CaseID          Word
	Run             Word
	Detector        Word
	Profile         Word
	Title           Text
	Why             Text
	Severity        Word
	Confidence      Uint[uint8]
	Phase           Word
	Technique       Word
	TechniqueName   Word
	TechniqueLegacy Word
	Tactic          Word
	FalsePositives  Words
	OrigIP          IP
	RespIP          IP
	RespPort        Uint[uint16]
	Proto           Word
	Domain          Text
	Indicator       Text
	FirstSeen       Time
	LastSeen        Time
	Numbers         Numbers
	FlowCount       Uint[uint64]
	Flows           FlowLists
	EvidenceIDs     Texts
	From            Texts

	table []named
}

func (c *Detections) columns() []named {
	if c.table == nil {
		c.FalsePositives.bind()
		c.Numbers.bind()
		c.Flows.bind()
		c.EvidenceIDs.bind()
		c.From.bind()
		c.table = []named{
			{"detection_id", &c.DetectionID},
			{"case_id", &c.CaseID},
			{"run", &c.Run},
			{"detector", &c.Detector},
			{"profile", &c.Profile},
			{"title", &c.Title},
			{"why", &c.Why},
			{"severity", &c.Severity},
			{"confidence", &c.Confidence},
			{"phase", &c.Phase},
			{"technique", &c.Technique},
			{"technique_name", &c.TechniqueName},
			{"technique_legacy", &c.TechniqueLegacy},
			{"tactic", &c.Tactic},
			{"false_positives", &c.FalsePositives},
			{"orig_ip", &c.OrigIP},
			{"resp_ip", &c.RespIP},
			{"resp_port", &c.RespPort},
			{"proto", &c.Proto},
			{"domain", &c.Domain},
			{"indicator", &c.Indicator},
			{"first_seen", &c.FirstSeen},
			{"last_seen", &c.LastSeen},
			{"numbers", &c.Numbers},
			{"flow_count", &c.FlowCount},
			{"flows", &c.Flows},
			{"evidence_ids", &c.EvidenceIDs},
			{"from", &c.From},
		}
	}
	return c.table
}

// Append adds a row.
func (c *Detections) Append(v *model.Detection) {
	c.DetectionID.Append(v.DetectionID)
	c.CaseID.Append(v.CaseID)
	c.Run.Append(v.Run)
	c.Detector.Append(v.Detector)
	c.Profile.Append(v.Profile)
	c.Title.Append(v.Title)
	c.Why.Append(v.Why)
	c.Severity.Append(v.Severity)
	c.Confidence.Append(v.Confidence)
	c.Phase.Append(v.Phase)
	c.Technique.Append(v.Technique)
	c.TechniqueName.Append(v.TechniqueName)
	c.TechniqueLegacy.Append(v.TechniqueLegacy)
	c.Tactic.Append(v.Tactic)
	c.FalsePositives.Append(v.FalsePositives)
	c.OrigIP.Append(v.OrigIP)
	c.RespIP.Append(v.RespIP)
	c.RespPort.Append(v.RespPort)
	c.Proto.Append(v.Proto)
	c.Domain.Append(v.Domain)
	c.Indicator.Append(v.Indicator)
	c.FirstSeen.Append(v.FirstSeen)
	c.LastSeen.Append(v.LastSeen)
	c.Numbers.Append(v.Numbers)
	c.FlowCount.Append(v.FlowCount)
	c.Flows.Append(v.Flows)
	c.EvidenceIDs.Append(v.EvidenceIDs)
	c.From.Append(v.From)
}

// Row writes row i to v.
func (c *Detections) Row(i int, v *model.Detection) {
	v.DetectionID = c.DetectionID.Row(i)
	v.CaseID = c.CaseID.Row(i)
	v.Run = c.Run.Row(i)
	v.Detector = c.Detector.Row(i)
	v.Profile = c.Profile.Row(i)
	v.Title = c.Title.Row(i)
	v.Why = c.Why.Row(i)
	v.Severity = c.Severity.Row(i)
	v.Confidence = c.Confidence.Row(i)
	v.Phase = c.Phase.Row(i)
	v.Technique = c.Technique.Row(i)
	v.TechniqueName = c.TechniqueName.Row(i)
	v.TechniqueLegacy = c.TechniqueLegacy.Row(i)
	v.Tactic = c.Tactic.Row(i)
	v.FalsePositives = c.FalsePositives.Row(i)
	v.OrigIP = c.OrigIP.Row(i)
	v.RespIP = c.RespIP.Row(i)
	v.RespPort = c.RespPort.Row(i)
	v.Proto = c.Proto.Row(i)
	v.Domain = c.Domain.Row(i)
	v.Indicator = c.Indicator.Row(i)
	v.FirstSeen = c.FirstSeen.Row(i)
	v.LastSeen = c.LastSeen.Row(i)
	v.Numbers = c.Numbers.Row(i)
	v.FlowCount = c.FlowCount.Row(i)
	v.Flows = c.Flows.Row(i)
	v.EvidenceIDs = c.EvidenceIDs.Row(i)
	v.From = c.From.Row(i)
}

// Rows is the number of rows.
func (c *Detections) Rows() int { return c.DetectionID.Rows() }

// Reset drops all rows and keeps the memory.
func (c *Detections) Reset() { reset(c.columns()) }
