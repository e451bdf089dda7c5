package decode

import (
	"github.com/tracer-framework/tracer/pkg/model"
)

// Bounds of what waits for its missing fragments, per capture.
const (
	maxDatagrams   = 4096
	maxHeldBytes   = 16 << 20
	fragTimeout    = model.Time(30 * 1000000) // capture time
	maxDatagram    = 65535
	maxFragments   = 1024 // per datagram
	fragBufferInit = 4096
)

// fragKey names a datagram (RFC 791, section 3.2; RFC 8200, section 4.5).
type fragKey struct {
	src, dst Addr
	id       uint32
	proto    uint8
	v4       bool
}

// span is a run of bytes that are there.
type span struct{ from, to int }

// datagram collects fragments. Where fragments overlap, the bytes that came first hold,
// whatever a later fragment says; the attempt is counted.
type datagram struct {
	key   fragKey
	began model.Time
	buf   []byte
	spans []span // sorted, apart from each other
	total int    // -1 until the last fragment is seen
	parts int
	// datagrams form a list in the order in which they began
	prev, next *datagram
}

// defrag puts fragments together. Its memory is bounded: beyond the bounds the datagram
// that began first is given up.
type defrag struct {
	pending map[fragKey]*datagram
	first   *datagram
	last    *datagram
	free    []*datagram
	held    int
}

func (g *defrag) reset() {
	for g.first != nil {
		g.drop(g.first)
	}
}

func (g *defrag) drop(m *datagram) {
	delete(g.pending, m.key)
	if m.prev == nil {
		g.first = m.next
	} else {
		m.prev.next = m.next
	}
	if m.next == nil {
		g.last = m.prev
	} else {
		m.next.prev = m.prev
	}
	g.held -= cap(m.buf)
	m.prev, m.next = nil, nil
	if len(g.free) < 64 && cap(m.buf) <= 1<<16 {
		g.free = append(g.free, m)
	}
}

// fragment takes one fragment and returns the payload of the datagram it completes. That
// payload is memory of its own, given away.
func (d *Decoder) fragment(ts model.Time, key fragKey, offset int, more bool, length int, body []byte) ([]byte, bool) {
	d.Fragments++
	g := &d.frag
	for g.first != nil && ts-g.first.began > fragTimeout {
		g.drop(g.first)
		d.FragmentsExpired++
	}
	if length <= 0 || len(body) < length || offset+length > maxDatagram || more && length%8 != 0 {
		d.FragmentsBad++
		return nil, false
	}
	body = body[:length]
	m := g.pending[key]
	if m == nil {
		for g.first != nil && (len(g.pending) >= maxDatagrams || g.held > maxHeldBytes) {
			g.drop(g.first)
			d.FragmentsEvicted++
		}
		m = g.begin(key, ts)
	}
	end := offset + length
	if m.parts++; m.parts > maxFragments || m.total >= 0 && end > m.total || !more && (m.total >= 0 && m.total != end || len(m.spans) > 0 && m.spans[len(m.spans)-1].to > end) {
		d.FragmentsBad++
		return nil, false
	}
	if !more {
		m.total = end
	}
	if grow := end - cap(m.buf); grow > 0 {
		g.held -= cap(m.buf)
		buf := make([]byte, end, max(end, 2*cap(m.buf)))
		copy(buf, m.buf[:cap(m.buf)])
		m.buf = buf
		g.held += cap(m.buf)
	}
	m.buf = m.buf[:cap(m.buf)]
	if m.insert(offset, body) {
		d.FragmentOverlap++
	}
	if m.total < 0 || len(m.spans) != 1 || m.spans[0].from != 0 || m.spans[0].to != m.total {
		return nil, false
	}
	whole := append([]byte(nil), m.buf[:m.total]...)
	g.drop(m)
	d.Reassembled++
	return whole, true
}

func (g *defrag) begin(key fragKey, ts model.Time) *datagram {
	var m *datagram
	if n := len(g.free); n > 0 {
		m, g.free = g.free[n-1], g.free[:n-1]
	} else {
		m = &datagram{buf: make([]byte, 0, fragBufferInit)}
	}
	m.key, m.began, m.spans, m.total, m.parts = key, ts, m.spans[:0], -1, 0
	m.prev, m.next = g.last, nil
	if g.last != nil {
		g.last.next = m
	} else {
		g.first = m
	}
	g.last = m
	if g.pending == nil {
		g.pending = make(map[fragKey]*datagram)
	}
	g.pending[key] = m
	g.held += cap(m.buf)
	return m
}

// insert copies the bytes of body that are not there yet and tells whether some were.
func (m *datagram) insert(offset int, body []byte) (overlap bool) {
	from, to := offset, offset+len(body)
	// The spans i..j touch or overlap the new one and become one with it.
	i := 0
	for i < len(m.spans) && m.spans[i].to < from {
		i++
	}
	j, at := i, from
	low, high := from, to
	for ; j < len(m.spans) && m.spans[j].from <= to; j++ {
		s := m.spans[j]
		if s.from > at {
			copy(m.buf[at:s.from], body[at-offset:])
		}
		if min(s.to, to) > max(s.from, from) {
			overlap = true
		}
		at = max(at, s.to)
		low, high = min(low, s.from), max(high, s.to)
	}
	if at < to {
		copy(m.buf[at:to], body[at-offset:])
	}
	if i == j {
		m.spans = append(m.spans, span{})
		copy(m.spans[i+1:], m.spans[i:])
		m.spans[i] = span{low, high}
		return overlap
	}
	m.spans[i] = span{low, high}
	m.spans = append(m.spans[:i+1], m.spans[j:]...)
	return overlap
}
