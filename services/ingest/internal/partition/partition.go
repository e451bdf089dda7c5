// Package partition turns the packets of one partition of a capture into batches of flow
// and protocol records. What a batch holds depends on the packets alone.
package partition

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/services/ingest/internal/analyze"
	"github.com/tracer-framework/tracer/services/ingest/internal/communityid"
	"github.com/tracer-framework/tracer/services/ingest/internal/decode"
	"github.com/tracer-framework/tracer/services/ingest/internal/flowtable"
)

// Config bounds a partition.
type Config struct {
	Table    flowtable.Config
	Rows     int // rows per kind of a batch
	Analyzes bool
}

// maxWeight bounds what cannot be compressed in one batch, in bytes, so that the encoded
// batch fits a message of the bus.
const maxWeight = 860_000

// Emit takes batch n of the partition, counted from 0. The batch is the partition's again
// when Emit returns.
type Emit func(n int, b *record.Batch) error

// Partition is used by one goroutine.
type Partition struct {
	cfg      Config
	table    *flowtable.Table
	batch    *record.Batch
	weight   int
	n        int
	emit     Emit
	err      error
	evidence string
	idBuf    []byte // evidence id, then room for the number of a packet
	counters analyze.Counters
	heldRows uint64 // rows left out because a flow had too many
	flows    uint64

	exts    []*ext
	freeExt []uint32
	current *ext

	row       model.Flow
	community []byte
	histories map[string]string
	macs      map[decode.MAC]string
}

// New makes a partition; Begin makes it ready for a capture.
func New(cfg Config) *Partition {
	p := &Partition{cfg: cfg, batch: record.NewBatch(), histories: map[string]string{}, macs: map[decode.MAC]string{}}
	p.table = flowtable.New(cfg.Table, p)
	p.exts = make([]*ext, 1, 64)
	return p
}

// Begin starts on the capture of an evidence id.
func (p *Partition) Begin(evidence string, emit Emit) {
	p.table.Reset()
	p.batch.Reset()
	p.weight, p.n, p.err, p.flows, p.heldRows = 0, 0, nil, 0, 0
	p.evidence, p.emit = evidence, emit
	p.idBuf = append(append(p.idBuf[:0], evidence...), make([]byte, 8)...)
	p.counters = analyze.Counters{}
	for _, e := range p.exts[1:] {
		e.clear()
	}
	p.freeExt = p.freeExt[:0]
	for i := len(p.exts) - 1; i > 0; i-- {
		p.freeExt = append(p.freeExt, uint32(i))
	}
}

// Packet takes one packet. After an error of Emit it does nothing.
func (p *Partition) Packet(pkt *decode.Packet) {
	if p.err == nil {
		p.table.Packet(pkt)
	}
}

// Finish ends all flows, emits what is left and returns the number of batches.
func (p *Partition) Finish() (batches int, err error) {
	if p.err == nil {
		p.table.Finish()
	}
	if p.err == nil && p.batch.Rows() > 0 {
		p.flush()
	}
	return p.n, p.err
}

// Flows is the number of flows seen so far.
func (p *Partition) Flows() uint64 { return p.table.Flows }

// Count adds what was counted to m, under the names of the evidence record.
func (p *Partition) Count(m map[string]uint64) {
	s := p.table.Streams()
	for name, n := range map[string]uint64{
		"flows":                    p.table.Flows,
		"flows_evicted":            p.table.Evicted,
		"tcp_segments_reordered":   s.OutOfOrder,
		"tcp_segments_overlapping": s.Overlaps,
		"tcp_holes_forced":         s.HolesForced,
		"tcp_holes_forced_memory":  s.MemoryForced,
		"tcp_streams_abandoned":    s.Abandoned,
		"rows_left_out":            p.heldRows,
	} {
		if n > 0 {
			m[name] += n
		}
	}
	for i, n := range p.counters {
		if n > 0 {
			m[analyze.CounterNames[i]] += n
		}
	}
}

func (p *Partition) flush() {
	if err := p.emit(p.n, p.batch); err != nil && p.err == nil {
		p.err = err
	}
	p.n++
	p.weight = 0
	p.batch.Reset()
}

// full tells whether a batch has no room for more rows.
func (p *Partition) full(flows, dns, http, tls, ssh int) bool {
	b, most := p.batch, p.cfg.Rows
	return b.Flow.Rows()+flows > most || b.DNS.Rows()+dns > most || b.HTTP.Rows()+http > most ||
		b.TLS.Rows()+tls > most || b.SSH.Rows()+ssh > most
}

// room makes room for rows of a weight.
func (p *Partition) room(weight, flows, dns, http, tls, ssh int) {
	if p.weight > 0 && p.weight+weight > maxWeight || p.full(flows, dns, http, tls, ssh) {
		p.flush()
	}
	p.weight += weight
}

// Interim implements flowtable.Handler.
func (p *Partition) Interim(f *flowtable.Flow) { p.flow(f, true) }

// End implements flowtable.Handler.
func (p *Partition) End(f *flowtable.Flow) {
	e := p.exts[f.Ext]
	if e != nil && e.an != nil {
		p.endAnalyzer(e, f.Last)
	}
	p.flow(f, false)
	if e != nil {
		p.release(f)
	}
}

