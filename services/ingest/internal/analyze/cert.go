package analyze

import (
	"crypto/sha1" //nolint:gosec // a name for a certificate, not a protection
	"crypto/sha256"
	"encoding/hex"
	"math/bits"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Limits per chain.
const (
	certMaxChain = 32
	certMaxSANs  = 1024
)

// parseCertificates reads a Certificate message of TLS 1.2 and older (RFC 5246 section
// 7.4.2) into the row and returns how many certificates could not be parsed.
func parseCertificates(m []byte, r *model.TLS) (bad int) {
	if len(m) < 3 {
		return 1
	}
	list := m[3:]
	if n := be24(m); n < len(list) {
		list = list[:n]
	}
	var chain [certMaxChain][]byte
	n := 0
	for len(list) >= 3 && n < certMaxChain {
		size := be24(list)
		if list = list[3:]; size > len(list) {
			bad++
			break
		}
		chain[n] = list[:size]
		n++
		list = list[size:]
	}
	return bad + addCertificates(chain[:n], r)
}

// addCertificates puts digests of the chain and the facts of its leaf into the row. The
// digests stand even where a certificate cannot be parsed. It returns how many could not.
func addCertificates(chain [][]byte, r *model.TLS) (bad int) {
	for i, der := range chain {
		sum := sha256.Sum256(der)
		r.CertChain = append(r.CertChain, hex.EncodeToString(sum[:]))
		if i > 0 {
			continue
		}
		s1 := sha1.Sum(der) //nolint:gosec // see import
		r.CertSHA1 = hex.EncodeToString(s1[:])
		if !parseCertificate(der, r) {
			bad++
		}
	}
	return bad
}

// ASN.1 tags used in certificates.
const (
	derInteger         = 0x02
	derBitString       = 0x03
	derOctetString     = 0x04
	derOID             = 0x06
	derUTF8String      = 0x0c
	derTeletexString   = 0x14
	derUTCTime         = 0x17
	derGeneralizedTime = 0x18
	derBMPString       = 0x1e
	derSequence        = 0x30
	derSet             = 0x31
)

// der is a run of DER values (X.690). It is read with leniency: certificates in the wild
// break rules that do not hinder reading them.
type der []byte

// next splits off the first value: its tag and contents.
func (d *der) next() (tag byte, content der, ok bool) {
	b := *d
	if len(b) < 2 || b[0]&0x1f == 0x1f {
		return 0, nil, false
	}
	n, head := int(b[1]), 2
	if n&0x80 != 0 {
		count := n & 0x7f
		if count == 0 || count > 4 || len(b) < 2+count {
			return 0, nil, false
		}
		n = 0
		for _, ch := range b[2 : 2+count] {
			n = n<<8 | int(ch)
		}
		head += count
	}
	if n < 0 || n > len(b)-head {
		return 0, nil, false
	}
	*d = b[head+n:]
	return b[0], b[head : head+n], true
}

// want is next for a value that must have the tag.
func (d *der) want(tag byte) (content der, ok bool) {
	save := *d
	got, content, ok := d.next()
	if !ok || got != tag {
		*d = save
		return nil, false
	}
	return content, true
}

// parseCertificate reads the facts of an X.509 certificate (RFC 5280 section 4.1) into the
// row, as far as it can be read.
func parseCertificate(raw []byte, r *model.TLS) bool {
	d := der(raw)
	cert, ok := d.want(derSequence)
	if !ok {
		return false
	}
	tbs, ok := cert.want(derSequence)
	if !ok {
		return false
	}
	if alg, ok := cert.want(derSequence); ok {
		if oid, ok := alg.want(derOID); ok {
			r.CertSigAlg = oidName(oid)
		}
	}
	tbs.want(0xa0) // version
	serial, ok := tbs.want(derInteger)
	if !ok {
		return false
	}
	r.CertSerial = serialText(serial)
	if _, ok = tbs.want(derSequence); !ok { // signature algorithm
		return false
	}
	tag, issuer, ok := tbs.next()
	if !ok || tag != derSequence {
		return false
	}
	r.CertIssuer = nameText(issuer)
	validity, ok := tbs.want(derSequence)
	if !ok {
		return false
	}
	r.CertNotBefore = certTime(&validity)
	r.CertNotAfter = certTime(&validity)
	subject, ok := tbs.want(derSequence)
	if !ok {
		return false
	}
	r.CertSubject = nameText(subject)
	r.CertSelfSigned = len(subject) > 0 && string(issuer) == string(subject)
	key, ok := tbs.want(derSequence)
	if !ok {
		return false
	}
	r.CertKeyType, r.CertKeyBits = keyFacts(key)
	for len(tbs) > 0 {
		tag, content, ok := tbs.next()
		if !ok {
			return false
		}
		if tag == 0xa3 {
			return extensionFacts(content, r)
		}
	}
	return true
}

// serialText is upper-case hexadecimal without leading zero octets; a negative number
// keeps its octets in two's complement.
func serialText(b der) string {
	for len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	out := []byte(hex.EncodeToString(b))
	for i, ch := range out {
		if ch >= 'a' {
			out[i] = ch - 0x20
		}
	}
	return string(out)
}

// The span of time the store can hold.
var (
	certTimeMin = model.TimeOf(time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC))
	certTimeMax = model.TimeOf(time.Date(2299, 12, 31, 23, 59, 59, 0, time.UTC))
)

