// Package analyze reads application protocols out of the byte streams and datagrams of
// flows. A protocol is recognised by its content, never by its port. Each analyzer is
// told the bytes of one flow in order, keeps bounded state, and hands finished rows to a
// Sink.
package analyze

import "github.com/tracer-framework/tracer/pkg/model"

// Conn is what an analyzer knows of, and tells about, its flow.
type Conn struct {
	// Endpoints carries FlowID, EvidenceID, addresses, ports and protocol; TS and N are unset.
	Endpoints model.Endpoints

	// Set by analyzers, copied to the flow record.
	Service       string // protocols recognised, comma separated
	TLSVersion    string // negotiated, see model.Flow
	TLSSNI        string
	TLSALPN       string // protocol the server chose, else the client's first
	HTTPHost      string // of the first request
	HTTPUserAgent string // of the first request
	DNSQuery      string // of the first query

	// Counters, if not nil, is told what limits cut off and what could not be parsed.
	Counters *Counters

	rows [4]uint32 // rows emitted so far, per kind
}

// Sink takes finished rows. The row is copied before a method returns, so that the
// analyzer may use its memory again.
type Sink interface {
	DNS(*model.DNS)
	HTTP(*model.HTTP)
	TLS(*model.TLS)
	SSH(*model.SSH)
}

// Analyzer reads one flow.
type Analyzer interface {
	// Data takes the next bytes of the stream of one direction (TCP) or one datagram
	// (UDP). data is valid only during the call. The result is false when the analyzer
	// wants nothing more of this flow; End is called nevertheless.
	Data(ts model.Time, fromOrig bool, data []byte) (more bool)
	// Gap tells that n bytes of the stream of one direction are lost.
	Gap(ts model.Time, fromOrig bool, n int64)
	// End tells that the flow is over: what is unfinished is emitted as it is. The
	// analyzer must not be used after it.
	End(ts model.Time)
}

// Verdict is what a protocol says of the first bytes of a flow.
type Verdict uint8

// The verdicts.
const (
	No       Verdict = iota // this is another protocol
	Yes                     // this is the protocol
	NeedMore                // too few bytes to tell
)

// Protocol is one application protocol.
type Protocol struct {
	Name      string
	Transport uint8 // IP protocol number: 6 or 17
	// Match judges the first bytes of one direction of a flow; bytes may be judged again
	// when more of them are there.
	Match func(fromOrig bool, first []byte) Verdict
	// New starts an analyzer that is to be given the flow's bytes from the first one on.
	New func(c *Conn, s Sink) Analyzer
}
