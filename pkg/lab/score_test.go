package lab_test

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tracer-framework/tracer/pkg/lab"
	"github.com/tracer-framework/tracer/pkg/model"
)

var (
	attacker = netip.MustParseAddr("203.0.113.66")
	victim   = netip.MustParseAddr("10.20.50.10")
	second   = netip.MustParseAddr("10.20.10.20")
	resolver = netip.MustParseAddr("10.20.10.10")
	command  = netip.MustParseAddr("198.51.100.23")
	names    = netip.MustParseAddr("203.0.113.53")
	innocent = netip.MustParseAddr("10.20.101.20")
)

func at(minutes int) model.Time {
	return model.TimeOf(lab.DefaultStart.Add(time.Duration(minutes) * time.Minute))
}

func story() *lab.Truth {
	return &lab.Truth{Scenario: "story", Start: at(0), End: at(600), Steps: []lab.Step{
		{N: 1, Phase: model.PhaseRecon, From: attacker, Proto: "tcp", First: at(10), Last: at(12), Detector: "horizontal_scan", Description: "scan"},
		{N: 2, Phase: model.PhaseExploit, From: attacker, To: victim, Port: 80, Proto: "tcp", First: at(20), Last: at(21), Detector: "profile:log4shell", Edge: true, Description: "exploit"},
		{N: 3, Phase: model.PhaseC2, From: victim, To: command, Port: 443, Proto: "tcp", Domain: "cdn.evil.example", First: at(22), Last: at(500), Detector: "beacon", Edge: true, Description: "beacon"},
		{N: 4, Phase: model.PhaseTraversal, From: victim, To: second, Port: 445, Proto: "tcp", First: at(60), Last: at(61), Edge: true, Description: "movement"},
		{N: 5, Phase: model.PhaseExfil, From: second, To: names, Port: 53, Proto: "udp", Domain: "tunnel.example", Via: []netip.Addr{resolver}, First: at(100), Last: at(120), Detector: "dns_tunnel", Edge: true, Description: "tunnel"},
	}}
}

func TestScoreDetections(t *testing.T) {
	for _, c := range []struct {
		name  string
		d     model.Detection
		step  int // expected detector's step, 0 none
		also  int // step that it is merely about, 0 none
		false bool
	}{
		{"scan", model.Detection{Detector: "horizontal_scan", OrigIP: attacker, FirstSeen: at(10), LastSeen: at(12)}, 1, 0, false},
		{"scan of another host", model.Detection{Detector: "horizontal_scan", OrigIP: innocent, FirstSeen: at(10), LastSeen: at(12)}, 0, 0, true},
		{"scan at another time", model.Detection{Detector: "horizontal_scan", OrigIP: attacker, FirstSeen: at(300), LastSeen: at(301)}, 0, 0, true},
		{"profile", model.Detection{Detector: "profile", Profile: "log4shell-lookup", OrigIP: attacker, RespIP: victim, RespPort: 80, FirstSeen: at(20), LastSeen: at(20)}, 2, 0, false},
		{"other profile on the same flow", model.Detection{Detector: "profile", Profile: "http-odd", OrigIP: attacker, RespIP: victim, FirstSeen: at(20), LastSeen: at(20)}, 0, 2, false},
		{"beacon by name", model.Detection{Detector: "beacon", OrigIP: victim, Domain: "cdn.evil.example", FirstSeen: at(22), LastSeen: at(500)}, 3, 0, false},
		{"beacon to another name", model.Detection{Detector: "beacon", OrigIP: victim, RespIP: command, Domain: "other.example", FirstSeen: at(22), LastSeen: at(500)}, 0, 0, true},
		{"beacon on another port", model.Detection{Detector: "beacon", OrigIP: victim, RespIP: command, RespPort: 8443, FirstSeen: at(22), LastSeen: at(500)}, 0, 0, true},
		{"tunnel of the resolver", model.Detection{Detector: "dns_tunnel", OrigIP: resolver, RespIP: names, Domain: "tunnel.example", FirstSeen: at(100), LastSeen: at(120)}, 5, 0, false},
		{"tunnel of the host", model.Detection{Detector: "dns_tunnel", OrigIP: second, RespIP: resolver, Domain: "tunnel.example", FirstSeen: at(100), LastSeen: at(120)}, 5, 0, false},
		{"innocent poller", model.Detection{Detector: "beacon", OrigIP: innocent, RespIP: names, FirstSeen: at(0), LastSeen: at(600)}, 0, 0, true},
		{"nothing named", model.Detection{Detector: "beacon", FirstSeen: at(0), LastSeen: at(600)}, 0, 0, true},
	} {
		c.d.DetectionID = "det-1"
		v := lab.Score(story(), []model.Detection{c.d}, nil)
		if got := len(v.False) == 1; got != c.false {
			t.Errorf("%s: false = %v, want %v", c.name, got, c.false)
		}
		for _, s := range v.Steps {
			if s.Found != (s.N == c.step) {
				t.Errorf("%s: step %d found = %v", c.name, s.N, s.Found)
			}
			if c.also != 0 && (len(s.Also) == 1) != (s.N == c.also) {
				t.Errorf("%s: step %d also = %v", c.name, s.N, s.Also)
			}
		}
		if v.Expected != 4 {
			t.Errorf("%s: expected = %d, want 4", c.name, v.Expected)
		}
	}
}

