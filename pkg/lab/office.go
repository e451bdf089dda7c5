package lab

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// servers is what servers do without being asked.
func (w *world) servers() {
	n := w.net
	upstream := w.zone.target("timepool.example")
	r := newRandom(w.seed, "time")
	w.every(w.start-warmup+r.between(0, 64*time.Second), func(t int64) int64 {
		w.ntp(t, r, n.dc, upstream)
		return t + 64*second
	})
	for _, h := range []*host{n.app, n.web, n.relay, n.backup, n.monitor, n.admin2} {
		r := newRandom(w.seed, "time "+h.name)
		w.every(w.start-warmup+r.between(0, 64*time.Second), func(t int64) int64 {
			w.ntp(t, r, h, n.dc)
			return t + 64*second + r.between(-30*time.Millisecond, 30*time.Millisecond)
		})
	}
	for _, h := range []*host{n.app, n.web, n.relay} { // package updates
		r := newRandom(w.seed, "packages "+h.name)
		at := w.start + r.between(0, 40*time.Minute)
		w.at(at, func() { w.update(at, r, h, r.size(180000, 0.6, 40000)) })
	}
	logs := newRandom(w.seed, "reverse")
	w.every(w.start, func(t int64) int64 { // the monitoring server names the addresses in its logs
		h := n.inside[logs.intn(len(n.inside))]
		if logs.chance(0.3) {
			w.reverse(t, logs, n.monitor, netip.AddrFrom4([4]byte{10, 20, byte(logs.intn(60)), byte(logs.intn(250))}), "")
		} else {
			w.reverse(t, logs, n.monitor, h.ip, h.name)
		}
		return t + logs.exp(3*time.Minute)
	})
}

// monitoring checks hosts every 30 seconds.
func (w *world) monitoring() {
	n := w.net
	for _, h := range []*host{n.web, n.app, n.dc, n.files, n.relay} {
		r := newRandom(w.seed, "ping "+h.name)
		w.every(w.start-warmup+r.between(0, 30*time.Second), func(t int64) int64 {
			w.ping(t, r, n.monitor, h, 1, nil)
			return t + 30*second
		})
	}
	for _, h := range []*host{n.web, n.app} {
		r := newRandom(w.seed, "health "+h.name)
		port := uint16(80)
		if h == n.app {
			port = 8080
		}
		w.every(w.start-warmup+r.between(0, 30*time.Second), func(t int64) int64 {
			c := w.tcp(t, r, n.monitor, h, port, nil)
			c.http(httpRequest{
				method: "GET", host: h.name, path: "/health", agent: "Prometheus/2.53.1", headers: []string{"Accept: text/plain", "Connection: close"},
				status: "200 OK", kind: "text/plain", server: "nginx/1.22.1", extra: []string{"Connection: close"}, answer: []byte("ok\n"),
			})
			c.fin(resp)
			return t + 30*second + r.between(0, 15*time.Millisecond)
		})
	}
}

// passer makes an external host that is seen once.
func (w *world) passer(r *random) *host {
	six := ""
	if r.chance(0.25) {
		six = fmt.Sprintf("2001:db8:f:%x::%x", r.intn(4096), 1+r.intn(65000))
	}
	os := pick(r, []*system{windows, windows, linux, macos})
	h := w.net.outside("", "visitor", RoleBenign, fmt.Sprintf("198.19.%d.%d", r.intn(256), 1+r.intn(254)), six, os, time.Duration(r.between(12*time.Millisecond, 190*time.Millisecond)))
	h.browser = map[*system]*client{windows: chrome, linux: firefox, macos: safari}[os]
	h.hops = uint8(r.span(7, 17))
	return h
}

