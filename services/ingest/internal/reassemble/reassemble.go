// Package reassemble puts the segments of one direction of a TCP connection in order.
//
// Sequence numbers are relative: the SYN, seen or assumed, is 0 and the first byte is 1.
// Where segments overlap, the bytes that came first hold; bytes that were delivered are
// never delivered again. A hole is closed by its segment, or given up when the receiver
// acknowledges what lies behind it, when the bounds on memory are reached, or at the end.
//
// When nobody wants the bytes of a connection, only the extents of segments are kept, so
// that gaps are counted all the same.
package reassemble

// Bounds per stream, one direction of a connection.
const (
	MaxSegments = 1024     // segments waiting behind a hole
	MaxBytes    = 4 << 20  // their bytes
	maxUnacked  = 10 << 20 // bytes without a further acknowledgement before the stream is given up
)

// Stream is the state of one direction. It holds no pointers; the zero value with Next and
// Trim set to 1 is ready.
type Stream struct {
	Next  uint64 // first byte not yet delivered
	Trim  uint64 // everything below was acknowledged or given up
	Upper uint64 // one past the highest byte seen
	head  uint32 // first waiting segment, 0 if none
	tail  uint32
	bytes uint32 // in waiting segments
	count uint16 // of waiting segments
	Skip  bool   // given up: nothing is delivered any more
}

// Out takes what a stream delivers, in order.
type Out interface {
	// Data takes the bytes at seq; data is nil when the bytes were not kept.
	Data(seq uint64, n int, data []byte)
	// Gap tells that n bytes at seq will not come.
	Gap(seq, n uint64)
}

// Counters counts what streams gave up.
type Counters struct {
	OutOfOrder   uint64 // segments that had to wait
	Overlaps     uint64 // segments of which some bytes were there already
	HolesForced  uint64 // holes given up because of the bounds per stream
	MemoryForced uint64 // holes given up because of the bound on memory of all streams
	Abandoned    uint64 // streams given up because nothing was acknowledged
}

// segment waits behind a hole.
type segment struct {
	seq, upper uint64
	next       uint32
	data       []byte // nil if the bytes are not wanted
}

// Pool holds the waiting segments of many streams. It is used by one goroutine.
type Pool struct {
	Counters
	Limit int // bytes that all waiting segments may hold
	segs  []segment
	free  uint32
	held  int
	bufs  [classes][][]byte
}

// NewPool makes a pool that holds up to limit bytes.
func NewPool(limit int) *Pool { return &Pool{Limit: limit, segs: make([]segment, 1, 64)} }

// Held is the number of bytes that wait.
func (p *Pool) Held() int { return p.held }

// Reset drops everything and keeps some memory.
func (p *Pool) Reset() {
	p.Counters = Counters{}
	clear(p.segs)
	p.segs = p.segs[:1]
	p.free, p.held = 0, 0
	if cap(p.segs) > 1<<14 {
		p.segs = make([]segment, 1, 64)
	}
}

// Buffers come in sizes of 256 bytes to 64 KiB.
const (
	classes   = 9
	classBase = 8
)

func class(n int) int {
	c := 0
	for n > 1<<(classBase+c) {
		c++
	}
	return c
}

func (p *Pool) buffer(data []byte) []byte {
	c := class(len(data))
	if c >= classes {
		p.held += len(data)
		return append([]byte(nil), data...)
	}
	var b []byte
	if l := p.bufs[c]; len(l) > 0 {
		b, p.bufs[c] = l[len(l)-1], l[:len(l)-1]
	} else {
		b = make([]byte, 1<<(classBase+c))
	}
	p.held += cap(b)
	return b[:copy(b, data)]
}

func (p *Pool) giveBack(b []byte) {
	if b == nil {
		return
	}
	p.held -= cap(b)
	c := class(cap(b))
	if c < classes && cap(b) == 1<<(classBase+c) && len(p.bufs[c]) < 256 {
		p.bufs[c] = append(p.bufs[c], b[:cap(b)])
	}
}

func (p *Pool) alloc(seq, upper uint64, data []byte) uint32 {
	i := p.free
	if i != 0 {
		p.free = p.segs[i].next
	} else {
		p.segs = append(p.segs, segment{})
		i = uint32(len(p.segs) - 1)
	}
	s := &p.segs[i]
	s.seq, s.upper, s.next, s.data = seq, upper, 0, nil
	if data != nil {
		s.data = p.buffer(data)
	}
	return i
}

// pop removes the first waiting segment of s; the caller gives its data back.
func (p *Pool) pop(s *Stream) (seq, upper uint64, data []byte) {
	i := s.head
	g := &p.segs[i]
	seq, upper, data = g.seq, g.upper, g.data
	s.head = g.next
	if s.head == 0 {
		s.tail = 0
	}
	s.count--
	s.bytes -= uint32(upper - seq)
	g.data, g.next = nil, p.free
	p.free = i
	return seq, upper, data
}

// Free drops what waits in s.
func (p *Pool) Free(s *Stream) {
	for s.head != 0 {
		_, _, data := p.pop(s)
		p.giveBack(data)
	}
}

// Forget drops the bytes that wait in s but keeps their extents.
func (p *Pool) Forget(s *Stream) {
	for i := s.head; i != 0; i = p.segs[i].next {
		p.giveBack(p.segs[i].data)
		p.segs[i].data = nil
	}
}

// Waiting tells whether bytes of s are delivered but not acknowledged, or wait.
func (s *Stream) Waiting() bool { return s.Upper > s.Trim }

// Holds tells whether segments of s wait behind a hole.
func (s *Stream) Holds() bool { return s.head != 0 }

