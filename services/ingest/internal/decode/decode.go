// Package decode reads the headers of a frame up to the transport layer by hand, without
// allocating: Ethernet with up to four VLAN tags, Linux cooked and loopback frames and raw
// IP; IPv4 and IPv6 with fragments put together; TCP, UDP, SCTP, ICMP and ICMPv6 headers.
//
// Checksums are not verified: captures taken on a host with checksum offloading hold wrong
// ones as a rule. Tunnels are not entered; they show as flows of their outer protocol.
package decode

import (
	"encoding/binary"
	"net/netip"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/ingest/internal/source"
)

// IP protocol numbers that are decoded further.
const (
	ProtoICMP  = 1
	ProtoTCP   = 6
	ProtoUDP   = 17
	ProtoICMP6 = 58
	ProtoSCTP  = 132
)

// TCP flags.
const (
	FIN = 0x01
	SYN = 0x02
	RST = 0x04
	ACK = 0x10
)

// Addr is an IP address as two big-endian halves; IPv4 addresses are mapped (::ffff:a.b.c.d).
type Addr struct{ Hi, Lo uint64 }

const mapped4 = 0xffff << 32

// Less orders addresses as byte strings.
func (a Addr) Less(b Addr) bool { return a.Hi < b.Hi || a.Hi == b.Hi && a.Lo < b.Lo }

// Netip converts the address; v4 tells that it is an IPv4 address.
func (a Addr) Netip(v4 bool) netip.Addr {
	if v4 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(a.Lo))
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], a.Hi)
	binary.BigEndian.PutUint64(b[8:], a.Lo)
	return netip.AddrFrom16(b)
}

// MAC is a link-layer address.
type MAC [6]byte

// Packet is what the headers of one IP packet say.
type Packet struct {
	TS      model.Time
	Num     uint64 // number of the frame in the capture, from 1
	Hash    uint64 // of the flow key, seeded by the caller
	Src     Addr
	Dst     Addr
	SrcPort uint16 // ICMP: type
	DstPort uint16 // ICMP: the type of the opposite message, or the code of a message that has none

	Proto   uint8
	V4      bool
	OneWay  bool  // ICMP message without an opposite
	Flags   uint8 // TCP
	Window  uint16
	Seq     uint32 // TCP
	Ack     uint32
	IPLen   uint32 // IP total length
	Length  uint32 // payload bytes on the wire behind the transport header
	Payload []byte // captured part of them

	Vlan      uint16
	InnerVlan uint16
	SrcMAC    MAC
	DstMAC    MAC
	HasMAC    bool
	Copied    bool // Payload lies in memory of its own (a reassembled datagram)
}

// Counters counts what was decoded and what was not.
type Counters struct {
	IP4, IP6            uint64
	NotIP               uint64 // ARP and other protocols beside IP
	MPLS, PPPoE         uint64 // of NotIP: encapsulations that are not entered
	BadLink             uint64 // frames too short for their link header
	BadIP               uint64 // IP headers that cannot be
	BadTransport        uint64 // transport headers cut short or impossible
	Truncated           uint64 // packets of which fewer bytes were captured than sent
	VLAN                uint64
	Fragments           uint64
	Reassembled         uint64
	FragmentOverlap     uint64 // fragments whose bytes were there already; the first ones hold
	FragmentsExpired    uint64 // datagrams given up because their fragments did not come in time
	FragmentsEvicted    uint64 // datagrams given up because too many were pending
	FragmentsBad        uint64 // fragments that cannot be
	LinkUnread          uint64 // frames of a link type that is not read
	ExtensionHeaders    uint64 // IPv6 packets with extension headers
	ExtensionHeadersBad uint64
}

// Decoder decodes frames of one capture. It is used by one goroutine.
type Decoder struct {
	Counters
	frag defrag
}

// Reset makes the decoder ready for another capture.
func (d *Decoder) Reset() {
	d.Counters = Counters{}
	d.frag.reset()
}

// Decode reads one frame. It is false when the frame completes no IP packet; the counters
// say why. TS, Num and Hash of p are the caller's.
func (d *Decoder) Decode(f *source.Packet, p *Packet) bool {
	p.Vlan, p.InnerVlan, p.HasMAC, p.Copied = 0, 0, false, false
	b := f.Data
	switch f.Link {
	case source.LinkEthernet:
		if len(b) < 14 {
			d.BadLink++
			return false
		}
		copy(p.DstMAC[:], b)
		copy(p.SrcMAC[:], b[6:])
		p.HasMAC = true
		return d.ether(binary.BigEndian.Uint16(b[12:]), b[14:], f, p)
	case source.LinkRaw, source.LinkRawBSD, source.LinkRawOBSD, source.LinkIPv4, source.LinkIPv6:
		return d.ip(b, f, p)
	case source.LinkNull:
		if len(b) < 4 {
			d.BadLink++
			return false
		}
		// The address family is in the byte order of the host that captured.
		af := binary.LittleEndian.Uint32(b)
		if af > 0xffff {
			af = binary.BigEndian.Uint32(b)
		}
		return d.family(af, b[4:], f, p)
	case source.LinkLoop:
		if len(b) < 4 {
			d.BadLink++
			return false
		}
		return d.family(binary.BigEndian.Uint32(b), b[4:], f, p)
	case source.LinkSLL:
		if len(b) < 16 {
			d.BadLink++
			return false
		}
		d.cooked(binary.BigEndian.Uint16(b[4:]), b[6:14], p)
		return d.ether(binary.BigEndian.Uint16(b[14:]), b[16:], f, p)
	case source.LinkSLL2:
		if len(b) < 20 {
			d.BadLink++
			return false
		}
		d.cooked(uint16(b[11]), b[12:20], p)
		return d.ether(binary.BigEndian.Uint16(b), b[20:], f, p)
	}
	d.LinkUnread++
	return false
}

