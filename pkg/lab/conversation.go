package lab

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Directions of a conversation.
const (
	orig = 0 // from the host that began it
	resp = 1
)

// conversation is one exchange between two hosts as a sensor between them sees it. Time
// moves with what is sent: each method sends at or after c.t and leaves c.t at its last
// packet, seen from the sensor.
type conversation struct {
	w     *world
	s     *sensor
	r     *random
	step  *Step // nil for benign traffic
	seen  bool  // a packet of it is in a capture
	vlan  uint16
	proto uint8
	p     [2]peer
	t     int64
	last  int     // who sent last
	loss  float64 // chance that a data segment is lost on the way
	stamp bool    // TCP timestamps agreed

	due   int64 // when the delayed acknowledgement must go, 0 if none is due
	dueBy int
}

// peer is one side of a conversation.
type peer struct {
	h      *host
	ip     netip.Addr
	port   uint16
	mac    mac
	ttl    uint8
	lag    int64 // round trip between the sensor and this side
	rate   int64 // bits per second it sends with
	id     uint16
	seq    uint32
	window uint16
	cwnd   int // segments it may send in a burst
	clock  uint32
}

// between prepares a conversation from a to b at t, over IPv6 when both have it and six
// is set.
func (w *world) between(t int64, r *random, a, b *host, proto uint8, six bool) *conversation {
	c := &conversation{w: w, s: w.net.sensor(w, a, b), r: r, proto: proto, t: t, last: resp}
	for i, h := range [2]*host{a, b} {
		p := &c.p[i]
		*p = peer{h: h, ip: h.ip, rate: h.rate, ttl: h.os.ttl, id: r.u16(), seq: r.u32(), window: uint16(r.span(500, 2058)), cwnd: 10, clock: r.u32()}
		p.lag = h.lag + int64(float64(h.lag)*0.15*r.float()*r.float())
		switch {
		case !six:
		case a.ula.IsValid() && b.ula.IsValid():
			p.ip = h.ula
		case a.ip6.IsValid() && b.ip6.IsValid():
			p.ip = h.ip6
		}
		p.ttl -= h.hops
	}
	w.net.link(c)
	return c
}

func (c *conversation) header(dir int) header {
	p, q := &c.p[dir], &c.p[1-dir]
	p.id++
	return header{srcMAC: p.mac, dstMAC: q.mac, vlan: c.vlan, src: p.ip, dst: q.ip, ttl: p.ttl, id: p.id, proto: c.proto}
}

// sent does the bookkeeping of one packet.
func (c *conversation) sent(t int64, captured bool) {
	if !captured || c.step == nil {
		return
	}
	if !c.seen {
		c.seen = true
		c.step.Flows++
	}
	c.step.saw(c.s, t)
}

// turn moves time to when dir can send: an answer needs the way to that side and back.
func (c *conversation) turn(dir int) {
	if c.last != dir {
		c.t += c.p[dir].lag + c.r.between(20*time.Microsecond, 250*time.Microsecond)
		c.last = dir
	} else {
		c.t += 3 * microsecond
	}
}

// pause lets time pass.
func (c *conversation) pause(d int64) { c.t += d }

// datagram sends one UDP packet.
func (c *conversation) datagram(dir int, payload []byte) {
	c.turn(dir)
	h := c.header(dir)
	ok := c.w.emit(c.s, c.t, func(b []byte) []byte {
		return appendUDP(b, &h, c.p[dir].port, c.p[1-dir].port, payload)
	})
	c.sent(c.t, ok)
}

// icmp sends one ICMP or ICMPv6 message.
func (c *conversation) icmp(dir int, kind, code uint8, rest uint32, payload []byte) {
	c.turn(dir)
	h := c.header(dir)
	ok := c.w.emit(c.s, c.t, func(b []byte) []byte { return appendICMP(b, &h, kind, code, rest, payload) })
	c.sent(c.t, ok)
}

