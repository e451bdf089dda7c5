package flowtable

import (
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/ingest/internal/decode"
	"github.com/tracer-framework/tracer/services/ingest/internal/reassemble"
)

const (
	maxSeqJump        = 1 << 20 // a larger jump of a SYN's or RST's number is not believed
	maxInitialWindow  = 16384   // bytes kept for acknowledgements that never come
	maxAboveHole      = 16384   // bytes behind a hole while nothing was acknowledged
	second            = model.Time(1000000)
	closeDelay        = 5 * second
	attemptDelay      = 5 * second
	lingerTime        = 5 * second
	sessionCheck      = 6 * second
	idleHandshake     = 60 * second
	idleTCP           = 300 * second
	idleInteractive   = 3600 * second
	idleOther         = 60 * second
	dnsCheck          = 10 * second
	dnsIdle           = 9 * second
	historyFinRst     = 1 << 3
	historyMultiFlags = 1 << 6
)

// Bits of histSeen; those of the responder are shifted by 16.
const (
	seenSYN = 1 << iota
	seenFIN
	seenRST
	_
	seenData
	seenACK
)

func seqDelta(a, b uint32) int32 { return int32(a - b) }

func (s *Side) last64() uint64 { return uint64(s.seqWraps)<<32 + uint64(s.last) }
func (s *Side) ack64() uint64  { return uint64(s.ackWraps)<<32 + uint64(s.ack) }

// noneAcked tells that nothing but the SYN was acknowledged.
func (s *Side) noneAcked() bool {
	a := s.ack64()
	return a == uint64(s.start) || a == uint64(s.start)+1
}

func (s *Side) setLast(seq uint32) {
	if seq < s.last {
		s.seqWraps++
	}
	s.last = seq
}

func (s *Side) initSeq(start, last uint32) { s.start, s.ack, s.last = start, start, last }

// relative counts seq from the side's start. It is negative for numbers before it.
func (s *Side) relative(seq, last uint32, wraps uint16) (rel uint64, under bool) {
	w := uint64(wraps)
	switch d := seqDelta(seq, last); {
	case d < 0 && w > 0 && seq > last:
		w--
	case d > 0 && seq < last:
		w++
	}
	if w == 0 {
		d := seqDelta(seq, s.start)
		return uint64(int64(d)), d < 0
	}
	return w<<32 + uint64(seq) - uint64(s.start), false
}

// setState moves a side to a state; leaving the handshake lengthens the time a connection
// may be silent.
func (f *Flow) setState(side uint8, to State) {
	s := &f.Side[side]
	if s.State == to {
		return
	}
	if !to.handshake() && s.State.handshake() && f.Side[1-side].State.handshake() {
		f.idle = idleTCP
	}
	s.prev, s.State = s.State, to
}

// established is called when both sides have agreed.
func (f *Flow) established() {
	_, op, _, rp := f.Ends()
	if f.O().State == Inactive && !likelyServer(decode.ProtoTCP, rp) && likelyServer(decode.ProtoTCP, op) {
		rp = op
	}
	switch rp {
	case 21, 22, 23, 513:
		f.idle = idleInteractive
	}
}

// reuse tells whether a SYN opens a new connection on the ports of an old one.
func (f *Flow) reuse(p *decode.Packet) bool {
	if p.Flags&decode.SYN == 0 {
		return false
	}
	o, r := f.O(), f.R()
	c := o
	if p.Flags&decode.ACK != 0 {
		if o.State != Inactive {
			return false
		}
		c = r
	}
	if o.flags&sideClosed != 0 && r.flags&sideClosed != 0 {
		return true
	}
	if p.Seq == c.start {
		return false
	}
	// SYN and SYN-ACK exchanged on their way to the capture.
	return p.Flags&decode.ACK != 0 || c.State != SynAckSent || r.State != Inactive || p.Seq != r.start
}

