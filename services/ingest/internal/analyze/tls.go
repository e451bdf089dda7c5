package analyze

import (
	"encoding/binary"
	"sync"

	"github.com/tracer-framework/tracer/pkg/model"
)

// tlsTCP is TLS 1.0 to 1.3 and SSL 3.0 over TCP (RFC 8446, RFC 5246, RFC 6101), and the
// hello of SSL 2.0 that older clients open with.
var tlsTCP = Protocol{Name: "tls", Transport: 6, Match: matchTLS, New: guarded(newTLS)}

// Content types of a record.
const (
	tlsChangeCipherSpec = 20
	tlsAlert            = 21
	tlsHandshake        = 22
	tlsApplicationData  = 23
	tlsHeartbeat        = 24
)

// Types of a handshake message.
const (
	tlsClientHello       = 1
	tlsServerHello       = 2
	tlsCertificate       = 11
	tlsServerKeyExchange = 12
)

// Limits per direction.
const (
	tlsMaxRecord    = 1<<14 + 2048 // RFC 5246 section 6.2.3
	tlsMaxHandshake = 256 << 10    // bytes of one handshake message; longer ones are passed over
	tlsMaxClear     = 1 << 20      // bytes of clear handshake messages read in all
)

func matchTLS(_ bool, first []byte) Verdict {
	if len(first) == 0 {
		return NeedMore
	}
	if first[0]&0x80 != 0 {
		return matchSSLv2(first)
	}
	if first[0] != tlsHandshake && first[0] != tlsAlert && first[0] != tlsApplicationData {
		return No
	}
	if len(first) < 3 {
		if len(first) == 2 && first[1] != 3 {
			return No
		}
		return NeedMore
	}
	if first[1] != 3 || first[2] > 4 {
		return No
	}
	if len(first) < 5 {
		return NeedMore
	}
	n := int(binary.BigEndian.Uint16(first[3:]))
	if n == 0 || n > tlsMaxRecord {
		return No
	}
	body := first[5:]
	switch first[0] {
	case tlsAlert: // a refusal is all that this side said
		if n != 2 {
			return No
		}
		if len(body) < 2 {
			return NeedMore
		}
		if _, known := tlsAlertNames[body[1]]; !known || body[0] != 1 && body[0] != 2 {
			return No
		}
		return Yes
	case tlsApplicationData: // the capture began in the middle: the next record has to fit too
		if n < 16 || len(body) >= n+3 && (body[n] < tlsChangeCipherSpec || body[n] > tlsHeartbeat || body[n+1] != 3) {
			return No
		}
		if len(body) >= n+3 {
			return Yes
		}
		return NeedMore
	}
	if len(body) == 0 {
		return NeedMore
	}
	if body[0] != tlsClientHello && body[0] != tlsServerHello {
		return No
	}
	if len(body) < 4 {
		if n < 4 { // a hello cut into tiny records
			return Yes
		}
		return NeedMore
	}
	if n < 6 {
		return Yes
	}
	if size := be24(body[1:]); size < 38 || size > tlsMaxHandshake {
		return No
	}
	if len(body) < 5 {
		return NeedMore
	}
	if body[4] != 3 && body[4] != 0x7f {
		return No
	}
	return Yes
}

// matchSSLv2 judges a CLIENT-HELLO in the format of SSL 2.0 (RFC 5246 appendix E.2), or
// the SERVER-HELLO of SSL 2.0 itself.
func matchSSLv2(first []byte) Verdict {
	if len(first) < 3 {
		return NeedMore
	}
	n := int(first[0]&0x7f)<<8 | int(first[1])
	switch first[2] {
	case 1:
		if len(first) < 11 {
			return NeedMore
		}
		version := binary.BigEndian.Uint16(first[3:])
		ciphers, session, challenge := int(binary.BigEndian.Uint16(first[5:])), int(binary.BigEndian.Uint16(first[7:])), int(binary.BigEndian.Uint16(first[9:]))
		if version != 2 && version>>8 != 3 || first[4] > 4 || ciphers == 0 || ciphers%3 != 0 ||
			session != 0 && session != 16 || challenge < 16 || challenge > 32 || 9+ciphers+session+challenge != n {
			return No
		}
		return Yes
	case 4:
		if len(first) < 13 {
			return NeedMore
		}
		cert, ciphers, id := int(binary.BigEndian.Uint16(first[7:])), int(binary.BigEndian.Uint16(first[9:])), int(binary.BigEndian.Uint16(first[11:]))
		if first[3] > 1 || first[4] > 1 || first[5] != 0 || first[6] != 2 || ciphers%3 != 0 || 11+cert+ciphers+id != n {
			return No
		}
		return Yes
	}
	return No
}

