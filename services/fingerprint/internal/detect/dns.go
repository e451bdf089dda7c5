package detect

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
)

// RITA's steps for distinct names under one domain.
const (
	dnsLow    = 500
	dnsMedium = 800
	dnsHigh   = 1000
)

// What makes names carry data, for captures too short to count hundreds of names.
const (
	carrierNames   = 10   // distinct names
	carrierLength  = 24   // mean characters below the domain
	carrierEntropy = 3.2  // bits per character over all of them: hexadecimal has 4, base32 nearly 5
	carrierBytes   = 300  // payload the names can have carried: characters * entropy / 8
	carrierDigits  = 0.08 // share of digits: words have none, any encoding of data has more
	oneName        = 120  // length from which a single name is worth a line
	oneLabel       = 52   // or one of its labels, of which the longest possible has 63
)

// reputation are services that answer questions put as names: block lists, file and URL
// reputation, whois. Their clients send many long, random names all day.
var reputation = []string{
	"abuseat.org", "avast.com", "avg.com", "barracudabrts.com", "barracudacentral.org", "bitdefender.net", "cymru.com", "dnsbl.info", "dnswl.org",
	"e5.sk", "eset.com", "f-secure.com", "habeas.com", "invaluement.com", "kaspersky-labs.com", "mailspike.net", "mcafee.com", "njabl.org",
	"opendnsbl.net", "orbs.org", "rbl.jp", "senderbase.org", "sophosxl.net", "sorbs.net", "spamcop.net", "spameatingmonkey.net", "spamhaus.net",
	"spamhaus.org", "support-intelligence.net", "surbl.org", "trendmicro.com", "uceprotect.net", "uribl.com", "webcfs00.com", "webcfs03.com",
}

var dnsTunnel = Detector{
	ID:         "dns_tunnel",
	Title:      "Data carried in DNS names",
	Techniques: []Technique{dnsProtocol, clearExfil},
	FalsePositives: []string{
		"reputation services of mail filters and virus scanners that put hashes into names",
		"content networks and telemetry that number their hosts",
		"wildcard host names made by tests and continuous integration",
	},
	Detect: detectDNS,
}

// DNSGroup is what one originator asked about all names under one domain. Domain is empty
// for names that lie under no domain at all; RespIP then tells the server they went to.
type DNSGroup struct {
	OrigIP        netip.Addr
	RespIP        netip.Addr // invalid if several servers were asked
	Domain        string
	Names         uint64 // distinct names below the domain
	Queries       uint64
	Bulky         uint64
	Answered      uint64
	NXDomain      uint64
	Loopback      uint64
	Hashes        uint64 // names whose first label is a bare MD5, SHA-1 or SHA-256
	Characters    uint64 // below the domain, over the distinct names, dots left out
	Digits        uint64
	Longest       int    // characters of the longest name
	Label         int    // characters of the longest label below the domain
	Sample        string // the longest name, then the first by spelling
	RequestBytes  uint64
	ResponseBytes uint64
	First, Last   model.Time
	letters       [256]uint64

	Support store.Support // filled for the groups that Suspicious picks
}

// Server is the server the names went to where that is part of what the group is; invalid
// for names under a domain.
func (g *DNSGroup) Server() netip.Addr {
	if g.Domain != "" {
		return netip.Addr{}
	}
	return g.RespIP
}

// DNSFold gathers names into groups, in any order and without keeping the names.
type DNSFold struct {
	groups map[dnsKey]*DNSGroup
}

type dnsKey struct {
	orig, resp netip.Addr
	domain     string
}

