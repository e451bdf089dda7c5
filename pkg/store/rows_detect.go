package store

import (
	"net/netip"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Support names the flows an aggregated row rests on.
type Support struct {
	FlowCount   uint64
	Flows       []model.FlowID // the first model.FlowsCap of them in time order
	EvidenceIDs []string       // sorted
	First, Last model.Time     // start of the first flow, end of the last
}

// Outcome of the first contact between two hosts on one port.
const (
	OutcomeUnanswered = 0 // nothing came back
	OutcomeRefused    = 1 // TCP reset in answer to the SYN
	OutcomeEmpty      = 2 // accepted, but the originator sent no payload
	OutcomeUsed       = 3 // payload was sent, or (not TCP) an answer came
)

// ContactsCap bounds the contacts kept of one ScanGroup; Targets counts them all.
const ContactsCap = 4096

// Contact is the first contact of an originator with one target.
type Contact struct {
	TS      model.Time
	IP      netip.Addr
	Port    uint16
	Flows   uint64 // flows to this target in all
	Outcome uint8
}

// ScanGroup is one originator's first contacts: with many hosts on one port (RespIP
// invalid) or with many ports of one host (Port zero). TCP counts only flows opened by a
// SYN of the originator, so that unsolicited answers (backscatter) never look like a scan.
// Addresses the originator had been given by DNS are left out: it means to use those.
type ScanGroup struct {
	OrigIP   netip.Addr
	RespIP   netip.Addr
	Proto    string
	Port     uint16 // responder port; ICMP: the type of the message
	Targets  uint64
	Reach    uint64    // hosts the originator contacted in vain, on any port of this protocol
	Contacts []Contact // in time order, at most ContactsCap
	Support
}

// PairCap bounds the connections kept of one Pair, as RITA does.
const PairCap = 86400

// Pair is the connections of one originator to one address (Name empty) or to one name
// (TLS SNI or HTTP Host) within a window.
type Pair struct {
	Window    int // index in PairQuery.Windows
	OrigIP    netip.Addr
	RespIP    netip.Addr // named pair: the address if there was but one
	Name      string
	Proto     string   // if there was but one
	RespPort  uint16   // if there was but one
	Services  []string // sorted, without repeats
	Count     uint64
	Starts    []model.Time // sorted, at most PairCap
	IPBytes   []uint64     // originator IP bytes of each connection in Starts
	Duration  int64        // summed, microseconds
	OrigBytes uint64       // payload, summed
	RespBytes uint64
	Support
}

// LongGroup is the connections of two hosts on one port that each lasted long.
type LongGroup struct {
	OrigIP    netip.Addr
	RespIP    netip.Addr
	RespPort  uint16
	Proto     string
	Services  []string
	Name      string // SNI or host of one of them
	Longest   int64  // microseconds
	Total     int64  // microseconds, summed over the group
	Open      bool   // the longest had not ended when the capture did
	OrigBytes uint64
	RespBytes uint64
	OrigPkts  uint64
	RespPkts  uint64
	Support
}

// DNSName is what one originator asked about one name.
type DNSName struct {
	OrigIP        netip.Addr
	RespIP        netip.Addr
	Query         string
	Queries       uint64
	Bulky         uint64 // queries of types that carry free data: TXT NULL CNAME MX SRV KEY PRIVATE
	Answered      uint64
	NXDomain      uint64
	Loopback      uint64 // answers within 127.0.0.0/8, the way reputation lists answer
	RequestBytes  uint64
	ResponseBytes uint64
	First, Last   model.Time
}

// Span is a time, by the first and the last start of a flow in it.
type Span struct {
	First, Last model.Time
	Flows       uint64
}

// Record is one row for profile matching: the protocol record of its kind, and the flow it
// belongs to. Only the columns asked for are filled.
type Record struct {
	Flow model.Flow
	DNS  model.DNS
	HTTP model.HTTP
	TLS  model.TLS
	SSH  model.SSH
}
