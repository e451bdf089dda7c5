package decode

import "math/bits"

// Key is the bidirectional 5-tuple: both directions of a flow have the same.
type Key struct {
	A, B         Addr
	PortA, PortB uint16
	Proto        uint8
	Kind         uint8 // 1: IPv4; 2: one direction only
}

// FlowKey gives the key and tells whether the packet's sender is the second endpoint of it.
// Endpoints are ordered by address, then port; messages without an opposite are not.
func (p *Packet) FlowKey() (k Key, swapped bool) {
	k.Proto = p.Proto
	if p.V4 {
		k.Kind = 1
	}
	if p.OneWay {
		k.Kind |= 2
	} else {
		swapped = p.Dst.Less(p.Src) || p.Dst == p.Src && p.DstPort < p.SrcPort
	}
	if swapped {
		k.A, k.B, k.PortA, k.PortB = p.Dst, p.Src, p.DstPort, p.SrcPort
	} else {
		k.A, k.B, k.PortA, k.PortB = p.Src, p.Dst, p.SrcPort, p.DstPort
	}
	return k, swapped
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// Hash is a 64-bit hash of the key (wyhash's folded multiplication). With a seed that
// nobody can know before the capture is finished, colliding keys cannot be made up.
func (k *Key) Hash(seed uint64) uint64 {
	const (
		s0 = 0xa0761d6478bd642f
		s1 = 0xe7037ed1a0b428db
		s2 = 0x8ebc6af09c88c6e3
	)
	h := mix(k.A.Hi^s0^seed, k.A.Lo^s1)
	h = mix(h^k.B.Hi, k.B.Lo^s2^seed)
	ports := uint64(k.PortA)<<32 | uint64(k.PortB)<<16 | uint64(k.Proto)<<8 | uint64(k.Kind)
	return mix(h^ports, seed^s1)
}