// Add takes one distinct name of one originator. Reverse lookups, names without a dot and
// names of the local link are left out.
func (f *DNSFold) Add(n store.DNSName) {
	name := strings.Trim(strings.ToLower(n.Query), ".")
	domain, sub, ok := RegistrableDomain(name)
	if !ok {
		return
	}
	if f.groups == nil {
		f.groups = map[dnsKey]*DNSGroup{}
	}
	key := dnsKey{orig: n.OrigIP, domain: domain}
	if domain == "" {
		key.resp = n.RespIP
	}
	g := f.groups[key]
	if g == nil {
		g = &DNSGroup{OrigIP: n.OrigIP, RespIP: n.RespIP, Domain: domain, First: n.First, Last: n.Last}
		f.groups[key] = g
	}
	if g.RespIP != n.RespIP {
		g.RespIP = netip.Addr{}
	}
	g.Queries += n.Queries
	g.Bulky += n.Bulky
	g.Answered += n.Answered
	g.NXDomain += n.NXDomain
	g.Loopback += n.Loopback
	g.RequestBytes += n.RequestBytes
	g.ResponseBytes += n.ResponseBytes
	g.First, g.Last = min(g.First, n.First), max(g.Last, n.Last)
	if sub == "" {
		return
	}
	g.Names++
	if isHash(sub) {
		g.Hashes++
	}
	label := 0
	for i := range len(sub) {
		c := sub[i]
		if c == '.' {
			label = 0
			continue
		}
		label++
		g.Label = max(g.Label, label)
		g.Characters++
		g.letters[c]++
		if c >= '0' && c <= '9' {
			g.Digits++
		}
	}
	if len(name) > g.Longest || len(name) == g.Longest && name < g.Sample {
		g.Longest, g.Sample = len(name), name
	}
}

// Suspicious returns the groups the detector will report, sorted, so that only their flows
// need to be looked up.
func (f *DNSFold) Suspicious(s Scope) []DNSGroup {
	var out []DNSGroup
	for _, g := range f.groups {
		if _, ok := s.judgeDNS(*g); ok {
			out = append(out, *g)
		}
	}
	slices.SortFunc(out, func(a, b DNSGroup) int {
		if c := strings.Compare(a.Domain, b.Domain); c != 0 {
			return c
		}
		if c := a.OrigIP.Compare(b.OrigIP); c != 0 {
			return c
		}
		return a.RespIP.Compare(b.RespIP)
	})
	return out
}

// RegistrableDomain splits a name into the domain someone registered (one label below a
// public suffix, private suffixes such as cloudfront.net included) and what stands before
// it. Under a suffix nobody manages, two labels count as the domain if the last is a
// word, else domain is empty. ok is false for reverse lookups, .local and single labels.
func RegistrableDomain(name string) (domain, sub string, ok bool) {
	if name == "" || !strings.Contains(name, ".") ||
		strings.HasSuffix(name, ".arpa") || strings.HasSuffix(name, ".local") {
		return "", "", false
	}
	suffix, icann := publicsuffix.PublicSuffix(name)
	if !icann && !strings.Contains(suffix, ".") && !word(suffix) {
		return "", name, true
	}
	if suffix == name {
		return name, "", true
	}
	rest := strings.TrimSuffix(name, "."+suffix)
	if i := strings.LastIndexByte(rest, '.'); i >= 0 {
		return rest[i+1:] + "." + suffix, rest[:i], true
	}
	return name, "", true
}

// word reports whether a top label can be the name of somebody's own zone: up to twelve
// letters.
func word(s string) bool {
	if s == "" || len(s) > 12 {
		return false
	}
	for i := range len(s) {
		if s[i] < 'a' || s[i] > 'z' {
			return false
		}
	}
	return true
}

// isHash reports whether the first label is a bare MD5, SHA-1 or SHA-256 in hexadecimal.
func isHash(sub string) bool {
	label, _, _ := strings.Cut(sub, ".")
	if n := len(label); n != 32 && n != 40 && n != 64 {
		return false
	}
	return strings.Trim(label, "0123456789abcdef") == ""
}

// entropy is the Shannon entropy of the characters below the domain, bits per character.
func (g *DNSGroup) entropy() float64 {
	h := 0.0
	for _, n := range g.letters {
		if n > 0 {
			p := float64(n) / float64(g.Characters)
			h -= p * math.Log2(p)
		}
	}
	return h
}

// dnsVerdict is how a group was judged.
type dnsVerdict struct {
	many    bool // distinct names alone
	carrier bool // the names can carry data
	single  bool // one overlong name
	mean    float64
	bits    float64
	carried float64 // bytes the names can have carried
}

func (s Scope) judgeDNS(g DNSGroup) (dnsVerdict, bool) {
	var v dnsVerdict
	if g.Names == 0 || unsolicited(g.OrigIP) || slices.Contains(reputation, g.Domain) ||
		2*g.Loopback >= g.Queries || 2*g.Hashes >= g.Names {
		return v, false
	}
	v.mean = float64(g.Characters) / float64(g.Names)
	v.bits = g.entropy()
	v.carried = float64(g.Characters) * v.bits / 8
	digits := float64(g.Digits) / float64(max(1, g.Characters))
	dense := v.bits >= carrierEntropy && digits >= carrierDigits
	v.many = int(g.Names) >= s.DNSNames
	v.carrier = g.Names >= carrierNames && v.carried >= carrierBytes && dense && v.mean >= carrierLength
	v.single = dense && (g.Longest >= oneName || g.Label >= oneLabel)
	return v, v.many || v.carrier || v.single
}

