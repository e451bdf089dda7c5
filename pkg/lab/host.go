package lab

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// system is an operating system as its packets show it.
type system struct {
	name    string
	ttl     uint8
	stamps  bool // sends TCP timestamps
	low     int  // ephemeral ports
	high    int
	scanner bool // raw packets of a scanning tool: few TCP options
}

var (
	windows = &system{name: "windows", ttl: 128, low: 49152, high: 65535}
	linux   = &system{name: "linux", ttl: 64, stamps: true, low: 32768, high: 60999}
	macos   = &system{name: "macos", ttl: 64, stamps: true, low: 49152, high: 65535}
	rawTool = &system{name: "scanner", ttl: 58, low: 33000, high: 64999, scanner: true}
)

// host is one machine.
type host struct {
	name string // fully qualified, "" if none
	kind string
	role string
	ip   netip.Addr
	ip6  netip.Addr // global, towards the internet
	ula  netip.Addr // unique local (RFC 4193), inside; invalid outside
	mac  mac
	vlan uint16 // inside only
	os   *system
	lag  int64   // round trip between the sensor and it
	rate int64   // bits per second it can send
	loss float64 // of its segments
	hops uint8   // routers between it and the sensor

	browser *client          // TLS stack and user agent of its browser, nil if none
	service *client          // of its background services
	known   map[string]int64 // names it has resolved: until when
	port    int              // next ephemeral port
}

// ephemeral returns a client port as the system would choose it.
func (h *host) ephemeral(r *random) uint16 {
	if h.os != windows {
		return uint16(r.span(h.os.low, h.os.high))
	}
	if h.port == 0 {
		h.port = r.span(h.os.low, h.os.high)
	}
	h.port += 1 + r.intn(2)
	if h.port > h.os.high {
		h.port = h.os.low
	}
	return uint16(h.port)
}

// network is the address plan: who is where, and which sensor sees whom.
//
//	VLAN 10  10.20.10.0/24  servers: domain controller and resolver, files, mail
//	VLAN 20  10.20.20.0/24  administrators
//	VLAN 30  10.20.30.0/24  applications
//	VLAN 40  10.20.40.0/24  management: monitoring, backup
//	VLAN 50  10.20.50.0/24  DMZ, one-to-one translated at the firewall outside the edge sensor
//	VLAN 101 10.20.101.0/24 users
//	-        10.20.200.0/24 guests on wireless, with an exit of their own
//
// IPv6 is fd4e:17a2:9c10:VLAN::/64 inside and 2001:db8:20:VLAN::/64 towards the internet.
// Hosts of the intrusion outside are in the documentation
// ranges (RFC 5737, RFC 3849), sites and visitors in 198.18.0.0/15 (RFC 2544), so that no
// real network is blamed.
type network struct {
	inside []*host
	byName map[string]*host
	other  []*host // external hosts of the intrusion

	dc, files, mail     *host // VLAN 10
	admin1, admin2      *host // VLAN 20
	app                 *host // VLAN 30
	monitor, backup     *host // VLAN 40
	web, relay          *host // VLAN 50
	users, guests       []*host
	wifiGateway         *host
	coreMAC, firewall   mac
	gatewayMAC, wifiMAC mac
	seed                *random
}

func newNetwork(seed int64, scale float64) *network {
	n := &network{byName: map[string]*host{}, seed: newRandom(seed, "network")}
	n.coreMAC, n.firewall = mac{0x00, 0x1c, 0x73, 0x0a, 0x14, 0x01}, mac{0x00, 0x1b, 0x17, 0x00, 0x01, 0x10}
	n.gatewayMAC, n.wifiMAC = mac{0x00, 0x1c, 0x73, 0x0a, 0x14, 0x02}, mac{0x24, 0x5a, 0x4c, 0x11, 0x20, 0x01}

	n.dc = n.add("dc1", "domain controller", 10, 10, windows)
	n.files = n.add("fs1", "file server", 10, 20, windows)
	n.mail = n.add("mail1", "mail server", 10, 25, linux)
	n.admin1 = n.add("adm1", "administrator's workstation", 20, 15, windows)
	n.admin2 = n.add("adm2", "administrator's workstation", 20, 16, linux)
	n.app = n.add("app1", "application server", 30, 60, linux)
	n.backup = n.add("backup1", "backup server", 40, 40, linux)
	n.monitor = n.add("mon1", "monitoring server", 40, 50, linux)
	n.web = n.add("web1", "web server", 50, 10, linux)
	n.relay = n.add("mx1", "mail relay", 50, 25, linux)
	for _, h := range []*host{n.dc, n.files, n.admin1} {
		h.service = schannel
	}
	n.admin1.browser, n.admin2.browser = edgeBrowser, firefox
	for i := range max(2, int(12*scale)) {
		os, browser, service := windows, pick(n.seed, []*client{chrome, chrome, edgeBrowser, firefox}), schannel
		switch i % 7 {
		case 3:
			os, browser, service = macos, safari, safariService
		case 5:
			os, browser, service = linux, firefox, openssl
		}
		h := n.add(fmt.Sprintf("ws%02d", i+1), "workstation", uint16(101+i/200), 20+i%200, os)
		h.browser, h.service = browser, service
		n.users = append(n.users, h)
	}
	n.wifiGateway = n.add("wifi-gw", "wireless gateway", 200, 1, linux)
	n.wifiGateway.mac = n.wifiMAC
	for i := range min(200, max(1, int(4*scale))) {
		os, browser := macos, safari
		if i%3 == 1 {
			os, browser = windows, chrome
		}
		h := n.add(fmt.Sprintf("guest%02d", i+1), "guest device", 200, 30+i, os)
		h.browser, h.service, h.lag, h.loss = browser, safariService, n.seed.between(2*time.Millisecond, 7*time.Millisecond), 0.002
		if os == windows {
			h.service = schannel
		}
		n.guests = append(n.guests, h)
	}
	return n
}