// flow writes the flow's record, and with the last one the records held for it.
func (p *Partition) flow(f *flowtable.Flow, open bool) {
	r := &p.row
	*r = model.Flow{Sensor: "file", Source: "pcap", EvidenceID: p.evidence, FirstPacket: f.Num, Seq: f.Seq, Open: open}
	r.FlowID = p.flowID(f)
	orig, op, resp, rp := f.Ends()
	v4 := f.Key.Kind&1 != 0
	r.OrigIP, r.OrigPort, r.RespIP, r.RespPort = orig.Netip(v4), op, resp.Netip(v4), rp
	r.Proto = protoNames[f.Key.Proto]
	p.community = communityid.Append(p.community[:0], 0, communityid.Flow{
		Src: r.OrigIP, Dst: r.RespIP, SrcPort: op, DstPort: rp, Proto: f.Key.Proto, OneWay: f.Key.Kind&2 != 0,
	})
	// The column copies the bytes.
	r.CommunityID = unsafe.String(&p.community[0], len(p.community))
	r.Start, r.End = f.Start, f.Last
	o, s := f.O(), f.R()
	r.ConnState, r.History = f.ConnState(), p.history(f.History())
	r.OrigBytes, r.RespBytes = f.Size(f.Orig), f.Size(1-f.Orig)
	r.OrigPkts, r.RespPkts, r.OrigIPBytes, r.RespIPBytes = o.Pkts, s.Pkts, o.IPBytes, s.IPBytes
	r.MissedBytes = f.Missed
	r.OrigDataStart, r.RespDataStart = o.DataStart, s.DataStart
	r.Vlan, r.InnerVlan = f.Vlan, f.Inner
	r.OrigL2Addr, r.RespL2Addr = p.mac(o.MAC), p.mac(s.MAC)
	r.Tags = tagsOf(f)
	weight := 80
	var e *ext
	if f.Ext != 0 {
		e = p.exts[f.Ext]
		c := &e.conn
		r.Service, r.TLSVersion, r.TLSSNI, r.TLSALPN = c.Service, c.TLSVersion, c.TLSSNI, c.TLSALPN
		r.HTTPHost, r.HTTPUserAgent, r.DNSQuery = c.HTTPHost, c.HTTPUserAgent, c.DNSQuery
		weight += len(c.TLSSNI) + len(c.HTTPHost) + len(c.HTTPUserAgent) + len(c.DNSQuery)
	}
	if open || e == nil || len(e.tls)+len(e.ssh) == 0 {
		p.room(weight, 1, 0, 0, 0, 0)
		p.batch.Flow.Append(r)
		return
	}
	for i := range e.tls {
		weight += tlsWeight(&e.tls[i])
	}
	for i := range e.ssh {
		weight += sshWeight(&e.ssh[i])
	}
	p.room(weight, 1, 0, 0, len(e.tls), len(e.ssh))
	p.batch.Flow.Append(r)
	for i := range e.tls {
		p.batch.TLS.Append(&e.tls[i])
	}
	for i := range e.ssh {
		p.batch.SSH.Append(&e.ssh[i])
	}
}

// flowID is xxHash64 over the evidence id and the number of the flow's first packet (eight
// bytes, little endian). A packet begins one flow at most.
func (p *Partition) flowID(f *flowtable.Flow) model.FlowID {
	binary.LittleEndian.PutUint64(p.idBuf[len(p.idBuf)-8:], f.Num)
	return model.FlowID(xxhash.Sum64(p.idBuf))
}

// cacheMax bounds the texts kept to be used again.
const cacheMax = 1 << 14

func (p *Partition) history(h []byte) string {
	s, ok := p.histories[string(h)]
	if !ok {
		if len(p.histories) >= cacheMax {
			clear(p.histories)
		}
		s = string(h)
		p.histories[s] = s
	}
	return s
}

func (p *Partition) mac(m decode.MAC) string {
	if m == (decode.MAC{}) {
		return ""
	}
	s, ok := p.macs[m]
	if !ok {
		if len(p.macs) >= cacheMax {
			clear(p.macs)
		}
		s = fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
		p.macs[m] = s
	}
	return s
}

// protoNames names IP protocols as model.Flow does.
var protoNames = func() (names [math.MaxUint8 + 1]string) {
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	names[decode.ProtoTCP], names[decode.ProtoUDP], names[decode.ProtoSCTP] = "tcp", "udp", "sctp"
	names[decode.ProtoICMP], names[decode.ProtoICMP6] = "icmp", "icmp6"
	return names
}()

// tagFlags are the notes on a flow, in the order of their names.
var tagFlags = [...]struct {
	flag uint16
	name string
}{
	{flowtable.FlowReassembled, "fragmented"},
	{flowtable.FlowGap, "gap"},
	{flowtable.FlowMidstream, "midstream"},
	{flowtable.FlowTruncated, "truncated"},
}

// tagLists holds every combination of tags.
var tagLists = func() (lists [1 << len(tagFlags)][]string) {
	for i := range lists {
		for n, t := range tagFlags {
			if i&(1<<n) != 0 {
				lists[i] = append(lists[i], t.name)
			}
		}
	}
	return lists
}()

func tagsOf(f *flowtable.Flow) []string {
	n := 0
	for i, t := range tagFlags {
		if f.Has(t.flag) {
			n |= 1 << i
		}
	}
	return tagLists[n]
}
