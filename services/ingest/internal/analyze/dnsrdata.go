package analyze

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// appendRData appends a record's data in presentation form: names in lower case without
// the final dot, character strings in quotes. Rare types are written as in zone files;
// data that does not hold to its type, or of a type nobody knows, in the form of RFC 3597.
func appendRData(dst, msg []byte, rr dnsRecord) []byte {
	data := msg[rr.data:rr.end]
	mark := len(dst)
	switch rr.typ {
	case 1: // A
		if len(data) == 4 {
			return netip.AddrFrom4([4]byte(data)).AppendTo(dst)
		}
	case 28: // AAAA
		if len(data) == 16 {
			return netip.AddrFrom16([16]byte(data)).AppendTo(dst)
		}
	case 2, 3, 4, 5, 7, 8, 9, 12, 39: // NS MD MF CNAME MB MG MR PTR DNAME
		if out, ok := appendRName(dst, msg, rr.data, rr.end, true); ok {
			return out
		}
	case 15: // MX
		if len(data) > 2 {
			dst = appendUint(dst, binary.BigEndian.Uint16(data), ' ')
			if out, ok := appendRName(dst, msg, rr.data+2, rr.end, true); ok {
				return out
			}
		}
	case 33: // SRV, RFC 2782
		if len(data) > 6 {
			for i := range 3 {
				dst = appendUint(dst, binary.BigEndian.Uint16(data[2*i:]), ' ')
			}
			if out, ok := appendRName(dst, msg, rr.data+6, rr.end, true); ok {
				return out
			}
		}
	case 6: // SOA
		if out, ok := appendSOA(dst, msg, rr); ok {
			return out
		}
	case 13, 16, 99: // HINFO TXT SPF
		if out, ok := appendStrings(dst, data); ok {
			return out
		}
	case 10: // NULL
	default:
		if len(data) > 0 { // empty data stands in dynamic updates only
			if s, ok := zoneForm(msg, rr); ok {
				return append(dst, s...)
			}
		}
	}
	return appendUnknown(dst[:mark], data)
}

// appendRName appends the name at off; last says that it must end the record.
func appendRName(dst, msg []byte, off, end int, last bool) ([]byte, bool) {
	out, next, ok := dnsAppendName(dst, msg, off)
	if !ok || next > end || last && next != end {
		return dst, false
	}
	return out, true
}

func appendSOA(dst, msg []byte, rr dnsRecord) ([]byte, bool) {
	out, next, ok := dnsAppendName(dst, msg, rr.data)
	if !ok {
		return dst, false
	}
	out = append(out, ' ')
	if out, next, ok = dnsAppendName(out, msg, next); !ok || next+20 != rr.end {
		return dst, false
	}
	for ; next < rr.end; next += 4 {
		out = append(out, ' ')
		out = strconv.AppendUint(out, uint64(binary.BigEndian.Uint32(msg[next:])), 10)
	}
	return out, true
}

func appendStrings(dst, data []byte) ([]byte, bool) {
	out := dst
	for i := 0; i < len(data); {
		n := int(data[i])
		i++
		if i+n > len(data) {
			return dst, false
		}
		if i > 1 {
			out = append(out, ' ')
		}
		out = append(out, '"')
		for _, ch := range data[i : i+n] {
			switch {
			case ch == '"':
				out = append(out, '\\', '"')
			case ch < 0x20 || ch > 0x7e || ch == '\\':
				out = append(out, '\\', 'x', hexDigits[ch>>4], hexDigits[ch&15])
			default:
				out = append(out, ch)
			}
		}
		out = append(out, '"')
		i += n
	}
	return out, len(data) > 0
}

// zoneForm writes the data of rarer types as a zone file has it.
func zoneForm(msg []byte, rr dnsRecord) (s string, ok bool) {
	if _, known := dns.TypeToRR[rr.typ]; !known {
		return "", false
	}
	defer func() { // the library reads hostile bytes here
		if recover() != nil {
			s, ok = "", false
		}
	}()
	r, _, err := dns.UnpackRR(msg[:rr.end], rr.off)
	if err != nil {
		return "", false
	}
	return strings.TrimPrefix(r.String(), r.Header().String()), true
}

func appendUnknown(dst, data []byte) []byte {
	dst = append(dst, `\# `...)
	dst = strconv.AppendInt(dst, int64(len(data)), 10)
	if len(data) > 0 {
		dst = append(dst, ' ')
		dst = hex.AppendEncode(dst, data)
	}
	return dst
}

func appendUint(dst []byte, v uint16, sep byte) []byte {
	return append(strconv.AppendUint(dst, uint64(v), 10), sep)
}