// visitors use the public web server, in clear and with TLS; it asks the application
// server for some pages.
func (w *world) visitors() {
	r := newRandom(w.seed, "visitors")
	n := w.net
	public := "www.northgate.example"
	w.every(w.start-warmup, func(t int64) int64 {
		next := t + r.exp(time.Duration(float64(70*time.Second)/w.scale/max(busy(t), 0.1)))
		h := w.passer(r)
		secure := r.chance(0.55)
		port := uint16(80)
		if secure {
			port = 443
		}
		c := w.tcp(t, r, h, n.web, port, nil)
		if secure {
			c.tls(tlsSession{client: h.browser, name: public, chain: w.certs.chain("northgate.example"), modern: true, alpn: "http/1.1"})
			for range r.span(1, 6) {
				c.app(orig, r.span(350, 700))
				c.pause(r.think(15*time.Millisecond, 0.7))
				c.app(resp, r.size(2600, 1, 250))
				c.pause(r.think(400*time.Millisecond, 1.2))
			}
			c.pause(r.think(5*time.Second, 0.6))
			c.bye(pick(r, []int{orig, resp}), true)
			return next
		}
		referrer := ""
		for range r.span(1, 5) {
			q := httpRequest{method: "GET", host: public, agent: h.browser.agent, headers: browserHeaders(r, referrer), status: "200 OK", server: "Apache-Coyote/1.1"}
			topic := pick(r, words)
			switch x := r.intn(20); {
			case x < 9:
				q.path, q.kind, q.answer = "/"+topic+"/"+pick(r, words)+".html", "text/html; charset=utf-8", page(r, topic, r.size(3600, 0.7, 900))
				if r.chance(0.4) {
					w.backend(c.t+c.p[resp].lag, r, topic)
				}
			case x < 13:
				q.path, q.kind, q.answer = "/static/"+topic+".jpg", "image/jpeg", picture(r, r.size(9000, 0.8, 1500))
			case x < 15:
				q.path, q.status = "/static/site.css", "304 Not Modified"
			case x < 17:
				q.path, q.kind, q.answer = "/search?q="+topic+"&page="+fmt.Sprint(r.span(1, 4)), "text/html; charset=utf-8", page(r, topic, r.size(3500, 0.5, 900))
				w.backend(c.t+c.p[resp].lag, r, topic)
			case x < 18:
				q.path, q.status, q.kind, q.answer = "/"+r.text(7, wordSet), "404 Not Found", "text/html", page(r, "Not found", 600)
			default:
				q.method, q.path, q.body = "POST", "/contact", []byte("name="+pick(r, words)+"&message="+strings.Repeat(topic+"+", r.span(5, 30)))
				q.headers = append(q.headers, "Content-Type: application/x-www-form-urlencoded")
				q.status, q.extra = "302 Found", []string{"Location: /thanks.html"}
			}
			c.http(q)
			referrer = "http://" + public + q.path
			c.pause(r.think(3*time.Second, 1))
		}
		c.fin(pick(r, []int{orig, resp}))
		return next
	})
}

// backend is a request of the web server to the application server.
func (w *world) backend(t int64, r *random, topic string) {
	n := w.net
	c := w.tcp(t, r, n.web, n.app, 8080, nil)
	c.http(httpRequest{
		method: "GET", host: "app1:8080", path: "/api/v1/search?term=" + topic, agent: "Apache-HttpClient/4.5.13 (Java/11.0.16)", headers: []string{"Accept: application/json", "Connection: close"},
		status: "200 OK", kind: "application/json", server: "Jetty(9.4.48)", extra: []string{"Connection: close"}, answer: []byte(`{"term":"` + topic + `","items":["` + strings.Join([]string{pick(r, words), pick(r, words), pick(r, words)}, `","`) + `"]}`),
	})
	c.fin(resp)
}

// vacant is an address of the DMZ where nobody answers.
func (n *network) vacant(vlan uint16, last int) *host {
	return &host{ip: netip.AddrFrom4([4]byte{10, 20, byte(vlan), byte(last)}), vlan: vlan, os: linux, rate: 1e9, kind: "vacant"}
}

// radiation is the noise of the internet: single probes of many, and answers to packets
// that others sent with our addresses.
func (w *world) radiation() {
	r := newRandom(w.seed, "radiation")
	n := w.net
	ports := []uint16{23, 445, 3389, 22, 80, 8080, 5060, 2323, 6379, 1433, 9200, 81}
	w.every(w.start-warmup, func(t int64) int64 {
		h := w.passer(r)
		h.os = rawTool
		if r.chance(0.3) { // backscatter
			c := w.between(t, r, h, n.vacant(50, r.span(60, 250)), protoTCP, false)
			c.p[orig].port, c.p[resp].port = pick(r, []uint16{80, 443, 53, 6667}), r.u16()|1024
			flags := uint8(tcpSYN | tcpACK)
			if r.chance(0.4) {
				flags = tcpRST | tcpACK
			}
			c.segment(t, orig, flags, c.p[orig].seq, r.u32(), nil, nil)
			return t + r.exp(25*time.Second)
		}
		to, port := n.vacant(50, r.span(1, 254)), pick(r, ports)
		switch to.ip.As4()[3] {
		case 10:
			to = n.web
		case 25:
			to = n.relay
		}
		c := w.syn(t, r, h, to, port, nil)
		if to == n.web && port == 80 {
			c.accept()
			c.reset()
		}
		return t + r.exp(25*time.Second)
	})
}