// tcp follows one packet of a connection.
func (t *Table) tcp(f *Flow, p *decode.Packet, side uint8) {
	flags := p.Flags
	fromOrig := side == f.Orig // stays what it was if the roles are exchanged below
	s, peer := &f.Side[side], &f.Side[1-side]
	syn, fin, rst, ack := flags&decode.SYN != 0, flags&decode.FIN != 0, flags&decode.RST != 0, flags&decode.ACK != 0
	length := p.Length

	if s.flags&sideSeen == 0 {
		if fromOrig {
			f.flags &^= flowPartial
			if !syn || ack {
				f.flags |= flowPartial
			}
		} else if f.flags&flowPartial == 0 && !syn {
			f.flags |= flowPartial
		}
	}

	seg := length
	if rst {
		seg = 0
	}
	if syn {
		seg++
	}
	if fin {
		seg++
	}
	past := p.Seq + seg

	f.initSide(s, p.Seq, past, syn)
	rel, under := s.relative(p.Seq, s.last, s.seqWraps)
	t.history(f, side, flags, rel, length)
	if p.Window == 0 && !rst && peer.State != Closed && s.State != Reset {
		f.scaled(side, &s.zeroWins, 'W')
	}
	if (f.Side[0].flags&f.Side[1].flags)&sideClosed == 0 && p.TS > f.Last {
		f.Last = p.TS
	}
	if fin {
		s.flags |= sideFin
		s.finSeq = rel + uint64(seg)
	}
	var relAck uint64
	if ack {
		if peer.State == Inactive {
			relAck = 1
			peer.initSeq(p.Ack-1, p.Ack-1)
		} else {
			var low bool
			if relAck, low = peer.relative(p.Ack, peer.ack, peer.ackWraps); low {
				relAck = 0
			} else if !rst { // acknowledgements of RSTs are not to be trusted
				if d := seqDelta(p.Ack, peer.ack); d > 0 && (p.Ack != 0 || d <= maxSeqJump) {
					if p.Ack < peer.ack {
						peer.ackWraps++
					}
					peer.ack = p.Ack
				}
			}
		}
	}
	f.advance(side, past, syn || rst, fin, length)
	closing := t.step(f, p, side, fromOrig, length)
	if ack {
		t.acknowledged(f, 1-side, relAck)
	}
	s.flags |= sideSeen
	if length > 0 && !rst && !under {
		if syn {
			rel++
		}
		t.payload(f, p, side, rel)
	}
	t.checkEOF(f, side)
	if closing {
		t.closed(f, side)
	}
}

// initSide sets up the sequence numbers of a side that is new or starts again.
func (f *Flow) initSide(s *Side, seq, past uint32, syn bool) {
	switch s.State {
	case Inactive:
		if syn {
			s.initSeq(seq, past)
		} else {
			// As if there had been a SYN, so that numbers stay consistent.
			s.initSeq(seq-1, seq)
		}
	case SynSent, SynAckSent:
		if syn && seq != s.start {
			s.initSeq(seq, past)
		}
	case Established, Partial:
		if syn {
			s.initSeq(seq, past)
		}
	case Reset:
		if syn && s.prev == Inactive {
			s.initSeq(seq, past)
		}
	}
}

// advance moves the highest sequence number.
func (f *Flow) advance(side uint8, past uint32, synRst, fin bool, length uint32) {
	s := &f.Side[side]
	d := seqDelta(past, s.last)
	switch {
	case synRst && (d > maxSeqJump || d < -maxSeqJump):
	case fin && s.last == s.start+1:
		s.setLast(past)
	case s.State == Reset:
	case d > 0:
		s.setLast(past)
	case length > 0:
		f.scaled(side, &s.rexmits, 'T')
	}
}

// history notes what a packet is. A connection that began with a SYN-ACK and goes on is
// turned round here.
func (t *Table) history(f *Flow, side uint8, flags uint8, rel uint64, length uint32) {
	s := &f.Side[side]
	r := uint32(rel)
	switch flags & (decode.SYN | decode.FIN | decode.RST) {
	case 0:
		if length > 0 {
			f.first(side, seenData, 'D')
		} else if flags&decode.ACK != 0 {
			f.first(side, seenACK, 'A')
		}
	case decode.SYN:
		c := byte('S')
		if flags&decode.ACK != 0 {
			c = 'H'
		}
		if !f.first(side, seenSYN, c) && r != s.histSYN {
			f.sideHistory(side, c)
		}
		s.histSYN = r
	case decode.FIN:
		if !f.first(side, seenFIN, 'F') && r+length != s.histFIN {
			f.sideHistory(side, 'F')
		}
		s.histFIN = r + length
	case decode.RST:
		if !f.first(side, seenRST, 'R') && r != s.histRST {
			f.sideHistory(side, 'R')
		}
		s.histRST = r
	default:
		if flags&(decode.FIN|decode.RST) == decode.FIN|decode.RST {
			f.first(side, historyFinRst, 'I')
		} else {
			f.first(side, historyMultiFlags, 'Q')
		}
	}
}

