package source

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Magic numbers of pcap as the big-endian reader sees them
// (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html, section 4).
const (
	magicMicro    = 0xa1b2c3d4
	magicNano     = 0xa1b23c4d
	magicModified = 0xa1b2cd34 // A. Kuznetzov's patch: record headers are 8 bytes longer
	magicNG       = 0x0a0d0d0a
)

// maxCaplen is the largest packet that is believed; a larger length means damage.
const maxCaplen = 256 << 10

type pcapState struct {
	order  binary.ByteOrder
	big    bool
	nano   bool
	header int
	link   uint32
	minor  uint16 // of the format's version 2
}

// newReader sniffs the format of f by its first bytes.
func newReader(name string, f io.Reader, done func() error, parallel bool) (*Reader, error) {
	fd, suffix, err := newFeed(f, done, parallel)
	if err != nil {
		_ = done()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r := &Reader{name: name, in: fd, links: map[uint32]bool{}}
	head := fd.peek(24)
	if len(head) == 0 {
		fd.abandon()
		if fd.err != nil {
			return nil, fmt.Errorf("%s: byte 0: %w", name, fd.err)
		}
		return nil, fmt.Errorf("%s: byte 0: the file is empty, expected a pcap or pcapng header", name)
	}
	format := sniff(head)
	switch format {
	case "pcap":
		if len(head) < 24 {
			fd.abandon()
			return nil, fmt.Errorf("%s: byte %d: file ends inside the pcap header of 24 bytes", name, len(head))
		}
		r.openPcap(head)
		r.next = (*Reader).nextPcap
	case "pcapng":
		r.next = (*Reader).nextNG
	default:
		fd.abandon()
		return nil, fmt.Errorf("%s: byte 0: %w", name, errNoCapture)
	}
	r.res.Format = format + suffix
	r.res.MediaType = "application/vnd.tcpdump.pcap"
	if format == "pcapng" {
		r.res.MediaType = "application/x-pcapng"
	}
	return r, nil
}

var errNoCapture = errors.New("neither a pcap nor a pcapng header")

// sniff names the format of a file that begins with head, "" if it is no capture.
func sniff(head []byte) string {
	if len(head) < 4 {
		return ""
	}
	switch be := binary.BigEndian.Uint32(head); be {
	case magicMicro, magicNano, magicModified:
		return "pcap"
	case magicNG:
		if len(head) < 12 || bytes.Equal(head[8:12], []byte{0x1a, 0x2b, 0x3c, 0x4d}) || bytes.Equal(head[8:12], []byte{0x4d, 0x3c, 0x2b, 0x1a}) {
			return "pcapng"
		}
		return ""
	}
	switch binary.LittleEndian.Uint32(head) {
	case magicMicro, magicNano, magicModified:
		return "pcap"
	}
	return ""
}

func (r *Reader) openPcap(head []byte) {
	p := &r.pc
	p.order, p.header = binary.LittleEndian, 16
	magic := binary.LittleEndian.Uint32(head)
	if be := binary.BigEndian.Uint32(head); be == magicMicro || be == magicNano || be == magicModified {
		p.order, p.big, magic = binary.BigEndian, true, be
	}
	p.nano = magic == magicNano
	if magic == magicModified {
		p.header = 24
	}
	// The upper six bits tell of a frame check sequence at the end of packets.
	p.link = p.order.Uint32(head[20:]) & 0x03ffffff
	p.minor = p.order.Uint16(head[6:])
	r.in.skip(24)
}

func (r *Reader) nextPcap(p *Packet) bool {
	s := &r.pc
	in := r.in
	// The common case: header and packet lie in the current block.
	h := in.cur.buf[in.pos:in.cur.end]
	if len(h) < s.header {
		if h = in.peek(s.header); len(h) < s.header {
			if len(h) > 0 {
				r.problem("byte %d: file ends inside a packet header, expected %d bytes and found %d", in.off, s.header, len(h))
			}
			return false
		}
	}
	var sec, frac, caplen, wire uint32
	if s.big {
		sec, frac = binary.BigEndian.Uint32(h), binary.BigEndian.Uint32(h[4:])
		caplen, wire = binary.BigEndian.Uint32(h[8:]), binary.BigEndian.Uint32(h[12:])
	} else {
		sec, frac = binary.LittleEndian.Uint32(h), binary.LittleEndian.Uint32(h[4:])
		caplen, wire = binary.LittleEndian.Uint32(h[8:]), binary.LittleEndian.Uint32(h[12:])
	}
	// Before version 2.3 the two lengths stood the other way round, in 2.3 either way.
	if s.minor < 3 || s.minor == 3 && caplen > wire {
		caplen, wire = wire, caplen
	}
	if caplen > maxCaplen {
		r.problem("byte %d: packet of %d bytes, expected at most %d", in.off, caplen, maxCaplen)
		return false
	}
	n := s.header + int(caplen)
	if len(h) < n {
		if h = in.peek(n); len(h) < n {
			r.problem("byte %d: file ends inside a packet, expected %d bytes and found %d", in.off, n, len(h))
			return false
		}
	}
	us := uint64(frac)
	if s.nano {
		us /= 1000
	}
	p.TS = r.time(uint64(sec)*1e6 + us)
	p.Link, p.WireLen, p.Data = s.link, wire, h[s.header:n:n]
	in.skip(n)
	return true
}