// mailTraffic is mail in and out through the relay.
func (w *world) mailTraffic() {
	r := newRandom(w.seed, "mail")
	n := w.net
	w.every(w.start, func(t int64) int64 {
		partner := pick(r, []string{"mailgate.example", "partnerbank.example", "newsletter.example"})
		out := w.zone.target(partner)
		size := r.size(6000, 1.1, 1500)
		if r.chance(0.55) { // in
			end := w.smtp(t, r, out, n.relay, "mx."+partner, size)
			end = w.reverse(end, r, n.relay, out.ip, "mx."+partner)
			w.smtp(end+r.think(300*time.Millisecond, 0.5), r, n.relay, n.mail, n.relay.name, size)
		} else {
			end := w.smtp(t, r, n.mail, n.relay, n.mail.name, size)
			end = w.ask(end, r, n.relay, partner, typeMX, []record{{partner, typeMX, 3600, append([]byte{0, 10}, appendName(nil, "mx."+partner)...)}})
			w.smtp(w.lookup(end, r, n.relay, "mx."+partner), r, n.relay, out, n.relay.name, size)
		}
		return t + r.exp(time.Duration(float64(6*time.Minute)/w.scale/max(busy(t), 0.15)))
	})
}

// smtp delivers one message, with STARTTLS towards the internet (RFC 5321, RFC 3207).
func (w *world) smtp(t int64, r *random, from, to *host, name string, size int) int64 {
	c := w.tcp(t, r, from, to, 25, nil)
	say := func(dir int, s string) {
		c.send(dir, []byte(s+"\r\n"))
		c.pause(r.think(3*time.Millisecond, 0.5))
	}
	say(resp, "220 "+to.name+" ESMTP Postfix")
	say(orig, "EHLO "+name)
	say(resp, "250-"+to.name+"\r\n250-SIZE 52428800\r\n250-STARTTLS\r\n250 8BITMIME")
	if !from.internal() || !to.internal() {
		say(orig, "STARTTLS")
		say(resp, "220 2.0.0 Ready to start TLS")
		c.tls(tlsSession{client: openssl, name: to.name, chain: w.certs.chain(registrable(to.name)), modern: true})
		c.app(orig, 90)
		c.app(resp, 120)
		c.app(orig, size)
		c.app(resp, 50)
		c.bye(orig, true)
		return c.t
	}
	say(orig, "MAIL FROM:<"+pick(r, words)+"@northgate.example> SIZE="+fmt.Sprint(size))
	say(resp, "250 2.1.0 Ok")
	say(orig, "RCPT TO:<"+pick(r, words)+"@mailgate.example>")
	say(resp, "250 2.1.5 Ok")
	say(orig, "DATA")
	say(resp, "354 End data with <CR><LF>.<CR><LF>")
	var b strings.Builder
	fmt.Fprintf(&b, "Received: from %s by %s with ESMTP id %s\r\nSubject: %s %s\r\nMIME-Version: 1.0\r\nContent-Type: application/pdf; name=\"%s.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n",
		name, to.name, r.text(11, wordSet), pick(r, words), pick(r, words), pick(r, words))
	body := base64.StdEncoding.EncodeToString(append([]byte("%PDF-1.7\n"), r.bytes(size*3/4)...))
	for len(body) > 0 {
		k := min(76, len(body))
		b.WriteString(body[:k] + "\r\n")
		body = body[k:]
	}
	c.send(orig, []byte(b.String()+".\r\n"))
	c.pause(r.think(20*time.Millisecond, 0.5))
	say(resp, "250 2.0.0 Ok: queued as "+strings.ToUpper(r.text(10, hexDigits)))
	say(orig, "QUIT")
	say(resp, "221 2.0.0 Bye")
	c.fin(resp)
	return c.t
}

