package store

import (
	"net/netip"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Exchange is what one host did with another on one port: the flows between them that
// carried payload, with their sums. Refused and unanswered tries are not part of it.
type Exchange struct {
	OrigIP   netip.Addr
	RespIP   netip.Addr
	RespPort uint16
	Proto    string
	Service  string // recognised by content

	Start     model.Time // earliest first packet
	End       model.Time // latest last packet
	FlowCount uint64
	OrigBytes uint64
	RespBytes uint64

	EvidenceIDs []string       // sorted
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

// DomainExchange is what one host asked one server about the names under a domain. Times,
// flows and bytes are those of these queries and their answers alone.
type DomainExchange struct {
	Exchange
	Queries      uint64
	ServerUnder  uint64 // queries under the domain that the server got from anybody
	ServerOthers uint64 // queries about anything else that it got from anybody
}
