package lab

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// DNS record types (RFC 1035, RFC 3596).
const (
	typeA    = 1
	typeNull = 10
	typePTR  = 12
	typeMX   = 15
	typeTXT  = 16
	typeAAAA = 28
)

const (
	dnsNoError  = 0
	dnsNXDomain = 3
)

// record is one answer in wire form.
type record struct {
	name string
	kind uint16
	ttl  uint32
	data []byte
}

// appendName writes a name without compression.
func appendName(b []byte, name string) []byte {
	if name != "" {
		for label := range strings.SplitSeq(name, ".") {
			b = append(append(b, byte(len(label))), label...)
		}
	}
	return append(b, 0)
}

// appendQuery writes a query; edns adds an OPT record (RFC 6891).
func appendQuery(b []byte, id, kind uint16, name string, recursive, edns bool) []byte {
	b = binary.BigEndian.AppendUint16(b, id)
	flags := uint16(0)
	if recursive {
		flags = 0x0100
	}
	b = binary.BigEndian.AppendUint16(b, flags)
	b = append(b, 0, 1, 0, 0, 0, 0, 0, 0)
	if edns {
		b[len(b)-1] = 1
	}
	b = appendName(b, name)
	b = binary.BigEndian.AppendUint16(b, kind)
	b = append(b, 0, 1)
	if edns {
		b = append(b, 0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0)
	}
	return b
}

// appendAnswer writes a response; a record whose name is that of the question is
// compressed.
func appendAnswer(b []byte, id, kind uint16, name string, authoritative, recursive bool, rcode uint16, list []record) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint16(b, id)
	flags := 0x8000 | rcode
	if authoritative {
		flags |= 0x0400
	}
	if recursive {
		flags |= 0x0180
	}
	b = binary.BigEndian.AppendUint16(b, flags)
	b = append(b, 0, 1, 0, byte(len(list)), 0, 0, 0, 0)
	b = appendName(b, name)
	b = binary.BigEndian.AppendUint16(b, kind)
	b = append(b, 0, 1)
	for _, r := range list {
		if r.name == name {
			b = append(b, 0xc0, 12)
		} else {
			b = appendName(b, r.name)
		}
		b = binary.BigEndian.AppendUint16(b, r.kind)
		b = append(b, 0, 1)
		b = binary.BigEndian.AppendUint32(b, r.ttl)
		b = binary.BigEndian.AppendUint16(b, uint16(len(r.data)))
		b = append(b, r.data...)
	}
	if rcode == dnsNXDomain { // the zone's SOA (RFC 2308)
		b[start+9] = 1
		zone := name[strings.LastIndexByte(name[:max(0, strings.LastIndexByte(name, '.'))], '.')+1:]
		b = appendName(b, zone)
		soa := appendName(appendName(nil, "ns1."+zone), "hostmaster."+zone)
		soa = append(soa, 0x78, 0xc3, 0x11, 0x02, 0, 0, 0x0e, 0x10, 0, 0, 0x03, 0x84, 0, 0x09, 0x3a, 0x80, 0, 0, 0x01, 0x2c)
		b = append(b, 0, 6, 0, 1, 0, 0, 1, 0x2c)
		b = binary.BigEndian.AppendUint16(b, uint16(len(soa)))
		b = append(b, soa...)
	}
	return b
}

// records turns an answer into records of the asked type.
func (a answer) records(name string, kind uint16) []record {
	var out []record
	if a.cname != "" {
		out = append(out, record{name, 5, a.ttl, appendName(nil, a.cname)})
		name = a.cname
	}
	switch kind {
	case typeA:
		for _, ip := range a.a {
			v := ip.As4()
			out = append(out, record{name, typeA, a.ttl, v[:]})
		}
	case typeAAAA:
		for _, ip := range a.aaaa {
			v := ip.As16()
			out = append(out, record{name, typeAAAA, a.ttl, v[:]})
		}
	}
	return out
}

