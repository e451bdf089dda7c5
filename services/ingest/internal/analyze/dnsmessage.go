package analyze

import (
	"encoding/binary"
	"strconv"
)

const (
	dnsHeaderLen    = 12
	dnsMaxQuestions = 16 // of one message; more are not believed

	dnsMaxHops = 127 // compression pointers followed for one name

	dnsQR = 1 << 15
	dnsAA = 1 << 10
	dnsTC = 1 << 9
	dnsRD = 1 << 8
	dnsRA = 1 << 7
	dnsZ  = 1 << 6

	dnsTypeOPT = 41
)

// dnsHeader is the header of RFC 1035 section 4.1.1.
type dnsHeader struct{ id, flags, qd, an, ns, ar uint16 }

func (h dnsHeader) response() bool { return h.flags&dnsQR != 0 }
func (h dnsHeader) opcode() uint16 { return h.flags >> 11 & 15 }

func parseDNSHeader(msg []byte) (h dnsHeader, ok bool) {
	if len(msg) < dnsHeaderLen {
		return h, false
	}
	u := func(i int) uint16 { return binary.BigEndian.Uint16(msg[i:]) }
	return dnsHeader{u(0), u(2), u(4), u(6), u(8), u(10)}, true
}

// plausible judges a header alone.
func (h dnsHeader) plausible() bool {
	switch h.opcode() {
	case 0, 2, 4, 5: // query, status, notify, update
	default:
		return false
	}
	if h.flags&dnsZ != 0 || h.qd > dnsMaxQuestions {
		return false
	}
	if h.response() {
		return h.qd > 0 || h.id == 0 && h.an > 0 && h.flags&dnsAA != 0 // announcements of multicast DNS
	}
	if h.qd == 0 || h.flags&(dnsAA|dnsRA|15) != 0 && h.opcode() != 4 {
		return false
	}
	if h.opcode() == 0 && h.an > 0 && h.id != 0 { // known answers of multicast DNS
		return false
	}
	return true
}

// dnsValid judges a whole message: header, questions and every record have to hold. What
// follows the last record is not judged.
func dnsValid(msg []byte) Verdict {
	h, ok := parseDNSHeader(msg)
	if !ok || !h.plausible() {
		return No
	}
	off := dnsHeaderLen
	for range h.qd {
		v, next := dnsQuestionValid(h, msg, off)
		if v != Yes {
			return No
		}
		off = next
	}
	for range int(h.an) + int(h.ns) + int(h.ar) {
		_, next, ok := dnsReadRecord(msg, off)
		if !ok {
			return No
		}
		off = next
	}
	return Yes
}

// dnsValidPrefix judges the beginning of a message: Yes once the first question is there.
func dnsValidPrefix(msg []byte) Verdict {
	h, ok := parseDNSHeader(msg)
	if !ok {
		return NeedMore
	}
	if !h.plausible() || h.qd == 0 {
		return No
	}
	v, _ := dnsQuestionValid(h, msg, dnsHeaderLen)
	return v
}

func dnsQuestionValid(h dnsHeader, msg []byte, off int) (Verdict, int) {
	first := off
	off, ok := dnsSkipName(msg, off)
	if !ok {
		if off >= len(msg) {
			return NeedMore, off
		}
		return No, off
	}
	if off+4 > len(msg) {
		return NeedMore, off
	}
	qtype, class := binary.BigEndian.Uint16(msg[off:]), binary.BigEndian.Uint16(msg[off+2:])
	if h.id == 0 {
		class &= 0x7fff // the unicast bit of multicast DNS
	}
	switch class {
	case 1, 3, 4, 254, 255:
	default:
		return No, off
	}
	if qtype == 0 || (qtype == 32 || qtype == 33) && netbiosName(msg[first:]) {
		return No, off
	}
	return Yes, off + 4
}

// netbiosName reports whether a name is in the first-level encoding of RFC 1001: one label
// of 32 letters from A to P.
func netbiosName(b []byte) bool {
	if len(b) < 33 || b[0] != 32 {
		return false
	}
	for _, ch := range b[1:33] {
		if ch < 'A' || ch > 'P' {
			return false
		}
	}
	return true
}

// dnsSkipName passes over the name at off. If it fails, the offset is len(msg) when the
// message ended too early, else less.
func dnsSkipName(msg []byte, off int) (int, bool) {
	length := 0
	for off < len(msg) {
		n := int(msg[off])
		switch n & 0xc0 {
		case 0:
			if n == 0 {
				return off + 1, true
			}
			if length += n + 1; length > 254 {
				return off, false
			}
			off += n + 1
		case 0xc0:
			if off+1 >= len(msg) {
				return len(msg), false
			}
			if to := n&0x3f<<8 | int(msg[off+1]); to >= off || to < dnsHeaderLen {
				return off, false
			}
			return off + 2, true
		default:
			return off, false
		}
	}
	return len(msg), false
}