func detectDNS(s Scope, rows *Rows) []model.Detection {
	var out []model.Detection
	for _, g := range rows.DNS {
		v, ok := s.judgeDNS(g)
		if !ok {
			continue
		}
		took := g.Last.Sub(g.First)
		bulky := float64(g.Bulky) / float64(max(1, g.Queries))
		rate := v.carried / max(1, took.Seconds())
		score := ritaBucket(float64(g.Names), float64(max(1, s.DNSNames)), max(dnsLow, float64(s.DNSNames)+1), max(dnsMedium, float64(s.DNSNames)+2), max(dnsHigh, float64(s.DNSNames)+3))
		t := dnsProtocol
		// Much up and little down is data leaving, not a conversation.
		if v.carrier && g.Bulky == 0 && g.ResponseBytes < 2*g.RequestBytes && v.carried >= 4096 {
			t = clearExfil
		}
		under := "under " + g.Domain
		entities := []string{g.OrigIP.String(), g.Domain}
		if g.Domain == "" {
			under = "under no registered domain, to server " + addr(g.RespIP)
			entities = append(entities, addr(g.RespIP))
		}
		sup := g.Support
		if sup.First == 0 {
			sup.First, sup.Last = g.First, g.Last
		}
		d := s.raise("dns_tunnel", t, sup, entities...)
		d.OrigIP, d.RespIP, d.Domain, d.RespPort, d.Proto = g.OrigIP, g.RespIP, g.Domain, 53, "udp"
		d.Why = fmt.Sprintf("%s asked for %d distinct names %s in %d queries within %s. The part below the domain has %.0f characters on average with %.2f bits each, enough to carry %s (%.0f bytes a second); %.0f %% of the queries are of types that return free data. Longest name: %s",
			g.OrigIP, g.Names, under, g.Queries, span(took), v.mean, v.bits, size(uint64(v.carried)), rate, 100*bulky, shorten(g.Sample, 100))
		d.Numbers = numbers(
			number("names", float64(g.Names), ""),
			number("queries", float64(g.Queries), ""),
			number("mean_length", v.mean, "characters"),
			number("entropy", v.bits, "bits per character"),
			number("carried", math.Round(v.carried), "bytes"),
			number("rate", rate, "bytes per second"),
			number("bulky_share", bulky, ""),
			number("nxdomain", float64(g.NXDomain), ""),
			number("request_bytes", float64(g.RequestBytes), "bytes"),
			number("response_bytes", float64(g.ResponseBytes), "bytes"),
			number("rita_threat", score, ""),
		)
		d.Title = fmt.Sprintf("DNS tunnel: %d names %s", g.Names, under)
		d.Confidence = dnsConfidence(v, bulky, score)
		switch {
		case v.carrier && (v.carried >= 2048 || bulky >= 0.3):
			d.Severity = model.SeverityHigh
		case v.carrier:
			d.Severity = model.SeverityMedium
		case v.many && score >= 0.4 && v.mean >= carrierLength:
			d.Severity = model.SeverityMedium
		case v.many:
			d.Severity = model.SeverityLow
			d.Title = fmt.Sprintf("%d distinct names %s", g.Names, under)
		default:
			d.Severity = model.SeverityLow
			d.Title = "Overlong DNS name " + under
		}
		out = append(out, d)
	}
	return out
}

// dnsConfidence is, for names that can carry data, 0.6 and up to 0.15 each for how much they
// can have carried (full at 4 KiB) and for the share of data-bearing query types (full at
// one half); else 0.3 and half of RITA's threat figure. A single name gives 0.35.
func dnsConfidence(v dnsVerdict, bulky, threat float64) uint8 {
	switch {
	case v.carrier:
		return percent(0.6 + 0.15*min(1, v.carried/4096) + 0.15*min(1, 2*bulky))
	case v.many:
		return percent(0.3 + 0.5*threat)
	}
	return 35
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "..."
}