// segment sends one TCP segment at t.
func (c *conversation) segment(t int64, dir int, flags uint8, seq, ack uint32, opts, payload []byte) {
	p := &c.p[dir]
	h := c.header(dir)
	if flags&tcpACK == 0 {
		ack = 0
	}
	var stamped [36]byte
	if c.stamp && flags&(tcpSYN|tcpRST) == 0 {
		o := append(stamped[:0], 1, 1, 8, 10)
		o = binary.BigEndian.AppendUint32(o, p.clock+uint32(t/millisecond))
		o = binary.BigEndian.AppendUint32(o, c.p[1-dir].clock+uint32((t-c.p[1-dir].lag)/millisecond))
		opts = append(o, opts...)
	}
	ok := c.w.emit(c.s, t, func(b []byte) []byte {
		return appendTCP(b, &h, p.port, c.p[1-dir].port, seq, ack, flags, p.window, opts, payload)
	})
	c.sent(t, ok)
}

// tcp begins a TCP conversation with a completed handshake.
func (w *world) tcp(t int64, r *random, a, b *host, port uint16, step *Step) *conversation {
	c := w.syn(t, r, a, b, port, step)
	c.accept()
	return c
}

// syn begins a TCP conversation and leaves it at the first SYN.
func (w *world) syn(t int64, r *random, a, b *host, port uint16, step *Step) *conversation {
	c := w.between(t, r, a, b, protoTCP, step == nil && r.chance(0.4))
	c.step = step
	c.p[orig].port, c.p[resp].port = a.ephemeral(r), port
	c.loss = max(a.loss, b.loss)
	c.stamp = a.os.stamps && b.os.stamps
	c.last = orig
	c.segment(c.t, orig, tcpSYN, c.p[orig].seq, 0, c.synOptions(orig, a.os.stamps), nil)
	return c
}

// synOptions writes the options of a SYN as the operating system orders them.
func (c *conversation) synOptions(dir int, stamps bool) []byte {
	mss := uint16(1460)
	if c.p[dir].ip.Is6() {
		mss = 1440
	}
	o := []byte{2, 4, byte(mss >> 8), byte(mss)}
	switch {
	case stamps:
		o = append(o, 4, 2, 8, 10)
		o = binary.BigEndian.AppendUint32(o, c.p[dir].clock+uint32(c.t/millisecond))
		var echo uint32
		if dir == resp {
			echo = c.p[orig].clock + uint32(c.t/millisecond)
		}
		o = binary.BigEndian.AppendUint32(o, echo)
		return append(o, 1, 3, 3, 7)
	case c.p[dir].h.os.scanner:
		return o
	default:
		return append(o, 1, 3, 3, 8, 1, 1, 4, 2)
	}
}

// accept completes the handshake.
func (c *conversation) accept() {
	c.turn(resp)
	c.segment(c.t, resp, tcpSYN|tcpACK, c.p[resp].seq, c.p[orig].seq+1, c.synOptions(resp, c.stamp), nil)
	c.p[orig].seq++
	c.p[resp].seq++
	c.turn(orig)
	c.ack(c.t, orig, c.p[resp].seq)
}

// refuse answers a SYN with a reset.
func (c *conversation) refuse() {
	c.turn(resp)
	c.p[resp].window = 0
	c.segment(c.t, resp, tcpRST|tcpACK, 0, c.p[orig].seq+1, nil, nil)
}

func (c *conversation) ack(t int64, dir int, number uint32) {
	c.segment(t, dir, tcpACK, c.p[dir].seq, number, nil, nil)
}

// settle sends the delayed acknowledgement if its time has come before c.t, or forgets it
// when by is about to send data that carries it.
func (c *conversation) settle(by int) {
	if c.due == 0 {
		return
	}
	if c.due <= c.t {
		c.ack(c.due, c.dueBy, c.p[1-c.dueBy].seq)
	} else if by != c.dueBy {
		return
	}
	c.due = 0
}

// rest sends what is still owed at its own time. A conversation that goes on in a later
// event must rest before, or the acknowledgement would come after its second was written.
func (c *conversation) rest() {
	if c.due != 0 {
		c.ack(c.due, c.dueBy, c.p[1-c.dueBy].seq)
		c.due = 0
	}
}