func be24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

type tlsAnalyzer struct {
	c   *Conn
	s   Sink
	dir [2]tlsStream
	row model.TLS

	started     bool // a time was set
	fromResp    bool // the client is the responder of the flow
	version     uint16
	certificate bool // the server sent one, or its key exchange
	resumed     bool
	any         bool // something worth a row was seen
}

// tlsStream is one direction of the record layer.
type tlsStream struct {
	header    [5]byte
	have      int    // bytes of header
	typ       byte   // of the current record
	left      int    // bytes of the current record to come
	size      int    // of the current record
	messages  []byte // handshake bytes that make no whole message yet
	skip      int    // bytes of an oversized message to pass over
	clear     int    // clear handshake bytes read so far
	alert     [2]byte
	alertHave int
	begun     bool // the first byte of the direction was seen
	changed   bool // ChangeCipherSpec seen
	finished  bool // an encrypted handshake message behind it
	lost      bool // record boundaries are lost
	sslv2     bool // the current record is one of SSL 2.0
}

var tlsPool = sync.Pool{New: func() any { return new(tlsAnalyzer) }}

func newTLS(c *Conn, s Sink) Analyzer {
	a := tlsPool.Get().(*tlsAnalyzer)
	a.c, a.s = c, s
	c.addService("tls")
	return a
}

func (a *tlsAnalyzer) Data(ts model.Time, fromOrig bool, data []byte) bool {
	if !a.started {
		a.started = true
		a.row.TS = ts
	}
	d := &a.dir[side(fromOrig)]
	for len(data) > 0 && !d.lost && !a.row.Established {
		if d.left > 0 {
			n := min(d.left, len(data))
			a.body(d, fromOrig, data[:n])
			d.left -= n
			data = data[n:]
			if d.left == 0 {
				a.recordEnd(d, fromOrig)
			}
			continue
		}
		if !d.begun {
			d.begun = true
			d.sslv2 = data[0]&0x80 != 0
		}
		want := len(d.header)
		if d.sslv2 {
			want = 2
		}
		n := copy(d.header[d.have:want], data)
		d.have += n
		data = data[n:]
		if d.have == want {
			d.have = 0
			a.record(d, fromOrig)
		}
	}
	return a.more()
}

// more is false once nothing further can be read: the handshake is over and both
// directions are encrypted, or the record boundaries of both are lost.
func (a *tlsAnalyzer) more() bool {
	return !a.row.Established && (!a.dir[0].lost || !a.dir[1].lost)
}

// record takes a complete record header.
func (a *tlsAnalyzer) record(d *tlsStream, fromOrig bool) {
	if d.sslv2 {
		d.left = int(d.header[0]&0x7f)<<8 | int(d.header[1])
		d.size = d.left
		return
	}
	d.typ = d.header[0]
	d.left = int(binary.BigEndian.Uint16(d.header[3:]))
	d.size = d.left
	if d.typ < tlsChangeCipherSpec || d.typ > tlsHeartbeat || d.header[1] != 3 || d.left > tlsMaxRecord {
		a.c.count(TLSMalformed)
		a.lose(d)
		return
	}
	switch d.typ {
	case tlsAlert:
		d.alertHave = 0
	case tlsHandshake:
		if a.encrypted(d, fromOrig) {
			d.finished = true
			if a.dir[0].finished && a.dir[1].finished {
				a.row.Established = true
			}
		}
	case tlsApplicationData:
		a.application(d, fromOrig)
	}
}

// encrypted reports whether handshake records of the direction can be read no more. In
// TLS 1.3, ChangeCipherSpec means nothing (RFC 8446 appendix D.4).
func (a *tlsAnalyzer) encrypted(d *tlsStream, fromOrig bool) bool {
	if !d.changed {
		return false
	}
	if fromOrig == a.clientIsOrig() {
		return true // a second hello behind a HelloRetryRequest tells nothing new
	}
	return a.row.ServerHello
}

func (a *tlsAnalyzer) clientIsOrig() bool { return !a.fromResp }

