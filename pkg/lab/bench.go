package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"
)

// errFull ends a benchmark capture at its size.
var errFull = errors.New("capture has its size")

// Bench writes one capture for measurements, at most size bytes long, the same bytes every
// time. Kinds:
//
//	mix    web-weighted traffic: HTTP, TLS, DNS, SSH and media in whole conversations;
//	       about 590 bytes a packet
//	small  DNS pairs and half-open TCP: about 85 bytes a packet, more than 3000 flows per MB
//
// The name of the file decides its format as in Generate: .pcap, .pcapng, .gz behind.
func Bench(kind string, size int64, path string) (File, error) {
	if size < 1<<16 {
		return File{}, fmt.Errorf("benchmark capture of %d bytes: must be at least %d", size, 1<<16)
	}
	fill := map[string]func(*capture, int64) error{"mix": benchMix, "small": benchSmall}[kind]
	if fill == nil {
		return File{}, fmt.Errorf("unknown benchmark capture %q: choose mix or small", kind)
	}
	c, err := createCapture(filepath.Dir(path), filepath.Base(path), kind)
	if err != nil {
		return File{}, err
	}
	c.limit = size
	err = fill(c, size)
	f, e := c.close()
	if errors.Is(err, errFull) {
		err = nil
	}
	return f, errors.Join(err, e)
}

// benchMix lets many clients visit many servers in a world of its own, about 12 MB a
// second of capture time.
func benchMix(c *capture, size int64) error {
	const rate = 12 << 20
	start := DefaultStart.UnixNano()
	w := &world{start: start, end: start + (size/rate+60)*second, seed: 1, scale: 1, edge: &sensor{name: "mix", out: c}}
	w.net = &network{coreMAC: mac{0, 0x1c, 0x73, 1, 2, 3}, firewall: mac{0, 0x1b, 0x17, 4, 5, 6}}
	w.certs = newIssuer(1, start)
	r := newRandom(1, "mix")
	clients, servers := make([]*host, 4000), make([]*host, 1500)
	stacks := []*client{chrome, firefox, safari, schannel, openssl, golang}
	for i := range clients {
		clients[i] = &host{
			name: fmt.Sprintf("c%d", i), ip: netip.AddrFrom4([4]byte{10, byte(16 + i/250), byte(i % 250), byte(1 + r.intn(250))}), vlan: 1, rate: 200e6, loss: 0.0004,
			os: pick(r, []*system{windows, linux, macos}), lag: r.between(200*time.Microsecond, 3*time.Millisecond), browser: pick(r, stacks),
		}
	}
	for i := range servers {
		servers[i] = &host{
			name: fmt.Sprintf("www.s%d.example", i%97), ip: netip.AddrFrom4([4]byte{198, byte(18 + i%2), byte(i / 256), byte(i)}), rate: 900e6, os: linux, hops: 8,
			lag: r.between(2*time.Millisecond, 80*time.Millisecond),
		}
	}
	resolver := &host{ip: netip.AddrFrom4([4]byte{198, 18, 255, 53}), os: linux, rate: 900e6, lag: 2 * millisecond}
	chains := make([][][]byte, 97)
	for i := range chains {
		chains[i] = w.certs.chain(fmt.Sprintf("s%d.example", i))
	}
	for lane := range 64 {
		q := newRandom(int64(lane), "mix lane")
		w.every(start+q.between(0, time.Second), func(t int64) int64 {
			i := q.intn(len(servers))
			w.benchConversation(t, q, pick(q, clients), servers[i], resolver, chains[i%97])
			return t + q.exp(time.Second*64*25000/rate)
		})
	}
	return w.run()
}

