package lab

import (
	"fmt"
	"net/netip"
	"time"
)

// everyday schedules the traffic of a working day. Each actor has a random stream of its
// own, so that the day is the same with and without an intruder.
func (w *world) everyday() {
	for _, h := range w.net.users {
		w.person(h)
		w.workstation(h)
	}
	for _, h := range w.net.guests {
		w.person(h)
		w.guest(h)
	}
	w.person(w.net.admin1)
	w.person(w.net.admin2)
	w.servers()
	w.monitoring()
	w.visitors()
	w.radiation()
	w.mailTraffic()
	w.occasions()
	n := w.net
	time64, push, telemetry, av := w.zone.target("timepool.example"), w.zone.target("pushrelay.example"), w.zone.target("telemetry-vendor.example"), w.zone.target("avshield.example")
	none := netip.Addr{}
	w.benign = []Benign{
		{n.dc.ip, time64.ip, "beacon", "time queries (NTP) exactly every 64 seconds"},
		{none, n.dc.ip, "beacon", "servers ask the domain controller for the time every 64 seconds"},
		{n.monitor.ip, none, "beacon", "monitoring: ICMP echo and HTTP health checks every 30 seconds"},
		{none, telemetry.ip, "beacon", "telemetry of each workstation about every hour"},
		{none, av.ip, "dns_tunnel", "reputation lookups of the virus scanner: hashes as names under avshield.example"},
		{none, netip.Addr{}, "dns_tunnel", "many host names under one content network, edgecdn.example"},
		{none, push.ip, "long_connection", "push notification channels held open for up to two hours by every workstation"},
		{none, w.zone.target("imap.mailgate.example").ip, "beacon", "guests' devices keep one connection to their mail provider all day, with a sign of life each nine minutes"},
		{none, n.mail.ip, "long_connection", "mail programs keep a connection to the mail server all day"},
		{n.users[min(2, len(n.users)-1)].ip, w.zone.target("meetwave.example").ip, "long_connection", "a video call"},
		{n.monitor.ip, none, "horizontal_scan", "small inventory sweep of known hosts"},
		{none, n.web.ip, "vertical_scan", "single probes of passers-by and backscatter of attacks elsewhere"},
		{n.files.ip, n.backup.ip, "exfil", "backup of the file server"},
		{n.admin1.ip, n.dc.ip, "traversal", "administrator's remote desktop session in the morning"},
		{n.admin2.ip, n.app.ip, "traversal", "administrator's SSH session"},
	}
}

// busy is how active people are at t, from 0 to 1.
func busy(t int64) float64 {
	h := float64(t%(24*hour)) / float64(hour)
	points := []struct{ h, v float64 }{{0, .02}, {6, .03}, {7, .15}, {8, .6}, {9, 1}, {11.7, 1}, {12.2, .45}, {13, .5}, {13.6, 1}, {16.5, .9}, {17.5, .35}, {19, .1}, {24, .02}}
	for i := 1; i < len(points); i++ {
		if p, q := points[i-1], points[i]; h <= q.h {
			return p.v + (q.v-p.v)*(h-p.h)/(q.h-p.h)
		}
	}
	return 0
}

// moment is start plus hours, minutes and seconds.
func (w *world) moment(h, m, s int64) int64 { return w.start + h*hour + m*minute + s*second }

// person reads pages in bursts, more or less according to the time of day.
func (w *world) person(h *host) {
	r := newRandom(w.seed, "person "+h.name)
	w.every(w.start-warmup+r.exp(10*time.Minute), func(t int64) int64 {
		if !r.chance(busy(t)) {
			return t + r.think(6*time.Minute, 0.6)
		}
		for range r.span(1, 5) {
			w.visit(t, r, h)
			t += r.think(35*time.Second, 0.9)
		}
		return t + r.think(24*time.Minute, 0.8)
	})
}