// certTime reads UTCTime or GeneralizedTime (RFC 5280 section 4.1.2.5), zero if it is
// none; times before 1900 and after 2299 are set to these bounds.
func certTime(d *der) model.Time {
	tag, b, ok := d.next()
	if !ok {
		return 0
	}
	var t time.Time
	var err error
	switch tag {
	case derUTCTime:
		for _, layout := range [...]string{"060102150405Z0700", "0601021504Z0700"} {
			if t, err = time.Parse(layout, string(b)); err == nil {
				break
			}
		}
		// The library takes 69 as 1969, as X.509 does not: 50 to 99 are of the last century.
		if y := t.Year(); err == nil && y >= 2050 {
			t = t.AddDate(-100, 0, 0)
		} else if err == nil && y < 1950 {
			t = t.AddDate(100, 0, 0)
		}
	case derGeneralizedTime:
		for _, layout := range [...]string{"20060102150405Z0700", "20060102150405.999999Z0700", "200601021504Z0700"} {
			if t, err = time.Parse(layout, string(b)); err == nil {
				break
			}
		}
	default:
		return 0
	}
	if err != nil {
		return 0
	}
	return min(max(model.TimeOf(t), certTimeMin), certTimeMax)
}

// nameText writes a distinguished name as RFC 4514 has it: last part first, short names
// of well-known attributes. Octets outside printable ASCII are escaped as \HH unless they
// are valid UTF-8.
func nameText(name der) string {
	var parts [64]der
	n := 0
	for len(name) > 0 && n < len(parts) {
		set, ok := name.want(derSet)
		if !ok {
			break
		}
		parts[n] = set
		n++
	}
	var out []byte
	for i := n - 1; i >= 0; i-- {
		set := parts[i]
		for k := 0; len(set) > 0 && k < 16; k++ {
			pair, ok := set.want(derSequence)
			if !ok {
				break
			}
			oid, ok := pair.want(derOID)
			if !ok {
				break
			}
			tag, value, ok := pair.next()
			if !ok {
				break
			}
			switch {
			case k > 0:
				out = append(out, '+')
			case len(out) > 0:
				out = append(out, ',')
			}
			out = append(out, attributeName(oid)...)
			out = append(out, '=')
			out = appendNameValue(out, tag, value)
		}
	}
	return string(out)
}