// txt is the data of a TXT record.
func txt(s string) []byte {
	var b []byte
	for len(s) > 255 {
		b = append(append(b, 255), s[:255]...)
		s = s[255:]
	}
	return append(append(b, byte(len(s))), s...)
}

// lookup resolves a name for a host as its system does and returns when it is known. The
// host's own cache, the resolver's cache and the authoritative server take part.
func (w *world) lookup(t int64, r *random, h *host, name string) int64 {
	if h.known[name] > t {
		return t
	}
	a, ok := w.zone.resolve(name)
	ttl := int64(a.ttl)
	if !ok {
		ttl = 5
	}
	h.known[name] = t + ttl*second
	t = w.ask(t, r, h, name, typeA, nil)
	if h.ip6.IsValid() || h.vlan == 200 {
		w.ask(t-r.between(0, 300*time.Microsecond), r, h, name, typeAAAA, nil)
	}
	return t
}

// ask sends one query of h to its resolver and returns when the answer arrives. With
// answers given these are the zone's answer, else the zone answers by itself.
func (w *world) ask(t int64, r *random, h *host, name string, kind uint16, given []record) int64 {
	resolver := w.net.dc
	if h.vlan == 200 {
		resolver = w.net.wifiGateway
	}
	a, ok := w.zone.resolve(name)
	list, rcode := given, uint16(dnsNoError)
	if kind == typePTR && len(given) == 0 {
		rcode = dnsNXDomain
	}
	if given == nil {
		list = a.records(name, kind)
		if !ok {
			rcode = dnsNXDomain
		}
	}
	if h == w.net.dc { // asks the authority itself
		return w.upstream(t, r, name, kind, rcode, list, a.ns, nil)
	}
	c := w.between(t, r, h, resolver, protoUDP, false)
	c.p[orig].port, c.p[resp].port = h.ephemeral(r), 53
	c.last = orig
	id := r.u16()
	c.datagram(orig, appendQuery(nil, id, kind, name, true, h.os != windows && h.os != macos))
	local := strings.HasSuffix(name, corporate) || strings.HasSuffix(name, ".arpa")
	if !local && resolver == w.net.dc {
		key := name + "/" + string(rune(kind))
		if w.zone.cached[key] <= c.t {
			c.t = w.upstream(c.t+c.p[resp].lag, r, name, kind, rcode, list, a.ns, nil)
			w.zone.cached[key] = c.t + int64(max(a.ttl, 30))*second
		}
	} else if !local {
		c.t += r.between(4*time.Millisecond, 30*time.Millisecond)
	}
	c.datagram(resp, appendAnswer(nil, id, kind, name, local, true, rcode, list))
	return c.t + c.p[orig].lag
}

// upstream is the resolver's own query to an authoritative server, seen at the edge.
func (w *world) upstream(t int64, r *random, name string, kind, rcode uint16, list []record, ns *host, step *Step) int64 {
	if ns == nil {
		ns = w.zone.names
	}
	c := w.between(t, r, w.net.dc, ns, protoUDP, false)
	c.step = step
	c.p[orig].port, c.p[resp].port = uint16(r.span(1025, 65535)), 53
	c.last = orig
	id := r.u16()
	c.datagram(orig, appendQuery(nil, id, kind, name, false, true))
	c.datagram(resp, appendAnswer(nil, id, kind, name, true, false, rcode, list))
	return c.t + c.p[orig].lag
}

// reverse resolves an address to a name (PTR).
func (w *world) reverse(t int64, r *random, h *host, ip netip.Addr, name string) int64 {
	v := ip.As4()
	var parts []string
	for i := 3; i >= 0; i-- {
		parts = append(parts, strconv.Itoa(int(v[i])))
	}
	list := []record{}
	q := strings.Join(parts, ".") + ".in-addr.arpa"
	if name != "" {
		list = append(list, record{q, typePTR, 3600, appendName(nil, name)})
	}
	return w.ask(t, r, h, q, typePTR, list)
}