// visit loads one page: its site, and what it takes from elsewhere.
func (w *world) visit(t int64, r *random, h *host) {
	s := w.zone.browse(r)
	names := []string{s.labels[0] + "." + s.domain}
	for range r.intn(5) / 2 {
		names = append(names, pick(r, s.labels)+"."+s.domain)
	}
	if r.chance(0.25) {
		names = append(names, fmt.Sprintf("img-%03x.edgecdn.example", r.intn(170)*23))
	}
	if s.domain == "videostream.example" && r.chance(0.5) {
		names = append(names, fmt.Sprintf("r%d---sn-%s.videostream.example", r.intn(9), r.text(3, "acegkm")))
	}
	for i, name := range names {
		c := w.secure(t+int64(i)*r.between(40*time.Millisecond, 260*time.Millisecond), r, h, name, h.browser)
		for k := range r.span(1, 4) {
			c.app(orig, r.span(160, 900))
			c.pause(r.think(25*time.Millisecond, 0.7))
			median := 1700.0
			if i == 0 && k == 0 {
				median = 4600
			}
			c.app(resp, r.size(median, 1.1, 200))
			c.pause(r.think(90*time.Millisecond, 0.9))
		}
		c.pause(r.think(16*time.Second, 0.9))
		switch {
		case r.chance(0.15):
			c.reset()
		case r.chance(0.3):
			c.bye(resp, true)
		default:
			c.bye(orig, true)
		}
	}
}

// secure resolves a name and connects to it with TLS.
func (w *world) secure(t int64, r *random, h *host, name string, cl *client) *conversation {
	t = w.lookup(t, r, h, name)
	s := w.zone.byName[registrable(name)]
	c := w.tcp(t, r, h, w.zone.target(name), 443, nil)
	c.tls(tlsSession{client: cl, name: name, chain: w.certs.chain(s.domain), modern: s.tls13, hybrid: s.hybrid, alpn: "h2", resume: r.chance(0.3)})
	return c
}

// registrable is the last two labels of a name.
func registrable(name string) string {
	dots := 0
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '.' {
			if dots++; dots == 2 {
				return name[i+1:]
			}
		}
	}
	return name
}

