package lab

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Verdict says how well detections and traces match the truth.
type Verdict struct {
	Scenario string        `json:"scenario"`
	Steps    []StepVerdict `json:"steps"`

	Expected int `json:"expected"` // steps a detector should find
	Found    int `json:"found"`    // of these, found by that detector

	Related []string   `json:"related"` // ids of further detections that are about a step, sorted
	False   []Mistaken `json:"false"`   // detections about nothing the intruder did, gravest first
	Grave   int        `json:"grave"`   // false ones of medium severity and above

	EdgesTrue  int     `json:"edges_true"`  // edges the traces should hold
	EdgesFound int     `json:"edges_found"` // of these, held by a trace
	EdgesMade  int     `json:"edges_made"`  // distinct pairs of hosts in the traces
	EdgesRight int     `json:"edges_right"` // of these, part of the intrusion
	Precision  float64 `json:"precision"`   // edges_right / edges_made, 1 if none was made
	Recall     float64 `json:"recall"`      // edges_found / edges_true, 1 if none is expected
	Wrong      []Pair  `json:"wrong"`       // pairs that are no part of it, sorted

	Main      string `json:"main"`       // id of the trace with most right pairs, the first by id if several
	MainMade  int    `json:"main_made"`  // pairs of hosts in it
	MainRight int    `json:"main_right"` // of these, part of the intrusion

	PhaseRight int     `json:"phase_right"` // found edges whose phase is right
	Order      float64 `json:"order"`       // Kendall's tau of the beginnings of the found edges: 1 same order, -1 reversed
	Origin     bool    `json:"origin"`      // the most likely origin of a trace is where the intrusion began
}

// StepVerdict is the verdict on one step.
type StepVerdict struct {
	N           int      `json:"n"`
	Technique   string   `json:"technique"`
	Description string   `json:"description"`
	Detector    string   `json:"detector"` // expected, "" for none
	Found       bool     `json:"found"`    // by the expected detector
	By          []string `json:"by"`       // ids of its detections
	Also        []string `json:"also"`     // ids of other detections about the step
	Edge        bool     `json:"edge"`     // expected in a trace
	EdgeFound   bool     `json:"edge_found"`
	PhaseFound  string   `json:"phase_found"` // phases the traces give the edge, comma separated
}

// Mistaken is a detection that no step explains.
type Mistaken struct {
	DetectionID string `json:"detection_id"`
	Detector    string `json:"detector"` // with the profile's id behind a colon
	Severity    string `json:"severity"`
	Title       string `json:"title"`
}

// Pair is an edge between two hosts.
type Pair struct {
	Orig  netip.Addr `json:"orig"`
	Resp  netip.Addr `json:"resp"`
	Phase string     `json:"phase"`
}

// slack is how far times may lie apart and still be the same.
const slack = 2 * time.Second

// Score compares what was concluded with what happened. The result does not depend on the
// order of detections and traces.
func Score(t *Truth, detections []model.Detection, traces []model.Trace) Verdict {
	s := Verdict{Scenario: t.Scenario, Steps: make([]StepVerdict, len(t.Steps)), Related: []string{}, False: []Mistaken{}, Wrong: []Pair{}}
	for i, step := range t.Steps {
		s.Steps[i] = StepVerdict{N: step.N, Technique: step.Technique, Description: step.Description, Detector: step.Detector, Edge: step.Edge, By: []string{}, Also: []string{}}
	}
	s.detections(t, detections)
	s.edges(t, traces)
	return s
}

func (s *Verdict) detections(t *Truth, detections []model.Detection) {
	detections = slices.Clone(detections)
	slices.SortFunc(detections, func(x, y model.Detection) int { return strings.Compare(x.DetectionID, y.DetectionID) })
	for i := range detections {
		d := &detections[i]
		about, expected := false, false
		for k := range t.Steps {
			step := &t.Steps[k]
			if !step.about(d) {
				continue
			}
			about = true
			if step.expects(d) {
				expected = true
				s.Steps[k].By = append(s.Steps[k].By, d.DetectionID)
			} else {
				s.Steps[k].Also = append(s.Steps[k].Also, d.DetectionID)
			}
		}
		switch {
		case !about:
			s.False = append(s.False, Mistaken{d.DetectionID, nameOf(d), d.Severity, d.Title})
		case !expected:
			s.Related = append(s.Related, d.DetectionID)
		}
	}
	slices.SortStableFunc(s.False, func(x, y Mistaken) int { return rank(y.Severity) - rank(x.Severity) })
	for _, f := range s.False {
		if rank(f.Severity) >= rank(model.SeverityMedium) {
			s.Grave++
		}
	}
	for i := range s.Steps {
		step := &s.Steps[i]
		step.Found = len(step.By) > 0
		if step.Detector != "" {
			s.Expected++
			if step.Found {
				s.Found++
			}
		}
	}
}

