package flowtable

import (
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/ingest/internal/decode"
	"github.com/tracer-framework/tracer/services/ingest/internal/reassemble"
)

// Handler owns what is attached to flows. Flows are valid during the call.
type Handler interface {
	// Data takes payload: the next bytes of a TCP stream, or one datagram.
	Data(f *Flow, fromOrig bool, ts model.Time, data []byte)
	// Gap tells that n bytes of a TCP stream will not come.
	Gap(f *Flow, fromOrig bool, ts model.Time, n int64)
	// Interim is called when a flow has lasted another interim period.
	Interim(f *Flow)
	// End is called when a flow is over, before it is forgotten.
	End(f *Flow)
}

// Config bounds a table.
type Config struct {
	MaxFlows    int        // flows at a time; beyond, the one that would end first ends
	MaxBuffered int        // bytes of out-of-order segments
	Interim     model.Time // period of interim records
}

// Counters counts what happened to flows.
type Counters struct {
	Flows   uint64
	Evicted uint64 // ended early because there were too many
}

// slot of the hash table. tag is the hash's high half, whose low bits are the home position.
type slot struct {
	tag uint32
	idx uint32 // 1 + index of the flow, 0 if free
}

const (
	slabBits = 9
	slabSize = 1 << slabBits
	// the wheel: slots of 2^20 us, a little more than a second, 71 minutes in all
	tickBits   = 20
	wheelSlots = 4096
	noTick     = -1
)

// Table holds the live flows of one partition. It is used by one goroutine.
type Table struct {
	Counters
	h     Handler
	cfg   Config
	pool  *reassemble.Pool
	sink  sink
	slots []slot
	slabs [][]Flow
	free  uint32 // list of free flows by next, as 1 + index
	used  uint32 // flows ever taken from the slabs
	live  int
	now   model.Time
	wheel []uint32 // per slot the first flow, as 1 + index
	tick  int64    // of the slot being passed
	begun bool
	rearm bool // the current packet may have brought a deadline nearer
}

// New makes an empty table.
func New(cfg Config, h Handler) *Table {
	t := &Table{h: h, cfg: cfg, pool: reassemble.NewPool(cfg.MaxBuffered)}
	t.sink.t = t
	t.slots = make([]slot, 1<<10)
	t.wheel = make([]uint32, wheelSlots)
	return t
}

// Streams is the pool of out-of-order segments, for its counters.
func (t *Table) Streams() *reassemble.Pool { return t.pool }

// Live is the number of flows at present.
func (t *Table) Live() int { return t.live }

// Reset forgets everything without calling the handler and keeps some memory.
func (t *Table) Reset() {
	t.Counters = Counters{}
	t.pool.Reset()
	if len(t.slots) > 1<<16 {
		t.slots = make([]slot, 1<<10)
	} else {
		clear(t.slots)
	}
	if len(t.slabs) > 64 {
		t.slabs = t.slabs[:64:64]
	}
	clear(t.wheel)
	t.free, t.used, t.live, t.now, t.tick, t.begun = 0, 0, 0, 0, 0, false
}

func (t *Table) at(i uint32) *Flow { i--; return &t.slabs[i>>slabBits][i&(slabSize-1)] }

// Packet takes one packet. Packets come in the order of the capture.
func (t *Table) Packet(p *decode.Packet) {
	t.advance(p.TS)
	key, swapped := p.FlowKey()
	side := uint8(0)
	if swapped {
		side = 1
	}
	tag := uint32(p.Hash >> 32)
	i := t.find(tag, &key)
	var f *Flow
	if i != 0 {
		f = t.at(i)
		if f.deadline() <= p.TS || key.Proto == decode.ProtoTCP && f.reuse(p) {
			t.end(i)
			i = 0
		}
	}
	if i == 0 {
		i = t.add(tag, &key, side, p)
		f = t.at(i)
	} else if p.TS >= f.interim {
		t.h.Interim(f)
		f.Seq++
		for p.TS >= f.interim {
			f.interim += t.cfg.Interim
		}
	}
	if int(p.Length) > len(p.Payload) {
		f.flags |= FlowTruncated
	}
	s := &f.Side[side]
	s.Pkts++
	s.IPBytes += uint64(p.IPLen)
	if s.Pkts == 1 && p.HasMAC {
		s.MAC = p.SrcMAC
		if peer := &f.Side[1-side]; peer.Pkts == 0 {
			peer.MAC = p.DstMAC
		}
	}
	t.rearm = false
	if key.Proto == decode.ProtoTCP {
		t.tcp(f, p, side)
	} else {
		t.other(f, p, side)
	}
	if t.rearm {
		t.place(i, f)
	}
}

// other follows protocols without connections.
func (t *Table) other(f *Flow, p *decode.Packet, side uint8) {
	if p.TS > f.Last {
		f.Last = p.TS
	}
	s := &f.Side[side]
	s.Bytes += uint64(p.Length)
	s.flags |= sideActive
	if p.Length > 0 && s.DataStart == 0 {
		s.DataStart = p.TS
	}
	if f.Key.Proto != decode.ProtoUDP {
		return
	}
	f.first(side, seenData, 'D')
	if !f.NoData && len(p.Payload) > 0 {
		before := f.Service
		t.h.Data(f, side == f.Orig, p.TS, p.Payload)
		t.rearm = f.Service != before
	}
}

