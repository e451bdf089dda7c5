package profile

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/services/fingerprint/internal/detect"
)

// GroupsCap is the number of detections one profile raises for one originator before they
// are told as one.
const GroupsCap = 50

// Fold gathers matching rows into detections, one for each profile, originator and either
// responder and port or, for DNS, domain. Rows may come in any order.
type Fold struct {
	on     map[string][]*Compiled // profiles by kind of row
	groups map[foldKey]*group
	Rows   uint64 // looked at
	Errors uint64 // expressions that failed on a row
}

type foldKey struct {
	profile    string
	orig, resp netip.Addr
	port       uint16
	domain     string
}

// place orders the rows of a group in time.
type place struct {
	ts   model.Time
	flow model.FlowID
	n    uint32
}

func (a place) compare(b place) int {
	return cmp.Or(cmp.Compare(a.ts, b.ts), cmp.Compare(a.flow, b.flow), cmp.Compare(a.n, b.n))
}

// group is the matches of one profile between two parties.
type group struct {
	profile     *Compiled
	matches     uint64
	flows       map[model.FlowID]model.Time // earliest match of each flow
	evidence    map[string]bool
	first       place
	last        model.Time
	sample      []string // Show of the earliest match
	indicator   string   // of the earliest match
	names       map[string]bool
	proto       string
	responders  map[netip.Addr]bool
	respondents int
}

// NewFold starts with the profiles of set.
func NewFold(set *Set) *Fold {
	f := &Fold{on: map[string][]*Compiled{}, groups: map[foldKey]*group{}}
	for _, kind := range Kinds {
		f.on[kind] = set.On(kind)
	}
	return f
}

// Add matches one row of the kind against every profile that looks at such rows.
func (f *Fold) Add(kind string, rec *store.Record) {
	f.Rows++
	for _, p := range f.on[kind] {
		indicator, ok, err := p.Match(rec)
		if err != nil {
			f.Errors++
			continue
		}
		if ok {
			f.hit(kind, p, indicator, rec)
		}
	}
}

// about is what every kind of row tells: where, when, who, and the name involved.
func about(kind string, rec *store.Record) (e model.Endpoints, end model.Time, name string) {
	switch kind {
	case "dns":
		return rec.DNS.Endpoints, rec.DNS.TS, strings.ToLower(rec.DNS.Query)
	case "http":
		return rec.HTTP.Endpoints, rec.HTTP.TS, hostname(rec.HTTP.Host)
	case "tls":
		return rec.TLS.Endpoints, rec.TLS.TS, strings.ToLower(rec.TLS.SNI)
	case "ssh":
		return rec.SSH.Endpoints, rec.SSH.TS, ""
	}
	f := &rec.Flow
	e = model.Endpoints{
		FlowID: f.FlowID, EvidenceID: f.EvidenceID, TS: f.Start, OrigIP: f.OrigIP, OrigPort: f.OrigPort, RespIP: f.RespIP, RespPort: f.RespPort, Proto: f.Proto,
	}
	name = f.TLSSNI
	if name == "" {
		name = hostname(f.HTTPHost)
	}
	return e, f.End, strings.ToLower(name)
}

func (f *Fold) hit(kind string, p *Compiled, indicator string, rec *store.Record) {
	e, end, name := about(kind, rec)
	key := foldKey{profile: p.ID, orig: e.OrigIP.Unmap()}
	if kind == "dns" {
		domain, _, ok := detect.RegistrableDomain(name)
		if !ok || domain == "" {
			domain = name
		}
		key.domain, name = domain, domain
	} else {
		key.resp, key.port = e.RespIP.Unmap(), e.RespPort
	}
	g := f.groups[key]
	if g == nil {
		g = &group{
			profile: p, flows: map[model.FlowID]model.Time{}, evidence: map[string]bool{}, names: map[string]bool{},
			responders: map[netip.Addr]bool{}, proto: e.Proto, first: place{ts: 1<<63 - 1},
		}
		f.groups[key] = g
	}
	g.matches++
	if t, ok := g.flows[e.FlowID]; !ok || e.TS < t {
		g.flows[e.FlowID] = e.TS
	}
	g.evidence[e.EvidenceID] = true
	g.responders[e.RespIP.Unmap()] = true
	if name != "" {
		g.names[name] = true
	}
	g.last = max(g.last, end)
	if at := (place{e.TS, e.FlowID, e.N}); at.compare(g.first) < 0 {
		g.first, g.sample, g.indicator = at, p.values(rec), indicator
	}
	if g.proto != e.Proto {
		g.proto = ""
	}
}