// first writes a letter the first time it occurs and tells whether this was it.
func (f *Flow) first(side uint8, mask uint32, c byte) bool {
	if (c == 'A' || c == 'D') && f.histLen == 1 && f.hist[0] == 'H' {
		// It began with a SYN-ACK, which alone may be a scan; now there is more.
		f.flip()
		f.histLen = uint8(copy(f.hist[:], "^h"))
		f.O().flags |= sideSeen
	}
	if side != f.Orig {
		mask <<= 16
	}
	if f.histSeen&mask != 0 {
		return false
	}
	f.histSeen |= mask
	f.sideHistory(side, c)
	return true
}

// step moves the state machine and tells whether the side closes.
func (t *Table) step(f *Flow, p *decode.Packet, side uint8, fromOrig bool, length uint32) (closing bool) {
	s, peer := &f.Side[side], &f.Side[1-side]
	syn, fin, rst, ack := p.Flags&decode.SYN != 0, p.Flags&decode.FIN != 0, p.Flags&decode.RST != 0, p.Flags&decode.ACK != 0
	switch s.State {
	case Inactive:
		return t.stepInactive(f, p, side, fromOrig, length)
	case SynSent, SynAckSent:
		if fin {
			f.setState(side, Closed)
			closing = true
		}
		if rst {
			f.setState(side, Reset)
			f.flags |= flowDone
			closing = true
		}
	case Established, Partial:
		if syn && s.State == Partial && peer.State == Inactive && !ack {
			f.setState(side, SynSent)
		}
		if fin && !rst {
			f.setState(side, Closed)
			if peer.State == Reset && peer.prev == Closed {
				f.setState(1-side, Closed) // FIN, then RST: a normal end after all
			}
			closing = true
		}
		if rst {
			f.setState(side, Reset)
			closing = true
			if peer.State != Reset || peer.prev != Established {
				f.flags |= flowDone
			}
		}
	case Closed:
		if rst && peer.State != Closed {
			f.setState(side, Reset)
			closing = s.flags&sideClosed == 0
		}
	}
	return closing
}

func (t *Table) stepInactive(f *Flow, p *decode.Packet, side uint8, fromOrig bool, length uint32) (closing bool) {
	s, peer := &f.Side[side], &f.Side[1-side]
	syn, fin, rst, ack := p.Flags&decode.SYN != 0, p.Flags&decode.FIN != 0, p.Flags&decode.RST != 0, p.Flags&decode.ACK != 0
	if syn {
		if fromOrig {
			if ack {
				f.setState(side, SynAckSent)
			} else {
				f.setState(side, SynSent)
			}
			f.attempt = p.TS + attemptDelay
			t.rearm = true
		} else {
			if !ack && peer.State == SynAckSent && p.Seq == s.start {
				// SYN and SYN-ACK exchanged on their way to the capture.
				f.flip()
				f.setState(1-side, Established)
				f.O().flags |= sideSeen
			}
			if peer.State == SynSent {
				f.setState(1-side, Established)
			}
			f.setState(side, Established)
			if peer.State != Partial {
				f.established()
			}
		}
	}
	if fin {
		f.setState(side, Closed)
		closing = true
	}
	if rst {
		f.setState(side, Reset)
		closing = true
	}
	if s.State == Inactive {
		switch {
		case !fromOrig && length == 0 && f.O().State == SynSent:
			// Some stacks acknowledge a SYN before they answer it.
		case ack && peer.State == Established:
			// The SYN was missed, the SYN-ACK was not.
			f.setState(side, Established)
			f.flags &^= flowPartial
			s.flags |= sideSeen
		default:
			f.setState(side, Partial)
		}
	}
	return closing
}

