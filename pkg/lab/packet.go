package lab

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

type mac [6]byte

// IP protocol numbers and TCP flags.
const (
	protoICMP  = 1
	protoTCP   = 6
	protoUDP   = 17
	protoICMP6 = 58

	tcpFIN = 0x01
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpPSH = 0x08
	tcpACK = 0x10
)

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherVLAN = 0x8100
	etherIPv6 = 0x86dd

	minFrame = 60 // shortest Ethernet frame without its check sequence
)

// header is what the layers below the transport need to know of one packet.
type header struct {
	srcMAC, dstMAC mac
	vlan           uint16 // 0: untagged
	src, dst       netip.Addr
	ttl            uint8
	id             uint16 // IPv4 identification
	proto          uint8
}

// appendEthernet writes the link layer.
func appendEthernet(b []byte, dst, src mac, vlan, kind uint16) []byte {
	b = append(append(b, dst[:]...), src[:]...)
	if vlan != 0 {
		b = binary.BigEndian.AppendUint16(b, etherVLAN)
		b = binary.BigEndian.AppendUint16(b, vlan)
	}
	return binary.BigEndian.AppendUint16(b, kind)
}

// appendIP writes link and network layer for a transport segment of n bytes and returns
// the sum over the pseudo header, with which the transport checksum begins.
func appendIP(b []byte, h *header, n int) ([]byte, uint64) {
	if h.src.Is4() {
		b = appendEthernet(b, h.dstMAC, h.srcMAC, h.vlan, etherIPv4)
		at := len(b)
		s, d := h.src.As4(), h.dst.As4()
		b = append(b, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(20+n))
		b = binary.BigEndian.AppendUint16(b, h.id)
		b = append(b, 0x40, 0, h.ttl, h.proto, 0, 0) // do not fragment
		b = append(append(b, s[:]...), d[:]...)
		binary.BigEndian.PutUint16(b[at+10:], fold(sum(0, b[at:])))
		return b, sum(sum(0, s[:]), d[:]) + uint64(h.proto) + uint64(n)
	}
	b = appendEthernet(b, h.dstMAC, h.srcMAC, h.vlan, etherIPv6)
	s, d := h.src.As16(), h.dst.As16()
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = append(b, h.proto, h.ttl)
	b = append(append(b, s[:]...), d[:]...)
	return b, sum(sum(0, s[:]), d[:]) + uint64(h.proto) + uint64(n)
}

// appendTCP writes a whole frame. opts must be a multiple of four bytes.
func appendTCP(b []byte, h *header, sport, dport uint16, seq, ack uint32, flags uint8, window uint16, opts, payload []byte) []byte {
	start := len(b)
	b, pseudo := appendIP(b, h, 20+len(opts)+len(payload))
	at := len(b)
	b = binary.BigEndian.AppendUint16(b, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = binary.BigEndian.AppendUint32(b, seq)
	b = binary.BigEndian.AppendUint32(b, ack)
	b = append(b, uint8(20+len(opts))<<2, flags)
	b = binary.BigEndian.AppendUint16(b, window)
	b = append(b, 0, 0, 0, 0)
	b = append(append(b, opts...), payload...)
	binary.BigEndian.PutUint16(b[at+16:], fold(sum(pseudo, b[at:])))
	return pad(b, start)
}

// appendUDP writes a whole frame.
func appendUDP(b []byte, h *header, sport, dport uint16, payload []byte) []byte {
	start := len(b)
	b, pseudo := appendIP(b, h, 8+len(payload))
	at := len(b)
	b = binary.BigEndian.AppendUint16(b, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	b = append(append(b, 0, 0), payload...)
	check := fold(sum(pseudo, b[at:]))
	if check == 0 {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(b[at+6:], check)
	return pad(b, start)
}

// appendICMP writes a whole frame of ICMP or, by the header's addresses, ICMPv6.
func appendICMP(b []byte, h *header, kind, code uint8, rest uint32, payload []byte) []byte {
	start := len(b)
	b, pseudo := appendIP(b, h, 8+len(payload))
	if h.src.Is4() {
		pseudo = 0
	}
	at := len(b)
	b = append(b, kind, code, 0, 0)
	b = binary.BigEndian.AppendUint32(b, rest)
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[at+2:], fold(sum(pseudo, b[at:])))
	return pad(b, start)
}

// appendARP writes a whole frame of an ARP request (op 1) or reply (op 2).
func appendARP(b []byte, op uint16, srcMAC, dstMAC mac, src, dst netip.Addr) []byte {
	start := len(b)
	to, target := dstMAC, dstMAC
	if op == 1 {
		to, target = broadcastMAC, mac{}
	}
	b = appendEthernet(b, to, srcMAC, 0, etherARP)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, byte(op))
	s, d := src.As4(), dst.As4()
	b = append(append(b, srcMAC[:]...), s[:]...)
	b = append(append(b, target[:]...), d[:]...)
	return pad(b, start)
}

var broadcastMAC = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// pad fills a frame that began at start up to the shortest Ethernet frame.
func pad(b []byte, start int) []byte {
	for len(b)-start < minFrame {
		b = append(b, 0)
	}
	return b
}

// sum adds b to a ones' complement sum (RFC 1071) kept in 64 bits.
func sum(s uint64, b []byte) uint64 {
	var carry uint64
	for len(b) >= 8 {
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(b), 0)
		s += carry
		b = b[8:]
	}
	var tail [8]byte
	if copy(tail[:], b) > 0 {
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(tail[:]), 0)
		s += carry
	}
	return s
}

// fold ends a sum: the Internet checksum.
func fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return ^uint16(s)
}