// Detections tells what was found, sorted by id.
func (f *Fold) Detections(caseID, run string) []model.Detection {
	parties := map[foldKey]int{} // groups of each profile and originator
	for k := range f.groups {
		parties[foldKey{profile: k.profile, orig: k.orig}]++
	}
	merged := map[foldKey]*group{}
	for k, g := range f.groups {
		short := foldKey{profile: k.profile, orig: k.orig}
		if parties[short] <= GroupsCap {
			merged[k] = g
			continue
		}
		if m := merged[short]; m != nil {
			m.join(g)
		} else {
			merged[short] = g.clone()
		}
	}
	out := make([]model.Detection, 0, len(merged))
	for k, g := range merged {
		out = append(out, g.detection(caseID, run, k))
	}
	slices.SortFunc(out, func(a, b model.Detection) int { return strings.Compare(a.DetectionID, b.DetectionID) })
	return out
}

func (g *group) clone() *group {
	c := *g
	c.flows, c.evidence, c.names, c.responders = maps.Clone(g.flows), maps.Clone(g.evidence), maps.Clone(g.names), maps.Clone(g.responders)
	c.respondents = 1
	return &c
}

func (g *group) join(o *group) {
	g.respondents++
	g.matches += o.matches
	maps.Copy(g.flows, o.flows)
	maps.Copy(g.evidence, o.evidence)
	maps.Copy(g.names, o.names)
	maps.Copy(g.responders, o.responders)
	g.last = max(g.last, o.last)
	if o.first.compare(g.first) < 0 {
		g.first, g.sample, g.indicator = o.first, o.sample, o.indicator
	}
	if g.proto != o.proto {
		g.proto = ""
	}
}

func (g *group) detection(caseID, run string, k foldKey) model.Detection {
	p := g.profile
	entities := []string{caseID, "profile", p.ID, k.orig.String()}
	if k.resp.IsValid() {
		entities = append(entities, k.resp.String(), strconv.Itoa(int(k.port)))
	}
	if k.domain != "" {
		entities = append(entities, k.domain)
	}
	type at struct {
		id model.FlowID
		ts model.Time
	}
	order := make([]at, 0, len(g.flows))
	for id, ts := range g.flows {
		order = append(order, at{id, ts})
	}
	slices.SortFunc(order, func(a, b at) int { return cmp.Or(cmp.Compare(a.ts, b.ts), cmp.Compare(a.id, b.id)) })
	sup := store.Support{
		FlowCount: uint64(len(order)), EvidenceIDs: slices.Sorted(maps.Keys(g.evidence)), First: g.first.ts, Last: g.last,
	}
	for _, o := range order[:min(len(order), model.FlowsCap)] {
		sup.Flows = append(sup.Flows, o.id)
	}
	d := model.Detection{
		DetectionID: model.DeriveID("det", entities...), CaseID: caseID, Run: run, Detector: "profile", Profile: p.ID,
		Title: p.Title, Severity: p.Severity, Confidence: p.Confidence,
		Phase: p.Phase, Technique: p.Technique, TechniqueName: p.TechniqueName, TechniqueLegacy: p.Legacy, Tactic: p.Tactic,
		FalsePositives: slices.Clone(p.FalsePositives),
		OrigIP:         k.orig, RespIP: k.resp, RespPort: k.port, Proto: g.proto, Domain: k.domain, Indicator: g.indicator,
	}
	detect.Attach(&d, sup)
	if len(g.responders) == 1 && !d.RespIP.IsValid() {
		for ip := range g.responders {
			d.RespIP = ip
		}
	}
	if d.Domain == "" && len(g.names) == 1 {
		for n := range g.names {
			d.Domain = n
		}
	}
	var what string
	switch {
	case g.respondents > 1:
		what = fmt.Sprintf("%s towards %d destinations", k.orig, g.respondents)
	case k.domain != "":
		what = fmt.Sprintf("%s about %s", k.orig, k.domain)
	default:
		what = fmt.Sprintf("%s to %s port %d/%s", k.orig, k.resp, k.port, g.proto)
	}
	d.Why = fmt.Sprintf("%d %s of %s in %d %s match the profile %s.", g.matches, plural(g.matches, "record"), what, len(order), plural(uint64(len(order)), "flow"), p.ID)
	if p.Description != "" {
		d.Why += " " + strings.TrimSpace(strings.Join(strings.Fields(p.Description), " "))
	}
	if d.Indicator != "" {
		d.Why += fmt.Sprintf(" Matched %s.", plain(d.Indicator))
	}
	if len(g.sample) > 0 {
		d.Why += fmt.Sprintf(" First: %s.", strings.Join(g.sample, ", "))
	}
	d.Numbers = []model.Number{{Name: "flows", Value: float64(len(order))}, {Name: "matches", Value: float64(g.matches)}}
	if g.respondents > 1 {
		d.Numbers = append(d.Numbers, model.Number{Name: "targets", Value: float64(g.respondents)})
	}
	return d
}

func plural(n uint64, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