// application judges from an application data record whether the handshake was completed.
// In TLS 1.3, encrypted handshake messages look like application data: the client's
// Finished is the proof, and longer than an encrypted alert.
func (a *tlsAnalyzer) application(d *tlsStream, fromOrig bool) {
	switch {
	case !a.row.ServerHello:
	case a.version <= 0x0303:
		a.row.Established = true
	case fromOrig == a.clientIsOrig() && d.size >= 32:
		a.row.Established = true
	}
}

func (a *tlsAnalyzer) body(d *tlsStream, fromOrig bool, p []byte) {
	switch {
	case d.sslv2:
		d.messages, _ = appendCapped(d.messages, p, 1<<15)
	case d.typ == tlsHandshake && !a.encrypted(d, fromOrig):
		if d.clear += len(p); d.clear > tlsMaxClear {
			a.c.count(TLSHandshakeTooLong)
			a.lose(d)
			return
		}
		a.handshake(d, fromOrig, p)
	case d.typ == tlsAlert && !d.changed && d.size == 2:
		d.alertHave += copy(d.alert[d.alertHave:], p)
	}
}

func (a *tlsAnalyzer) recordEnd(d *tlsStream, fromOrig bool) {
	switch {
	case d.sslv2:
		a.helloSSLv2(d, fromOrig)
		d.messages = d.messages[:0]
		d.sslv2 = false
	case d.typ == tlsChangeCipherSpec:
		if fromOrig != a.clientIsOrig() && a.row.ServerHello && a.version <= 0x0303 && !a.certificate {
			a.resumed = true
		}
		d.changed = true
	case d.typ == tlsAlert && d.alertHave == 2:
		a.row.LastAlert = tlsAlertName(d.alert[1])
		a.any = true
	}
}

// handshake takes clear bytes of the handshake protocol; messages may begin and end
// anywhere in records.
func (a *tlsAnalyzer) handshake(d *tlsStream, fromOrig bool, p []byte) {
	if d.skip > 0 {
		n := min(d.skip, len(p))
		d.skip -= n
		p = p[n:]
	}
	if len(p) == 0 {
		return
	}
	b := p
	if len(d.messages) > 0 {
		d.messages = append(d.messages, p...)
		b = d.messages
	}
	for len(b) >= 4 {
		size := be24(b[1:])
		if size > tlsMaxHandshake {
			a.c.count(TLSHandshakeTooLong)
			d.skip = 4 + size - len(b)
			b = nil
			break
		}
		if len(b) < 4+size {
			break
		}
		a.message(fromOrig, b[0], b[4:4+size])
		b = b[4+size:]
	}
	d.messages = append(d.messages[:0], b...)
}

func (a *tlsAnalyzer) message(fromOrig bool, typ byte, m []byte) {
	switch typ {
	case tlsClientHello:
		if a.row.ClientHello {
			return // the second, behind a HelloRetryRequest; fingerprints are of the first
		}
		a.fromResp = !fromOrig
		if !parseClientHello(m, &a.row) {
			a.c.count(TLSMalformed)
			if a.row.ClientVersion == 0 {
				return
			}
		}
		a.row.ClientHello, a.any = true, true
		a.c.TLSSNI = a.row.SNI
		if a.c.TLSALPN == "" && len(a.row.ClientALPN) > 0 {
			a.c.TLSALPN = printable([]byte(a.row.ClientALPN[0]))
		}
	case tlsServerHello:
		if a.row.ServerHello {
			return
		}
		a.serverHello(fromOrig, m)
	case tlsCertificate:
		a.certificate = true
		if len(a.row.CertChain) == 0 && fromOrig != a.clientIsOrig() {
			if n := parseCertificates(m, &a.row); n > 0 {
				a.c.count(TLSCertificateBad)
			}
		}
	case tlsServerKeyExchange:
		a.certificate = true
		if len(m) >= 3 && m[0] == 3 && a.row.Curve == "" && tlsUsesCurve(a.row.Cipher) {
			a.row.Curve = tlsGroupName(binary.BigEndian.Uint16(m[1:]))
		}
	}
}