// maxPayload is the largest payload of one segment.
func (c *conversation) maxPayload() int {
	n := 1460
	if c.p[orig].ip.Is6() {
		n = 1440
	}
	if c.stamp {
		n -= 12
	}
	return n
}

// send transmits one message of dir: segments in bursts that grow as congestion control
// lets them, acknowledgements of every second segment, sometimes a loss and its repair.
func (c *conversation) send(dir int, data []byte) {
	c.turn(dir)
	c.settle(dir)
	p, q := &c.p[dir], &c.p[1-dir]
	size := c.maxPayload()
	trip := p.lag + q.lag
	unacked := 0
	for len(data) > 0 {
		n := min(p.cwnd, (len(data)+size-1)/size)
		first := c.t
		lost, lostAt := -1, uint32(0)
		hidden := false
		if c.loss > 0 && n > 1 && c.r.chance(c.loss*float64(n)) {
			lost, hidden = c.r.intn(n), c.r.chance(0.5)
		}
		var repair []byte
		for i := range n {
			part := data[:min(size, len(data))]
			data = data[len(part):]
			flags := uint8(tcpACK)
			if len(data) == 0 {
				flags |= tcpPSH
			}
			if i == lost {
				lostAt, repair = p.seq, part
			}
			if i != lost || !hidden {
				c.segment(c.t, dir, flags, p.seq, q.seq, nil, part)
			}
			p.seq += uint32(len(part))
			arrives := c.t + q.lag
			switch {
			case lost >= 0 && i > lost:
				c.selective(arrives, 1-dir, lostAt, lostAt+uint32(len(repair)), p.seq)
			case i != lost:
				if unacked++; unacked == 2 {
					c.ack(arrives, 1-dir, p.seq)
					unacked = 0
				}
			}
			if i < n-1 {
				c.t += int64(len(part)+58) * 8 * second / p.rate
			}
		}
		if lost >= 0 {
			c.t += trip + millisecond
			if lost > n-4 { // too few duplicates: the timer repairs it
				c.t += c.r.between(200*time.Millisecond, 260*time.Millisecond)
			}
			c.segment(c.t, dir, tcpACK, lostAt, q.seq, nil, repair)
			c.ack(c.t+q.lag, 1-dir, p.seq)
			unacked = 0
			p.cwnd = max(p.cwnd/2, 4)
		}
		if len(data) > 0 {
			c.t = max(c.t+int64(size+58)*8*second/p.rate, first+trip)
			p.cwnd = min(p.cwnd*2, 128)
		}
	}
	if unacked > 0 {
		c.due, c.dueBy = c.t+q.lag+c.r.between(25*time.Millisecond, 45*time.Millisecond), 1-dir
	} else {
		c.due = 0
	}
}

// selective sends a duplicate acknowledgement that names what arrived behind the hole.
func (c *conversation) selective(t int64, dir int, hole, from, to uint32) {
	o := []byte{1, 1, 5, 10}
	o = binary.BigEndian.AppendUint32(o, from)
	o = binary.BigEndian.AppendUint32(o, to)
	c.segment(t, dir, tcpACK, c.p[dir].seq, hole, o, nil)
}

// fin closes the conversation from dir, both sides in order.
func (c *conversation) fin(dir int) {
	c.turn(dir)
	c.settle(dir)
	c.due = 0
	p, q := &c.p[dir], &c.p[1-dir]
	c.segment(c.t, dir, tcpFIN|tcpACK, p.seq, q.seq, nil, nil)
	p.seq++
	c.turn(1 - dir)
	c.segment(c.t, 1-dir, tcpFIN|tcpACK, q.seq, p.seq, nil, nil)
	q.seq++
	c.turn(dir)
	c.ack(c.t, dir, q.seq)
}

// reset ends the conversation abruptly from its originator.
func (c *conversation) reset() {
	c.turn(orig)
	c.settle(orig)
	c.due = 0
	c.segment(c.t, orig, tcpRST|tcpACK, c.p[orig].seq, c.p[resp].seq, nil, nil)
}