// add places an internal host.
func (n *network) add(name, kind string, vlan uint16, last int, os *system) *host {
	h := &host{
		name: name + "." + corporate, kind: kind, role: RoleBenign, vlan: vlan, os: os,
		ip:   netip.AddrFrom4([4]byte{10, 20, byte(vlan), byte(last)}),
		lag:  n.seed.between(180*time.Microsecond, 520*time.Microsecond),
		rate: 400e6, hops: 0, service: openssl, known: map[string]int64{},
	}
	if vlan > 200 { // users beyond the first VLAN at a large scale
		h.ip = netip.AddrFrom4([4]byte{10, 21, byte(vlan), byte(last)})
	}
	if vlan != 200 && vlan != 40 {
		h.ip6 = netip.MustParseAddr(fmt.Sprintf("2001:db8:20:%d::%x", vlan, last))
		h.ula = netip.MustParseAddr(fmt.Sprintf("fd4e:17a2:9c10:%d::%x", vlan, last))
	}
	vendors := [][3]byte{{0x00, 0x50, 0x56}, {0x3c, 0x52, 0x82}, {0xa4, 0xbb, 0x6d}, {0xf0, 0x18, 0x98}}
	v := vendors[n.seed.intn(len(vendors))]
	if vlan <= 50 {
		v = vendors[0]
	}
	x := n.seed.u32()
	h.mac = mac{v[0], v[1], v[2], byte(x), byte(x >> 8), byte(x >> 16)}
	n.inside = append(n.inside, h)
	n.byName[h.name] = h
	return h
}

// outside makes an external host of the intrusion or a passer-by.
func (n *network) outside(name, kind, role, ip, ip6 string, os *system, lag time.Duration) *host {
	h := &host{name: name, kind: kind, role: role, ip: netip.MustParseAddr(ip), os: os, lag: int64(lag), rate: 80e6, loss: 0.0008, hops: 9, known: map[string]int64{}}
	if ip6 != "" {
		h.ip6 = netip.MustParseAddr(ip6)
	}
	if role != RoleBenign {
		n.other = append(n.other, h)
	}
	return h
}

// internal tells whether the host is one of ours.
func (h *host) internal() bool { return h.vlan != 0 }

// sensor finds who sees the packets between a and b: nil when they stay within a segment
// that is not watched.
func (n *network) sensor(w *world, a, b *host) *sensor {
	switch {
	case a.vlan == 200 || b.vlan == 200:
		return w.wifi
	case !a.internal() || !b.internal():
		return w.edge
	case a.vlan != b.vlan:
		return w.core
	}
	return nil
}

// link fills in the link layer of a conversation at its sensor.
func (n *network) link(c *conversation) {
	a, b := c.p[orig].h, c.p[resp].h
	switch c.s {
	case c.w.edge:
		c.p[orig].mac, c.p[resp].mac = n.coreMAC, n.firewall
		if !a.internal() {
			c.p[orig].mac, c.p[resp].mac = n.firewall, n.coreMAC
		}
		for i := range c.p {
			if c.p[i].h.internal() {
				c.p[i].ttl--
			}
		}
	case c.w.core: // mirror of the originator's trunk
		c.p[orig].mac, c.p[resp].mac = a.mac, n.gatewayMAC
		c.vlan = a.vlan
		c.p[resp].ttl--
	case c.w.wifi:
		c.p[orig].mac, c.p[resp].mac = a.mac, b.mac
		if a.vlan != 200 {
			c.p[orig].mac = n.wifiMAC
		}
		if b.vlan != 200 {
			c.p[resp].mac = n.wifiMAC
		}
	}
}

// describe lists the hosts for the truth.
func (n *network) describe() []Host {
	var out []Host
	for _, list := range [][]*host{n.inside, n.other} {
		for _, h := range list {
			six := []netip.Addr{}
			for _, ip := range []netip.Addr{h.ip6, h.ula} {
				if ip.IsValid() {
					six = append(six, ip)
				}
			}
			out = append(out, Host{IP: h.ip, IP6: six, Name: h.name, Role: h.role, Kind: h.kind, Internal: h.internal()})
		}
	}
	slices.SortFunc(out, func(x, y Host) int {
		a, b := x.IP.As16(), y.IP.As16()
		return bytes.Compare(a[:], b[:])
	})
	return out
}
