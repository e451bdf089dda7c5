package lab

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// ntp is one time query and its answer (RFC 5905).
func (w *world) ntp(t int64, r *random, a, b *host) {
	c := w.between(t, r, a, b, protoUDP, false)
	c.p[orig].port, c.p[resp].port, c.last = 123, 123, orig
	stamp := func(out []byte, t int64) []byte {
		out = binary.BigEndian.AppendUint32(out, uint32(t/second+2208988800))
		return binary.BigEndian.AppendUint32(out, uint32(t%second<<32/second))
	}
	q := append([]byte{0x23, 0, 6, 0xe9}, make([]byte, 36)...)
	c.datagram(orig, stamp(q, c.t))
	sent := c.t
	v := b.ip.As4()
	ans := []byte{0x24, 2, 6, 0xe9, 0, 0, 1, 0x20, 0, 0, 0, 0x42}
	ans = append(ans, v[:]...)
	ans = stamp(ans, c.t-r.between(30*time.Second, 900*time.Second))
	ans = stamp(ans, sent)
	ans = stamp(ans, c.t+c.p[resp].lag/2)
	c.datagram(resp, stamp(ans, c.t+c.p[resp].lag/2+40*microsecond))
}

// ping is a series of echo requests with answers.
func (w *world) ping(t int64, r *random, a, b *host, n int, step *Step) {
	c := w.between(t, r, a, b, protoICMP, false)
	c.step, c.last = step, orig
	id := uint32(r.u16()) << 16
	data := []byte("abcdefghijklmnopqrstuvwabcdefghi")
	if a.os != windows {
		data = make([]byte, 56)
		binary.LittleEndian.PutUint64(data, uint64(t/second))
		for i := 16; i < len(data); i++ {
			data[i] = byte(i)
		}
	}
	for i := range n {
		c.icmp(orig, 8, 0, id|uint32(i+1), data)
		c.icmp(resp, 0, 0, id|uint32(i+1), data)
		c.pause(second)
	}
}

// cast sends one datagram to a multicast or broadcast address of the wireless segment.
func (w *world) cast(t int64, r *random, from *host, to netip.Addr, toMAC mac, port, sport uint16, payload []byte) {
	h := header{srcMAC: from.mac, dstMAC: toMAC, src: from.ip, dst: to, ttl: 255, id: r.u16(), proto: protoUDP}
	if port == 67 {
		h.src, h.ttl = netip.IPv4Unspecified(), 64
	}
	if port == 5355 || port == 1900 {
		h.ttl = 1
	}
	w.emit(w.wifi, t, func(b []byte) []byte { return appendUDP(b, &h, sport, port, payload) })
}

// mdns asks for a service on the local link (RFC 6762).
func (w *world) mdns(t int64, r *random, from *host, name string) {
	w.cast(t, r, from, netip.AddrFrom4([4]byte{224, 0, 0, 251}), mac{1, 0, 0x5e, 0, 0, 0xfb}, 5353, 5353, appendQuery(nil, 0, typePTR, name, false, false))
}

// llmnr asks the local link for a name (RFC 4795), twice, as Windows does.
func (w *world) llmnr(t int64, r *random, from *host, name string) {
	q := appendQuery(nil, r.u16(), typeA, name, false, false)
	port := from.ephemeral(r)
	for range 2 {
		w.cast(t, r, from, netip.AddrFrom4([4]byte{224, 0, 0, 252}), mac{1, 0, 0x5e, 0, 0, 0xfc}, 5355, port, q)
		t += 410 * millisecond
	}
}

// dhcp is a wireless device coming in: discover, offer, request, acknowledgement
// (RFC 2131), and its first ARP.
func (w *world) dhcp(t int64, r *random, h *host) {
	gw := w.net.wifiGateway
	xid := r.u32()
	message := func(op, kind byte, options []byte) []byte {
		b := []byte{op, 1, 6, 0}
		b = binary.BigEndian.AppendUint32(b, xid)
		b = append(b, make([]byte, 8)...) // secs, flags, ciaddr
		your := [4]byte{}
		if op == 2 {
			your = h.ip.As4()
		}
		b = append(append(b, your[:]...), make([]byte, 8)...)
		b = append(append(b, h.mac[:]...), make([]byte, 10+192)...)
		b = append(b, 0x63, 0x82, 0x53, 0x63, 53, 1, kind)
		b = append(append(b, options...), 255)
		for len(b) < 300 {
			b = append(b, 0)
		}
		return b
	}
	ours, theirs := h.ip.As4(), gw.ip.As4()
	name := h.name[:7]
	ask := append([]byte{61, 7, 1}, h.mac[:]...)
	ask = append(append(ask, 12, byte(len(name))), name...)
	ask = append(ask, 55, 8, 1, 3, 6, 15, 26, 28, 51, 58)
	lease := []byte{54, 4, theirs[0], theirs[1], theirs[2], theirs[3], 51, 4, 0, 0, 0x1c, 0x20, 1, 4, 255, 255, 255, 0, 3, 4, theirs[0], theirs[1], theirs[2], theirs[3], 6, 4, theirs[0], theirs[1], theirs[2], theirs[3]}
	want := append([]byte{50, 4, ours[0], ours[1], ours[2], ours[3], 54, 4, theirs[0], theirs[1], theirs[2], theirs[3]}, ask...)
	all := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	w.cast(t, r, h, all, broadcastMAC, 67, 68, message(1, 1, ask))
	answer := func(t int64, kind byte) {
		x := header{srcMAC: gw.mac, dstMAC: h.mac, src: gw.ip, dst: h.ip, ttl: 64, id: r.u16(), proto: protoUDP}
		w.emit(w.wifi, t, func(b []byte) []byte { return appendUDP(b, &x, 67, 68, message(2, kind, lease)) })
	}
	t += r.between(2*time.Millisecond, 30*time.Millisecond)
	answer(t, 2)
	t += r.between(2*time.Millisecond, 900*time.Millisecond)
	w.cast(t, r, h, all, broadcastMAC, 67, 68, message(1, 3, want))
	t += r.between(2*time.Millisecond, 30*time.Millisecond)
	answer(t, 5)
	t += r.between(20*time.Millisecond, 200*time.Millisecond)
	w.emit(w.wifi, t, func(b []byte) []byte { return appendARP(b, 1, h.mac, gw.mac, h.ip, gw.ip) })
	w.emit(w.wifi, t+r.between(time.Millisecond, 4*time.Millisecond), func(b []byte) []byte {
		return appendARP(b, 2, gw.mac, h.mac, gw.ip, h.ip)
	})
}
