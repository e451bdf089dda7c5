// Package lab generates reproducible intrusions: packet captures of several sensors inside
// realistic everyday traffic, with the ground truth beside them, so that detectors and
// traces can be measured against what really happened. Score does the measuring.
//
// Everything follows from scenario, seed, scale and start: the same four give the same
// bytes on every machine of the same architecture. All names and addresses are reserved
// for documentation and testing.
package lab

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Options of Generate. The zero value is usable.
type Options struct {
	Seed  int64
	Scale float64   // factor on the background traffic, 0 means 1
	Start time.Time // the captures begin; zero means DefaultStart
}

// DefaultStart is when captures begin unless told otherwise: the morning of a working day.
var DefaultStart = time.Date(2026, 3, 10, 7, 0, 0, 0, time.UTC)

// Length is how long the captures of every scenario run.
const Length = 10 * time.Hour

// Scenario is one story that can be generated.
type Scenario struct {
	Name  string
	Title string
	tell  func(*world) // schedules the intruder, nil for none
}

// Scenarios are all stories; the first is the default of the demonstration.
var Scenarios = []Scenario{
	{"intrusion", "from reconnaissance over an exploited web server, command and control and lateral movement to exfiltration", (*world).intrusion},
	{"benign", "a working day without an intruder: nothing should be raised", nil},
	{"scan-only", "a working day on which the DMZ is scanned from outside, without success", (*world).reconnaissance},
}

// Generate writes the captures of a scenario and truth.json into dir, which is created if
// need be: edge.pcap (internet traffic, microseconds), core.pcapng (between internal
// networks, VLAN tags, nanoseconds) and wifi.pcap.gz (a guest network). Every packet is in
// one capture only.
func Generate(scenario string, opt Options, dir string) (*Truth, error) {
	i := slices.IndexFunc(Scenarios, func(s Scenario) bool { return s.Name == scenario })
	if i < 0 {
		var names []string
		for _, s := range Scenarios {
			names = append(names, s.Name)
		}
		return nil, fmt.Errorf("unknown scenario %q: choose one of %s", scenario, strings.Join(names, ", "))
	}
	if opt.Scale == 0 {
		opt.Scale = 1
	}
	if opt.Scale < 0 || opt.Scale > 100 {
		return nil, fmt.Errorf("scale %g: must be above 0 and at most 100", opt.Scale)
	}
	if opt.Start.IsZero() {
		opt.Start = DefaultStart
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create folder of the captures: %w", err)
	}
	start := opt.Start.Truncate(time.Second).UnixNano()
	w := &world{start: start, end: start + int64(Length), seed: opt.Seed, scale: opt.Scale}
	w.net = newNetwork(opt.Seed, opt.Scale)
	w.zone = newZone(opt.Seed, w.net)
	w.certs = newIssuer(opt.Seed, start)
	w.zone.names = w.net.outside("a.root.example", "name server", RoleBenign, "198.18.0.53", "", linux, 14*time.Millisecond)

	outs := []struct {
		place  **sensor
		name   string
		file   string
		tagged bool
	}{
		{&w.edge, "edge", "edge.pcap", false},
		{&w.core, "core", "core.pcapng", true},
		{&w.wifi, "wifi", "wifi.pcap.gz", false},
	}
	for _, o := range outs {
		c, err := createCapture(dir, o.file, o.name)
		if err != nil {
			return nil, err
		}
		*o.place = &sensor{name: o.name, out: c, tagged: o.tagged}
		w.sensors = append(w.sensors, *o.place)
	}
	w.everyday()
	if tell := Scenarios[i].tell; tell != nil {
		tell(w)
	}
	err := w.run()
	t := &Truth{Scenario: scenario, Seed: opt.Seed, Scale: opt.Scale, Start: model.Time(w.start / 1000), End: model.Time(w.end / 1000), Steps: []Step{}, Benign: w.benign}
	for _, s := range w.sensors {
		f, e := s.out.close()
		err = errors.Join(err, e)
		t.Files = append(t.Files, f)
	}
	if err = errors.Join(err, w.certs.err); err != nil {
		return nil, err
	}
	for _, s := range w.steps {
		if s.Packets > 0 {
			t.Steps = append(t.Steps, *s)
		}
	}
	slices.SortStableFunc(t.Steps, func(x, y Step) int { return int(x.First - y.First) })
	for i := range t.Steps {
		t.Steps[i].N = i + 1
	}
	slices.SortFunc(t.Files, func(x, y File) int { return strings.Compare(x.Name, y.Name) })
	t.Hosts = w.net.describe()
	return t, t.write(dir)
}