// occasions happen once a day.
func (w *world) occasions() {
	n := w.net
	r := newRandom(w.seed, "occasions")
	w.at(w.moment(1, 25, 0), func() { // administrator at the domain controller
		w.rdp(w.lookup(w.now, r, n.admin1, n.dc.name), r.fork("rdp"), n.admin1, n.dc, "admin", 12*minute, nil)
	})
	w.at(w.moment(8, 10, 0), func() { // administrator at the application server
		c := w.tcp(w.lookup(w.now, r, n.admin2, n.app.name), r.fork("ssh"), n.admin2, n.app, 22, nil)
		c.ssh(opensshClient, opensshServer)
		c.typing(22 * minute)
		c.fin(orig)
	})
	w.at(w.moment(2, 31, 0), func() { // and at the mail server
		c := w.tcp(w.lookup(w.now, r, n.admin2, n.mail.name), r.fork("ssh mail"), n.admin2, n.mail, 22, nil)
		c.ssh(opensshClient, opensshServer)
		c.typing(9 * minute)
		c.fin(orig)
	})
	w.at(w.moment(5, 30, 0), func() { w.backupJob(w.now, r.fork("backup"), 4<<20) })
	w.at(w.moment(3, 32, 0), func() {
		w.call(w.now, r.fork("call"), n.users[min(2, len(n.users)-1)], 17*minute)
	})
	w.at(w.moment(6, 40, 0), func() { w.inventory(w.now, r.fork("inventory")) })
}

// backupJob copies size bytes from the file server to the backup server.
func (w *world) backupJob(t int64, r *random, size int) {
	c := w.tcp(t, r, w.net.files, w.net.backup, 10000, nil)
	c.p[orig].rate = 60e6
	c.tls(tlsSession{client: schannel, chain: w.certs.chain(corporate), name: w.net.backup.name})
	var again func()
	again = func() {
		c.t = max(c.t, w.now)
		part := min(size, 1<<20)
		c.app(orig, part)
		c.app(resp, 40)
		if size -= part; size > 0 {
			c.rest()
			w.at(c.t+r.think(700*time.Millisecond, 0.6), again)
			return
		}
		c.bye(orig, false)
	}
	again()
}

// call is a video call over UDP: STUN first, then media that looks like SRTP.
func (w *world) call(t int64, r *random, h *host, length int64) {
	name := "edge.meetwave.example"
	c := w.between(w.lookup(t, r, h, name), r, h, w.zone.target(name), protoUDP, false)
	c.p[orig].port, c.p[resp].port, c.last = h.ephemeral(r), 3478, orig
	c.p[resp].lag /= 8 // media does not wait for each other
	cookie := []byte{0x21, 0x12, 0xa4, 0x42}
	id := r.bytes(12)
	c.datagram(orig, append(append([]byte{0, 1, 0, 0}, cookie...), id...))
	v := h.ip.As4()
	xor := []byte{0, 1, byte(c.p[orig].port>>8) ^ 0x21, byte(c.p[orig].port) ^ 0x12, v[0] ^ 0x21, v[1] ^ 0x12, v[2] ^ 0xa4, v[3] ^ 0x42}
	c.datagram(resp, append(append(append([]byte{1, 1, 0, 12}, cookie...), id...), append([]byte{0, 0x20, 0, 8}, xor...)...))
	end := c.t + length
	var sequence [2]uint16
	source := [2]uint32{r.u32(), r.u32()}
	var again func()
	again = func() { // ten seconds at a time
		c.t = max(c.t, w.now)
		for until := c.t + 10*second; c.t < until; c.pause(48 * millisecond) {
			for dir := range 2 {
				for k := range 1 + r.intn(8)/7 { // audio each 60 ms, sometimes a slice of video
					n, kind := r.span(90, 150), byte(111)
					if k > 0 {
						n, kind = r.span(500, 1050), 96
					}
					sequence[dir]++
					b := binary.BigEndian.AppendUint16([]byte{0x80, kind}, sequence[dir])
					b = binary.BigEndian.AppendUint32(b, uint32(c.t/(second/48000)))
					b = binary.BigEndian.AppendUint32(b, source[dir])
					c.datagram(dir, r.append(b, n))
				}
			}
		}
		if c.t < end {
			w.at(c.t, again)
		}
	}
	again()
}

// inventory visits a dozen known hosts, all of which answer: it reads their SSH banner or
// their SMB dialect.
func (w *world) inventory(t int64, r *random) {
	n := w.net
	for _, h := range append([]*host{n.dc, n.files, n.mail, n.app, n.web, n.relay, n.admin2}, n.users[:min(4, len(n.users))]...) {
		w.ping(t, r, n.monitor, h, 1, nil)
		var c *conversation
		if h.os == windows {
			c = w.smb(t+40*millisecond, r, n.monitor, h, "inventory", nil).c
		} else {
			c = w.tcp(t+40*millisecond, r, n.monitor, h, 22, nil)
			c.send(resp, []byte(opensshServer.banner+"\r\n"))
			c.send(orig, []byte("SSH-2.0-inventory\r\n"))
		}
		c.fin(orig)
		t = c.t + r.think(3*time.Second, 0.6)
	}
}
