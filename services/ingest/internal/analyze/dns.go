package analyze

import (
	"encoding/binary"
	"math"
	"sync"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Limits per DNS flow.
const (
	dnsMaxPending = 256 // queries waiting for an answer
	dnsMaxAnswers = 256 // answers kept of one message
)

// dnsUDP and dnsTCP are DNS (RFC 1035) over datagrams and, with a two-byte length before
// each message, over TCP (RFC 7766). Multicast DNS (RFC 6762) and LLMNR (RFC 4795) speak
// the same message format; as ports decide nothing here, their messages count as "dns"
// when they hold to it. NetBIOS name service looks alike too but encodes its names in its
// own way, and is told apart by that.
var (
	dnsUDP = Protocol{Name: "dns", Transport: 17, Match: matchDNSDatagram, New: guarded(newDNSDatagram)}
	dnsTCP = Protocol{Name: "dns", Transport: 6, Match: matchDNSStream, New: guarded(newDNSStream)}
)

func matchDNSDatagram(_ bool, msg []byte) Verdict {
	if dnsValid(msg) == Yes {
		return Yes
	}
	return No
}

func matchDNSStream(_ bool, first []byte) Verdict {
	if len(first) < 2 {
		return NeedMore
	}
	n := int(binary.BigEndian.Uint16(first))
	if n < dnsHeaderLen+5 { // a root question is the shortest
		return No
	}
	msg := first[2:]
	if len(msg) >= n {
		return matchDNSDatagram(true, msg[:n])
	}
	return dnsValidPrefix(msg)
}

// dnsQuestion is one query waiting for its answer.
type dnsQuestion struct {
	ts       model.Time
	name     string
	id       uint16
	flags    uint16
	qtype    uint16
	qclass   uint16
	size     uint32
	fromOrig bool
}

type dnsAnalyzer struct {
	c       *Conn
	s       Sink
	stream  bool
	pending []dnsQuestion
	dir     [2]dnsStream // by direction: originator first
	lastID  uint16       // of the latest answer on a stream
	hasLast bool

	row  model.DNS
	name []byte // scratch
	text []byte // scratch
	ends []int  // scratch
}

// dnsStream collects a length-framed message that came in pieces.
type dnsStream struct {
	buf  []byte
	lost bool
}

var dnsPool = sync.Pool{New: func() any { return new(dnsAnalyzer) }}

func newDNSDatagram(c *Conn, s Sink) Analyzer { return newDNS(c, s, false) }
func newDNSStream(c *Conn, s Sink) Analyzer   { return newDNS(c, s, true) }

func newDNS(c *Conn, s Sink, stream bool) Analyzer {
	a := dnsPool.Get().(*dnsAnalyzer)
	a.c, a.s, a.stream = c, s, stream
	a.pending = a.pending[:0]
	a.hasLast = false
	for i := range a.dir {
		a.dir[i].buf = a.dir[i].buf[:0]
		a.dir[i].lost = false
	}
	c.addService("dns")
	return a
}

func side(fromOrig bool) int {
	if fromOrig {
		return 0
	}
	return 1
}

func (a *dnsAnalyzer) Data(ts model.Time, fromOrig bool, data []byte) bool {
	if !a.stream {
		a.message(ts, fromOrig, data)
		return true
	}
	d := &a.dir[side(fromOrig)]
	if d.lost {
		return !a.dir[0].lost || !a.dir[1].lost
	}
	for len(data) > 0 {
		if len(d.buf) == 0 && len(data) >= 2 {
			n := int(binary.BigEndian.Uint16(data))
			if len(data) >= 2+n {
				a.message(ts, fromOrig, data[2:2+n])
				data = data[2+n:]
				continue
			}
		}
		want := 2
		if len(d.buf) >= 2 {
			want += int(binary.BigEndian.Uint16(d.buf))
		}
		n := min(want-len(d.buf), len(data))
		d.buf = append(d.buf, data[:n]...)
		data = data[n:]
		if len(d.buf) >= 2 && len(d.buf) == 2+int(binary.BigEndian.Uint16(d.buf)) {
			a.message(ts, fromOrig, d.buf[2:])
			d.buf = d.buf[:0]
		}
	}
	return true
}

// Gap loses the message boundaries of a stream for good: there is nothing to find them by.
func (a *dnsAnalyzer) Gap(_ model.Time, fromOrig bool, _ int64) {
	if a.stream {
		a.dir[side(fromOrig)].lost = true
	}
}

func (a *dnsAnalyzer) End(model.Time) {
	for i := range a.pending {
		a.unanswered(&a.pending[i])
	}
	clear(a.pending)
	a.c, a.s, a.row = nil, nil, model.DNS{}
	dnsPool.Put(a)
}

func (a *dnsAnalyzer) message(ts model.Time, fromOrig bool, msg []byte) {
	h, ok := parseDNSHeader(msg)
	if !ok {
		a.c.count(DNSMalformed)
		return
	}
	if h.response() {
		a.response(ts, fromOrig, h, msg)
		return
	}
	off := dnsHeaderLen
	for i := 0; i < int(h.qd) && i < dnsMaxQuestions; i++ {
		var q dnsQuestion
		a.name, q.qtype, q.qclass, off, ok = dnsReadQuestion(a.name[:0], msg, off)
		if !ok {
			a.c.count(DNSMalformed)
			return
		}
		q.ts, q.name, q.id, q.flags, q.size, q.fromOrig = ts, string(a.name), h.id, h.flags, uint32(len(msg)), fromOrig
		if a.c.DNSQuery == "" {
			a.c.DNSQuery = q.name
		}
		if len(a.pending) >= dnsMaxPending {
			a.c.count(DNSPendingDropped)
			a.unanswered(&a.pending[0])
			a.drop(0)
		}
		a.pending = append(a.pending, q)
	}
}

func (a *dnsAnalyzer) drop(i int) {
	copy(a.pending[i:], a.pending[i+1:])
	a.pending[len(a.pending)-1] = dnsQuestion{}
	a.pending = a.pending[:len(a.pending)-1]
}

func (a *dnsAnalyzer) unanswered(q *dnsQuestion) {
	a.row = model.DNS{Answers: a.row.Answers[:0], TTLs: a.row.TTLs[:0]}
	a.fill(q)
	a.row.Endpoints = a.c.endpoints(kindDNS, q.ts)
	a.s.DNS(&a.row)
}

// fill sets what the query tells.
func (a *dnsAnalyzer) fill(q *dnsQuestion) {
	r := &a.row
	r.Queried = true
	r.TransID, r.Query, r.QClass, r.QType = q.id, q.name, q.qclass, q.qtype
	r.QTypeName = dnsTypeName(q.qtype)
	r.RD = q.flags&dnsRD != 0
	r.RequestBytes = q.size
}

func (a *dnsAnalyzer) response(ts model.Time, fromOrig bool, h dnsHeader, msg []byte) {
	off := dnsHeaderLen
	var q dnsQuestion // the first question, which the row is about
	asked := false
	matched := 0
	for i := 0; i < int(h.qd) && i < dnsMaxQuestions; i++ {
		var qtype, qclass uint16
		var ok bool
		a.name, qtype, qclass, off, ok = dnsReadQuestion(a.name[:0], msg, off)
		if !ok {
			a.c.count(DNSMalformed)
			return
		}
		j := a.find(h.id, fromOrig, true, qtype)
		if i == 0 {
			q = dnsQuestion{ts: ts, id: h.id, qtype: qtype, qclass: qclass}
			if asked = j >= 0; asked {
				q = a.pending[j]
			} else {
				q.name = string(a.name)
			}
		} else if j >= 0 { // questions after the first share its answer
			p := a.pending[j]
			a.drop(j)
			a.answer(ts, h, &p, true, msg, -1)
			continue
		}
		if j >= 0 {
			a.drop(j)
			matched++
		}
	}
	if h.qd > dnsMaxQuestions {
		a.c.count(DNSMalformed)
		return
	}
	if h.qd == 0 {
		q = dnsQuestion{ts: ts, id: h.id}
		if j := a.find(h.id, fromOrig, false, 0); j >= 0 {
			q, asked = a.pending[j], true
			a.drop(j)
		}
	}
	if !asked && a.stream && a.hasLast && a.lastID == h.id {
		a.c.count(DNSContinued)
		return
	}
	a.lastID, a.hasLast = h.id, true
	if q.name == "" && h.an > 0 { // an announcement: the name it is about
		if name, _, ok := dnsAppendName(a.name[:0], msg, off); ok {
			a.name, q.name = name, string(name)
		}
	}
	if a.c.DNSQuery == "" {
		a.c.DNSQuery = q.name
	}
	a.answer(ts, h, &q, asked, msg, off)
}

// find is the place of the pending query that a response from the given side answers;
// with a question, name and type have to agree. -1 if there is none.
func (a *dnsAnalyzer) find(id uint16, fromOrig, question bool, qtype uint16) int {
	for i := range a.pending {
		p := &a.pending[i]
		if p.id == id && p.fromOrig != fromOrig && (!question || p.qtype == qtype && p.name == string(a.name)) {
			return i
		}
	}
	return -1
}

// answer emits the row of a response; the records begin at off, or are left out if off is
// negative.
func (a *dnsAnalyzer) answer(ts model.Time, h dnsHeader, q *dnsQuestion, asked bool, msg []byte, off int) {
	r := &a.row
	*r = model.DNS{Answers: r.Answers[:0], TTLs: r.TTLs[:0]}
	if asked {
		a.fill(q)
		if d := ts - q.ts; d > 0 {
			r.RTTMicros = uint32(min(int64(d), math.MaxUint32))
		}
	} else {
		r.TransID, r.Query, r.QClass, r.QType = q.id, q.name, q.qclass, q.qtype
		if h.qd > 0 {
			r.QTypeName = dnsTypeName(q.qtype)
		}
		r.RD = h.flags&dnsRD != 0
	}
	r.Answered = true
	r.AA, r.TC, r.RA = h.flags&dnsAA != 0, h.flags&dnsTC != 0, h.flags&dnsRA != 0
	r.RCode = h.flags & 15
	r.ResponseBytes = uint32(len(msg))
	if off >= 0 {
		a.records(h, msg, off)
	}
	r.RCodeName = dnsRCodeName(r.RCode)
	r.Endpoints = a.c.endpoints(kindDNS, q.ts)
	a.s.DNS(r)
}

// records reads the answer section into the row, and the extended return code of EDNS
// (RFC 6891) from the additional section. A message cut short keeps what is there.
func (a *dnsAnalyzer) records(h dnsHeader, msg []byte, off int) {
	a.text, a.ends = a.text[:0], a.ends[:0]
	r := &a.row
	total := int(h.an) + int(h.ns) + int(h.ar)
	for i := range total {
		rr, next, ok := dnsReadRecord(msg, off)
		if !ok {
			if r.RCode == 0 && !r.TC {
				a.c.count(DNSMalformed)
			}
			break
		}
		off = next
		switch {
		case i < int(h.an):
			if len(a.ends) >= dnsMaxAnswers {
				a.c.count(DNSAnswersCut)
				continue
			}
			a.text = appendRData(a.text, msg, rr)
			a.ends = append(a.ends, len(a.text))
			r.TTLs = append(r.TTLs, rr.ttl)
		case rr.typ == dnsTypeOPT:
			r.RCode |= uint16(rr.ttl>>24) << 4
		}
	}
	all := string(a.text) // one allocation for all answers
	from := 0
	for _, end := range a.ends {
		r.Answers = append(r.Answers, all[from:end])
		from = end
	}
}
