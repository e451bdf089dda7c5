package record

import "github.com/tracer-framework/tracer/pkg/model"

// Endpoints are the columns that every protocol table begins with.
type Endpoints struct {
	FlowID     FlowIDs
	EvidenceID Word
	TS         Time
	N          Uint[uint32]
	OrigIP     IP
	OrigPort   Uint[uint16]
	RespIP     IP
	RespPort   Uint[uint16]
	Proto      Word

	table []named
}

func (c *Endpoints) columns() []named {
	if c.table == nil {
		c.table = []named{
			{"flow_id", &c.FlowID},
			{"evidence_id", &c.EvidenceID},
			{"ts", &c.TS},
			{"n", &c.N},
			{"orig_ip", &c.OrigIP},
			{"orig_port", &c.OrigPort},
			{"resp_ip", &c.RespIP},
			{"resp_port", &c.RespPort},
			{"proto", &c.Proto},
		}
	}
	return c.table
}

func (c *Endpoints) appendEndpoints(v *model.Endpoints) {
	c.FlowID.Append(v.FlowID)
	c.EvidenceID.Append(v.EvidenceID)
	c.TS.Append(v.TS)
	c.N.Append(v.N)
	c.OrigIP.Append(v.OrigIP)
	c.OrigPort.Append(v.OrigPort)
	c.RespIP.Append(v.RespIP)
	c.RespPort.Append(v.RespPort)
	c.Proto.Append(v.Proto)
}

func (c *Endpoints) rowEndpoints(i int, v *model.Endpoints) {
	v.FlowID = c.FlowID.Row(i)
	v.EvidenceID = c.EvidenceID.Row(i)
	v.TS = c.TS.Row(i)
	v.N = c.N.Row(i)
	v.OrigIP = c.OrigIP.Endpoint(i)
	v.OrigPort = c.OrigPort.Row(i)
	v.RespIP = c.RespIP.Endpoint(i)
	v.RespPort = c.RespPort.Row(i)
	v.Proto = c.Proto.Row(i)
}
