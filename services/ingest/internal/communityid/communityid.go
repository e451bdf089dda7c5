// Package communityid computes the Community ID of a flow, version 1
// (https://github.com/corelight/community-id-spec), by which tools name the same flow alike.
package communityid

import (
	"crypto/sha1" //nolint:gosec // the specification names SHA-1; nothing rests on its strength
	"encoding/base64"
	"encoding/binary"
	"net/netip"
)

// Flow is the 5-tuple in either direction. For ICMP the ports are type and opposite type,
// or type and code with OneWay set.
type Flow struct {
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
	Proto            uint8
	OneWay           bool
}

// Append appends the identifier for a seed to dst.
func Append(dst []byte, seed uint16, f Flow) []byte {
	var b [40]byte
	sum := sha1.Sum(f.tuple(b[:0], seed)) //nolint:gosec // see above
	dst = append(dst, "1:"...)
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}

// tuple appends the bytes that are hashed. The smaller endpoint comes first.
func (f *Flow) tuple(b []byte, seed uint16) []byte {
	src, dst, sp, dp := f.Src, f.Dst, f.SrcPort, f.DstPort
	if c := src.Compare(dst); !f.OneWay && (c > 0 || c == 0 && sp > dp) {
		src, dst, sp, dp = dst, src, dp, sp
	}
	b = binary.BigEndian.AppendUint16(b, seed)
	for _, a := range [2]netip.Addr{src, dst} {
		if a.Is4() {
			v := a.As4()
			b = append(b, v[:]...)
		} else {
			v := a.As16()
			b = append(b, v[:]...)
		}
	}
	b = append(b, f.Proto, 0)
	switch f.Proto {
	case 1, 6, 17, 58, 132: // protocols that have ports, or types that stand for them
		b = binary.BigEndian.AppendUint16(b, sp)
		b = binary.BigEndian.AppendUint16(b, dp)
	}
	return b
}
