package store

import (
	"net/netip"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Traffic is an overview of the flows of a case.
type Traffic struct {
	Flows     uint64     `json:"flows"`
	Hosts     uint64     `json:"hosts"` // distinct addresses
	OrigBytes uint64     `json:"orig_bytes"`
	RespBytes uint64     `json:"resp_bytes"`
	First     model.Time `json:"first"`
	Last      model.Time `json:"last"`
	Talkers   []Talker   `json:"talkers"`  // by bytes, most first
	Services  []Service  `json:"services"` // by bytes, most first
	Volume    []Volume   `json:"volume"`   // in time order, without holes
	Step      uint64     `json:"step"`     // seconds of one Volume entry
}

// Talker is a host with its share of the traffic.
type Talker struct {
	IP       netip.Addr `json:"ip"`
	Flows    uint64     `json:"flows"`
	Peers    uint64     `json:"peers"`
	BytesOut uint64     `json:"bytes_out"` // payload it sent
	BytesIn  uint64     `json:"bytes_in"`  // payload it received
	First    model.Time `json:"first"`
	Last     model.Time `json:"last"`
	L2Addrs  []string   `json:"l2_addrs"` // MAC addresses seen with it, sorted, at most NamesCap
}

// Service is a protocol with its share of the traffic.
type Service struct {
	Proto   string `json:"proto"`
	Service string `json:"service"` // empty: not recognised
	Port    uint16 `json:"port"`    // most used responder port
	Flows   uint64 `json:"flows"`
	Hosts   uint64 `json:"hosts"` // responders
	Bytes   uint64 `json:"bytes"` // payload both ways
}

// Volume is the traffic of a span of time, counted at the start of its flows.
type Volume struct {
	At    model.Time `json:"at"`
	Flows uint64     `json:"flows"`
	Bytes uint64     `json:"bytes"` // payload both ways
}
