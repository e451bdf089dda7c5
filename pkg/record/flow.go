package record

import "github.com/tracer-framework/tracer/pkg/model"

// Flows are rows of table flow.
type Flows struct {
	FlowID        FlowIDs
	CommunityID   Text
	Seq           Uint[uint16]
	Open          Bool
	Start         Time
	End           Time
	Sensor        Word
	Source        Word
	EvidenceID    Word
	FirstPacket   Uint[uint64]
	OrigIP        IP
	OrigPort      Uint[uint16]
	RespIP        IP
	RespPort      Uint[uint16]
	Proto         Word
	Service       Word
	ConnState     Word
	History       Word
	OrigBytes     Uint[uint64]
	RespBytes     Uint[uint64]
	OrigPkts      Uint[uint64]
	RespPkts      Uint[uint64]
	OrigIPBytes   Uint[uint64]
	RespIPBytes   Uint[uint64]
	MissedBytes   Uint[uint64]
	OrigDataStart Time
	RespDataStart Time
	Vlan          Uint[uint16]
	InnerVlan     Uint[uint16]
	OrigL2Addr    Word
	RespL2Addr    Word
	Tunnel        Word
	InIf          Uint[uint32]
	OutIf         Uint[uint32]
	Exporter      IP
	TLSVersion    Word
	TLSSNI        Word
	TLSALPN       Word
	JA3           Word
	JA3S          Word
	JA4           Word
	HASSH         Word
	HASSHServer   Word
	HTTPHost      Word
	HTTPUserAgent Word
	DNSQuery      Text
	Tags          Words

	table []named
}

func (c *Flows) columns() []named {
	if c.table == nil {
		c.Tags.bind()
		c.table = []named{
			{"flow_id", &c.FlowID},
			{"community_id", &c.CommunityID},
			{"seq", &c.Seq},
			{"open", &c.Open},
			{"start", &c.Start},
			{"end", &c.End},
			{"sensor", &c.Sensor},
			{"source", &c.Source},
			{"evidence_id", &c.EvidenceID},
			{"first_packet", &c.FirstPacket},
			{"orig_ip", &c.OrigIP},
			{"orig_port", &c.OrigPort},
			{"resp_ip", &c.RespIP},
			{"resp_port", &c.RespPort},
			{"proto", &c.Proto},
			{"service", &c.Service},
			{"conn_state", &c.ConnState},
			{"history", &c.History},
			{"orig_bytes", &c.OrigBytes},
			{"resp_bytes", &c.RespBytes},
			{"orig_pkts", &c.OrigPkts},
			{"resp_pkts", &c.RespPkts},
			{"orig_ip_bytes", &c.OrigIPBytes},
			{"resp_ip_bytes", &c.RespIPBytes},
			{"missed_bytes", &c.MissedBytes},
			{"orig_data_start", &c.OrigDataStart},
			{"resp_data_start", &c.RespDataStart},
			{"vlan", &c.Vlan},
			{"inner_vlan", &c.InnerVlan},
			{"orig_l2_addr", &c.OrigL2Addr},
			{"resp_l2_addr", &c.RespL2Addr},
			{"tunnel", &c.Tunnel},
			{"in_if", &c.InIf},
			{"out_if", &c.OutIf},
			{"exporter", &c.Exporter},
			{"tls_version", &c.TLSVersion},
			{"tls_sni", &c.TLSSNI},
			{"tls_alpn", &c.TLSALPN},
			{"ja3", &c.JA3},
			{"ja3s", &c.JA3S},
			{"ja4", &c.JA4},
			{"hassh", &c.HASSH},
			{"hassh_server", &c.HASSHServer},
			{"http_host", &c.HTTPHost},
			{"http_user_agent", &c.HTTPUserAgent},
			{"dns_query", &c.DNSQuery},
			{"tags", &c.Tags},
		}
	}
	return c.table
}

