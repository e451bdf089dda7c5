package source

import (
	"encoding/binary"
	"math/bits"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Block types of pcapng
// (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html, section 11.1).
const (
	ngSection   = 0x0a0d0d0a
	ngInterface = 1
	ngPacket    = 2 // obsolete
	ngSimple    = 3
	ngEnhanced  = 6
)

// maxInterfaces bounds the interfaces of one section.
const maxInterfaces = 4096

// iface is one interface of a section.
type iface struct {
	link    uint32
	snaplen uint32
	pow2    bool  // ticks of 2^-n seconds instead of 10^-n
	n       uint8 // exponent
	offset  int64 // seconds added to each time
}

type ngState struct {
	order  binary.ByteOrder
	ifaces []iface
}

// nextNG reads blocks until one holds a packet.
func (r *Reader) nextNG(p *Packet) bool {
	for {
		at := r.in.off
		h := r.in.peek(12)
		if len(h) == 0 {
			return false
		}
		if len(h) < 12 {
			r.problem("byte %d: file ends inside a block header, expected 12 bytes and found %d", at, len(h))
			return false
		}
		order := r.ng.order
		typ := uint32(ngSection)
		if binary.BigEndian.Uint32(h) == ngSection {
			switch binary.BigEndian.Uint32(h[8:]) {
			case 0x1a2b3c4d:
				order = binary.BigEndian
			case 0x4d3c2b1a:
				order = binary.LittleEndian
			default:
				r.problem("byte %d: section header without a byte-order mark", at)
				return false
			}
		} else {
			if order == nil {
				r.problem("byte %d: block outside of a section", at)
				return false
			}
			typ = order.Uint32(h)
		}
		length := order.Uint32(h[4:])
		if length < 12 {
			r.problem("byte %d: block of %d bytes, expected at least 12", at, length)
			return false
		}
		total := (int64(length) + 3) &^ 3
		switch typ {
		case ngSection, ngInterface, ngPacket, ngSimple, ngEnhanced:
		default:
			if got := r.in.discard(total); got < total {
				r.lost = uint64(got)
				r.problem("byte %d: file ends inside a block of type %d, expected %d bytes and found %d", at, typ, total, got)
				return false
			}
			r.res.Skipped++
			continue
		}
		if total > maxRecord {
			r.problem("byte %d: block of %d bytes, expected at most %d", at, length, maxRecord)
			return false
		}
		b := r.in.peek(int(total))
		if int64(len(b)) < total {
			r.problem("byte %d: file ends inside a block, expected %d bytes and found %d", at, total, len(b))
			return false
		}
		if tail := order.Uint32(b[total-4:]); tail != length && int64(tail) != total {
			r.problem("byte %d: block whose length is %d at its start and %d at its end", at, length, tail)
			return false
		}
		ok, packet, msg := r.block(typ, order, b[8:total-4], p)
		if !ok {
			r.problem("byte %d: %s", at, msg)
			return false
		}
		r.in.skip(int(total))
		if packet {
			return true
		}
	}
}

// block reads the body of one block. msg says what is wrong when ok is false.
func (r *Reader) block(typ uint32, order binary.ByteOrder, body []byte, p *Packet) (ok, packet bool, msg string) {
	switch typ {
	case ngSection:
		if len(body) < 16 {
			return false, false, "section header too short, expected 28 bytes"
		}
		if major := order.Uint16(body[4:]); major != 1 {
			return false, false, "pcapng of a major version other than 1"
		}
		r.ng.order, r.ng.ifaces = order, r.ng.ifaces[:0]
		return true, false, ""
	case ngInterface:
		if len(body) < 8 {
			return false, false, "interface description too short, expected 20 bytes"
		}
		if len(r.ng.ifaces) == maxInterfaces {
			return false, false, "more than 4096 interfaces"
		}
		r.ng.ifaces = append(r.ng.ifaces, newIface(order, body))
		return true, false, ""
	case ngSimple:
		if len(body) < 4 {
			return false, false, "simple packet block too short, expected 16 bytes"
		}
		if len(r.ng.ifaces) == 0 {
			return false, false, "packet of an interface that was not described"
		}
		ifc := &r.ng.ifaces[0]
		wire := order.Uint32(body)
		n := wire
		if ifc.snaplen > 0 && n > ifc.snaplen {
			n = ifc.snaplen
		}
		n = min(n, uint32(len(body)-4))
		r.res.Untimed++
		p.TS, p.Link, p.WireLen, p.Data = r.last, ifc.link, wire, body[4:4+n:4+n]
		return true, true, ""
	}
	// Enhanced packets and the obsolete form differ in the width of the interface number.
	if len(body) < 20 {
		return false, false, "packet block too short, expected 32 bytes"
	}
	id := order.Uint32(body)
	if typ == ngPacket {
		id = uint32(order.Uint16(body))
	}
	if id >= uint32(len(r.ng.ifaces)) {
		return false, false, "packet of an interface that was not described"
	}
	ifc := &r.ng.ifaces[id]
	caplen, wire := order.Uint32(body[12:]), order.Uint32(body[16:])
	if caplen > maxCaplen || int64(caplen) > int64(len(body)-20) {
		return false, false, "packet longer than its block"
	}
	p.TS = r.stamp(ifc, uint64(order.Uint32(body[4:]))<<32|uint64(order.Uint32(body[8:])))
	p.Link, p.WireLen, p.Data = ifc.link, wire, body[20:20+caplen:20+caplen]
	return true, true, ""
}

// newIface reads an interface description; options that do not parse are left at their
// defaults.
func newIface(order binary.ByteOrder, body []byte) iface {
	i := iface{link: uint32(order.Uint16(body)), snaplen: order.Uint32(body[4:]), n: 6}
	for opt := body[8:]; len(opt) >= 4; {
		code, n := order.Uint16(opt), int(order.Uint16(opt[2:]))
		opt = opt[4:]
		if code == 0 || n > len(opt) {
			break
		}
		switch {
		case code == 9 && n == 1: // if_tsresol
			i.pow2, i.n = opt[0]&0x80 != 0, opt[0]&0x7f
		case code == 14 && n == 8: // if_tsoffset
			i.offset = int64(order.Uint64(opt))
		}
		opt = opt[min(len(opt), (n+3)&^3):]
	}
	return i
}

// pow10 holds the powers of ten that fit 64 bits.
var pow10 = [20]uint64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
}

// stamp converts ticks of an interface to microseconds since 1970.
func (r *Reader) stamp(i *iface, ticks uint64) model.Time {
	var us uint64
	over := false
	switch {
	case i.pow2 && i.n >= 64:
		us = 0
	case i.pow2:
		sec := ticks >> i.n
		frac := ticks - sec<<i.n
		hi, lo := bits.Mul64(frac, 1e6)
		if i.n > 0 {
			lo = lo>>i.n | hi<<(64-i.n)
		}
		over = sec > maxSeconds
		us = sec*1e6 + lo
	case i.n <= 6:
		hi, lo := bits.Mul64(ticks, pow10[6-i.n])
		over, us = hi != 0, lo
	case i.n-6 < 20:
		us = ticks / pow10[i.n-6]
	}
	if i.offset != 0 && !over {
		if i.offset > maxSeconds || us > maxTime {
			over = true
		} else if sum := int64(us) + max(i.offset, -maxSeconds-1)*1e6; sum >= 0 {
			us = uint64(sum)
		} else { // before 1970
			r.res.BadTimes++
			return 0
		}
	}
	if over {
		us = maxTime + 1
	}
	return r.time(us)
}
