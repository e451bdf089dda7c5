package lab

import (
	"encoding/binary"
	"strings"
	"time"
)

// der writes one element of ASN.1's distinguished encoding around its parts.
func der(tag byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b := []byte{tag}
	switch {
	case n < 128:
		b = append(b, byte(n))
	case n < 256:
		b = append(b, 0x81, byte(n))
	default:
		b = append(b, 0x82, byte(n>>8), byte(n))
	}
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func derInt(v uint32) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0}, v)
	for len(b) > 1 && b[0] == 0 && b[1] < 0x80 {
		b = b[1:]
	}
	return der(2, b)
}

func derText(s string) []byte   { return der(0x1b, []byte(s)) } // GeneralString
func derOctets(s string) []byte { return der(4, []byte(s)) }

// realm is the Kerberos name of the company's domain.
var realm = strings.ToUpper(corporate)

// principal writes a Kerberos principal name of the given type.
func principal(kind uint32, parts ...string) []byte {
	var list []byte
	for _, p := range parts {
		list = append(list, derText(p)...)
	}
	return der(0x30, der(0xa0, derInt(kind)), der(0xa1, der(0x30, list)))
}

// sealed is EncryptedData of n opaque bytes, AES-256.
func sealed(r *random, n int) []byte {
	return der(0x30, der(0xa0, derInt(18)), der(0xa1, derInt(2)), der(0xa2, der(4, r.bytes(n))))
}

func ticket(r *random, service ...string) []byte {
	return der(0x61, der(0x30, der(0xa0, derInt(5)), der(0xa1, derText(realm)), der(0xa2, principal(2, service...)), der(0xa3, sealed(r, 1040))))
}

// kerberos is one exchange with the domain controller over TCP (RFC 4120): a first ticket
// when service is "krbtgt", else a ticket for the service.
func (w *world) kerberos(t int64, r *random, h *host, user, service, target string, step *Step) int64 {
	c := w.tcp(t, r, h, w.net.dc, 88, step)
	framed := func(b []byte) []byte { return appendVector(nil, 4, b) }
	sname := []string{service, target}
	body := [][]byte{der(0xa0, der(3, []byte{0, 0x40, 0x81, 0, 0x10}))}
	first := service == "krbtgt"
	if first {
		body = append(body, der(0xa1, principal(1, user)))
	}
	body = append(body, der(0xa2, derText(realm)), der(0xa3, principal(2, sname...)),
		der(0xa5, der(0x18, []byte("20370913024805Z"))), der(0xa7, derInt(r.u32()>>1)),
		der(0xa8, der(0x30, derInt(18), derInt(17), derInt(23))))
	kind, padata := uint32(10), der(0x30, der(0xa1, derInt(128)), der(0xa2, der(4, der(0x30, der(0xa0, []byte{1, 1, 0xff})))))
	if !first {
		kind = 12
		ap := der(0x6e, der(0x30, der(0xa0, derInt(5)), der(0xa1, derInt(14)), der(0xa2, der(3, make([]byte, 5))),
			der(0xa3, ticket(r, "krbtgt", realm)), der(0xa4, sealed(r, 170))))
		padata = der(0x30, der(0xa1, derInt(1)), der(0xa2, der(4, ap)))
	}
	c.send(orig, framed(der(0x60|byte(kind), der(0x30, der(0xa1, derInt(5)), der(0xa2, derInt(kind)), der(0xa3, der(0x30, padata)), der(0xa4, der(0x30, body...))))))
	c.pause(r.think(2*time.Millisecond, 0.5))
	kind++
	c.send(resp, framed(der(0x60|byte(kind), der(0x30, der(0xa0, derInt(5)), der(0xa1, derInt(kind)), der(0xa3, derText(realm)), der(0xa4, principal(1, user)),
		der(0xa5, ticket(r, sname...)), der(0xa6, sealed(r, 230))))))
	c.fin(orig)
	return c.t
}

