package record

import (
	"encoding/json"
	"net/netip"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Traces are rows of table trace. Column document holds the whole trace as JSON, edges
// included; the other columns repeat what questions in SQL ask for.
type Traces struct {
	TraceID  Text
	CaseID   Word
	Run      Word
	Seed     Texts
	Title    Text
	Start    Time
	End      Time
	HostIPs  IPs
	From     Texts
	Document Text

	table []named
	ips   []netip.Addr
}

func (c *Traces) columns() []named {
	if c.table == nil {
		c.Seed.bind()
		c.HostIPs.bind()
		c.From.bind()
		c.table = []named{
			{"trace_id", &c.TraceID},
			{"case_id", &c.CaseID},
			{"run", &c.Run},
			{"seed", &c.Seed},
			{"title", &c.Title},
			{"start", &c.Start},
			{"end", &c.End},
			{"host_ips", &c.HostIPs},
			{"from", &c.From},
			{"document", &c.Document},
		}
	}
	return c.table
}

// Append adds a row.
func (c *Traces) Append(v *model.Trace) {
	c.TraceID.Append(v.TraceID)
	c.CaseID.Append(v.CaseID)
	c.Run.Append(v.Run)
	c.Seed.Append(v.Seed)
	c.Title.Append(v.Title)
	c.Start.Append(v.Start)
	c.End.Append(v.End)
	c.ips = c.ips[:0]
	for i := range v.Hosts {
		c.ips = append(c.ips, v.Hosts[i].IP)
	}
	c.HostIPs.Append(c.ips)
	c.From.Append(v.From)
	doc, err := json.Marshal(v)
	if err != nil {
		doc = nil // cannot be: a trace holds numbers, texts and addresses only
	}
	c.Document.Append(string(doc))
}

// Row writes row i to v: the document, where it can be read, else the plain columns.
func (c *Traces) Row(i int, v *model.Trace) {
	*v = model.Trace{}
	if json.Unmarshal(c.Document.Bytes(i), v) != nil {
		*v = model.Trace{}
	}
	v.TraceID = c.TraceID.Row(i)
	v.CaseID = c.CaseID.Row(i)
	v.Run = c.Run.Row(i)
	v.Seed = c.Seed.Row(i)
	v.Title = c.Title.Row(i)
	v.Start = c.Start.Row(i)
	v.End = c.End.Row(i)
	v.From = c.From.Row(i)
}

// Rows is the number of rows.
func (c *Traces) Rows() int { return c.TraceID.Rows() }

// Reset drops all rows and keeps the memory.
func (c *Traces) Reset() { reset(c.columns()) }

// TraceEdges are rows of table trace_edge.
type TraceEdges struct {
	EdgeID      Text
	TraceID     Word
	CaseID      Word
	Run         Word
	OrigIP      IP
	RespIP      IP
	RespPort    Uint[uint16]
	Proto       Word
	Service     Word
	Phase       Word
	Technique   Word
	Direction   Word
	Order       Word
	Start       Time
	End         Time
	OrigBytes   Uint[uint64]
	RespBytes   Uint[uint64]
	FlowCount   Uint[uint64]
	Flows       FlowLists
	EvidenceIDs Texts
	Detections  Texts
	Confidence  Uint[uint8]
	Why         Text
	From        Texts

	table []named
}

func (c *TraceEdges) columns() []named {
	if c.table == nil {
		c.Flows.bind()
		c.EvidenceIDs.bind()
		c.Detections.bind()
		c.From.bind()
		c.table = []named{
			{"edge_id", &c.EdgeID},
			{"trace_id", &c.TraceID},
			{"case_id", &c.CaseID},
			{"run", &c.Run},
			{"orig_ip", &c.OrigIP},
			{"resp_ip", &c.RespIP},
			{"resp_port", &c.RespPort},
			{"proto", &c.Proto},
			{"service", &c.Service},
			{"phase", &c.Phase},
			{"technique", &c.Technique},
			{"direction", &c.Direction},
			{"order", &c.Order},
			{"start", &c.Start},
			{"end", &c.End},
			{"orig_bytes", &c.OrigBytes},
			{"resp_bytes", &c.RespBytes},
			{"flow_count", &c.FlowCount},
			{"flows", &c.Flows},
			{"evidence_ids", &c.EvidenceIDs},
			{"detections", &c.Detections},
			{"confidence", &c.Confidence},
			{"why", &c.Why},
			{"from", &c.From},
		}
	}
	return c.table
}

// Append adds a row.
func (c *TraceEdges) Append(v *model.TraceEdge) {
	c.EdgeID.Append(v.EdgeID)
	c.TraceID.Append(v.TraceID)
	c.CaseID.Append(v.CaseID)
	c.Run.Append(v.Run)
	c.OrigIP.Append(v.OrigIP)
	c.RespIP.Append(v.RespIP)
	c.RespPort.Append(v.RespPort)
	c.Proto.Append(v.Proto)
	c.Service.Append(v.Service)
	c.Phase.Append(v.Phase)
	c.Technique.Append(v.Technique)
	c.Direction.Append(v.Direction)
	c.Order.Append(v.Order)
	c.Start.Append(v.Start)
	c.End.Append(v.End)
	c.OrigBytes.Append(v.OrigBytes)
	c.RespBytes.Append(v.RespBytes)
	c.FlowCount.Append(v.FlowCount)
	c.Flows.Append(v.Flows)
	c.EvidenceIDs.Append(v.EvidenceIDs)
	c.Detections.Append(v.Detections)
	c.Confidence.Append(v.Confidence)
	c.Why.Append(v.Why)
	c.From.Append(v.From)
}

// Row writes row i to v.
func (c *TraceEdges) Row(i int, v *model.TraceEdge) {
	v.EdgeID = c.EdgeID.Row(i)
	v.TraceID = c.TraceID.Row(i)
	v.CaseID = c.CaseID.Row(i)
	v.Run = c.Run.Row(i)
	v.OrigIP = c.OrigIP.Row(i)
	v.RespIP = c.RespIP.Row(i)
	v.RespPort = c.RespPort.Row(i)
	v.Proto = c.Proto.Row(i)
	v.Service = c.Service.Row(i)
	v.Phase = c.Phase.Row(i)
	v.Technique = c.Technique.Row(i)
	v.Direction = c.Direction.Row(i)
	v.Order = c.Order.Row(i)
	v.Start = c.Start.Row(i)
	v.End = c.End.Row(i)
	v.OrigBytes = c.OrigBytes.Row(i)
	v.RespBytes = c.RespBytes.Row(i)
	v.FlowCount = c.FlowCount.Row(i)
	v.Flows = c.Flows.Row(i)
	v.EvidenceIDs = c.EvidenceIDs.Row(i)
	v.Detections = c.Detections.Row(i)
	v.Confidence = c.Confidence.Row(i)
	v.Why = c.Why.Row(i)
	v.From = c.From.Row(i)
}

// Rows is the number of rows.
func (c *TraceEdges) Rows() int { return c.EdgeID.Rows() }

// Reset drops all rows and keeps the memory.
func (c *TraceEdges) Reset() { reset(c.columns()) }
