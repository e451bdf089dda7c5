// Package print computes fingerprints of protocol implementations from the clear part of
// their handshakes: JA3 and JA3S, JA4 of the client with its raw forms, HASSH and
// hasshServer. Each is a pure function over the facts of a row.
package print

import (
	"strconv"
)

// grease reports whether v is one of the sixteen values that clients throw in to keep
// servers tolerant (RFC 8701). Fingerprints leave them out.
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// appendDecimals appends the values in decimal, joined by hyphens, without GREASE.
func appendDecimals(dst []byte, values []uint16) []byte {
	first := true
	for _, v := range values {
		if grease(v) {
			continue
		}
		if !first {
			dst = append(dst, '-')
		}
		first = false
		dst = strconv.AppendUint(dst, uint64(v), 10)
	}
	return dst
}
