package detect

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
)

var base = model.TimeOf(time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC))

func scope() Scope {
	return Scope{
		CaseID: "case-test", Run: "run",
		Internal:    []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.168.0.0/16")},
		ScanTargets: 5, BeaconScore: 0.7, BeaconConnections: 20, LongConnection: time.Hour, DNSNames: 100,
	}
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// contacts makes n first contacts; outcome says what became of each.
func contacts(n int, to func(i int) (netip.Addr, uint16), outcome func(i int) uint8) []store.Contact {
	var out []store.Contact
	for i := range n {
		a, p := to(i)
		out = append(out, store.Contact{TS: base.Add(time.Duration(i) * time.Second), IP: a, Port: p, Flows: 1, Outcome: outcome(i)})
	}
	return out
}

func group(orig string, port uint16, proto string, c []store.Contact) store.ScanGroup {
	g := store.ScanGroup{OrigIP: ip(orig), Proto: proto, Port: port, Targets: uint64(len(c)), Contacts: c}
	g.First, g.Last, g.FlowCount = base, base.Add(time.Hour), uint64(len(c))
	g.EvidenceIDs = []string{"e"}
	for i, x := range c {
		g.Flows = append(g.Flows, model.FlowID(i+1))
		if x.Outcome <= store.OutcomeRefused {
			g.Reach++
		}
	}
	return g
}

func hosts(port uint16) func(int) (netip.Addr, uint16) {
	return func(i int) (netip.Addr, uint16) { return ip(fmt.Sprintf("10.1.%d.%d", i/250, 1+i%250)), port }
}

func always(o uint8) func(int) uint8 { return func(int) uint8 { return o } }

func share(fail float64, seed uint64) func(int) uint8 {
	r := rand.New(rand.NewPCG(seed, 1))
	return func(int) uint8 {
		if r.Float64() < fail {
			return store.OutcomeUnanswered
		}
		return store.OutcomeUsed
	}
}

func with(g store.ScanGroup, change func(*store.ScanGroup)) store.ScanGroup {
	change(&g)
	return g
}

func on(resp string, g store.ScanGroup) store.ScanGroup {
	g.RespIP, g.Port = ip(resp), 0
	return g
}

func ports(first uint16) func(int) (netip.Addr, uint16) {
	return func(i int) (netip.Addr, uint16) { return ip("10.1.0.1"), first + uint16(i) }
}

func dnsRows(names ...string) func() *Rows {
	return func() *Rows {
		var f DNSFold
		for i, n := range names {
			at := base.Add(time.Duration(i) * time.Second)
			d := store.DNSName{OrigIP: ip("10.0.0.1"), RespIP: ip("10.0.0.53"), Query: n, Queries: 1, Answered: 1, RequestBytes: 100, ResponseBytes: 150, First: at, Last: at}
			if strings.Contains(n, "dnsbl") {
				d.Loopback = 1
			}
			if strings.Contains(n, "txt") {
				d.Bulky = 1
			}
			f.Add(d)
		}
		return &Rows{DNS: f.Suspicious(scope())}
	}
}

func encoded(n, length int, alphabet, suffix string) []string {
	r := rand.New(rand.NewPCG(7, uint64(n)))
	out := make([]string, n)
	for i := range out {
		b := make([]byte, length)
		for j := range b {
			b[j] = alphabet[r.IntN(len(alphabet))]
		}
		out[i] = string(b) + suffix
	}
	return out
}

const (
	hexadecimal = "0123456789abcdef"
	base32      = "abcdefghijklmnopqrstuvwxyz234567"
	letters     = "abcdefghijklmnopqrstuvwxyz"
)

func long(orig, resp string, port uint16, proto string, d time.Duration) func() *Rows {
	return func() *Rows {
		g := store.LongGroup{
			OrigIP: ip(orig), RespIP: ip(resp), RespPort: port, Proto: proto, Longest: d.Microseconds(), Total: d.Microseconds(),
			OrigBytes: 1000, RespBytes: 1000, OrigPkts: 100, RespPkts: 100,
		}
		g.FlowCount, g.Flows, g.First, g.Last = 1, []model.FlowID{1}, base, base.Add(d)
		return &Rows{Long: []store.LongGroup{g}}
	}
}

func strobes(n uint64, resp string) func() *Rows {
	return func() *Rows {
		p := store.Pair{OrigIP: ip("10.0.0.1"), RespIP: ip(resp), RespPort: 443, Proto: "tcp", Count: n}
		p.First, p.Last, p.FlowCount = base, base.Add(day), n
		return &Rows{Window: Window{First: base, Last: base.Add(day), Strobes: []store.Pair{p}}}
	}
}

func scanRows(horizontal, vertical []store.ScanGroup) func() *Rows {
	return func() *Rows { return &Rows{Horizontal: horizontal, Vertical: vertical} }
}

func h(g ...store.ScanGroup) func() *Rows { return scanRows(g, nil) }
func v(g ...store.ScanGroup) func() *Rows { return scanRows(nil, g) }

// cases of each detector: rows it must report (want is the severity) and rows it must not
// (want empty).
var cases = map[string][]struct {
	name string
	rows func() *Rows
	want string
}{
	"horizontal_scan": {
		{"internal sweep of 445", h(group("10.0.0.1", 445, "tcp", contacts(100, hosts(445), share(0.9, 1)))), model.SeverityHigh},
		{"few dead hosts from outside", h(group("203.0.113.1", 445, "tcp", contacts(9, hosts(445), always(store.OutcomeUnanswered)))), model.SeverityLow},
		{"half-open scan of live servers", h(group("10.0.0.1", 443, "tcp", contacts(40, hosts(443), always(store.OutcomeEmpty)))), model.SeverityMedium},
		{"large sweep of a rare port", h(group("10.0.0.1", 31337, "tcp", contacts(60, hosts(31337), always(store.OutcomeRefused)))), model.SeverityHigh},
		{"ping sweep, most silent", h(group("10.0.0.1", 8, "icmp", contacts(18, hosts(0), share(0.5, 3)))), model.SeverityMedium},
		{"ping sweep, all alive", h(group("10.0.0.1", 8, "icmp", contacts(30, hosts(0), always(store.OutcomeUsed)))), model.SeverityMedium},
		{"browser, 8 % of servers dead", h(group("10.0.0.1", 443, "tcp", contacts(300, hosts(443), share(0.08, 1)))), ""},
		{"browser whose QUIC is filtered", h(group("10.0.0.1", 443, "udp", contacts(60, hosts(443), always(store.OutcomeUnanswered)))), ""},
		{"snmp sweep", h(group("10.0.0.1", 161, "udp", contacts(60, hosts(161), share(0.9, 4)))), model.SeverityHigh},
		{"resolver asking many servers", h(group("10.0.0.53", 53, "udp", contacts(400, hosts(53), share(0.1, 2)))), ""},
		{"peer-to-peer, scattered ports", h(with(group("10.0.0.1", 6881, "tcp", contacts(30, hosts(6881), share(0.8, 5))), func(g *store.ScanGroup) { g.Reach = 400 })), ""},
		{"health checks of a load balancer", h(with(group("10.0.0.1", 80, "tcp", contacts(30, hosts(80), always(store.OutcomeEmpty))), func(g *store.ScanGroup) {
			for i := range g.Contacts {
				g.Contacts[i].Flows = 500
			}
		})), ""},
		{"monitor pinging its servers", h(with(group("10.0.0.1", 8, "icmp", contacts(40, hosts(0), share(0.05, 1))), func(g *store.ScanGroup) {
			for i := range g.Contacts {
				g.Contacts[i].Flows = 100
			}
		})), ""},
		{"four dead servers", h(group("10.0.0.1", 445, "tcp", contacts(4, hosts(445), always(store.OutcomeUnanswered)))), ""},
		{"dual failures of a busy client", h(group("10.0.0.1", 22, "tcp", contacts(200, hosts(22), share(0.4, 9)))), ""},
	},
	"vertical_scan": {
		{"thousand ports", v(on("10.1.0.1", group("10.0.0.1", 0, "tcp", contacts(1000, ports(1), share(0.99, 1))))), model.SeverityHigh},
		{"ten ports", v(on("10.1.0.1", group("10.0.0.1", 0, "tcp", contacts(10, ports(20), always(store.OutcomeRefused))))), model.SeverityMedium},
		{"udp scan", v(on("10.1.0.1", group("10.0.0.1", 0, "udp", contacts(50, ports(1), always(store.OutcomeUnanswered))))), model.SeverityHigh},
		{"passive FTP transfers", v(on("203.0.113.1", group("10.0.0.1", 0, "tcp", contacts(200, ports(50000), always(store.OutcomeUsed))))), ""},
		{"remote procedure calls, some refused", v(on("10.1.0.1", group("10.0.0.1", 0, "tcp", contacts(40, ports(49152), share(0.3, 4))))), ""},
		{"traceroute", v(on("203.0.113.1", group("10.0.0.1", 0, "udp", contacts(90, ports(33434), always(store.OutcomeUnanswered))))), ""},
		{"four ports", v(on("10.1.0.1", group("10.0.0.1", 0, "tcp", contacts(4, ports(80), always(store.OutcomeRefused))))), ""},
		{"call candidates", v(on("203.0.113.1", group("10.0.0.1", 0, "udp", contacts(8, ports(50000), always(store.OutcomeUnanswered))))), ""},
	},
	"long_connection": {
		{"unknown protocol to the outside, 13 h", long("10.0.0.1", "203.0.113.1", 4444, "tcp", 13*time.Hour), model.SeverityHigh},
		{"two hours", long("10.0.0.1", "203.0.113.1", 4444, "tcp", 2*time.Hour), model.SeverityLow},
		{"five hours", long("10.0.0.1", "203.0.113.1", 4444, "tcp", 5*time.Hour), model.SeverityMedium},
		{"inside, odd port", long("192.168.2.186", "192.168.2.21", 1234, "tcp", 113*time.Minute), model.SeverityLow},
		{"file server session", long("10.0.0.1", "10.0.0.2", 445, "tcp", 20*time.Hour), ""},
		{"database pool", long("10.0.0.1", "10.0.0.2", 5432, "tcp", 20*time.Hour), ""},
		{"time service", long("10.0.0.1", "203.0.113.1", 123, "udp", 20*time.Hour), ""},
		{"multicast", long("10.0.0.1", "239.255.255.250", 1900, "udp", 20*time.Hour), ""},
		{"fifty minutes", long("10.0.0.1", "203.0.113.1", 443, "tcp", 50*time.Minute), ""},
	},
	"strobe": {
		{"ninety thousand", strobes(90000, "203.0.113.1"), model.SeverityMedium},
		{"inside", strobes(90000, "10.0.0.9"), ""},
		{"too few", strobes(86399, "203.0.113.1"), ""},
	},
	"dns_tunnel": {
		{"base32 in names, short capture", dnsRows(encoded(60, 50, base32, ".txt.t.example.com")...), model.SeverityHigh},
		{"slow hexadecimal", dnsRows(encoded(12, 60, hexadecimal, ".t.example.com")...), model.SeverityMedium},
		{"no registered domain", dnsRows(encoded(40, 50, hexadecimal, "."+encoded(1, 20, hexadecimal, "")[0])...), model.SeverityMedium},
		{"one long query", dnsRows(encoded(1, 60, base32, ".x.example.com")...), model.SeverityLow},
		{"many ordinary names", dnsRows(encoded(150, 6, letters, ".pages.example")...), model.SeverityLow},
		{"content network", dnsRows(encoded(60, 14, hexadecimal, ".cdn.example.com")...), ""},
		{"cloud hosts under a private suffix", dnsRows(encoded(500, 14, base32, ".cloudfront.net")...), ""},
		{"reverse lookups", dnsRows(encoded(500, 40, "0123456789", ".in-addr.arpa")...), ""},
		{"virus scanner hashes", dnsRows(encoded(300, 32, hexadecimal, ".avqs.example.com")...), ""},
		{"reputation service by name", dnsRows(encoded(300, 45, base32, ".v.sophosxl.net")...), ""},
		{"mail block list", dnsRows(encoded(300, 30, hexadecimal, ".dnsbl.example.com")...), ""},
		{"words", dnsRows(encoded(60, 30, letters, ".example.com")...), ""},
		{"single labels", dnsRows(encoded(300, 30, base32, "")...), ""},
	},
	"beacon": {
		{"60 s, jitter 20 %, one day", pairRows(day, 1, beat(60, 0.2, fixed(300))), model.SeverityHigh},
		{"60 s, jitter 50 %, random sizes", pairRows(day, 2, beat(60, 0.5, lognormal)), model.SeverityMedium},
		{"30 min, jitter 20 %", pairRows(day, 3, beat(1800, 0.2, fixed(300))), model.SeverityHigh},
		{"2 s, captured for eleven minutes", pairRows(11*time.Minute, 4, beat(2, 0.01, fixed(300))), model.SeverityMedium},
		{"60 s for two hours of a day", pairRows(day, 5, only(0, 2*time.Hour, beat(60, 0.2, fixed(300)))), model.SeverityMedium},
		{"office hours, 60 s", pairRows(day, 6, only(8*time.Hour, 17*time.Hour, beat(60, 0.2, fixed(300)))), model.SeverityMedium},
		{"independent arrivals, fixed size", pairRows(day, 7, poisson(120, fixed(300))), model.SeverityLow},
		{"independent arrivals in a short capture", pairRows(30*time.Minute, 8, poisson(5, fixed(300))), ""},
		{"page loads", pairRows(day, 9, bursts), ""},
		{"heavy-tailed use", pairRows(day, 10, heavy), ""},
		{"scan of one host in seconds", pairRows(5*time.Second, 11, beat(0.002, 0, fixed(60))), ""},
		{"clock service", withPort(123, "udp", pairRows(day, 12, beat(64, 0, fixed(76)))), ""},
		{"inside", withResp("10.0.0.9", pairRows(day, 13, beat(60, 0, fixed(300)))), ""},
		{"from outside", withOrig("203.0.113.200", withResp("10.0.0.9", pairRows(day, 14, beat(60, 0, fixed(300))))), ""},
		{"ten connections", pairRows(day, 15, beat(8640, 0, fixed(300))), ""},
	},
}

// TestCases walks the table of detectors and the cases together: each detector has rows it
// must report and benign rows it must not.
func TestCases(t *testing.T) {
	for _, d := range All {
		var attack, benign int
		for _, c := range cases[d.ID] {
			if c.want == "" {
				benign++
			} else {
				attack++
			}
			t.Run(d.ID+"/"+c.name, func(t *testing.T) {
				got := Run(scope(), c.rows())
				if c.want == "" {
					for _, x := range got {
						t.Errorf("false alarm: %s %s", x.Severity, x.Why)
					}
					return
				}
				if len(got) != 1 || got[0].Severity != c.want {
					t.Fatalf("got %d detections, want one of severity %s: %+v", len(got), c.want, got)
				}
				checkDetection(t, d, got[0])
			})
		}
		if attack == 0 || benign == 0 {
			t.Errorf("detector %s has %d cases to report and %d benign ones, both are needed", d.ID, attack, benign)
		}
	}
	for id := range cases {
		if !slices.ContainsFunc(All, func(d Detector) bool { return d.ID == id }) {
			t.Errorf("cases of %s, which is not in All", id)
		}
	}
}

func checkDetection(t *testing.T, d Detector, x model.Detection) {
	t.Helper()
	if x.Detector != d.ID || x.Title == "" || x.Why == "" || len(x.Numbers) == 0 || x.Confidence == 0 || x.FirstSeen == 0 || x.LastSeen < x.FirstSeen ||
		len(x.FalsePositives) == 0 || !slices.IsSortedFunc(x.Numbers, func(a, b model.Number) int { return strings.Compare(a.Name, b.Name) }) || !slices.IsSorted(x.From) {
		t.Errorf("incomplete: %+v", x)
	}
	if !slices.ContainsFunc(d.Techniques, func(k Technique) bool {
		return k.ID == x.Technique && k.Legacy == x.TechniqueLegacy && k.Phase == x.Phase && k.Tactic == x.Tactic && k.Name == x.TechniqueName
	}) {
		t.Errorf("technique %s is not among those the detector declares", x.Technique)
	}
	if strings.Contains(x.Why, "NaN") || strings.Contains(x.Why, "%!") {
		t.Errorf("broken sentence: %s", x.Why)
	}
}

// TestOrder shuffles all rows: the detections must not change by a byte.
func TestOrder(t *testing.T) {
	rows := &Rows{Window: Window{First: base, Last: base.Add(day)}}
	for _, id := range []string{"horizontal_scan", "vertical_scan", "long_connection", "dns_tunnel", "beacon", "strobe"} {
		for i, c := range cases[id] {
			r := c.rows()
			rows.Horizontal = append(rows.Horizontal, r.Horizontal...)
			rows.Vertical = append(rows.Vertical, r.Vertical...)
			rows.Long = append(rows.Long, r.Long...)
			rows.DNS = append(rows.DNS, r.DNS...)
			for _, p := range r.Window.Addressed {
				p.RespIP = ip(fmt.Sprintf("198.51.100.%d", i))
				rows.Window.Addressed = append(rows.Window.Addressed, p)
			}
		}
	}
	want := Run(scope(), rows)
	if len(want) < 10 {
		t.Fatalf("only %d detections to compare", len(want))
	}
	for seed := range uint64(5) {
		r := rand.New(rand.NewPCG(seed, 2))
		r.Shuffle(len(rows.Horizontal), func(i, j int) { rows.Horizontal[i], rows.Horizontal[j] = rows.Horizontal[j], rows.Horizontal[i] })
		r.Shuffle(len(rows.Vertical), func(i, j int) { rows.Vertical[i], rows.Vertical[j] = rows.Vertical[j], rows.Vertical[i] })
		r.Shuffle(len(rows.Long), func(i, j int) { rows.Long[i], rows.Long[j] = rows.Long[j], rows.Long[i] })
		r.Shuffle(len(rows.DNS), func(i, j int) { rows.DNS[i], rows.DNS[j] = rows.DNS[j], rows.DNS[i] })
		a := rows.Window.Addressed
		r.Shuffle(len(a), func(i, j int) { a[i], a[j] = a[j], a[i] })
		for k := range rows.Horizontal {
			c := rows.Horizontal[k].Contacts
			r.Shuffle(len(c), func(i, j int) { c[i], c[j] = c[j], c[i] })
		}
		if got := Run(scope(), rows); !reflect.DeepEqual(got, want) {
			t.Fatal("the order of the rows changed the detections")
		}
	}
}

// TestBlockScan: one scanner of many ports, or of many hosts, is told once.
func TestBlockScan(t *testing.T) {
	rows := &Rows{}
	for p := range uint16(20) {
		rows.Horizontal = append(rows.Horizontal, group("10.0.0.1", scanPorts[p], "tcp", contacts(60, hosts(scanPorts[p]), always(store.OutcomeUnanswered))))
		rows.Vertical = append(rows.Vertical, on(fmt.Sprintf("10.2.0.%d", p), group("10.0.0.1", 0, "tcp", contacts(20, ports(1), always(store.OutcomeRefused)))))
	}
	got := Run(scope(), rows)
	if len(got) != 2 {
		t.Fatalf("%d detections, want 2", len(got))
	}
	for _, d := range got {
		if d.RespPort != 0 || d.RespIP.IsValid() || d.Severity == model.SeverityLow {
			t.Errorf("%+v", d)
		}
	}
}

func TestWindows(t *testing.T) {
	at := func(h float64) model.Time { return base.Add(time.Duration(h * float64(time.Hour))) }
	for _, c := range []struct {
		name  string
		spans []store.Span
		want  []Window
	}{
		{"none", nil, nil},
		{"ten minutes", []store.Span{{First: at(0), Last: at(0.1)}}, []Window{{First: at(0), Last: at(0.1)}}},
		{"two days from the end", []store.Span{{First: at(0), Last: at(20)}, {First: at(24), Last: at(40)}}, []Window{{First: at(0), Last: at(16) - 1}, {First: at(16), Last: at(40)}}},
		{"two epochs", []store.Span{{First: at(1000), Last: at(1001)}, {First: at(0), Last: at(1)}}, []Window{{First: at(0), Last: at(1)}, {First: at(1000), Last: at(1001)}}},
	} {
		if got := Windows(c.spans); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	if n := len(Windows([]store.Span{{First: 1, Last: model.Time(100 * 365 * 24 * time.Hour / 1000)}})); n != windowsCap {
		t.Errorf("%d windows for a century", n)
	}
}

func TestRegistrableDomain(t *testing.T) {
	for name, want := range map[string][2]string{
		"www.example.com":         {"example.com", "www"},
		"a.b.example.co.uk":       {"example.co.uk", "a.b"},
		"example.com":             {"example.com", ""},
		"com":                     {},
		"d1.cloudfront.net":       {"d1.cloudfront.net", ""},
		"host.corp.lan":           {"corp.lan", "host"},
		"x.4s2fgaaaa__-.test.txt": {"test.txt", "x.4s2fgaaaa__-"},
		"aa.19e4d098dc8c618f":     {"", "aa.19e4d098dc8c618f"},
		"1.0.0.10.in-addr.arpa":   {},
		"printer.local":           {},
		"":                        {},
	} {
		domain, sub, ok := RegistrableDomain(name)
		if domain != want[0] || sub != want[1] || ok != (want != [2]string{}) {
			t.Errorf("%q: %q %q %v, want %q", name, domain, sub, ok, want)
		}
	}
}