func trace(edges ...model.TraceEdge) model.Trace {
	return model.Trace{Edges: edges, Origins: []model.Origin{{IP: attacker, Confidence: 90}}}
}

func TestScoreTraces(t *testing.T) {
	exploit := model.TraceEdge{OrigIP: attacker, RespIP: victim, RespPort: 80, Phase: model.PhaseExploit, Start: at(20), End: at(21)}
	beacon := model.TraceEdge{OrigIP: victim, RespIP: command, RespPort: 443, Phase: model.PhaseC2, Start: at(22), End: at(500)}
	move := model.TraceEdge{OrigIP: victim, RespIP: second, RespPort: 445, Phase: model.PhaseUnknown, Start: at(60), End: at(61)}
	tunnel := model.TraceEdge{OrigIP: second, RespIP: resolver, RespPort: 53, Phase: model.PhaseExfil, Start: at(100), End: at(120)}
	wrong := model.TraceEdge{OrigIP: innocent, RespIP: second, Phase: model.PhaseTraversal, Start: at(90), End: at(91)}
	late := move
	late.Start, late.End = at(400), at(401) // same hosts, another time
	swapped := exploit
	swapped.Start, swapped.End = at(21), at(21)
	for _, c := range []struct {
		name                     string
		traces                   []model.Trace
		found, made, right, phas int
		order                    float64
		origin                   bool
	}{
		{"none", nil, 0, 0, 0, 0, 1, false},
		{"all", []model.Trace{trace(exploit, beacon, move, tunnel)}, 4, 4, 4, 3, 1, true},
		{"all, two traces, other order", []model.Trace{trace(tunnel, move), trace(beacon, exploit)}, 4, 4, 4, 3, 1, true},
		{"one too many", []model.Trace{trace(exploit, beacon, wrong)}, 2, 3, 2, 2, 1, true},
		{"wrong time", []model.Trace{trace(late)}, 0, 1, 0, 0, 1, true},
	} {
		v := lab.Score(story(), nil, c.traces)
		if v.EdgesTrue != 4 || v.EdgesFound != c.found || v.EdgesMade != c.made || v.EdgesRight != c.right || v.PhaseRight != c.phas || v.Order != c.order || v.Origin != c.origin {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
	noise := trace(wrong)
	noise.TraceID = "trc-0"
	main := trace(exploit, beacon, wrong)
	main.TraceID = "trc-1"
	if v := lab.Score(story(), nil, []model.Trace{noise, main}); v.Main != "trc-1" || v.MainMade != 3 || v.MainRight != 2 {
		t.Errorf("main trace = %s with %d of %d, want trc-1 with 2 of 3", v.Main, v.MainRight, v.MainMade)
	}
	early := tunnel
	early.Start = at(5) // began long before: the order is wrong against three others
	v := lab.Score(story(), nil, []model.Trace{trace(exploit, beacon, move, early)})
	if v.Order != 0 {
		t.Errorf("order with one edge first instead of last = %v, want 0", v.Order)
	}
}

func TestScoreDoesNotDependOnOrder(t *testing.T) {
	d := []model.Detection{
		{DetectionID: "det-a", Detector: "beacon", OrigIP: victim, RespIP: command, FirstSeen: at(22), LastSeen: at(500)},
		{DetectionID: "det-b", Detector: "horizontal_scan", OrigIP: attacker, FirstSeen: at(10), LastSeen: at(12)},
		{DetectionID: "det-c", Detector: "beacon", OrigIP: innocent, RespIP: command, FirstSeen: at(22), LastSeen: at(500), Severity: "low", Title: "steady"},
	}
	tr := []model.Trace{trace(model.TraceEdge{OrigIP: innocent, RespIP: second}), trace(model.TraceEdge{OrigIP: command, RespIP: second})}
	a := lab.Score(story(), d, tr)
	slices.Reverse(d)
	slices.Reverse(tr)
	b := lab.Score(story(), d, tr)
	if !reflect.DeepEqual(a, b) {
		t.Errorf("verdicts differ:\n%+v\n%+v", a, b)
	}
	text := a.String()
	for _, want := range []string{"MISSED", "found", "detections: 2 of 4 steps found, 0 related, 1 false", "false: beacon [low] steady", "not part of it: 10.20.101.20 to 10.20.10.20"} {
		if !strings.Contains(text, want) {
			t.Errorf("table lacks %q:\n%s", want, text)
		}
	}
}
