// Package flowtable holds the flows of one partition of a capture: an open-addressing
// table over a 64-bit hash of the bidirectional 5-tuple, with records in slabs that hold
// no pointers, and a timer wheel that runs on capture time.
//
// Who is the originator, which state and history a connection has, how payload is counted
// and when a flow ends follow Zeek 8, so that records compare field by field.
package flowtable

import (
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/ingest/internal/decode"
	"github.com/tracer-framework/tracer/services/ingest/internal/reassemble"
)

// State of one endpoint of a TCP connection.
type State uint8

// The states.
const (
	Inactive    State = iota // nothing seen
	SynSent                  // SYN
	SynAckSent               // SYN with ACK as the first packet
	Partial                  // packets without a SYN
	Established              // handshake seen
	Closed                   // FIN sent
	Reset                    // RST sent
)

// handshake tells that the endpoint has not got beyond the handshake.
func (s State) handshake() bool { return s <= SynAckSent }

// historyMax bounds the history kept of a flow.
const historyMax = 36

// Side is one endpoint of a flow.
type Side struct {
	Pkts      uint64
	IPBytes   uint64
	Bytes     uint64     // payload of protocols other than TCP
	DataStart model.Time // first payload byte
	Stream    reassemble.Stream

	finSeq   uint64 // relative
	start    uint32 // initial sequence number
	last     uint32 // one past the highest
	ack      uint32 // highest acknowledged by the peer
	seqWraps uint16
	ackWraps uint16
	// relative numbers of the control packets seen last
	histSYN, histFIN, histRST uint32
	rexmits, gaps, zeroWins   uint32
	MAC                       decode.MAC
	State                     State
	prev                      State
	flags                     uint8
}

// Flags of a side.
const (
	sideFin    = 1 << iota // a FIN was seen
	sideClosed             // its closing was taken note of
	sideEOF                // all its data was delivered
	sideSeen               // its first packet was seen
	sideActive             // it sent a packet (protocols other than TCP)
)

// Flow is one flow. Sides are in the order of the key; Orig says which is the originator.
type Flow struct {
	Key     decode.Key
	Num     uint64     // number of its first packet
	Start   model.Time // first packet
	Last    model.Time // last packet
	Missed  uint64     // payload bytes lost in gaps
	Side    [2]Side
	Ext     uint32 // free for the owner: what it attached to the flow, 0 if nothing
	Seq     uint16 // interim records written
	Orig    uint8
	NoData  bool // the owner wants no payload of the flow
	Service Service

	interim  model.Time // when the next interim record is due
	deleteAt model.Time // when a closed connection is forgotten
	attempt  model.Time // when an unanswered attempt is given up
	halfAt   model.Time // start of the checks after one side closed
	idle     model.Time // inactivity that ends the flow
	histSeen uint32
	tick     int32 // slot of the wheel
	hash     uint32
	next     uint32 // in its slot
	prev     uint32
	flags    uint16
	Vlan     uint16
	Inner    uint16
	histLen  uint8
	hist     [historyMax]byte
}

// Service marks protocols that change how long a flow may be silent.
type Service uint8

// The services that matter.
const (
	ServiceOther Service = iota
	ServiceDNS           // over datagrams: ended soon after the last answer
	ServiceSSH           // interactive: long silences
)

// Flags of a flow.
const (
	flowLive        = 1 << iota
	flowDone        // reported as finished or reset: no more checks by timer
	flowPartial     // joined in the middle, as far as acknowledgements are concerned
	flowDeferClose  // closing waits for data
	FlowTruncated   // packets were captured in part
	FlowGap         // bytes are missing
	FlowMidstream   // began without a SYN
	FlowFlipped     // roles were exchanged
	FlowReassembled // came in fragments
)

// Has tells whether a flag is set.
func (f *Flow) Has(flag uint16) bool { return f.flags&flag != 0 }

// History is the history so far.
func (f *Flow) History() []byte { return f.hist[:f.histLen] }

// O and R are the sides of originator and responder.
func (f *Flow) O() *Side { return &f.Side[f.Orig] }

// R is the side of the responder.
func (f *Flow) R() *Side { return &f.Side[1-f.Orig] }

