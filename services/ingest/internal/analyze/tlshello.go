package analyze

import (
	"encoding/binary"
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Extensions that are read (RFC 8446 section 4.2 and the IANA registry).
const (
	extServerName        = 0
	extSupportedGroups   = 10
	extPointFormats      = 11
	extSignatureAlgs     = 13
	extALPN              = 16
	extPreSharedKey      = 41
	extSupportedVersions = 43
	extKeyShare          = 51
)

// Limits per hello; what is beyond is left out.
const (
	tlsMaxList = 1024 // values of one list
	tlsMaxALPN = 64
)

// cursor reads big-endian fields; once it ran out of bytes, bad is set and it yields zeroes.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.bad = true
		c.b = nil
		return nil
	}
	p := c.b[:n]
	c.b = c.b[n:]
	return p
}

func (c *cursor) u8() byte {
	if p := c.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if p := c.take(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (c *cursor) vec8() cursor  { return cursor{b: c.take(int(c.u8()))} }
func (c *cursor) vec16() cursor { return cursor{b: c.take(int(c.u16()))} }

func appendList16(dst []uint16, c cursor) []uint16 {
	for len(c.b) >= 2 && len(dst) < tlsMaxList {
		dst = append(dst, c.u16())
	}
	return dst
}

func appendList8(dst []uint16, c cursor) []uint16 {
	for len(c.b) >= 1 && len(dst) < tlsMaxList {
		dst = append(dst, uint16(c.u8()))
	}
	return dst
}

// parseClientHello reads the body of a ClientHello (RFC 8446 section 4.1.2) into the row.
// It reports false if the message did not hold to its lengths; what was read is kept.
func parseClientHello(m []byte, r *model.TLS) bool {
	c := cursor{b: m}
	r.ClientVersion = c.u16()
	c.take(32) // random
	c.vec8()   // session id
	r.ClientCiphers = appendList16(r.ClientCiphers[:0], c.vec16())
	c.vec8() // compression methods
	if c.bad {
		return false
	}
	if len(c.b) == 0 {
		return true // no extensions
	}
	ext := c.vec16()
	ok := !c.bad
	for len(ext.b) > 0 {
		typ := ext.u16()
		data := ext.vec16()
		if ext.bad {
			return false
		}
		if len(r.ClientExtensions) < tlsMaxList {
			r.ClientExtensions = append(r.ClientExtensions, typ)
		}
		switch typ {
		case extServerName:
			if r.SNI == "" {
				r.SNI = parseServerName(data)
			}
		case extSupportedGroups:
			r.ClientGroups = appendList16(r.ClientGroups[:0], data.vec16())
		case extPointFormats:
			r.ClientPointFormats = appendList8(r.ClientPointFormats[:0], data.vec8())
		case extSignatureAlgs:
			r.ClientSigAlgs = appendList16(r.ClientSigAlgs[:0], data.vec16())
		case extSupportedVersions:
			r.ClientVersions = appendList16(r.ClientVersions[:0], data.vec8())
		case extALPN:
			r.ClientALPN = r.ClientALPN[:0]
			for list := data.vec16(); len(list.b) > 0 && len(r.ClientALPN) < tlsMaxALPN; {
				name := list.vec8()
				if list.bad {
					ok = false
					break
				}
				r.ClientALPN = append(r.ClientALPN, alpnString(name.b))
			}
		}
		if data.bad {
			ok = false
		}
	}
	return ok
}

// alpnString spares the allocation for the names nearly every client sends. The bytes are
// kept as they are: a fingerprint may need them.
func alpnString(b []byte) string {
	switch string(b) {
	case "h2":
		return "h2"
	case "http/1.1":
		return "http/1.1"
	}
	return string(b)
}

// parseServerName reads the first host name of the extension (RFC 6066 section 3), in
// lower case.
func parseServerName(c cursor) string {
	list := c.vec16()
	for len(list.b) > 0 {
		typ := list.u8()
		name := list.vec16()
		if list.bad {
			return ""
		}
		if typ == 0 {
			return strings.ToLower(strings.TrimSuffix(printable(name.b), "."))
		}
	}
	return ""
}

// serverHello is what a ServerHello tells (RFC 8446 section 4.1.3).
type serverHello struct {
	version, cipher uint16
	selected        uint16 // of supported_versions
	group           uint16 // of key_share
	psk             bool
	retry           bool // it is a HelloRetryRequest
	alpn            []byte
	extensions      []uint16
}

// retryRandom marks a HelloRetryRequest (RFC 8446 section 4.1.3): SHA-256 of the words "HelloRetryRequest".
const retryRandom = "\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91" +
	"\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c"

func parseServerHello(m []byte) (h serverHello, ok bool) {
	c := cursor{b: m}
	h.version = c.u16()
	h.retry = string(c.take(32)) == retryRandom
	if v := h.version; v>>8 != 0x7f || v < 0x7f12 { // drafts 18 to 21 of TLS 1.3 had no session id and compression
		c.vec8()
		h.cipher = c.u16()
		c.u8()
	} else {
		h.cipher = c.u16()
	}
	if c.bad {
		return serverHello{}, false
	}
	if len(c.b) == 0 {
		return h, true
	}
	ext := c.vec16()
	ok = !c.bad
	for len(ext.b) > 0 {
		typ := ext.u16()
		data := ext.vec16()
		if ext.bad {
			return h, false
		}
		if len(h.extensions) < tlsMaxList {
			h.extensions = append(h.extensions, typ)
		}
		switch typ {
		case extSupportedVersions:
			h.selected = data.u16()
		case extKeyShare:
			h.group = data.u16()
		case extPreSharedKey:
			h.psk = true
		case extALPN:
			list := data.vec16()
			name := list.vec8()
			h.alpn = name.b
		}
	}
	return h, ok
}

// tlsUsesCurve reports whether the key exchange of a suite names an elliptic curve.
func tlsUsesCurve(cipher string) bool {
	return strings.HasPrefix(cipher, "TLS_ECDHE_") || strings.HasPrefix(cipher, "TLS_ECDH_anon_")
}