func appendNameValue(dst []byte, tag byte, v der) []byte {
	switch tag {
	case derBMPString:
		var u []byte
		for ; len(v) >= 2; v = v[2:] {
			u = utf8.AppendRune(u, rune(v[0])<<8|rune(v[1]))
		}
		v = u
	case derTeletexString:
		if !utf8.Valid(v) { // Latin-1 in practice
			var u []byte
			for _, ch := range v {
				u = utf8.AppendRune(u, rune(ch))
			}
			v = u
		}
	}
	for i := 0; i < len(v); {
		ch := v[i]
		if ch >= 0x80 {
			if r, n := utf8.DecodeRune(v[i:]); r != utf8.RuneError || n > 1 {
				dst = append(dst, v[i:i+n]...)
				i += n
				continue
			}
		}
		switch {
		case ch < 0x20 || ch >= 0x7f:
			dst = append(dst, '\\', hexDigits[ch>>4], hexDigits[ch&15])
		case ch == ',' || ch == '+' || ch == '"' || ch == '\\' || ch == '<' || ch == '>' || ch == ';',
			ch == '#' && i == 0, ch == ' ' && (i == 0 || i == len(v)-1):
			dst = append(dst, '\\', ch)
		default:
			dst = append(dst, ch)
		}
		i++
	}
	return dst
}

// keyFacts reads a SubjectPublicKeyInfo.
func keyFacts(spki der) (typ string, size uint16) {
	alg, ok := spki.want(derSequence)
	if !ok {
		return "", 0
	}
	oid, ok := alg.want(derOID)
	if !ok {
		return "", 0
	}
	key, _ := spki.want(derBitString)
	if len(key) > 0 {
		key = key[1:] // number of unused bits
	}
	typ = oidName(oid)
	switch typ {
	case "rsa", "rsassaPss":
		typ = "rsa"
		if seq, ok := key.want(derSequence); ok {
			if n, ok := seq.want(derInteger); ok {
				size = bitLen(n)
			}
		}
	case "ecdsa":
		if curve, ok := alg.want(derOID); ok {
			size = curveBits[dotted(curve)]
		}
		if size == 0 && len(key) > 1 { // uncompressed point: two coordinates
			size = uint16(min((len(key)-1)/2*8, 1<<15))
		}
	case "dsa":
		if seq, ok := alg.want(derSequence); ok {
			if p, ok := seq.want(derInteger); ok {
				size = bitLen(p)
			}
		}
	case "ed25519":
		size = 256
	case "ed448":
		size = 456
	default:
		size = uint16(min(len(key)*8, 1<<16-1))
	}
	return typ, size
}

func bitLen(n der) uint16 {
	for len(n) > 0 && n[0] == 0 {
		n = n[1:]
	}
	if len(n) == 0 {
		return 0
	}
	return uint16(min((len(n)-1)*8+bits.Len8(n[0]), 1<<16-1))
}

// extensionFacts reads the subject alternative names (RFC 5280 section 4.2.1.6).
func extensionFacts(d der, r *model.TLS) bool {
	list, ok := d.want(derSequence)
	if !ok {
		return false
	}
	for len(list) > 0 {
		ext, ok := list.want(derSequence)
		if !ok {
			return false
		}
		oid, ok := ext.want(derOID)
		if !ok {
			return false
		}
		if string(oid) != "\x55\x1d\x11" {
			continue
		}
		ext.want(0x01) // critical
		value, ok := ext.want(derOctetString)
		if !ok {
			return false
		}
		names, ok := value.want(derSequence)
		if !ok {
			return false
		}
		for len(names) > 0 && len(r.CertSANs) < certMaxSANs {
			tag, b, ok := names.next()
			if !ok {
				return false
			}
			switch tag {
			case 0x81, 0x82, 0x86: // mail address, DNS name, URI
				r.CertSANs = append(r.CertSANs, printable(b))
			case 0x87:
				if addr, ok := netip.AddrFromSlice(b); ok {
					r.CertSANs = append(r.CertSANs, addr.String())
				}
			}
		}
	}
	return true
}