// ldap reads the root of the directory and n entries (RFC 4511).
func (w *world) ldap(t int64, r *random, h *host, n int, step *Step) int64 {
	c := w.tcp(t, r, h, w.net.dc, 389, step)
	id := uint32(0)
	base := "DC=" + strings.ReplaceAll(corporate, ".", ",DC=")
	search := func(base, attr string, scope byte, list ...string) {
		id++
		var attrs []byte
		for _, a := range list {
			attrs = append(attrs, derOctets(a)...)
		}
		c.send(orig, der(0x30, derInt(id), der(0x63, derOctets(base), der(10, []byte{scope}), der(10, []byte{0}), derInt(0), derInt(120),
			der(1, []byte{0}), der(0x87, []byte(attr)), der(0x30, attrs))))
		c.pause(r.think(2*time.Millisecond, 0.5))
	}
	entry := func(name string, pairs ...string) []byte {
		var attrs []byte
		for i := 0; i+1 < len(pairs); i += 2 {
			attrs = append(attrs, der(0x30, derOctets(pairs[i]), der(0x31, derOctets(pairs[i+1])))...)
		}
		return der(0x30, derInt(id), der(0x64, derOctets(name), der(0x30, attrs)))
	}
	done := func() []byte {
		return der(0x30, derInt(id), der(0x65, der(10, []byte{0}), derOctets(""), derOctets("")))
	}
	search("", "objectClass", 0, "defaultNamingContext", "dnsHostName", "supportedSASLMechanisms")
	c.send(resp, append(entry("", "defaultNamingContext", base, "dnsHostName", w.net.dc.name, "supportedSASLMechanisms", "GSS-SPNEGO"), done()...))
	search(base, "sAMAccountName", 2, "cn", "sAMAccountName", "memberOf")
	var out []byte
	for range n {
		user := pick(r, words) + "." + pick(r, words)
		out = append(out, entry("CN="+user+",OU=Staff,"+base, "cn", user, "sAMAccountName", user, "memberOf", "CN="+pick(r, words)+",OU=Groups,"+base)...)
	}
	c.send(resp, append(out, done()...))
	id++
	c.send(orig, der(0x30, derInt(id), der(0x42)))
	c.fin(orig)
	return c.t
}

// rdp begins a remote desktop session ([MS-RDPBCGR]) of the given length; data flows both
// ways as somebody works.
func (w *world) rdp(t int64, r *random, a, b *host, user string, length int64, step *Step) {
	c := w.tcp(t, r, a, b, 3389, step)
	cookie := append([]byte("Cookie: mstshash="+user+"\r\n"), 1, 0, 8, 0, 3, 0, 0, 0)
	tpkt := func(kind byte, body []byte) []byte {
		n := 11 + len(body)
		return append([]byte{3, 0, byte(n >> 8), byte(n), byte(n - 5), kind, 0, 0, 0, 0, 0}, body...)
	}
	c.send(orig, tpkt(0xe0, cookie))
	c.pause(r.think(3*time.Millisecond, 0.3))
	c.send(resp, tpkt(0xd0, []byte{2, 0x1f, 8, 0, 2, 0, 0, 0}))
	c.tls(tlsSession{client: rdpClient, name: b.name, chain: w.certs.selfSigned(b.name, 1), rsa: true})
	for range 3 { // CredSSP and settings
		c.app(orig, r.span(180, 900))
		c.app(resp, r.span(150, 1400))
	}
	c.app(resp, r.span(90000, 160000)) // first screen
	for end := c.t + length; c.t < end; {
		for range r.span(2, 9) {
			c.app(orig, r.span(40, 120))
			c.pause(r.think(180*time.Millisecond, 0.7))
		}
		c.app(resp, r.size(1800, 1.2, 90))
		c.pause(r.think(5*time.Second, 1.1))
	}
	c.bye(orig, false)
}