// dnsAppendName appends the name at off in lower case with dots between labels, "." for
// the root; bytes outside printable ASCII, backslashes, and dots within a label, become
// \xHH. Compression pointers must lead backwards, so that following them ends. next is the
// offset behind the name.
func dnsAppendName(dst, msg []byte, off int) (name []byte, next int, ok bool) {
	next = -1
	start := len(dst)
	limit := off // pointers must lead before here
	length, hops := 0, 0
	for off < len(msg) {
		n := int(msg[off])
		switch n & 0xc0 {
		case 0:
			off++
			if n == 0 {
				if next < 0 {
					next = off
				}
				if len(dst) == start {
					dst = append(dst, '.')
				}
				return dst, next, true
			}
			if length += n + 1; length > 254 || off+n > len(msg) {
				return dst, off, false
			}
			if len(dst) > start {
				dst = append(dst, '.')
			}
			for _, ch := range msg[off : off+n] {
				switch {
				case ch >= 'A' && ch <= 'Z':
					dst = append(dst, ch|0x20)
				case ch < 0x20 || ch > 0x7e || ch == '\\' || ch == '.':
					dst = append(dst, '\\', 'x', hexDigits[ch>>4], hexDigits[ch&15])
				default:
					dst = append(dst, ch)
				}
			}
			off += n
		case 0xc0:
			if off+1 >= len(msg) {
				return dst, off, false
			}
			if next < 0 {
				next = off + 2
			}
			to := n&0x3f<<8 | int(msg[off+1])
			if hops++; to >= limit || hops > dnsMaxHops {
				return dst, off, false
			}
			off, limit = to, to
		default:
			return dst, off, false
		}
	}
	return dst, off, false
}

func dnsReadQuestion(dst, msg []byte, off int) (name []byte, qtype, qclass uint16, next int, ok bool) {
	name, next, ok = dnsAppendName(dst, msg, off)
	if !ok || next+4 > len(msg) {
		return name, 0, 0, next, false
	}
	return name, binary.BigEndian.Uint16(msg[next:]), binary.BigEndian.Uint16(msg[next+2:]), next + 4, true
}

// dnsRecord is one resource record (RFC 1035 section 4.1.3); its data is msg[data:end].
type dnsRecord struct {
	off        int // of the owner name
	typ, class uint16
	ttl        uint32
	data, end  int
}

func dnsReadRecord(msg []byte, off int) (rr dnsRecord, next int, ok bool) {
	rr.off = off
	off, ok = dnsSkipName(msg, off)
	if !ok || off+10 > len(msg) {
		return rr, off, false
	}
	rr.typ = binary.BigEndian.Uint16(msg[off:])
	rr.class = binary.BigEndian.Uint16(msg[off+2:])
	rr.ttl = binary.BigEndian.Uint32(msg[off+4:])
	rr.data = off + 10
	rr.end = rr.data + int(binary.BigEndian.Uint16(msg[off+8:]))
	if rr.end > len(msg) {
		return rr, off, false
	}
	return rr, rr.end, true
}

// dnsTypeName is the mnemonic of the IANA registry, or TYPEn (RFC 3597).
func dnsTypeName(t uint16) string {
	if s, ok := dnsTypeNames[t]; ok {
		return s
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// dnsRCodeName is the mnemonic of the IANA registry, or RCODEn.
func dnsRCodeName(rc uint16) string {
	if int(rc) < len(dnsRCodeNames) && dnsRCodeNames[rc] != "" {
		return dnsRCodeNames[rc]
	}
	return "RCODE" + strconv.Itoa(int(rc))
}

var dnsRCodeNames = [...]string{
	0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED",
	6: "YXDOMAIN", 7: "YXRRSET", 8: "NXRRSET", 9: "NOTAUTH", 10: "NOTZONE", 11: "DSOTYPENI",
	16: "BADVERS", 17: "BADKEY", 18: "BADTIME", 19: "BADMODE", 20: "BADNAME", 21: "BADALG",
	22: "BADTRUNC", 23: "BADCOOKIE",
}

var dnsTypeNames = map[uint16]string{
	1: "A", 2: "NS", 3: "MD", 4: "MF", 5: "CNAME", 6: "SOA", 7: "MB", 8: "MG", 9: "MR", 10: "NULL",
	11: "WKS", 12: "PTR", 13: "HINFO", 14: "MINFO", 15: "MX", 16: "TXT", 17: "RP", 18: "AFSDB",
	19: "X25", 20: "ISDN", 21: "RT", 22: "NSAP", 23: "NSAP-PTR", 24: "SIG", 25: "KEY", 26: "PX",
	27: "GPOS", 28: "AAAA", 29: "LOC", 30: "NXT", 31: "EID", 32: "NIMLOC", 33: "SRV", 34: "ATMA",
	35: "NAPTR", 36: "KX", 37: "CERT", 38: "A6", 39: "DNAME", 40: "SINK", 41: "OPT", 42: "APL",
	43: "DS", 44: "SSHFP", 45: "IPSECKEY", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 49: "DHCID",
	50: "NSEC3", 51: "NSEC3PARAM", 52: "TLSA", 53: "SMIMEA", 55: "HIP", 56: "NINFO", 57: "RKEY",
	58: "TALINK", 59: "CDS", 60: "CDNSKEY", 61: "OPENPGPKEY", 62: "CSYNC", 63: "ZONEMD", 64: "SVCB",
	65: "HTTPS", 66: "DSYNC", 99: "SPF", 100: "UINFO", 101: "UID", 102: "GID", 103: "UNSPEC",
	104: "NID", 105: "L32", 106: "L64", 107: "LP", 108: "EUI48", 109: "EUI64", 249: "TKEY",
	250: "TSIG", 251: "IXFR", 252: "AXFR", 253: "MAILB", 254: "MAILA", 255: "ANY", 256: "URI",
	257: "CAA", 258: "AVC", 259: "DOA", 260: "AMTRELAY", 32768: "TA", 32769: "DLV",
}