// dotted writes an object identifier in decimal.
func dotted(oid der) string {
	var out []byte
	first := true
	var v uint64
	for _, ch := range oid {
		if v > 1<<56 {
			return "oid-too-long"
		}
		v = v<<7 | uint64(ch&0x7f)
		if ch&0x80 != 0 {
			continue
		}
		if first {
			top := min(v/40, 2)
			out = strconv.AppendUint(out, top, 10)
			v -= top * 40
			first = false
		}
		out = append(out, '.')
		out = strconv.AppendUint(out, v, 10)
		v = 0
	}
	return string(out)
}

func oidName(oid der) string {
	s := dotted(oid)
	if n, ok := oidNames[s]; ok {
		return n
	}
	return s
}

func attributeName(oid der) string {
	s := dotted(oid)
	if n, ok := attributeNames[s]; ok {
		return n
	}
	return s
}

// attributeNames are the short names of RFC 4514 section 3 and those in common use.
var attributeNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L",
	"2.5.4.8": "ST", "2.5.4.9": "street", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title",
	"2.5.4.13": "description", "2.5.4.15": "businessCategory", "2.5.4.17": "postalCode",
	"2.5.4.41": "name", "2.5.4.42": "GN", "2.5.4.43": "initials", "2.5.4.45": "x500UniqueIdentifier",
	"2.5.4.46": "dnQualifier", "2.5.4.97": "organizationIdentifier",
	"0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.25": "DC",
	"1.2.840.113549.1.9.1": "emailAddress", "1.2.840.113549.1.9.2": "unstructuredName",
	"1.3.6.1.4.1.311.60.2.1.1": "jurisdictionL", "1.3.6.1.4.1.311.60.2.1.2": "jurisdictionST",
	"1.3.6.1.4.1.311.60.2.1.3": "jurisdictionC",
}

// curveBits are the sizes of named curves (RFC 5480, RFC 5639).
var curveBits = map[string]uint16{
	"1.2.840.10045.3.1.1": 192, "1.3.132.0.33": 224, "1.2.840.10045.3.1.7": 256, "1.3.132.0.34": 384,
	"1.3.132.0.35": 521, "1.3.132.0.10": 256, "1.3.36.3.3.2.8.1.1.7": 256, "1.3.36.3.3.2.8.1.1.11": 384,
	"1.3.36.3.3.2.8.1.1.13": 512, "1.2.156.10197.1.301": 256,
}

// oidNames are key types in TRACER's words and signature algorithms in those of the RFCs.
var oidNames = map[string]string{
	"1.2.840.113549.1.1.1": "rsa", "1.2.840.10045.2.1": "ecdsa", "1.2.840.10040.4.1": "dsa",
	"1.3.101.112": "ed25519", "1.3.101.113": "ed448",
	"1.2.840.113549.1.1.2": "md2WithRSAEncryption", "1.2.840.113549.1.1.4": "md5WithRSAEncryption",
	"1.2.840.113549.1.1.5": "sha1WithRSAEncryption", "1.3.14.3.2.29": "sha1WithRSA",
	"1.2.840.113549.1.1.10": "rsassaPss", "1.2.840.113549.1.1.11": "sha256WithRSAEncryption",
	"1.2.840.113549.1.1.12": "sha384WithRSAEncryption", "1.2.840.113549.1.1.13": "sha512WithRSAEncryption",
	"1.2.840.113549.1.1.14": "sha224WithRSAEncryption", "1.2.840.10040.4.3": "dsa-with-sha1",
	"2.16.840.1.101.3.4.3.2": "dsa-with-sha256", "1.2.840.10045.4.1": "ecdsa-with-SHA1",
	"1.2.840.10045.4.3.1": "ecdsa-with-SHA224", "1.2.840.10045.4.3.2": "ecdsa-with-SHA256",
	"1.2.840.10045.4.3.3": "ecdsa-with-SHA384", "1.2.840.10045.4.3.4": "ecdsa-with-SHA512",
	"2.16.840.1.101.3.4.3.17": "ml-dsa-44", "2.16.840.1.101.3.4.3.18": "ml-dsa-65",
	"2.16.840.1.101.3.4.3.19": "ml-dsa-87", "1.2.156.10197.1.501": "sm2sign-with-sm3",
}