func (a *tlsAnalyzer) serverHello(fromOrig bool, m []byte) {
	sh, ok := parseServerHello(m)
	if !ok {
		a.c.count(TLSMalformed)
		if sh.version == 0 {
			return
		}
	}
	if sh.retry {
		return // the hello proper follows
	}
	if !a.row.ClientHello {
		a.fromResp = fromOrig // the hello was missed; whoever answers is the server
	}
	r := &a.row
	r.ServerHello, a.any = true, true
	r.ServerVersion, r.ServerCipher = sh.version, sh.cipher
	r.ServerExtensions = append(r.ServerExtensions[:0], sh.extensions...)
	a.version = sh.version
	if sh.selected != 0 {
		a.version = sh.selected
	}
	if a.version>>8 == 0x7f { // drafts of TLS 1.3
		r.Version = tlsVersionName(a.version)
		a.version = 0x0304
	} else {
		r.Version = tlsVersionName(a.version)
	}
	r.Cipher = tlsCipherName(sh.cipher)
	if sh.group != 0 {
		r.Curve = tlsGroupName(sh.group)
	}
	a.resumed = a.version >= 0x0304 && sh.psk
	a.c.TLSVersion = r.Version
	if len(sh.alpn) > 0 {
		r.ALPN = printable(sh.alpn)
		a.c.TLSALPN = r.ALPN
	}
}

// helloSSLv2 reads a hello in the format of SSL 2.0.
func (a *tlsAnalyzer) helloSSLv2(d *tlsStream, fromOrig bool) {
	m := d.messages
	switch {
	case len(m) >= 9 && m[0] == 1 && !a.row.ClientHello:
		n := int(binary.BigEndian.Uint16(m[3:]))
		if 9+n > len(m) {
			break
		}
		r := &a.row
		r.ClientHello, a.any = true, true
		a.fromResp = !fromOrig
		r.ClientVersion = binary.BigEndian.Uint16(m[1:])
		for c := m[9 : 9+n]; len(c) >= 3; c = c[3:] {
			if c[0] == 0 { // the others are ciphers of SSL 2.0 alone
				r.ClientCiphers = append(r.ClientCiphers, binary.BigEndian.Uint16(c[1:]))
			}
		}
		if r.ClientVersion == 2 {
			a.lose(d)
		}
		return
	case len(m) >= 11 && m[0] == 4:
		r := &a.row
		r.ServerHello, a.any = true, true
		r.ServerVersion = 2
		r.Version = tlsVersionName(2)
		a.c.TLSVersion = r.Version
		if n := int(binary.BigEndian.Uint16(m[5:])); n > 0 && 11+n <= len(m) {
			if bad := addCertificates([][]byte{m[11 : 11+n]}, r); bad > 0 {
				a.c.count(TLSCertificateBad)
			}
		}
		a.lose(d)
		return
	}
	a.c.count(TLSMalformed)
	a.lose(d)
}

func (a *tlsAnalyzer) lose(d *tlsStream) {
	d.lost = true
	d.messages = d.messages[:0]
}

// Gap passes over lost bytes within an encrypted record; elsewhere the record boundaries
// are lost with them.
func (a *tlsAnalyzer) Gap(_ model.Time, fromOrig bool, n int64) {
	d := &a.dir[side(fromOrig)]
	clearRecord := d.typ == tlsHandshake && !a.encrypted(d, fromOrig) || d.typ == tlsAlert || d.sslv2
	if n < int64(d.left) && !clearRecord {
		d.left -= int(n)
		return
	}
	a.lose(d)
}

func (a *tlsAnalyzer) End(model.Time) {
	if a.any {
		ts := a.row.TS
		a.row.Endpoints = a.c.endpoints(kindTLS, ts)
		a.row.Transport = "tcp"
		a.row.Resumed = a.resumed
		a.s.TLS(&a.row)
	}
	a.reset()
	tlsPool.Put(a)
}

// reset makes the analyzer ready for another flow and keeps the memory of its lists.
func (a *tlsAnalyzer) reset() {
	r := &a.row
	clear(r.ClientALPN)
	clear(r.CertChain)
	clear(r.CertSANs)
	m0, m1 := a.dir[0].messages[:0], a.dir[1].messages[:0]
	if cap(m0) > 32<<10 {
		m0 = nil
	}
	if cap(m1) > 32<<10 {
		m1 = nil
	}
	*a = tlsAnalyzer{row: model.TLS{
		ClientCiphers: r.ClientCiphers[:0], ClientExtensions: r.ClientExtensions[:0], ClientGroups: r.ClientGroups[:0],
		ClientPointFormats: r.ClientPointFormats[:0], ClientSigAlgs: r.ClientSigAlgs[:0], ClientVersions: r.ClientVersions[:0],
		ClientALPN: r.ClientALPN[:0], ServerExtensions: r.ServerExtensions[:0], CertChain: r.CertChain[:0], CertSANs: r.CertSANs[:0],
	}}
	a.dir[0].messages, a.dir[1].messages = m0, m1
}
