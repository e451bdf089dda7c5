package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// corporate is the domain of the company under attack.
const corporate = "corp.northgate.example"

// site is a destination on the internet: a registrable domain with its hosts, name server
// and habits.
type site struct {
	domain string
	server *host // web servers, one or several addresses
	more   []*host
	ns     *host
	labels []string // host names that pages use, "" for the domain itself
	tls13  bool
	hybrid bool // server offers the hybrid post-quantum group
	weight int  // of page visits, 0: not browsed
}

// zone is all the names of the scenario.
type zone struct {
	sites  []*site
	byName map[string]*site // registrable domain
	total  int
	names  *host             // resolver of the wireless network is its gateway; this one is the root of the rest
	cached map[string]int64  // what the company's resolver knows, until when
	fixed  map[string]answer // names with fixed answers
}

// answer is what a name resolves to.
type answer struct {
	cname string
	a     []netip.Addr
	aaaa  []netip.Addr
	ttl   uint32
	ns    *host
}

// browsed are the sites people visit: domain and weight.
var browsed = []struct {
	domain string
	weight int
	labels string
}{
	{"searchlight.example", 30, "www apis encrypted-img"},
	{"dailyharbor.example", 12, "www static media"},
	{"videostream.example", 10, "www i manifest r3---sn"},
	{"codeforge.example", 9, "www api raw avatars"},
	{"stackanswers.example", 8, "www cdn"},
	{"mapsphere.example", 5, "www tiles-a tiles-b tiles-c"},
	{"shopbasket.example", 7, "www images api checkout"},
	{"sociallink.example", 9, "www static platform"},
	{"encyclo.example", 8, "en upload www"},
	{"weatherwise.example", 5, "www api"},
	{"bankofelm.example", 3, "www online secure"},
	{"trainplanner.example", 3, "www"},
	{"docsuite.example", 9, "www docs drive"},
	{"crmcloud.example", 8, "login app static"},
	{"travelnest.example", 3, "www img"},
	{"recipesbook.example", 3, "www"},
	{"sportspage.example", 5, "www live img"},
	{"techgazette.example", 6, "www cdn"},
	{"cityhall.example", 1, "www forms"},
	{"lawlibrary.example", 1, "www"},
	{"partscatalog.example", 2, "www shop"},
	{"jobsboard.example", 2, "www"},
	{"musicbox.example", 4, "open audio-ak"},
	{"photoshare.example", 3, "www live"},
}

// serviceDomains are the domains that software calls on its own.
var serviceDomains = []string{
	"edgecdn.example", "telemetry-vendor.example", "avshield.example", "winupdate.example", "pushrelay.example",
	"meetwave.example", "certstatus.example", "debmirror.example", "timepool.example", "partnerbank.example", "mailgate.example", "newsletter.example",
}

// newZone builds the sites at addresses in 198.18.0.0/16.
func newZone(seed int64, n *network) *zone {
	r := newRandom(seed, "zone")
	z := &zone{byName: map[string]*site{}, cached: map[string]int64{}, fixed: map[string]answer{}}
	add := func(i int, domain, labels string, weight int) {
		s := &site{domain: domain, weight: weight, labels: strings.Fields(labels), tls13: r.chance(0.8), hybrid: r.chance(0.5)}
		lag := time.Duration(r.between(6*time.Millisecond, 60*time.Millisecond))
		if r.chance(0.15) {
			lag += 70 * time.Millisecond
		}
		six := ""
		if r.chance(0.45) {
			six = fmt.Sprintf("2001:db8:a:%x::80", i)
		}
		s.server = n.outside(domain, "site", RoleBenign, fmt.Sprintf("198.18.%d.80", i), six, linux, lag)
		for k := range r.intn(3) {
			s.more = append(s.more, n.outside(domain, "site", RoleBenign, fmt.Sprintf("198.18.%d.%d", i, 81+k), "", linux, lag))
		}
		s.ns = n.outside("ns1."+domain, "name server", RoleBenign, fmt.Sprintf("198.18.%d.53", i), "", linux, lag)
		z.sites = append(z.sites, s)
		z.byName[domain] = s
		z.total += weight
	}
	i := 1
	for _, b := range browsed {
		add(i, b.domain, b.labels, b.weight)
		i++
	}
	for _, d := range serviceDomains {
		add(i, d, "", 0)
		i++
	}
	for _, h := range n.inside {
		a := answer{a: []netip.Addr{h.ip}, ttl: 1200}
		if h.ula.IsValid() {
			a.aaaa = []netip.Addr{h.ula}
		}
		z.fixed[h.name] = a
	}
	return z
}

// browse picks a site by its weight.
func (z *zone) browse(r *random) *site {
	x := r.intn(z.total)
	for _, s := range z.sites {
		if x -= s.weight; x < 0 {
			return s
		}
	}
	return z.sites[0]
}

// hostFor returns the machine that serves a name of the site: the same for the same name.
func (s *site) hostFor(name string) *host {
	h := 0
	for i := 0; i < len(name); i++ {
		h = h*31 + int(name[i])
	}
	if len(s.more) == 0 || h%3 == 0 {
		return s.server
	}
	return s.more[(h&0xffff)%len(s.more)]
}

// resolve answers for a name; ok is false when it does not exist.
func (z *zone) resolve(name string) (a answer, ok bool) {
	if a, ok = z.fixed[name]; ok {
		return a, true
	}
	parts := strings.Split(name, ".")
	if len(parts) < 2 {
		return answer{}, false
	}
	s := z.byName[strings.Join(parts[len(parts)-2:], ".")]
	if s == nil {
		return answer{}, false
	}
	h := s.hostFor(name)
	a = answer{a: []netip.Addr{h.ip}, ttl: 300, ns: s.ns}
	if h.ip6.IsValid() {
		a.aaaa = []netip.Addr{h.ip6}
	}
	if strings.HasPrefix(name, "static.") || strings.HasPrefix(name, "images.") || strings.HasPrefix(name, "media.") {
		cdn := z.byName["edgecdn.example"]
		h := cdn.hostFor(name)
		a = answer{cname: strings.ReplaceAll(name, ".", "-") + ".edgecdn.example", a: []netip.Addr{h.ip}, ttl: 120, ns: s.ns}
		if h.ip6.IsValid() {
			a.aaaa = []netip.Addr{h.ip6}
		}
	}
	return a, true
}

// target returns the machine behind a name, for connecting to it.
func (z *zone) target(name string) *host {
	parts := strings.Split(name, ".")
	s := z.byName[strings.Join(parts[max(0, len(parts)-2):], ".")]
	if s == nil {
		return nil
	}
	if strings.HasPrefix(name, "static.") || strings.HasPrefix(name, "images.") || strings.HasPrefix(name, "media.") {
		return z.byName["edgecdn.example"].hostFor(name)
	}
	return s.hostFor(name)
}