// workstation is what a company computer does on its own.
func (w *world) workstation(h *host) {
	r := newRandom(w.seed, "workstation "+h.name)
	user := "u" + h.name[2:4]
	arrive := w.start + r.between(-8*time.Minute, 110*time.Minute)
	w.at(arrive, func() { // logging in
		t := w.kerberos(w.lookup(arrive, r, h, w.net.dc.name), r, h, user, "krbtgt", realm, nil)
		t = w.kerberos(t, r, h, user, "ldap", w.net.dc.name, nil)
		t = w.ldap(t, r, h, r.span(3, 12), nil)
		s := w.smb(t, r, h, w.net.dc, user, nil)
		s.connect("SYSVOL")
		s.open("corp\\Policies\\{31B2F340-016D-11D2-945F-00C04FB984F9}\\gpt.ini", 0x120089, 1, 64)
		s.read(r.span(22, 64))
		s.close()
		s.end()
		w.mailbox(s.c.t+r.think(2*time.Minute, 0.5), r.fork("mailbox"), h)
		w.push(s.c.t+r.think(time.Minute, 0.5), r.fork("push"), h)
	})
	w.every(arrive+r.exp(40*time.Minute), func(t int64) int64 { // files
		t = w.kerberos(w.lookup(t, r, h, w.net.files.name), r, h, user, "cifs", w.net.files.name, nil)
		s := w.smb(t, r, h, w.net.files, user, nil)
		s.connect("projects")
		for range r.span(1, 4) {
			size := r.size(13000, 1, 900)
			s.open(pick(r, words)+"\\"+pick(r, words)+".docx", 0x120089, 1, size)
			s.read(size)
			if r.chance(0.25) {
				s.write([]byte("PK\x03\x04"), size)
			}
			s.close()
			s.c.pause(r.think(20*time.Second, 0.8))
		}
		s.end()
		return s.c.t + r.think(75*time.Minute, 0.5)
	})
	w.every(w.start-warmup+r.between(0, time.Hour), func(t int64) int64 { // telemetry, hourly with jitter
		c := w.secure(t, r, h, "v10.events.telemetry-vendor.example", h.service)
		c.app(orig, r.size(2600, 0.8, 500))
		c.pause(r.think(60*time.Millisecond, 0.5))
		c.app(resp, r.size(420, 0.4, 200))
		c.bye(orig, false)
		return t + r.between(54*time.Minute, 66*time.Minute)
	})
	w.every(w.start-warmup+r.between(0, time.Hour), func(t int64) int64 { // virus scanner
		end := t
		for range r.span(1, 3) {
			end = w.lookup(end, r, h, r.text(16, hexDigits)+".rep.avshield.example")
		}
		c := w.secure(end, r, h, "update.avshield.example", h.service)
		c.app(orig, r.span(350, 480))
		c.app(resp, r.size(3000, 1, 600))
		c.bye(orig, false)
		return t + r.between(50*time.Minute, 75*time.Minute)
	})
	w.every(w.start+r.exp(2*time.Hour), func(t int64) int64 { // certificate status in clear
		t = w.lookup(t, r, h, "ocsp.certstatus.example")
		c := w.tcp(t, r, h, w.zone.target("ocsp.certstatus.example"), 80, nil)
		c.http(httpRequest{
			method: "POST", host: "ocsp.certstatus.example", path: "/", agent: h.service.agent, headers: []string{"Content-Type: application/ocsp-request", "Connection: Keep-Alive"},
			body:   der(0x30, der(0x30, der(0x30, der(0x30, der(0x30, der(0x30, der(6, []byte{0x2b, 0x0e, 3, 2, 0x1a}), der(5)), der(4, r.bytes(20)), der(4, r.bytes(20)), der(2, []byte{0x40, 1, 2, 3})))))),
			status: "200 OK", kind: "application/ocsp-response", server: "nginx", answer: der(0x30, der(10, []byte{6})),
		})
		c.pause(r.think(8*time.Second, 0.5))
		c.fin(orig)
		return t + r.exp(3*time.Hour)
	})
	if h.os == windows && r.chance(0.5) {
		at := w.start + r.between(time.Hour, 9*time.Hour)
		w.at(at, func() { w.update(at, r, h, r.size(350000, 0.6, 100000)) })
	}
}

// update downloads a software package over HTTP in pieces.
func (w *world) update(t int64, r *random, h *host, size int) {
	name := "dl.winupdate.example"
	agent := "Microsoft-Delivery-Optimization/10.0"
	path := "/filestreamingservice/files/" + r.text(8, hexDigits) + "-" + r.text(4, hexDigits) + "?P1=" + r.text(10, "0123456789")
	if h.os == linux {
		name, agent, path = "deb.debmirror.example", "Debian APT-HTTP/1.3 (2.6.1)", "/debian/pool/main/o/openssl/libssl3_3.0.15-1_amd64.deb"
	}
	c := w.tcp(w.lookup(t, r, h, name), r, h, w.zone.target(name), 80, nil)
	for off := 0; off < size; off += 1 << 18 {
		n := min(size-off, 1<<18)
		c.http(httpRequest{
			method: "GET", host: name, path: path, agent: agent, headers: []string{"Accept: */*", fmt.Sprintf("Range: bytes=%d-%d", off, off+n-1), "Connection: Keep-Alive"},
			status: "206 Partial Content", kind: "application/octet-stream", server: "ECAcc",
			extra: []string{fmt.Sprintf("Content-Range: bytes %d-%d/%d", off, off+n-1, size), "Accept-Ranges: bytes"}, answer: r.bytes(n),
		})
		c.pause(r.think(2*time.Second, 0.6))
	}
	c.fin(orig)
}

