package analyze

import (
	"bytes"
	"math"
	"sync"

	"github.com/tracer-framework/tracer/pkg/model"
)

// httpTCP is HTTP/1.0 and 1.1 (RFC 9112). HTTP/0.9 has no mark to be recognised by.
var httpTCP = Protocol{Name: "http", Transport: 6, Match: matchHTTP, New: guarded(newHTTP)}

// Limits per flow and message.
const (
	httpMaxPending = 64       // requests waiting for their response
	httpMaxLine    = 16 << 10 // bytes of one line
	httpMaxHead    = 1 << 20  // bytes of one header or trailer section
	httpMaxFields  = 256      // field names kept
	httpMaxValue   = 8 << 10  // bytes of one value kept
	httpMaxName    = 128      // bytes of one field name kept
	httpMaxHold    = 16 << 10 // bytes of a client that speaks before its CONNECT is answered
)

func matchHTTP(_ bool, first []byte) Verdict {
	for len(first) > 0 && (first[0] == '\r' || first[0] == '\n') { // RFC 9112 section 2.2
		first = first[1:]
	}
	if v := matchStatusLine(first); v != No {
		return v
	}
	return matchRequestLine(first)
}

func matchStatusLine(b []byte) Verdict {
	const mark = "HTTP/1."
	n := min(len(b), len(mark))
	if string(b[:n]) != mark[:n] {
		return No
	}
	if len(b) < len(mark)+5 {
		return NeedMore
	}
	if !isDigit(b[7]) || b[8] != ' ' || !isDigit(b[9]) || !isDigit(b[10]) || !isDigit(b[11]) {
		return No
	}
	return Yes
}

// httpSure is the length from which a line that began like a request is believed to be one.
const httpSure = 2048

// matchRequestLine wants a method, a target and "HTTP/1." before the end of the line.
func matchRequestLine(b []byte) Verdict {
	i := 0
	for i < len(b) && isTokenChar(b[i]) {
		i++
	}
	if i > 32 {
		return No
	}
	if i == len(b) {
		return NeedMore
	}
	if i == 0 || b[i] != ' ' || b[0] < 'A' || b[0] > 'Z' && b[0] < 'a' {
		return No
	}
	before, _, ok := bytes.Cut(b, []byte{'\n'})
	line := b[:]
	if ok {
		line = bytes.TrimRight(before, "\r ")
	}
	for _, ch := range line {
		if ch < 0x20 && ch != '\t' && ch != '\r' {
			return No
		}
	}
	if !ok {
		if len(b) >= httpSure && httpMethods[string(b[:i])] {
			return Yes
		}
		if len(b) >= httpSure {
			return No
		}
		return NeedMore
	}
	v := line[bytes.LastIndexByte(line, ' ')+1:]
	if len(v) != 8 || string(v[:7]) != "HTTP/1." || !isDigit(v[7]) {
		return No
	}
	return Yes
}