// rank orders severities from weak to strong.
func rank(severity string) int {
	return slices.Index([]string{model.SeverityInformational, model.SeverityLow, model.SeverityMedium, model.SeverityHigh, model.SeverityCritical}, severity)
}

func nameOf(d *model.Detection) string {
	if d.Profile != "" {
		return d.Detector + ":" + d.Profile
	}
	return d.Detector
}

// about tells whether the detection speaks of the step: same time, and hosts, port and
// name do not contradict.
func (s *Step) about(d *model.Detection) bool {
	if d.LastSeen != 0 && d.LastSeen < s.First.Add(-slack) || d.FirstSeen != 0 && d.FirstSeen > s.Last.Add(slack) {
		return false
	}
	orig, resp := d.OrigIP.Unmap(), d.RespIP.Unmap()
	named := d.Domain != "" && s.Domain != "" && (under(d.Domain, s.Domain) || under(s.Domain, d.Domain))
	if d.Domain != "" && s.Domain != "" && !named {
		return false
	}
	if orig.IsValid() && orig != s.From && !slices.Contains(s.Via, orig) {
		return false
	}
	if !orig.IsValid() && !named && (!resp.IsValid() || resp != s.To) {
		return false
	}
	if named {
		return true
	}
	if resp.IsValid() && s.To.IsValid() && resp != s.To && !slices.Contains(s.Via, resp) {
		return false
	}
	return d.RespPort == 0 || s.Port == 0 || d.RespPort == s.Port
}

// expects tells whether a detection about the step is the one it should raise.
func (s *Step) expects(d *model.Detection) bool {
	if kind, ok := strings.CutPrefix(s.Detector, "profile:"); ok {
		return d.Detector == "profile" && strings.Contains(d.Profile, kind)
	}
	return s.Detector != "" && d.Detector == s.Detector
}

// under tells whether name is domain or lies below it.
func under(name, domain string) bool {
	name, domain = strings.ToLower(name), strings.ToLower(domain)
	return name == domain || strings.HasSuffix(name, "."+domain)
}

// holds tells whether a trace's edge is part of the step.
func (s *Step) holds(e *model.TraceEdge) bool {
	if e.End < s.First.Add(-slack) || e.Start > s.Last.Add(slack) {
		return false
	}
	orig, resp := e.OrigIP.Unmap(), e.RespIP.Unmap()
	switch {
	case orig == s.From:
		return !s.To.IsValid() || resp == s.To || slices.Contains(s.Via, resp)
	case slices.Contains(s.Via, orig):
		return resp == s.To
	}
	return false
}

func (s *Verdict) edges(t *Truth, traces []model.Trace) {
	type found struct {
		truth, trace model.Time
	}
	var edges []*model.TraceEdge
	for i := range traces {
		for k := range traces[i].Edges {
			edges = append(edges, &traces[i].Edges[k])
		}
	}
	var starts []found
	for i := range t.Steps {
		step := &t.Steps[i]
		if !step.Edge {
			continue
		}
		s.EdgesTrue++
		begin, same := model.Time(0), model.Time(0) // of any edge, and of one in the same phase
		var phases []string
		for _, e := range edges {
			if !step.holds(e) || step.Port != 0 && e.RespPort != 0 && e.RespPort != step.Port {
				continue
			}
			phases = append(phases, e.Phase)
			if begin == 0 || e.Start < begin {
				begin = e.Start
			}
			if e.Phase == step.Phase && (same == 0 || e.Start < same) {
				same = e.Start
			}
		}
		if len(phases) == 0 {
			continue
		}
		s.EdgesFound++
		slices.Sort(phases)
		phases = slices.Compact(phases)
		s.Steps[i].EdgeFound, s.Steps[i].PhaseFound = true, strings.Join(phases, ",")
		if same != 0 {
			s.PhaseRight++
			begin = same
		}
		starts = append(starts, found{step.First, begin})
	}
	made := t.pairs(edges)
	for _, p := range made {
		s.EdgesMade++
		if p.right {
			s.EdgesRight++
		} else {
			s.Wrong = append(s.Wrong, p.Pair)
		}
	}
	for i := range traces {
		tr := &traces[i]
		var own []*model.TraceEdge
		for k := range tr.Edges {
			own = append(own, &tr.Edges[k])
		}
		made, right := t.pairs(own), 0
		for _, p := range made {
			if p.right {
				right++
			}
		}
		if right > s.MainRight || right == s.MainRight && right > 0 && tr.TraceID < s.Main {
			s.Main, s.MainMade, s.MainRight = tr.TraceID, len(made), right
		}
	}
	slices.SortFunc(s.Wrong, func(x, y Pair) int { return cmp.Or(x.Orig.Compare(y.Orig), x.Resp.Compare(y.Resp)) })
	s.Precision, s.Recall, s.Order = share(s.EdgesRight, s.EdgesMade), share(s.EdgesFound, s.EdgesTrue), 1
	if n := len(starts); n > 1 {
		balance := 0
		for i := range starts {
			for k := i + 1; k < n; k++ {
				balance += cmp.Compare(starts[k].truth, starts[i].truth) * cmp.Compare(starts[k].trace, starts[i].trace)
			}
		}
		s.Order = float64(balance) / float64(n*(n-1)/2)
	}
	s.Origin = t.originFound(traces)
}

