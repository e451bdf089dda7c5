package analyze

import (
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Counter names one thing that is counted while analysing.
type Counter uint8

// The counters. Each is named in CounterNames as it appears in the evidence record.
const (
	DNSMalformed        Counter = iota // messages that could not be parsed
	DNSPendingDropped                  // queries given up unanswered because too many were pending
	DNSAnswersCut                      // answers left out because a message held too many
	DNSContinued                       // further messages of an answer that was already emitted (zone transfers)
	HTTPMalformed                      // start lines that are none; the stream is read again from the next one
	HTTPPendingDropped                 // requests given up unanswered because too many were pending
	HTTPHeadersCut                     // fields or lines beyond the limits
	TLSMalformed                       // handshake messages or records that could not be parsed
	TLSCertificateBad                  // certificates of which only the digest could be kept
	TLSHandshakeTooLong                // handshake messages passed over because of their size
	SSHMalformed                       // packets that could not be parsed
	AnalyzerPanics                     // parser failures caught; the flow was given up
	numCounters
)

// CounterNames are the names of the counters, by Counter.
var CounterNames = [numCounters]string{
	DNSMalformed:        "dns_malformed",
	DNSPendingDropped:   "dns_pending_dropped",
	DNSAnswersCut:       "dns_answers_cut",
	DNSContinued:        "dns_continued",
	HTTPMalformed:       "http_malformed",
	HTTPPendingDropped:  "http_pending_dropped",
	HTTPHeadersCut:      "http_headers_cut",
	TLSMalformed:        "tls_malformed",
	TLSCertificateBad:   "tls_certificate_bad",
	TLSHandshakeTooLong: "tls_handshake_too_long",
	SSHMalformed:        "ssh_malformed",
	AnalyzerPanics:      "analyzer_panics",
}

// Counters counts what limits cut off and what could not be parsed. It is not safe for
// concurrent use: one per worker, to be summed.
type Counters [numCounters]uint64

func (c *Conn) count(k Counter) {
	if c.Counters != nil {
		c.Counters[k]++
	}
}

// Kinds of rows, for numbering them within the flow.
const (
	kindDNS = iota
	kindHTTP
	kindTLS
	kindSSH
)

// endpoints are the flow's, with the time and the next number of the kind.
func (c *Conn) endpoints(kind int, ts model.Time) model.Endpoints {
	e := c.Endpoints
	e.TS = ts
	e.N = c.rows[kind]
	c.rows[kind]++
	return e
}

func (c *Conn) addService(name string) {
	switch {
	case c.Service == "":
		c.Service = name
	case !strings.Contains(","+c.Service+",", ","+name+","):
		c.Service += "," + name
	}
}

// printable turns hostile bytes into text: what is outside printable ASCII, and the
// backslash, becomes \xHH.
func printable(b []byte) string {
	for _, ch := range b {
		if ch < 0x20 || ch > 0x7e || ch == '\\' {
			return string(appendPrintable(make([]byte, 0, len(b)+16), b))
		}
	}
	return string(b)
}

const hexDigits = "0123456789abcdef"

func appendPrintable(dst, b []byte) []byte {
	for _, ch := range b {
		if ch < 0x20 || ch > 0x7e || ch == '\\' {
			dst = append(dst, '\\', 'x', hexDigits[ch>>4], hexDigits[ch&15])
			continue
		}
		dst = append(dst, ch)
	}
	return dst
}

// again returns prev if it is b as text, else makes b text. Values repeat within a flow.
func again(prev string, b []byte) string {
	if same(prev, b) {
		return prev
	}
	return printable(b)
}

// same reports whether text made by printable is certain to be b.
func same(text string, b []byte) bool {
	return text == string(b) && strings.IndexByte(text, '\\') < 0
}

// guarded makes a failure of a parser cost one flow only. The analyzer that failed is not
// used again and its unfinished rows are lost.
func guarded(start func(*Conn, Sink) Analyzer) func(*Conn, Sink) Analyzer {
	return func(c *Conn, s Sink) Analyzer { return &guard{inner: start(c, s), c: c} }
}

type guard struct {
	inner Analyzer // nil after a failure
	c     *Conn
}

func (g *guard) Data(ts model.Time, fromOrig bool, data []byte) (more bool) {
	if g.inner == nil {
		return false
	}
	defer g.recover()
	return g.inner.Data(ts, fromOrig, data)
}

func (g *guard) Gap(ts model.Time, fromOrig bool, n int64) {
	if g.inner != nil {
		defer g.recover()
		g.inner.Gap(ts, fromOrig, n)
	}
}

func (g *guard) End(ts model.Time) {
	if inner := g.inner; inner != nil {
		defer g.recover()
		inner.End(ts)
		g.inner = nil
	}
}

func (g *guard) recover() {
	if recover() != nil {
		g.inner = nil
		g.c.count(AnalyzerPanics)
	}
}

// appendCapped appends b up to max bytes in all and reports whether all of it fitted.
func appendCapped(dst, b []byte, limit int) ([]byte, bool) {
	if room := limit - len(dst); len(b) > room {
		if room > 0 {
			dst = append(dst, b[:room]...)
		}
		return dst, false
	}
	return append(dst, b...), true
}