// Ends gives addresses and ports of originator and responder.
func (f *Flow) Ends() (orig decode.Addr, origPort uint16, resp decode.Addr, respPort uint16) {
	if f.Orig == 0 {
		return f.Key.A, f.Key.PortA, f.Key.B, f.Key.PortB
	}
	return f.Key.B, f.Key.PortB, f.Key.A, f.Key.PortA
}

// addHistory appends a letter; what goes beyond the bound is left out.
func (f *Flow) addHistory(c byte) {
	if f.histLen < historyMax {
		f.hist[f.histLen] = c
		f.histLen++
	}
}

// sideHistory appends a letter, lower case for the responder.
func (f *Flow) sideHistory(side uint8, c byte) {
	if side != f.Orig {
		c |= 0x20
	}
	f.addHistory(c)
}

// scaled counts in n and writes the letter at 1, 10, 100 ...
func (f *Flow) scaled(side uint8, n *uint32, c byte) {
	*n++
	for m := *n; ; m /= 10 {
		if m == 1 {
			f.sideHistory(side, c)
			return
		}
		if m == 0 || m%10 != 0 {
			return
		}
	}
}

// flip exchanges the roles.
func (f *Flow) flip() {
	f.Orig ^= 1
	f.flags = f.flags&^flowPartial | FlowFlipped
	f.addHistory('^')
}

// Size is the payload of one side. For TCP it comes from the sequence numbers, so bytes
// that were not captured count.
func (f *Flow) Size(side uint8) uint64 {
	if f.Key.Proto != decode.ProtoTCP {
		return f.Side[side].Bytes
	}
	s, peer := &f.Side[side], &f.Side[1-side]
	if s.prev == SynSent && s.State == Reset && peer.State == Inactive && !s.noneAcked() {
		return 0 // a half-open connection discovered and aborted: numbers mean nothing
	}
	n := max(s.last64(), s.ack64()) - uint64(s.start)
	if n != 0 {
		n-- // the SYN
	}
	if s.flags&sideFin != 0 && n != 0 {
		n--
	}
	return n
}

// ConnState is Zeek's summary of the connection.
func (f *Flow) ConnState() string {
	o, r := f.O(), f.R()
	switch f.Key.Proto {
	case decode.ProtoTCP:
	case decode.ProtoUDP:
		switch active, answered := o.flags&sideActive != 0, r.flags&sideActive != 0; {
		case active && answered:
			return "SF"
		case active:
			return "S0"
		case answered:
			return "SHR"
		}
		return "OTH"
	default:
		return "OTH"
	}
	oIdle := o.State == Inactive || o.State == Partial
	rIdle := r.State == Inactive || r.State == Partial
	switch {
	case r.State == Reset:
		if o.State == SynSent || o.State == SynAckSent || o.State == Reset && f.Size(f.Orig) == 0 && f.Size(1-f.Orig) == 0 {
			return "REJ"
		}
		if oIdle {
			return "RSTRH"
		}
		return "RSTR"
	case o.State == Reset:
		if rIdle {
			if f.onlySynThenReset() {
				return "RSTOS0"
			}
			return "OTH"
		}
		return "RSTO"
	case r.State == Closed && o.State == Closed:
		return "SF"
	case o.State == Closed:
		if rIdle {
			return "SH"
		}
		return "S2"
	case r.State == Closed:
		if oIdle {
			return "SHR"
		}
		return "S3"
	case o.State == SynSent && r.State == Inactive:
		return "S0"
	case o.State == Established && r.State == Established:
		return "S1"
	}
	return "OTH"
}

// onlySynThenReset tells whether the originator's SYN was followed by its RST, with
// nothing of substance between.
func (f *Flow) onlySynThenReset() bool {
	h := f.History()
	if len(h) > 0 && h[0] == '^' {
		h = h[1:]
	}
	if len(h) == 0 || h[0] != 'S' {
		return false
	}
	for _, c := range h[1:] {
		switch c {
		case 'R':
			return true
		case 'H', 'A', 'F', 'G', 'I', 'Q':
			return false
		}
	}
	return false
}
