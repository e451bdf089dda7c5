package lab

import (
	"encoding/binary"
	"slices"
	"time"
)

// TLS record and handshake types (RFC 8446, RFC 5246).
const (
	recordCCS       = 20
	recordAlert     = 21
	recordHandshake = 22
	recordData      = 23

	helloClient    = 1
	helloServer    = 2
	ticketNew      = 4
	certificateMsg = 11
	keyExchange    = 12
	helloDone      = 14
	clientKey      = 16

	maxRecord = 16384
)

// tlsSession is one TLS connection.
type tlsSession struct {
	client *client
	name   string   // SNI, "" for none
	chain  [][]byte // certificates the server shows (TLS 1.2), leaf first
	modern bool     // server speaks TLS 1.3
	hybrid bool     // server takes the hybrid group
	alpn   string   // protocol the server would choose
	rsa    bool     // the leaf has an RSA key
	resume bool     // client offers a ticket or key of an earlier session
}

// appendVector writes data behind its length in n bytes.
func appendVector(b []byte, n int, data []byte) []byte {
	for i := n - 1; i >= 0; i-- {
		b = append(b, byte(len(data)>>(8*i)))
	}
	return append(b, data...)
}

// vector is the list as it stands in a message, with g for its GREASE.
func vector(list []uint16, g uint16) []byte {
	b := make([]byte, 0, 2*len(list))
	for _, v := range list {
		if v == grease {
			v = g
		}
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}

// clientHello writes the handshake message.
func (c *client) clientHello(r *random, s *tlsSession) []byte {
	greaseAt := func() uint16 { n := uint16(r.intn(16)); return n<<12 | 0x0a00 | n<<4 | 0x0a }
	b := []byte{helloClient, 0, 0, 0, 3, 3}
	b = r.append(b, 32)
	switch {
	case c.session || s.resume && len(c.versions) == 0:
		b = r.append(append(b, 32), 32)
	default:
		b = append(b, 0)
	}
	b = appendVector(b, 2, vector(c.ciphers, greaseAt()))
	b = append(b, 1, 0)
	list := append([]uint16(nil), c.extensions...)
	if c.permute { // all but the GREASE at both ends
		shuffle(r, list[1:len(list)-1])
	}
	if s.resume && len(c.versions) > 0 && !contains(list, 21) {
		list = append(list, 41)
	}
	first, group, version := greaseAt(), greaseAt(), greaseAt()
	seen := false
	var ext []byte
	for _, id := range list {
		var body []byte
		switch id {
		case grease:
			id = first
			if seen { // the second differs and carries a byte
				id = first ^ 0x1010
				body = []byte{0}
			}
			seen = true
		case 0:
			if s.name == "" {
				continue
			}
			entry := appendVector([]byte{0}, 2, []byte(s.name))
			body = appendVector(nil, 2, entry)
		case 5:
			body = []byte{1, 0, 0, 0, 0}
		case 10:
			body = appendVector(nil, 2, vector(c.groups, group))
		case 11:
			body = []byte{1, 0}
			if c.name == "openssl" || c.name == "implant" {
				body = []byte{3, 0, 1, 2}
			}
		case 13:
			body = appendVector(nil, 2, vector(c.signatures, 0))
		case 15:
			body = []byte{1}
		case 16:
			var names []byte
			for _, p := range c.alpn {
				names = appendVector(names, 1, []byte(p))
			}
			body = appendVector(nil, 2, names)
		case 21:
			if len(b)+len(ext)+6 >= 508 || len(b)+len(ext) < 252 {
				continue
			}
			body = make([]byte, 512-len(b)-2-len(ext)-4)
		case 27:
			body = []byte{2, 0, 2}
			if c.name == "firefox" {
				body = []byte{6, 0, 1, 0, 2, 0, 3}
			}
		case 28:
			body = []byte{0x40, 0x01}
		case 34:
			body = []byte{0, 8, 4, 3, 5, 3, 6, 3, 2, 3}
		case 35:
			if s.resume && len(c.versions) == 0 {
				body = r.bytes(192)
			}
		case 41: // one identity with its binder, always last
			identity := r.append(appendVector(nil, 2, r.bytes(192)), 4)
			body = appendVector(appendVector(nil, 2, identity), 2, appendVector(nil, 1, r.bytes(32)))
		case 43:
			body = appendVector(nil, 1, vector(c.versions, version))
		case 45:
			body = []byte{1, 1}
		case 51:
			var shares []byte
			for _, g := range c.shares {
				n := shareSize(g, false)
				if g == grease {
					g = group
				}
				shares = binary.BigEndian.AppendUint16(shares, g)
				shares = appendVector(shares, 2, keyShare(r, g, n))
			}
			body = appendVector(nil, 2, shares)
		case 17613: // application settings (draft)
			body = []byte{0, 3, 2, 'h', '2'}
		case 65037: // encrypted client hello, GREASE form
			body = append([]byte{0, 0, 1, 0, 1, byte(r.intn(256))}, 0, 32)
			body = r.append(body, 32)
			body = appendVector(body, 2, r.bytes(pick(r, []int{144, 176, 208, 240})))
		case 65281:
			body = []byte{0}
		}
		ext = binary.BigEndian.AppendUint16(ext, id)
		ext = appendVector(ext, 2, body)
	}
	b = appendVector(b, 2, ext)
	n := len(b) - 4
	b[1], b[2], b[3] = byte(n>>16), byte(n>>8), byte(n)
	return b
}

func contains(list []uint16, v uint16) bool {
	return slices.Contains(list, v)
}

// shareSize is the length of a key share of the group.
func shareSize(group uint16, server bool) int {
	switch group {
	case grease:
		return 1
	case groupHybrid:
		if server {
			return 1120
		}
		return 1216
	case 23:
		return 65
	}
	return 32
}

func keyShare(r *random, group uint16, n int) []byte {
	b := r.bytes(n)
	if group == 23 {
		b[0] = 4 // uncompressed point
	}
	if n == 1 {
		b[0] = 0
	}
	return b
}

// appendRecords cuts a plaintext or opaque stream into records.
func appendRecords(b []byte, kind uint8, version uint16, data []byte) []byte {
	for {
		n := min(len(data), maxRecord)
		b = append(b, kind, byte(version>>8), byte(version), byte(n>>8), byte(n))
		b = append(b, data[:n]...)
		if data = data[n:]; len(data) == 0 {
			return b
		}
	}
}

// message frames one handshake message.
func message(kind uint8, body []byte) []byte {
	return appendVector([]byte{kind}, 3, body)
}

// tls performs the handshake on an established TCP conversation. Afterwards app carries
// the data.
func (c *conversation) tls(s tlsSession) {
	r, cl := c.r, s.client
	c.send(orig, appendRecords(nil, recordHandshake, 0x0301, cl.clientHello(r, &s)))
	c.pause(r.think(400*time.Microsecond, 0.5))
	if s.modern && len(cl.versions) > 0 {
		c.tls13(&s)
	} else {
		c.tls12(&s)
	}
	c.pause(r.think(300*time.Microsecond, 0.6))
}

// tls13 is the server's flight and the client's Finished (RFC 8446).
func (c *conversation) tls13(s *tlsSession) {
	r, cl := c.r, s.client
	cipher := uint16(0x1301)
	if s.hybrid || s.name != "" && len(s.name)%2 == 0 && contains(cl.ciphers, 0x1302) {
		cipher = 0x1302
	}
	group := uint16(groupX25519)
	if s.hybrid && contains(cl.shares, groupHybrid) {
		group = groupHybrid
	}
	hello := r.append([]byte{3, 3}, 32)
	if cl.session {
		hello = r.append(append(hello, 32), 32)
	} else {
		hello = append(hello, 0)
	}
	hello = append(hello, byte(cipher>>8), byte(cipher), 0)
	ext := []byte{0, 43, 0, 2, 3, 4, 0, 51}
	share := appendVector([]byte{byte(group >> 8), byte(group)}, 2, keyShare(r, group, shareSize(group, true)))
	ext = appendVector(ext, 2, share)
	if s.resume {
		ext = append(ext, 0, 41, 0, 2, 0, 0)
	}
	hello = appendVector(hello, 2, ext)
	b := appendRecords(nil, recordHandshake, 0x0303, message(helloServer, hello))
	b = appendRecords(b, recordCCS, 0x0303, []byte{1})
	flight := 74 + 36 // encrypted extensions and Finished
	if !s.resume {
		flight += r.span(2100, 4100)
	}
	b = appendRecords(b, recordData, 0x0303, r.bytes(flight))
	c.send(resp, b)
	b = appendRecords(nil, recordCCS, 0x0303, []byte{1})
	c.send(orig, appendRecords(b, recordData, 0x0303, r.bytes(53)))
}

// tls12 is the rest of a TLS 1.2 handshake with an ephemeral curve (RFC 5246, RFC 8422),
// or its abbreviated form.
func (c *conversation) tls12(s *tlsSession) {
	r, cl := c.r, s.client
	cipher := uint16(0)
	wanted := []uint16{0xc02b, 0xc02c, 0xc023, 0xc009}
	if s.rsa {
		wanted = []uint16{0xc030, 0xc02f, 0xc027, 0xc013}
	}
	for _, want := range wanted {
		if contains(cl.ciphers, want) {
			cipher = want
			break
		}
	}
	hello := r.append([]byte{3, 3}, 32)
	hello = r.append(append(hello, 32), 32)
	hello = append(hello, byte(cipher>>8), byte(cipher), 0)
	var ext []byte
	if contains(cl.extensions, 65281) || contains(cl.ciphers, 0x00ff) {
		ext = append(ext, 0xff, 1, 0, 1, 0)
	}
	if contains(cl.extensions, 23) {
		ext = append(ext, 0, 23, 0, 0)
	}
	if contains(cl.extensions, 11) {
		ext = append(ext, 0, 11, 0, 2, 1, 0)
	}
	if contains(cl.extensions, 35) && !s.resume {
		ext = append(ext, 0, 35, 0, 0)
	}
	if s.alpn != "" && contains(cl.extensions, 16) {
		ext = append(ext, 0, 16)
		ext = appendVector(ext, 2, appendVector(nil, 2, appendVector(nil, 1, []byte(s.alpn))))
	}
	hello = appendVector(hello, 2, ext)
	finished := func(b []byte) []byte {
		b = appendRecords(b, recordCCS, 0x0303, []byte{1})
		return appendRecords(b, recordHandshake, 0x0303, r.append([]byte{0, 0, 0, 0, 0, 0, 0, 0}, 32))
	}
	b := appendRecords(nil, recordHandshake, 0x0303, message(helloServer, hello))
	if s.resume {
		c.send(resp, finished(b))
		c.send(orig, finished(nil))
		return
	}
	var chain []byte
	for _, cert := range s.chain {
		chain = appendVector(chain, 3, cert)
	}
	b = appendRecords(b, recordHandshake, 0x0303, message(certificateMsg, appendVector(nil, 3, chain)))
	group, point := byte(23), 65
	if contains(cl.groups, groupX25519) {
		group, point = groupX25519, 32
	}
	params := appendVector([]byte{3, 0, group}, 1, keyShare(r, uint16(group), point))
	if s.rsa {
		params = appendVector(append(params, 4, 1), 2, r.bytes(256)) // rsa_pkcs1_sha256
	} else {
		params = appendVector(append(params, 4, 3), 2, signature(r)) // ecdsa_secp256r1_sha256
	}
	b = appendRecords(b, recordHandshake, 0x0303, message(keyExchange, params))
	b = appendRecords(b, recordHandshake, 0x0303, message(helloDone, nil))
	c.send(resp, b)
	c.pause(r.think(700*time.Microsecond, 0.4))
	b = appendRecords(nil, recordHandshake, 0x0303, message(clientKey, appendVector(nil, 1, keyShare(r, uint16(group), point))))
	c.send(orig, finished(b))
	c.pause(r.think(300*time.Microsecond, 0.4))
	b = nil
	if contains(cl.extensions, 35) {
		ticket := appendVector([]byte{0, 0, 0x1c, 0x20}, 2, r.bytes(192))
		b = appendRecords(b, recordHandshake, 0x0303, message(ticketNew, ticket))
	}
	c.send(resp, finished(b))
}

// signature looks like an ECDSA signature over P-256 in DER.
func signature(r *random) []byte {
	b := []byte{0x30, 68, 2, 32}
	b = r.append(b, 32)
	b[4] = b[4]&0x7f | 0x40
	b = append(b, 2, 32)
	at := len(b)
	b = r.append(b, 32)
	b[at] = b[at]&0x7f | 0x40
	return b
}

// app sends n bytes of application data, encrypted: each record has 24 bytes more.
func (c *conversation) app(dir, n int) {
	for n > 0 {
		b := c.w.scratch[:0]
		for n > 0 && len(b) < 1<<18 {
			part := min(n, maxRecord)
			b = append(b, recordData, 3, 3, byte((part+24)>>8), byte(part+24))
			b = c.r.append(b, part+24)
			n -= part
		}
		c.w.scratch = b
		c.send(dir, b)
	}
}

// bye ends TLS from dir with a close_notify alert and closes the connection.
func (c *conversation) bye(dir int, modern bool) {
	kind := uint8(recordAlert)
	n := 26
	if modern {
		kind, n = recordData, 19
	}
	c.send(dir, appendRecords(nil, kind, 0x0303, c.r.bytes(n)))
	c.fin(dir)
}