// cooked takes the sender's address of a cooked frame, which tells no receiver.
func (d *Decoder) cooked(n uint16, addr []byte, p *Packet) {
	if n == 6 {
		copy(p.SrcMAC[:], addr)
		p.DstMAC = MAC{}
		p.HasMAC = true
	}
}

// family goes on by the address family of a loopback frame. IPv6 has a different number on
// each system.
func (d *Decoder) family(af uint32, b []byte, f *source.Packet, p *Packet) bool {
	switch af {
	case 2, 10, 23, 24, 28, 30:
		return d.ip(b, f, p)
	}
	d.NotIP++
	return false
}

// EtherTypes.
const (
	etherIP4  = 0x0800
	etherIP6  = 0x86dd
	etherVLAN = 0x8100
	etherQinQ = 0x88a8
	etherOld1 = 0x9100 // QinQ before IEEE 802.1ad
	etherOld2 = 0x9200
	etherMPLS = 0x8847
	etherMPL2 = 0x8848
	etherPPPS = 0x8864
	etherPPPD = 0x8863
)

const maxTags = 4

func (d *Decoder) ether(typ uint16, b []byte, f *source.Packet, p *Packet) bool {
	for tags := 0; ; {
		switch typ {
		case etherIP4, etherIP6:
			return d.ip(b, f, p)
		case etherVLAN, etherQinQ, etherOld1, etherOld2:
			if tags == maxTags {
				d.NotIP++
				return false
			}
			if len(b) < 4 {
				d.BadLink++
				return false
			}
			id := binary.BigEndian.Uint16(b) & 0x0fff
			switch tags {
			case 0:
				p.Vlan = id
				d.VLAN++
			case 1:
				p.InnerVlan = id
			}
			tags++
			typ, b = binary.BigEndian.Uint16(b[2:]), b[4:]
			continue
		case etherMPLS, etherMPL2:
			d.MPLS++
		case etherPPPS, etherPPPD:
			d.PPPoE++
		default:
			// A length instead of a type: IEEE 802.3 with LLC and SNAP (RFC 1042).
			if typ < 1536 && len(b) >= 8 && b[0] == 0xaa && b[1] == 0xaa && b[2] == 3 && b[3]|b[4]|b[5] == 0 {
				typ, b = binary.BigEndian.Uint16(b[6:]), b[8:]
				if typ >= 1536 {
					continue
				}
			}
		}
		d.NotIP++
		return false
	}
}

func (d *Decoder) ip(b []byte, f *source.Packet, p *Packet) bool {
	if len(b) < 20 {
		d.BadIP++
		return false
	}
	switch b[0] >> 4 {
	case 4:
		return d.ip4(b, f, p)
	case 6:
		return d.ip6(b, f, p)
	}
	d.BadIP++
	return false
}

// ip4 reads an IPv4 header (RFC 791).
func (d *Decoder) ip4(b []byte, f *source.Packet, p *Packet) bool {
	head := int(b[0]&15) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total == 0 {
		// Segmentation offload: the length is filled in behind the point of capture.
		total = len(b)
	}
	if head < 20 || total < head || len(b) < head {
		d.BadIP++
		return false
	}
	d.IP4++
	p.V4 = true
	p.Src = Addr{0, mapped4 | uint64(binary.BigEndian.Uint32(b[12:]))}
	p.Dst = Addr{0, mapped4 | uint64(binary.BigEndian.Uint32(b[16:]))}
	p.Proto = b[9]
	p.IPLen = uint32(total)
	body := b[head:min(total, len(b))]
	length := total - head
	if frag := binary.BigEndian.Uint16(b[6:]); frag&0x3fff != 0 {
		key := fragKey{p.Src, p.Dst, uint32(binary.BigEndian.Uint16(b[4:])), p.Proto, true}
		whole, ok := d.fragment(f.TS, key, int(frag&0x1fff)*8, frag&0x2000 != 0, length, body)
		if !ok {
			return false
		}
		body, length = whole, len(whole)
		p.IPLen, p.Copied = uint32(head+length), true
	}
	return d.transport(body, length, p)
}

// IPv6 extension headers (RFC 8200, section 4; RFC 6275; RFC 7401; RFC 5533).
const (
	extHopByHop = 0
	extRouting  = 43
	extFragment = 44
	extAuth     = 51
	extDest     = 60
	extMobility = 135
	extHIP      = 139
	extShim6    = 140
)