// Finish ends all flows, in the order of their first packets within the slabs.
func (t *Table) Finish() {
	for n := uint32(1); n <= t.used; n++ {
		if f := t.at(n); f.flags&flowLive != 0 {
			t.end(n)
		}
	}
}

// find looks a key up; 0 if it is not there.
func (t *Table) find(tag uint32, key *decode.Key) uint32 {
	mask := uint32(len(t.slots) - 1)
	for at := tag & mask; ; at = (at + 1) & mask {
		s := t.slots[at]
		if s.idx == 0 {
			return 0
		}
		if s.tag == tag && t.at(s.idx).Key == *key {
			return s.idx
		}
	}
}

func (t *Table) insert(tag, i uint32) {
	mask := uint32(len(t.slots) - 1)
	at := tag & mask
	for t.slots[at].idx != 0 {
		at = (at + 1) & mask
	}
	t.slots[at] = slot{tag, i}
}

// remove takes flow i out and closes the hole by moving later entries back.
func (t *Table) remove(tag, i uint32) {
	mask := uint32(len(t.slots) - 1)
	at := tag & mask
	for t.slots[at].idx != i {
		at = (at + 1) & mask
	}
	for hole := at; ; {
		at = (at + 1) & mask
		s := t.slots[at]
		if s.idx == 0 {
			t.slots[hole] = slot{}
			return
		}
		if home := s.tag & mask; (at-home)&mask >= (at-hole)&mask {
			t.slots[hole] = s
			hole = at
		}
	}
}

func (t *Table) grow() {
	old := t.slots
	t.slots = make([]slot, 2*len(old))
	for _, s := range old {
		if s.idx != 0 {
			t.insert(s.tag, s.idx)
		}
	}
}

// add starts a flow.
func (t *Table) add(tag uint32, key *decode.Key, side uint8, p *decode.Packet) uint32 {
	if t.live >= t.cfg.MaxFlows {
		t.evict()
	}
	if 2*(t.live+1) > len(t.slots) {
		t.grow()
	}
	i := t.free
	if i != 0 {
		t.free = t.at(i).next
	} else {
		t.used++
		i = t.used
		if int(i-1)>>slabBits == len(t.slabs) {
			t.slabs = append(t.slabs, make([]Flow, slabSize))
		}
	}
	f := t.at(i)
	*f = Flow{Key: *key, Num: p.Num, Start: p.TS, Last: p.TS, Orig: side, hash: tag, Vlan: p.Vlan, Inner: p.InnerVlan, tick: noTick}
	f.flags = flowLive
	if p.Copied {
		f.flags |= FlowReassembled
	}
	f.interim = p.TS + t.cfg.Interim
	f.idle = idleOther
	for n := range f.Side {
		f.Side[n].Stream.Next, f.Side[n].Stream.Trim = 1, 1
	}
	switch key.Proto {
	case decode.ProtoTCP:
		f.idle = idleHandshake
		if p.Flags&decode.SYN == 0 {
			f.flags |= FlowMidstream
		}
		if flipTCP(p) {
			f.flip()
		}
	case decode.ProtoUDP:
		if likelyServer(decode.ProtoUDP, p.SrcPort) && !likelyServer(decode.ProtoUDP, p.DstPort) && !broadcast(p) {
			f.flip()
		}
	}
	t.insert(tag, i)
	t.live++
	t.Flows++
	t.place(i, f)
	return i
}

// flipTCP guesses by the ports that the sender of a first packet that is no SYN is the
// responder.
func flipTCP(p *decode.Packet) bool {
	syn := p.Flags&decode.SYN != 0
	if syn && p.Flags&decode.ACK == 0 || !likelyServer(decode.ProtoTCP, p.SrcPort) || broadcast(p) {
		return false
	}
	if likelyServer(decode.ProtoTCP, p.DstPort) {
		return !syn && p.SrcPort < p.DstPort
	}
	return true
}

func broadcast(p *decode.Packet) bool { return p.V4 && uint32(p.Dst.Lo) == 0xffffffff }

// end hands a flow over and forgets it.
func (t *Table) end(i uint32) {
	f := t.at(i)
	t.flush(f)
	t.h.End(f)
	t.pool.Free(&f.Side[0].Stream)
	t.pool.Free(&f.Side[1].Stream)
	t.unplace(i, f)
	t.remove(f.hash, i)
	f.flags = 0
	f.next = t.free
	t.free = i
	t.live--
}

// flush delivers what waits behind holes.
func (t *Table) flush(f *Flow) {
	if f.NoData || f.Key.Proto != decode.ProtoTCP {
		return
	}
	for side := range uint8(2) {
		if st := &f.Side[side].Stream; st.Holds() {
			t.pool.End(st, &rest{&t.sink, f, side})
		}
	}
}

// rest delivers at the end of a flow: holes are told to the owner but not counted as
// missed, because nobody acknowledged what they lack.
type rest struct {
	*sink
	f    *Flow
	side uint8
}

func (o *rest) Data(seq uint64, n int, data []byte) {
	o.sink.f, o.sink.side = o.f, o.side
	o.sink.Data(seq, n, data)
}

func (o *rest) Gap(_, n uint64) {
	if !o.f.NoData {
		o.t.h.Gap(o.f, o.side == o.f.Orig, o.t.now, int64(n))
	}
}

// evict ends the flow whose time comes first.
func (t *Table) evict() {
	for n := range int64(wheelSlots) {
		if i := t.wheel[(t.tick+n)%wheelSlots]; i != 0 {
			t.Evicted++
			t.end(i)
			return
		}
	}
}