// mailbox is a mail program that waits for mail all day (IMAP over TLS).
func (w *world) mailbox(t int64, r *random, h *host) {
	c := w.tcp(w.lookup(t, r, h, w.net.mail.name), r, h, w.net.mail, 993, nil)
	c.tls(tlsSession{client: h.service, name: w.net.mail.name, chain: w.certs.chain(corporate), modern: true})
	for range 4 {
		c.app(orig, r.span(30, 90))
		c.app(resp, r.span(60, 2600))
	}
	c.rest()
	w.every(c.t+minute, func(t int64) int64 {
		c.t = max(c.t, t)
		if r.chance(0.4 * busy(t)) {
			c.app(resp, r.span(40, 60))
			c.app(orig, r.span(40, 80))
			c.app(resp, r.size(9000, 1, 900))
		} else {
			c.app(orig, 36)
			c.app(resp, 48)
		}
		c.rest()
		return t + r.between(7*time.Minute, 9*time.Minute)
	})
}

// idleMail is a device that waits for mail of an outside provider: one connection for
// hours, with a sign of life each nine minutes.
func (w *world) idleMail(t int64, r *random, h *host) {
	name := "imap.mailgate.example"
	c := w.tcp(w.lookup(t, r, h, name), r, h, w.zone.target(name), 993, nil)
	c.tls(tlsSession{client: h.service, name: name, chain: w.certs.chain("mailgate.example"), modern: true})
	for range 4 {
		c.app(orig, r.span(30, 90))
		c.app(resp, r.span(60, 2600))
	}
	c.rest()
	w.every(c.t+minute, func(t int64) int64 {
		c.t = max(c.t, t)
		c.app(orig, 36)
		c.app(resp, 48)
		c.rest()
		return t + 9*minute + r.between(0, time.Second)
	})
}

// push holds a notification channel open, renewed now and then.
func (w *world) push(t int64, r *random, h *host) {
	var c *conversation
	var until int64
	w.every(t, func(t int64) int64 {
		if c == nil || t > until {
			if c != nil {
				c.t = max(c.t, t)
				c.bye(orig, true)
			}
			c = w.secure(t, r, h, "wns.pushrelay.example", h.service)
			c.app(orig, r.span(600, 1400))
			c.app(resp, r.span(300, 700))
			until = t + r.between(35*time.Minute, 115*time.Minute)
		}
		c.t = max(c.t, t)
		if r.chance(0.12) {
			c.app(resp, r.size(500, 0.8, 90))
		} else {
			c.app(orig, 12)
			c.app(resp, 12)
		}
		c.rest()
		return c.t + r.think(150*time.Second, 0.5)
	})
}

// guest is a device on the wireless network.
func (w *world) guest(h *host) {
	r := newRandom(w.seed, "guest "+h.name)
	w.every(w.start+r.between(-5*time.Minute, 2*time.Hour), func(t int64) int64 {
		w.dhcp(t, r, h)
		return t + r.between(50*time.Minute, 70*time.Minute)
	})
	w.every(w.start+r.exp(20*time.Minute), func(t int64) int64 {
		if h.os == windows {
			w.llmnr(t, r, h, pick(r, []string{"wpad", "printer", "fileserver"}))
		} else {
			w.mdns(t, r, h, pick(r, []string{"_airplay._tcp.local", "_ipp._tcp.local", "_googlecast._tcp.local", "_companion-link._tcp.local"}))
		}
		return t + r.exp(12*time.Minute)
	})
	w.at(w.start+r.exp(30*time.Minute), func() { w.idleMail(w.now, r.fork("mail"), h) })
	w.every(w.start+r.exp(15*time.Minute), func(t int64) int64 {
		w.ntp(t, r, h, w.zone.target("timepool.example"))
		return t + r.between(28*time.Minute, 34*time.Minute)
	})
}