// payload puts the bytes of a packet in order.
func (t *Table) payload(f *Flow, p *decode.Packet, side uint8, rel uint64) {
	s := &f.Side[side]
	if s.DataStart == 0 {
		s.DataStart = p.TS
	}
	st := &s.Stream
	if st.Skip {
		return
	}
	n := int(p.Length)
	data := p.Payload
	if len(data) > n {
		data = data[:n]
	}
	if f.NoData {
		data = nil
	} else if data == nil {
		data = emptyData
	}
	// What was acknowledged already was delivered, or will not come.
	if ackRel := s.ack64() - uint64(s.start); rel < ackRel {
		if rel+uint64(n) <= ackRel {
			return
		}
		cut := ackRel - rel
		rel += cut
		n -= int(cut)
		if data != nil {
			data = data[min(cut, uint64(len(data))):]
		}
	}
	out := t.out(f, side)
	t.pool.Insert(st, rel, n, data, out)
	if s.noneAcked() {
		if f.Size(side) > maxInitialWindow {
			t.pool.Ack(st, st.Next, false, out)
		}
		if t.pool.Beyond(st) > maxAboveHole {
			t.pool.Clear(st)
		}
	}
	if st.Unacked() {
		t.pool.Clear(st)
	}
}

var emptyData = []byte{}

// acknowledged takes an acknowledgement of what side sent.
func (t *Table) acknowledged(f *Flow, side uint8, seq uint64) {
	s := &f.Side[side]
	if s.flags&sideFin != 0 && seq >= s.finSeq {
		seq = s.finSeq - 1
	}
	if seq <= s.Stream.Trim {
		return
	}
	t.pool.Ack(&s.Stream, seq, seq <= 2 && f.flags&flowPartial != 0, t.out(f, side))
	t.checkEOF(f, side)
}

// pending tells whether data of side, or its acknowledgement, is still to come.
func (f *Flow) pending(side uint8) bool {
	s := &f.Side[side]
	if s.Stream.Skip {
		return false
	}
	delivered, last := uint64(s.start)+s.Stream.Next, s.last64()
	if last < delivered {
		return false
	}
	if delivered != last-1 && delivered != last {
		return true
	}
	return s.State != Reset && f.Side[1-side].Stream.Waiting()
}

func (t *Table) checkEOF(f *Flow, side uint8) {
	s := &f.Side[side]
	if s.flags&sideEOF != 0 || s.flags&sideFin == 0 && s.State != Closed && s.State != Reset || f.pending(side) {
		return
	}
	s.flags |= sideEOF
	if f.flags&flowDeferClose != 0 {
		t.closed(f, side)
		f.flags &^= flowDeferClose
	}
}

// closed notes that a side has closed and when the connection may be forgotten.
func (t *Table) closed(f *Flow, side uint8) {
	s, peer := &f.Side[side], &f.Side[1-side]
	if f.pending(side) {
		f.flags |= flowDeferClose
		return
	}
	f.flags &^= flowDeferClose
	if s.flags&sideClosed != 0 {
		return
	}
	s.flags |= sideClosed
	t.rearm = true
	switch {
	case s.State == Reset || peer.flags&sideClosed != 0 || peer.State == Inactive:
		f.deleteAt = f.Last + closeDelay
	case s.prev != Inactive:
		f.halfAt = f.Last + sessionCheck
	}
}

// gap notes bytes that will not come. Only those of connections that were established or
// are closing in good order count: elsewhere numbers mislead.
func (t *Table) gap(f *Flow, side uint8, n uint64) {
	clean := func(s *Side) bool {
		return s.State == Established || s.State == Closed && s.prev == Established
	}
	if !clean(&f.Side[0]) || !clean(&f.Side[1]) {
		return
	}
	f.Missed += n
	f.flags |= FlowGap
	f.scaled(side, &f.Side[side].gaps, 'G')
}

// sink hands what a stream delivers to the table's owner. One serves all streams, as only
// one is busy at a time.
type sink struct {
	t    *Table
	f    *Flow
	side uint8
}

func (t *Table) out(f *Flow, side uint8) reassemble.Out {
	t.sink.f, t.sink.side = f, side
	return &t.sink
}

func (o *sink) Data(_ uint64, n int, data []byte) {
	f := o.f
	if f.NoData || data == nil {
		return
	}
	if len(data) > 0 {
		o.t.h.Data(f, o.side == f.Orig, o.t.now, data)
	}
	if missing := n - len(data); missing > 0 && !f.NoData {
		o.t.h.Gap(f, o.side == f.Orig, o.t.now, int64(missing))
	}
	if f.NoData {
		o.t.pool.Forget(&f.Side[0].Stream)
		o.t.pool.Forget(&f.Side[1].Stream)
	}
}

func (o *sink) Gap(_, n uint64) {
	o.t.gap(o.f, o.side, n)
	if !o.f.NoData {
		o.t.h.Gap(o.f, o.side == o.f.Orig, o.t.now, int64(n))
	}
}