// Append adds a row.
func (c *Flows) Append(v *model.Flow) {
	c.FlowID.Append(v.FlowID)
	c.CommunityID.Append(v.CommunityID)
	c.Seq.Append(v.Seq)
	c.Open.Append(v.Open)
	c.Start.Append(v.Start)
	c.End.Append(v.End)
	c.Sensor.Append(v.Sensor)
	c.Source.Append(v.Source)
	c.EvidenceID.Append(v.EvidenceID)
	c.FirstPacket.Append(v.FirstPacket)
	c.OrigIP.Append(v.OrigIP)
	c.OrigPort.Append(v.OrigPort)
	c.RespIP.Append(v.RespIP)
	c.RespPort.Append(v.RespPort)
	c.Proto.Append(v.Proto)
	c.Service.Append(v.Service)
	c.ConnState.Append(v.ConnState)
	c.History.Append(v.History)
	c.OrigBytes.Append(v.OrigBytes)
	c.RespBytes.Append(v.RespBytes)
	c.OrigPkts.Append(v.OrigPkts)
	c.RespPkts.Append(v.RespPkts)
	c.OrigIPBytes.Append(v.OrigIPBytes)
	c.RespIPBytes.Append(v.RespIPBytes)
	c.MissedBytes.Append(v.MissedBytes)
	c.OrigDataStart.Append(v.OrigDataStart)
	c.RespDataStart.Append(v.RespDataStart)
	c.Vlan.Append(v.Vlan)
	c.InnerVlan.Append(v.InnerVlan)
	c.OrigL2Addr.Append(v.OrigL2Addr)
	c.RespL2Addr.Append(v.RespL2Addr)
	c.Tunnel.Append(v.Tunnel)
	c.InIf.Append(v.InIf)
	c.OutIf.Append(v.OutIf)
	c.Exporter.Append(v.Exporter)
	c.TLSVersion.Append(v.TLSVersion)
	c.TLSSNI.Append(v.TLSSNI)
	c.TLSALPN.Append(v.TLSALPN)
	c.JA3.Append(v.JA3)
	c.JA3S.Append(v.JA3S)
	c.JA4.Append(v.JA4)
	c.HASSH.Append(v.HASSH)
	c.HASSHServer.Append(v.HASSHServer)
	c.HTTPHost.Append(v.HTTPHost)
	c.HTTPUserAgent.Append(v.HTTPUserAgent)
	c.DNSQuery.Append(v.DNSQuery)
	c.Tags.Append(v.Tags)
}

// Row writes row i to v.
func (c *Flows) Row(i int, v *model.Flow) {
	v.FlowID = c.FlowID.Row(i)
	v.CommunityID = c.CommunityID.Row(i)
	v.Seq = c.Seq.Row(i)
	v.Open = c.Open.Row(i)
	v.Start = c.Start.Row(i)
	v.End = c.End.Row(i)
	v.Sensor = c.Sensor.Row(i)
	v.Source = c.Source.Row(i)
	v.EvidenceID = c.EvidenceID.Row(i)
	v.FirstPacket = c.FirstPacket.Row(i)
	v.OrigIP = c.OrigIP.Endpoint(i)
	v.OrigPort = c.OrigPort.Row(i)
	v.RespIP = c.RespIP.Endpoint(i)
	v.RespPort = c.RespPort.Row(i)
	v.Proto = c.Proto.Row(i)
	v.Service = c.Service.Row(i)
	v.ConnState = c.ConnState.Row(i)
	v.History = c.History.Row(i)
	v.OrigBytes = c.OrigBytes.Row(i)
	v.RespBytes = c.RespBytes.Row(i)
	v.OrigPkts = c.OrigPkts.Row(i)
	v.RespPkts = c.RespPkts.Row(i)
	v.OrigIPBytes = c.OrigIPBytes.Row(i)
	v.RespIPBytes = c.RespIPBytes.Row(i)
	v.MissedBytes = c.MissedBytes.Row(i)
	v.OrigDataStart = c.OrigDataStart.Row(i)
	v.RespDataStart = c.RespDataStart.Row(i)
	v.Vlan = c.Vlan.Row(i)
	v.InnerVlan = c.InnerVlan.Row(i)
	v.OrigL2Addr = c.OrigL2Addr.Row(i)
	v.RespL2Addr = c.RespL2Addr.Row(i)
	v.Tunnel = c.Tunnel.Row(i)
	v.InIf = c.InIf.Row(i)
	v.OutIf = c.OutIf.Row(i)
	v.Exporter = c.Exporter.Row(i)
	v.TLSVersion = c.TLSVersion.Row(i)
	v.TLSSNI = c.TLSSNI.Row(i)
	v.TLSALPN = c.TLSALPN.Row(i)
	v.JA3 = c.JA3.Row(i)
	v.JA3S = c.JA3S.Row(i)
	v.JA4 = c.JA4.Row(i)
	v.HASSH = c.HASSH.Row(i)
	v.HASSHServer = c.HASSHServer.Row(i)
	v.HTTPHost = c.HTTPHost.Row(i)
	v.HTTPUserAgent = c.HTTPUserAgent.Row(i)
	v.DNSQuery = c.DNSQuery.Row(i)
	v.Tags = c.Tags.Row(i)
}

// Rows is the number of rows.
func (c *Flows) Rows() int { return c.FlowID.Rows() }

// Reset drops all rows and keeps the memory.
func (c *Flows) Reset() { reset(c.columns()) }
