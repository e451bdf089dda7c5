package record

import "github.com/tracer-framework/tracer/pkg/model"

// DNSs are rows of table dns.
type DNSs struct {
	Endpoints
	TransID       Uint[uint16]
	RTTMicros     Uint[uint32]
	Query         Text
	QClass        Uint[uint16]
	QType         Uint[uint16]
	QTypeName     Word
	RCode         Uint[uint16]
	RCodeName     Word
	Queried       Bool
	Answered      Bool
	AA            Bool
	TC            Bool
	RD            Bool
	RA            Bool
	Answers       Texts
	TTLs          Uints[uint32]
	RequestBytes  Uint[uint32]
	ResponseBytes Uint[uint32]

	table []named
}

func (c *DNSs) columns() []named {
	if c.table == nil {
		c.Answers.bind()
		c.TTLs.bind()
		c.table = append(c.Endpoints.columns(), []named{
			{"trans_id", &c.TransID},
			{"rtt_us", &c.RTTMicros},
			{"query", &c.Query},
			{"qclass", &c.QClass},
			{"qtype", &c.QType},
			{"qtype_name", &c.QTypeName},
			{"rcode", &c.RCode},
			{"rcode_name", &c.RCodeName},
			{"queried", &c.Queried},
			{"answered", &c.Answered},
			{"aa", &c.AA},
			{"tc", &c.TC},
			{"rd", &c.RD},
			{"ra", &c.RA},
			{"answers", &c.Answers},
			{"ttls", &c.TTLs},
			{"request_bytes", &c.RequestBytes},
			{"response_bytes", &c.ResponseBytes},
		}...)
	}
	return c.table
}

// Append adds a row.
func (c *DNSs) Append(v *model.DNS) {
	c.appendEndpoints(&v.Endpoints)
	c.TransID.Append(v.TransID)
	c.RTTMicros.Append(v.RTTMicros)
	c.Query.Append(v.Query)
	c.QClass.Append(v.QClass)
	c.QType.Append(v.QType)
	c.QTypeName.Append(v.QTypeName)
	c.RCode.Append(v.RCode)
	c.RCodeName.Append(v.RCodeName)
	c.Queried.Append(v.Queried)
	c.Answered.Append(v.Answered)
	c.AA.Append(v.AA)
	c.TC.Append(v.TC)
	c.RD.Append(v.RD)
	c.RA.Append(v.RA)
	c.Answers.Append(v.Answers)
	c.TTLs.Append(v.TTLs)
	c.RequestBytes.Append(v.RequestBytes)
	c.ResponseBytes.Append(v.ResponseBytes)
}

// Row writes row i to v.
func (c *DNSs) Row(i int, v *model.DNS) {
	c.rowEndpoints(i, &v.Endpoints)
	v.TransID = c.TransID.Row(i)
	v.RTTMicros = c.RTTMicros.Row(i)
	v.Query = c.Query.Row(i)
	v.QClass = c.QClass.Row(i)
	v.QType = c.QType.Row(i)
	v.QTypeName = c.QTypeName.Row(i)
	v.RCode = c.RCode.Row(i)
	v.RCodeName = c.RCodeName.Row(i)
	v.Queried = c.Queried.Row(i)
	v.Answered = c.Answered.Row(i)
	v.AA = c.AA.Row(i)
	v.TC = c.TC.Row(i)
	v.RD = c.RD.Row(i)
	v.RA = c.RA.Row(i)
	v.Answers = c.Answers.Row(i)
	v.TTLs = c.TTLs.Row(i)
	v.RequestBytes = c.RequestBytes.Row(i)
	v.ResponseBytes = c.ResponseBytes.Row(i)
}

// Rows is the number of rows.
func (c *DNSs) Rows() int { return c.FlowID.Rows() }

// Reset drops all rows and keeps the memory.
func (c *DNSs) Reset() { reset(c.columns()) }