const (
	maxExtensions = 16
	// maxPadding is what Ethernet's shortest frame leaves behind an empty IPv6 packet.
	maxPadding = 60 - 14 - 40
)

// ip6 reads an IPv6 header and its extension headers.
func (d *Decoder) ip6(b []byte, f *source.Packet, p *Packet) bool {
	if len(b) < 40 {
		d.BadIP++
		return false
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if rest := len(b) - 40; length == 0 && rest > maxPadding {
		length = rest // a jumbogram (RFC 2675) or segmentation offload
	}
	d.IP6++
	p.V4 = false
	p.Src = Addr{binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])}
	p.Dst = Addr{binary.BigEndian.Uint64(b[24:]), binary.BigEndian.Uint64(b[32:])}
	p.IPLen = uint32(40 + length)
	next := b[6]
	body := b[40:min(40+length, len(b))]
	for n := 0; ; n++ {
		size := 0
		switch next {
		case extHopByHop, extRouting, extDest, extMobility, extHIP, extShim6:
			if len(body) >= 8 {
				size = 8 + int(body[1])*8
			}
		case extAuth:
			if len(body) >= 8 {
				size = 8 + int(body[1])*4
			}
		case extFragment:
			if len(body) < 8 {
				break
			}
			field := binary.BigEndian.Uint16(body[2:])
			next2 := body[0]
			if field&0xfff9 == 0 { // an atomic fragment (RFC 6946) is whole
				next, body, length = next2, body[8:], length-8
				continue
			}
			key := fragKey{p.Src, p.Dst, binary.BigEndian.Uint32(body[4:]), next2, false}
			whole, ok := d.fragment(f.TS, key, int(field&0xfff8), field&1 != 0, length-8, body[8:])
			if !ok {
				return false
			}
			next, body, length = next2, whole, len(whole)
			p.IPLen, p.Copied = uint32(40+length), true
			continue
		default:
			p.Proto = next
			return d.transport(body, length, p)
		}
		if n == 0 {
			d.ExtensionHeaders++
		}
		if size == 0 || size > len(body) || n == maxExtensions {
			// Cut short or endless: what is there counts as a flow of that header's number.
			d.ExtensionHeadersBad++
			p.Proto = next
			return d.transport(body, length, p)
		}
		next, body, length = body[0], body[size:], length-size
	}
}

// transport reads the transport header. length is that of body on the wire.
func (d *Decoder) transport(body []byte, length int, p *Packet) bool {
	if len(body) < length {
		d.Truncated++
	}
	p.SrcPort, p.DstPort, p.OneWay, p.Flags = 0, 0, false, 0
	head := 0
	switch p.Proto {
	case ProtoTCP:
		if len(body) < 20 {
			d.BadTransport++
			return false
		}
		head = int(body[12]>>4) * 4
		if head < 20 || head > len(body) {
			d.BadTransport++
			return false
		}
		p.SrcPort, p.DstPort = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
		p.Seq, p.Ack = binary.BigEndian.Uint32(body[4:]), binary.BigEndian.Uint32(body[8:])
		p.Flags, p.Window = body[13], binary.BigEndian.Uint16(body[14:])
	case ProtoUDP:
		if len(body) < 8 {
			d.BadTransport++
			return false
		}
		head = 8
		p.SrcPort, p.DstPort = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
		// The header's own length counts, where it is not zero (jumbograms, offload).
		if n := int(binary.BigEndian.Uint16(body[4:])); n >= 8 {
			length = n
			body = body[:min(n, len(body))]
		}
	case ProtoSCTP:
		if len(body) < 12 {
			d.BadTransport++
			return false
		}
		head = 12
		p.SrcPort, p.DstPort = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
	case ProtoICMP, ProtoICMP6:
		if len(body) < 8 {
			d.BadTransport++
			return false
		}
		head = 8
		p.SrcPort = uint16(body[0])
		p.DstPort, p.OneWay = Opposite(p.Proto, body[0], body[1])
	}
	p.Length = uint32(max(0, length-head))
	p.Payload = body[head:]
	return true
}

// Opposite gives the ICMP type that answers a message, so that request and answer are one
// flow; of a message without an answer it gives the code. The pairs are those of the
// Community ID specification (https://github.com/corelight/community-id-spec).
func Opposite(proto, typ, code uint8) (port uint16, oneWay bool) {
	if proto == ProtoICMP {
		switch typ {
		case 8:
			return 0, false
		case 0:
			return 8, false
		case 13, 15, 17:
			return uint16(typ) + 1, false
		case 14, 16, 18:
			return uint16(typ) - 1, false
		case 10:
			return 9, false
		case 9:
			return 10, false
		}
		return uint16(code), true
	}
	switch typ {
	case 128, 133, 135, 139, 144:
		return uint16(typ) + 1, false
	case 129, 134, 136, 140, 145:
		return uint16(typ) - 1, false
	case 130:
		return 131, false
	case 131:
		return 130, false
	}
	return uint16(code), true
}