// judged is a pair of hosts with the verdict on it.
type judged struct {
	Pair
	right bool
}

// pairs joins edges between the same hosts: right if any of them is part of a step.
func (t *Truth) pairs(edges []*model.TraceEdge) map[[2]netip.Addr]judged {
	out := map[[2]netip.Addr]judged{}
	for _, e := range edges {
		k := [2]netip.Addr{e.OrigIP.Unmap(), e.RespIP.Unmap()}
		p, known := out[k]
		if !known || e.Phase < p.Phase {
			p.Pair = Pair{k[0], k[1], e.Phase}
		}
		p.right = p.right || slices.ContainsFunc(t.Steps, func(step Step) bool { return step.holds(e) })
		out[k] = p
	}
	return out
}

// originFound tells whether some trace names the beginner of the intrusion first.
func (t *Truth) originFound(traces []model.Trace) bool {
	i := slices.IndexFunc(t.Steps, func(s Step) bool { return s.Edge })
	if i < 0 {
		return len(traces) == 0
	}
	return slices.ContainsFunc(traces, func(tr model.Trace) bool {
		return len(tr.Origins) > 0 && tr.Origins[0].IP.Unmap() == t.Steps[i].From
	})
}

func share(part, whole int) float64 {
	if whole == 0 {
		return 1
	}
	return float64(part) / float64(whole)
}

// String is a table for a terminal: each step, what found it, and the sums.
func (s Verdict) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "STEP\tTECHNIQUE\tWHAT HAPPENED\tDETECTOR\tDETECTION\tIN TRACE\n")
	for _, x := range s.Steps {
		detection := "-"
		switch {
		case x.Found:
			detection = "found"
		case len(x.Also) > 0 && x.Detector != "":
			detection = "MISSED (others speak of it)"
		case len(x.Also) > 0:
			detection = "others speak of it"
		case x.Detector != "":
			detection = "MISSED"
		}
		edge := "-"
		switch {
		case x.EdgeFound:
			edge = x.PhaseFound
		case x.Edge:
			edge = "MISSED"
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", x.N, x.Technique, shorten(x.Description, 62), cmp.Or(x.Detector, "-"), detection, edge)
	}
	_ = w.Flush() // a strings.Builder takes everything
	fmt.Fprintf(&b, "\ndetections: %d of %d steps found, %d related, %d false (%d of medium severity and above)\n", s.Found, s.Expected, len(s.Related), len(s.False), s.Grave)
	for _, f := range s.False {
		fmt.Fprintf(&b, "  false: %s [%s] %s\n", f.Detector, f.Severity, f.Title)
	}
	origin := "not found"
	if s.Origin {
		origin = "found"
	}
	fmt.Fprintf(&b, "trace: %d of %d edges found (recall %.2f), %d of %d pairs right (precision %.2f), phase right for %d, order %.2f, origin %s\n",
		s.EdgesFound, s.EdgesTrue, s.Recall, s.EdgesRight, s.EdgesMade, s.Precision, s.PhaseRight, s.Order, origin)
	if s.Main != "" {
		fmt.Fprintf(&b, "main trace %s: %d of %d pairs right\n", s.Main, s.MainRight, s.MainMade)
	}
	for _, p := range s.Wrong {
		fmt.Fprintf(&b, "  not part of it: %s to %s (%s)\n", p.Orig, p.Resp, p.Phase)
	}
	return b.String()
}

// shorten cuts text at a word.
func shorten(text string, n int) string {
	if len(text) <= n {
		return text
	}
	if i := strings.LastIndexByte(text[:n], ' '); i > 0 {
		return text[:i] + " …"
	}
	return text[:n]
}