// httpMethods are the methods that are believed before their line is complete.
var httpMethods = map[string]bool{
	"GET": true, "HEAD": true, "POST": true, "PUT": true, "DELETE": true, "CONNECT": true,
	"OPTIONS": true, "TRACE": true, "PATCH": true, "PROPFIND": true,
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

func isTokenChar(b byte) bool {
	return isDigit(b) || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '-' || b == '_' || b == '.' || b == '!' ||
		b == '#' || b == '$' || b == '%' || b == '&' || b == '\'' || b == '*' || b == '+' || b == '^' || b == '`' || b == '|' || b == '~'
}

// httpExchange is a request with its response, as far as they were seen.
type httpExchange struct {
	row          model.HTTP
	requestDone  bool
	responseSeen bool // its status line was read
	responseDone bool
	connect      bool
}

type httpAnalyzer struct {
	c       *Conn
	s       Sink
	dir     [2]httpStream   // of requests and of responses
	flipped bool            // the responder of the flow sends the requests
	known   bool            // flipped was decided
	early   [2][]byte       // bytes until then, by side of the flow
	pending []*httpExchange // in the order of the requests
	free    []*httpExchange
	named   bool // the flow has the first request's host and user agent
	tunnel  *tunnel
	last    httpLast
}

// httpLast remembers values that tend to repeat within a flow.
type httpLast struct{ host, userAgent, referrer, requestMIME, responseMIME, statusMsg string }

// httpState is what a stream is expected to bring next.
type httpState uint8

const (
	httpStart httpState = iota
	httpFields
	httpBody       // left bytes
	httpUntilClose // the rest of the stream
	httpChunkSize
	httpChunk    // left bytes
	httpChunkEnd // the line end behind a chunk
	httpTrailer
	httpHold // a CONNECT was sent and not answered yet
	httpLost // until a segment begins with a start line
)

// httpStream is one direction.
type httpStream struct {
	state httpState
	line  []byte // of a line that came in pieces
	cut   bool   // the line was too long and lost its end
	left  uint64
	ex    *httpExchange // the message being read belongs to it
	hold  []byte
	head  httpHead
	magic [magicLen]byte
	got   int  // bytes of magic
	blind bool // the first bytes of the body are lost
}

var httpPool = sync.Pool{New: func() any { return new(httpAnalyzer) }}

func newHTTP(c *Conn, s Sink) Analyzer {
	a := httpPool.Get().(*httpAnalyzer)
	a.c, a.s = c, s
	c.addService("http")
	return a
}

const (
	requests  = 0
	responses = 1
)

func (a *httpAnalyzer) Data(ts model.Time, fromOrig bool, data []byte) bool {
	if a.tunnel != nil {
		return a.tunnel.Data(ts, fromOrig, data)
	}
	if !a.known {
		return a.orient(ts, fromOrig, data)
	}
	return a.read(ts, a.kind(fromOrig), data)
}

// orient finds out who sends the requests: the responder of the flow may, where its
// direction was guessed from the middle. Bytes are kept until it is known.
func (a *httpAnalyzer) orient(ts model.Time, fromOrig bool, data []byte) bool {
	i := side(fromOrig)
	a.early[i] = append(a.early[i], data...)
	status, request := matchStatusLine(a.early[i]), matchRequestLine(a.early[i])
	if status != Yes && request != Yes && (status == NeedMore || request == NeedMore) {
		return true
	}
	a.known = true
	a.flipped = fromOrig && status == Yes || !fromOrig && status != Yes && request == Yes
	early := a.early
	a.early = [2][]byte{}
	if len(early[1-i]) > 0 {
		a.read(ts, a.kind(!fromOrig), early[1-i])
	}
	return a.read(ts, a.kind(fromOrig), early[i])
}

func (a *httpAnalyzer) kind(fromOrig bool) int {
	if fromOrig != a.flipped {
		return requests
	}
	return responses
}

// read takes bytes of the stream of requests or of responses.
func (a *httpAnalyzer) read(ts model.Time, kind int, data []byte) bool {
	d := &a.dir[kind]
	if d.state == httpLost && !a.resync(kind, data) {
		return true
	}
	for len(data) > 0 {
		switch d.state {
		case httpBody, httpChunk:
			n := min(uint64(len(data)), d.left)
			a.content(kind, data[:n], n)
			d.left -= n
			data = data[n:]
			if d.left == 0 {
				if d.state == httpChunk {
					d.state = httpChunkEnd
				} else {
					a.complete(kind)
				}
			}
		case httpUntilClose:
			a.content(kind, data, uint64(len(data)))
			return true
		case httpHold:
			if len(d.hold)+len(data) > httpMaxHold { // one side seen only
				a.switchTo(ts)
				return a.tunnel.Data(ts, !a.flipped, data)
			}
			d.hold = append(d.hold, data...)
			return true
		case httpLost:
			return true
		default:
			var line []byte
			var ok bool
			if line, data, ok = d.nextLine(data); !ok {
				return true
			}
			if d.cut {
				a.c.count(HTTPHeadersCut)
			}
			a.take(ts, kind, line)
			d.line, d.cut = d.line[:0], false
			if a.tunnel != nil { // what follows on this side is of the protocol inside
				more := a.tunnel.Data(ts, (kind == requests) != a.flipped, data)
				return more || len(data) == 0
			}
		}
	}
	return true
}

// nextLine splits off a line without its end. A line beyond the limit loses its end.
func (d *httpStream) nextLine(data []byte) (line, rest []byte, ok bool) {
	i := bytes.IndexByte(data, '\n')
	if i < 0 {
		var fits bool
		if d.line, fits = appendCapped(d.line, data, httpMaxLine); !fits {
			d.cut = true
		}
		d.head.bytes += len(data)
		return nil, nil, false
	}
	line, rest = data[:i], data[i+1:]
	d.head.bytes += i + 1
	if len(d.line) > 0 {
		var fits bool
		if d.line, fits = appendCapped(d.line, line, httpMaxLine); !fits {
			d.cut = true
		}
		line = d.line
	} else if len(line) > httpMaxLine {
		line, d.cut = line[:httpMaxLine], true
	}
	return bytes.TrimSuffix(line, []byte("\r")), rest, true
}

// take handles one line.
func (a *httpAnalyzer) take(ts model.Time, kind int, line []byte) {
	d := &a.dir[kind]
	switch d.state {
	case httpStart:
		if len(line) > 0 && !a.start(ts, kind, line) {
			a.c.count(HTTPMalformed)
			a.lose(kind)
		}
	case httpFields:
		switch {
		case len(line) == 0:
			a.headDone(ts, kind)
		case d.head.bytes > httpMaxHead:
			a.c.count(HTTPHeadersCut)
			a.lose(kind)
		default:
			if !d.head.field(line, &d.ex.row, kind, &a.last) {
				a.c.count(HTTPHeadersCut)
			}
		}
	case httpChunkSize:
		n, ok := parseChunkSize(line)
		switch {
		case !ok:
			a.c.count(HTTPMalformed)
			a.lose(kind)
		case n == 0:
			d.state = httpTrailer
			d.head.bytes = 0
		default:
			d.left, d.state = n, httpChunk
		}
	case httpChunkEnd:
		d.state = httpChunkSize
		if len(line) > 0 {
			a.c.count(HTTPMalformed)
			a.lose(kind)
		}
	case httpTrailer:
		if len(line) == 0 {
			a.complete(kind)
		} else if d.head.bytes > httpMaxHead {
			a.lose(kind)
		}
	}
}

// start reads a start line and reports whether it is one.
func (a *httpAnalyzer) start(ts model.Time, kind int, line []byte) bool {
	d := &a.dir[kind]
	if kind == requests {
		req, ok := parseRequestLine(line)
		if !ok {
			return false
		}
		if len(a.pending) >= httpMaxPending {
			a.c.count(HTTPPendingDropped)
			a.emit(0)
		}
		ex := a.exchange(ts)
		ex.row.Method, ex.row.URI, ex.row.Version = req.method, redactUserinfo(req.target), req.version
		ex.connect = req.method == "CONNECT"
		a.pending = append(a.pending, ex)
		d.ex = ex
	} else {
		st, ok := parseStatusLine(line)
		if !ok {
			return false
		}
		ex := a.unanswered()
		if ex == nil {
			ex = a.exchange(ts)
			ex.row.Version = st.version
			ex.requestDone = true
			a.pending = append(a.pending, ex)
		}
		ex.responseSeen = true
		ex.row.Answered = true
		ex.row.StatusCode, ex.row.StatusMsg = st.code, again(a.last.statusMsg, st.reason)
		a.last.statusMsg = ex.row.StatusMsg
		d.ex = ex
	}
	d.head = httpHead{length: -1}
	d.got, d.blind = 0, false
	d.state = httpFields
	return true
}

// unanswered is the oldest request without response. One whose response is complete while
// its own body is not has been answered early; the rest of it is left uncounted.
func (a *httpAnalyzer) unanswered() *httpExchange {
	for len(a.pending) > 0 && a.pending[0].responseDone {
		a.emit(0)
	}
	for _, ex := range a.pending {
		if !ex.responseSeen {
			return ex
		}
	}
	return nil
}

func (a *httpAnalyzer) exchange(ts model.Time) *httpExchange {
	var ex *httpExchange
	if n := len(a.free); n > 0 {
		ex = a.free[n-1]
		a.free = a.free[:n-1]
	} else {
		ex = new(httpExchange)
	}
	ex.row.TS = ts
	return ex
}

// headDone decides how the body is delimited (RFC 9112 section 6.3).
func (a *httpAnalyzer) headDone(ts model.Time, kind int) {
	d := &a.dir[kind]
	ex, h := d.ex, &d.head
	if kind == requests {
		if !a.named {
			a.named = true
			a.c.HTTPHost, a.c.HTTPUserAgent = ex.row.Host, ex.row.UserAgent
		}
		switch {
		case ex.connect:
			ex.requestDone = true
			d.state, d.ex = httpHold, nil
		case h.chunked:
			d.state = httpChunkSize
		case h.length > 0:
			d.state, d.left = httpBody, uint64(h.length)
		default:
			a.complete(kind)
		}
		return
	}
	code := ex.row.StatusCode
	switch {
	case code == 101, ex.connect && code >= 200 && code < 300:
		ex.responseDone, ex.requestDone = true, true
		a.emitExchange(ex)
		a.switchTo(ts)
	case code < 200: // an interim response
		*ex = httpExchange{row: ex.row, requestDone: ex.requestDone, connect: ex.connect}
		r := &ex.row
		r.Answered, r.StatusCode, r.StatusMsg, r.ResponseMIME, r.ResponseFile, r.Location = false, 0, "", "", "", ""
		r.ResponseHeaders = r.ResponseHeaders[:0]
		d.state, d.ex = httpStart, nil
	case ex.row.Method == "HEAD" || code == 204 || code == 304:
		a.complete(kind)
	case h.chunked:
		d.state = httpChunkSize
	case h.length == 0:
		a.complete(kind)
	case h.length > 0 && !h.coded:
		d.state, d.left = httpBody, uint64(h.length)
	default:
		d.state = httpUntilClose
	}
}

// content counts n bytes of a body; b are those at hand.
func (a *httpAnalyzer) content(kind int, b []byte, n uint64) {
	d := &a.dir[kind]
	if kind == requests {
		d.ex.row.RequestBodyLen = addSat(d.ex.row.RequestBodyLen, n)
		return
	}
	d.ex.row.ResponseBodyLen = addSat(d.ex.row.ResponseBodyLen, n)
	if d.got < magicLen && !d.blind {
		d.got += copy(d.magic[d.got:], b)
	}
}

func addSat(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}

// complete ends the message being read.
func (a *httpAnalyzer) complete(kind int) {
	d := &a.dir[kind]
	ex := d.ex
	d.ex, d.state = nil, httpStart
	d.head.bytes = 0
	if kind == requests {
		ex.requestDone = true
	} else {
		a.judgeBody(d, ex)
		ex.responseDone = true
		if req := &a.dir[requests]; ex.connect && req.state == httpHold { // refused
			held := req.hold
			req.hold, req.state = nil, httpStart
			a.emitExchange(ex)
			if len(held) > 0 {
				a.read(ex.row.TS, requests, held)
			}
			return
		}
	}
	if ex.requestDone && ex.responseDone {
		a.emitExchange(ex)
	}
}

func (a *httpAnalyzer) judgeBody(d *httpStream, ex *httpExchange) {
	if d.got > 0 {
		ex.row.ResponseMagic = magicOf(d.magic[:d.got])
		d.got = 0
	}
}

func (a *httpAnalyzer) emitExchange(ex *httpExchange) {
	for i, p := range a.pending {
		if p == ex {
			a.emit(i)
			return
		}
	}
}

// emit hands over the exchange at i and takes it off the list.
func (a *httpAnalyzer) emit(i int) {
	ex := a.pending[i]
	for k := range a.dir {
		if d := &a.dir[k]; d.ex == ex { // its message has not ended
			if k == responses {
				a.judgeBody(d, ex)
			}
			d.ex = nil
			a.lose(k)
		}
	}
	ex.row.Endpoints = a.c.endpoints(kindHTTP, ex.row.TS)
	a.s.HTTP(&ex.row)
	copy(a.pending[i:], a.pending[i+1:])
	a.pending[len(a.pending)-1] = nil
	a.pending = a.pending[:len(a.pending)-1]
	clear(ex.row.RequestHeaders)
	clear(ex.row.ResponseHeaders)
	*ex = httpExchange{row: model.HTTP{RequestHeaders: ex.row.RequestHeaders[:0], ResponseHeaders: ex.row.ResponseHeaders[:0]}}
	a.free = append(a.free, ex)
}

// switchTo makes both directions a tunnel.
func (a *httpAnalyzer) switchTo(ts model.Time) {
	a.tunnel = &tunnel{c: a.c, s: a.s}
	if held := a.dir[requests].hold; len(held) > 0 {
		a.tunnel.Data(ts, !a.flipped, held)
		a.dir[requests].hold = nil
	}
}

// lose gives up the message being read and waits for a segment that begins with a start line.
func (a *httpAnalyzer) lose(kind int) {
	d := &a.dir[kind]
	d.state = httpLost
	d.line, d.cut = d.line[:0], false
}

// resync takes up reading again if data begins with a start line. Which responses belong to
// which requests is not known any more, so that what is pending is emitted as it is; but a single
// request is answered by the next response, and what the other direction is reading goes on.
func (a *httpAnalyzer) resync(kind int, data []byte) bool {
	match := matchStatusLine
	if kind == requests {
		match = matchRequestLine
	}
	if match(data) != Yes {
		return false
	}
	d := &a.dir[kind]
	broken := d.ex
	d.ex = nil
	if broken != nil {
		a.emitExchange(broken)
	}
	if kind == requests || len(a.pending) > 1 {
		reading := a.dir[1-kind].ex
		for i := 0; i < len(a.pending); {
			if a.pending[i] == reading {
				i++
				continue
			}
			a.emit(i)
		}
	}
	d.state = httpStart
	d.head.bytes = 0
	return true
}

// Gap passes over lost bytes of a body; elsewhere reading is taken up at the next start line.
func (a *httpAnalyzer) Gap(ts model.Time, fromOrig bool, n int64) {
	if a.tunnel != nil {
		a.tunnel.Gap(ts, fromOrig, n)
		return
	}
	if n <= 0 {
		return
	}
	a.known, a.early = true, [2][]byte{}
	kind := a.kind(fromOrig)
	d := &a.dir[kind]
	switch d.state {
	case httpBody, httpChunk:
		if uint64(n) <= d.left {
			a.content(kind, nil, uint64(n))
			d.blind = true
			if d.left -= uint64(n); d.left == 0 {
				if d.state == httpChunk {
					d.state = httpChunkEnd
				} else {
					a.complete(kind)
				}
			}
			return
		}
		a.content(kind, nil, d.left)
	case httpUntilClose:
		a.content(kind, nil, uint64(n))
		d.blind = true
		return
	}
	a.lose(kind)
}

func (a *httpAnalyzer) End(ts model.Time) {
	if d := &a.dir[requests]; a.tunnel == nil && d.state == httpHold && len(d.hold) > 0 && a.dir[responses].ex == nil {
		a.switchTo(ts) // the answer to CONNECT was not captured
	}
	for len(a.pending) > 0 {
		a.emit(0)
	}
	if a.tunnel != nil {
		a.tunnel.End(ts)
	}
	free, pending := a.free, a.pending
	l0, l1 := a.dir[0].line[:0], a.dir[1].line[:0]
	*a = httpAnalyzer{free: free, pending: pending}
	a.dir[0].line, a.dir[1].line = l0, l1
	httpPool.Put(a)
}
