package store

import (
	"net/netip"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Exchange is what one host did with another on one port: a group of flows with their
// sums. Failed tries are kept apart from flows that carried payload, with the ports put
// together, since a port scan would otherwise give an exchange per port.
type Exchange struct {
	OrigIP   netip.Addr
	RespIP   netip.Addr
	RespPort uint16 // 0 for attempts
	Proto    string
	Service  string // recognised by content; empty for attempts
	Attempt  bool   // no payload was exchanged: evidence of probing, no influence

	Start     model.Time // earliest first packet
	End       model.Time // latest last packet
	FlowCount uint64
	OrigBytes uint64
	RespBytes uint64

	EvidenceIDs []string      // sorted
	Flows       []ExchangeFlow // the first model.FlowsCap by start, flow_id
}

// ExchangeFlow is one flow of an exchange.
type ExchangeFlow struct {
	FlowID     model.FlowID
	EvidenceID string
	Start, End model.Time
	OrigData   model.Time // first payload byte of the originator, zero if none
	RespData   model.Time
	OrigBytes  uint64
	RespBytes  uint64
}

// Dest is a service of a host.
type Dest struct {
	IP   netip.Addr
	Port uint16
}

// Client is a host that used a service with payload, and when it first did.
type Client struct {
	IP    netip.Addr
	First model.Time
}

// ClientsCap bounds the clients counted for a service: beyond it, popular is popular.
const ClientsCap = 64