// benchConversation is one name lookup and one conversation.
func (w *world) benchConversation(t int64, r *random, a, b, resolver *host, chain [][]byte) {
	id := r.u16()
	d := w.between(t, r, a, resolver, protoUDP, false)
	d.p[orig].port, d.p[resp].port, d.last = a.ephemeral(r), 53, orig
	d.datagram(orig, appendQuery(nil, id, typeA, b.name, true, true))
	ip := b.ip.As4()
	d.datagram(resp, appendAnswer(nil, id, typeA, b.name, false, true, dnsNoError, []record{{b.name, typeA, 60, ip[:]}}))
	t = d.t + a.lag
	switch x := r.intn(100); {
	case x < 62:
		c := w.tcp(t, r, a, b, 443, nil)
		c.tls(tlsSession{client: a.browser, name: b.name, chain: chain, modern: x < 45, hybrid: x < 20, alpn: "h2", resume: x%5 == 0})
		for range r.span(1, 5) {
			c.app(orig, r.span(120, 900))
			c.app(resp, r.size(2700, 1.1, 100))
			c.pause(r.think(40*time.Millisecond, 0.8))
		}
		c.bye(orig, true)
	case x < 88:
		c := w.tcp(t, r, a, b, 80, nil)
		for range r.span(1, 4) {
			n := r.size(3200, 1.1, 100)
			w.body = r.append(w.body[:0], n)
			c.http(httpRequest{
				method: "GET", host: b.name, path: "/" + r.text(12, wordSet), agent: a.browser.agent, headers: browserHeaders(r, ""),
				status: "200 OK", kind: "image/webp", server: "nginx", answer: w.body,
			})
			c.pause(r.think(60*time.Millisecond, 0.8))
		}
		c.fin(orig)
	case x < 92:
		c := w.tcp(t, r, a, b, 22, nil)
		c.ssh(opensshClient, opensshServer)
		for range r.span(3, 40) {
			c.send(orig, r.bytes(36))
			c.send(resp, r.bytes(r.size(200, 1, 36)))
		}
		c.fin(orig)
	default:
		c := w.between(t, r, a, b, protoUDP, false)
		c.p[orig].port, c.p[resp].port, c.last = a.ephemeral(r), 40000, orig
		for range r.span(5, 60) {
			c.datagram(r.intn(2), r.bytes(r.span(100, 1200)))
		}
	}
}

// benchSmall writes requests in a steady beat; each answer follows some packets later.
func benchSmall(c *capture, _ int64) error {
	const behind = 32 // requests between a request and its answer
	type open struct {
		h           header
		sport       uint16
		seq         uint32
		id          uint16
		name        int
		kind        int
		dport       uint16
		answered    bool
		serverReset bool
	}
	var ring [behind]open
	r := newRandom(1, "small")
	names := make([]string, 512)
	for i := range names {
		names[i] = r.text(r.span(6, 14), wordSet) + "." + r.text(r.span(7, 13), wordSet) + ".example"
	}
	near, far := mac{0, 0x1c, 0x73, 1, 2, 3}, mac{0, 0x1b, 0x17, 4, 5, 6}
	syn := []byte{2, 4, 5, 0xb4, 1, 1, 4, 2} // segment size, selective acknowledgements
	t := DefaultStart.UnixNano()
	frame, message := make([]byte, 0, 512), make([]byte, 0, 256)
	for n := 0; ; n++ {
		o := &ring[n%behind]
		if o.answered {
			back := o.h
			back.srcMAC, back.dstMAC, back.src, back.dst, back.ttl = far, near, o.h.dst, o.h.src, 55
			if o.kind == 0 {
				q := names[o.name]
				message = appendAnswer(message[:0], o.id, typeA, q, false, true, dnsNoError, []record{{q, typeA, 300, []byte{198, 18, byte(o.name), 80}}})
				frame = appendUDP(frame[:0], &back, 53, o.sport, message)
			} else if o.serverReset {
				frame = appendTCP(frame[:0], &back, o.dport, o.sport, 0, o.seq+1, tcpRST|tcpACK, 0, nil, nil)
			} else {
				frame = appendTCP(frame[:0], &back, o.dport, o.sport, ^o.seq, o.seq+1, tcpSYN|tcpACK, 65535, syn, nil)
			}
			if err := c.write(t, frame); err != nil {
				return err
			}
			t += 2 * microsecond
		}
		x := r.u64()
		*o = open{sport: uint16(1024 + x%64000), seq: uint32(x >> 16), id: uint16(x >> 48), name: int(x>>40) & 511, kind: int(x>>20) % 100 / 60}
		client, server := uint32(x>>8)&0xffff, uint32(x>>24)&0x3ff
		o.h = header{
			srcMAC: near, dstMAC: far, ttl: 63, id: uint16(x >> 32), proto: protoUDP,
			src: netip.AddrFrom4([4]byte{10, 64, byte(client >> 8), byte(client)}), dst: netip.AddrFrom4([4]byte{198, 18, 0, byte(server % 8)}),
		}
		o.answered = true
		if o.kind == 0 {
			message = appendQuery(message[:0], o.id, typeA, names[o.name], true, false)
			frame = appendUDP(frame[:0], &o.h, o.sport, 53, message)
		} else {
			o.h.proto, o.h.dst = protoTCP, netip.AddrFrom4([4]byte{198, 19, byte(server >> 8), byte(server)})
			o.dport = [4]uint16{80, 443, 22, 8080}[x>>62]
			o.answered, o.serverReset = x>>60&3 != 0, x>>59&1 == 0
			frame = appendTCP(frame[:0], &o.h, o.sport, o.dport, o.seq, 0, tcpSYN, 64240, syn, nil)
		}
		if err := c.write(t, frame); err != nil {
			return err
		}
		t += 5 * microsecond
	}
}