// Beyond is the number of bytes between the first byte not delivered and the highest seen.
func (p *Pool) Beyond(s *Stream) uint64 {
	if s.tail == 0 {
		return 0
	}
	return p.segs[s.tail].upper - s.Next
}

// Clear gives a stream up: what waits is dropped and nothing more is delivered.
func (p *Pool) Clear(s *Stream) {
	p.Free(s)
	s.Upper, s.Skip = 0, true
	p.Abandoned++
}

// Unacked tells whether so much is unacknowledged that the stream should be given up.
func (s *Stream) Unacked() bool {
	n := uint64(s.bytes)
	if s.Next > s.Trim {
		n += s.Next - s.Trim
	}
	return n > maxUnacked
}

// Insert takes the segment of n bytes at seq. data holds the bytes that were captured,
// which may be fewer; it is nil when they are not wanted.
func (p *Pool) Insert(s *Stream, seq uint64, n int, data []byte, out Out) {
	upper := seq + uint64(n)
	if upper < seq || n <= 0 || upper <= s.Trim || upper <= s.Next {
		return
	}
	low := max(s.Trim, s.Next)
	if s.Next < s.Trim {
		low = s.Trim
	}
	if seq < low { // partly old
		if cut := low - seq; data != nil {
			data = data[min(cut, uint64(len(data))):]
		}
		seq = low
		p.Overlaps++
	}
	s.Upper = max(s.Upper, upper)
	if seq == s.Next && (s.head == 0 || upper <= p.segs[s.head].seq) {
		s.Next = upper
		out.Data(seq, int(upper-seq), data)
		if s.head != 0 {
			p.deliver(s, out)
		}
		return
	}
	p.OutOfOrder++
	p.wait(s, seq, upper, data)
	p.deliver(s, out)
	for s.head != 0 && (s.count > MaxSegments || s.bytes > MaxBytes || p.held > p.Limit) {
		if p.held > p.Limit {
			p.MemoryForced++
		} else {
			p.HolesForced++
		}
		p.jump(s, out)
	}
}

// wait files the bytes of a segment that are not there yet.
func (p *Pool) wait(s *Stream, seq, upper uint64, data []byte) {
	if s.tail != 0 && seq >= p.segs[s.tail].upper { // the usual place: behind all others
		t := &p.segs[s.tail]
		if data == nil && t.data == nil && seq == t.upper {
			t.upper = upper
			s.bytes += uint32(upper - seq)
			return
		}
		p.link(s, s.tail, seq, upper, data)
		return
	}
	var prev uint32
	overlap := false
	for i := s.head; seq < upper; {
		if i == 0 || upper <= p.segs[i].seq {
			p.link(s, prev, seq, upper, data)
			break
		}
		g := &p.segs[i]
		if seq < g.seq { // the part before g is new
			n := g.seq - seq
			var part []byte
			if data != nil {
				part = data[:min(n, uint64(len(data)))]
				data = data[len(part):]
			}
			p.link(s, prev, seq, seq+n, part)
			seq += n
			g = &p.segs[i]
		}
		if g.upper > seq { // the part inside of g is not
			n := min(g.upper, upper) - seq
			if data != nil {
				data = data[min(n, uint64(len(data))):]
			}
			seq += n
			overlap = true
		}
		prev, i = i, p.segs[i].next
	}
	if overlap {
		p.Overlaps++
	}
}

func (p *Pool) link(s *Stream, prev uint32, seq, upper uint64, data []byte) {
	i := p.alloc(seq, upper, data)
	if prev == 0 {
		p.segs[i].next = s.head
		s.head = i
	} else {
		p.segs[i].next = p.segs[prev].next
		p.segs[prev].next = i
	}
	if p.segs[i].next == 0 {
		s.tail = i
	}
	s.count++
	s.bytes += uint32(upper - seq)
}

// deliver hands over what follows without a hole.
func (p *Pool) deliver(s *Stream, out Out) {
	for s.head != 0 && p.segs[s.head].seq <= s.Next {
		seq, upper, data := p.pop(s)
		if upper > s.Next {
			buf := data
			if cut := s.Next - seq; data != nil {
				buf = data[min(cut, uint64(len(data))):]
			}
			at := s.Next
			s.Next = upper
			out.Data(at, int(upper-at), buf)
		}
		p.giveBack(data)
	}
}

// jump gives up the hole before the first waiting segment.
func (p *Pool) jump(s *Stream, out Out) {
	if to := p.segs[s.head].seq; to > s.Next {
		at := s.Next
		s.Next = to
		out.Gap(at, to-at)
	}
	p.deliver(s, out)
}

// Ack takes the acknowledgement of everything below seq: holes below it are given up. With
// ignore, the first bytes are not missed although they were not seen.
func (p *Pool) Ack(s *Stream, seq uint64, ignore bool, out Out) {
	if seq > s.Next && !ignore {
		p.advance(s, seq, out)
	}
	p.deliver(s, out)
	s.Trim = max(s.Trim, seq)
}

func (p *Pool) advance(s *Stream, seq uint64, out Out) {
	if !s.Skip {
		for s.head != 0 && p.segs[s.head].seq < seq {
			p.jump(s, out)
		}
		if seq > s.Next {
			at := s.Next
			s.Next = seq
			out.Gap(at, seq-at)
		}
	}
	s.Next = max(s.Next, seq)
}

// End delivers what still waits, telling the holes between.
func (p *Pool) End(s *Stream, out Out) {
	for s.head != 0 {
		p.jump(s, out)
	}
}
