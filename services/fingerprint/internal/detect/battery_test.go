package detect

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
)

// series draws the connections of one pair within a window: when, and with how many bytes.
type series func(r *rand.Rand, window time.Duration) (seconds []float64, bytes []uint64)

type sizes func(r *rand.Rand) uint64

func fixed(n uint64) sizes { return func(*rand.Rand) uint64 { return n } }

func lognormal(r *rand.Rand) uint64 { return uint64(math.Exp(7 + 1.2*r.NormFloat64())) }

// beat is a beacon that sleeps every seconds, give or take jitter.
func beat(every, jitter float64, s sizes) series {
	return func(r *rand.Rand, w time.Duration) (at []float64, b []uint64) {
		for t := 0.0; t <= w.Seconds() && len(at) < store.PairCap-1; t += every * (1 - jitter + 2*jitter*r.Float64()) {
			at, b = append(at, t), append(b, s(r))
		}
		return at, b
	}
}

// poisson is independent arrivals, every seconds on average.
func poisson(every float64, s sizes) series {
	return func(r *rand.Rand, w time.Duration) (at []float64, b []uint64) {
		for t := every * r.ExpFloat64(); t <= w.Seconds(); t += every * r.ExpFloat64() {
			at, b = append(at, t), append(b, s(r))
		}
		return at, b
	}
}

func only(from, to time.Duration, of series) series {
	return func(r *rand.Rand, w time.Duration) (at []float64, b []uint64) {
		all, size := of(r, w)
		for i, t := range all {
			if t >= from.Seconds() && t < to.Seconds() {
				at, b = append(at, t), append(b, size[i])
			}
		}
		return at, b
	}
}

// bursts is a person who reads pages: many connections at once, then a pause.
func bursts(r *rand.Rand, _ time.Duration) (at []float64, b []uint64) {
	for t := 9 * 3600.0; t < 17*3600; t += 900 * r.ExpFloat64() {
		u := t
		for range 5 + r.IntN(20) {
			at, b = append(at, u), append(b, lognormal(r))
			u += 0.4 * r.ExpFloat64()
		}
	}
	slices.Sort(at)
	return at, b
}

// heavy is gaps with a long tail.
func heavy(r *rand.Rand, w time.Duration) (at []float64, b []uint64) {
	for t := 0.0; t <= w.Seconds(); t += math.Exp(3 + 2*r.NormFloat64()) {
		at, b = append(at, t), append(b, lognormal(r))
	}
	return at, b
}

func draw(window time.Duration, seed uint64, of series) Window {
	at, sizes := of(rand.New(rand.NewPCG(seed, 42)), window)
	p := store.Pair{OrigIP: ip("10.0.0.1"), RespIP: ip("203.0.113.1"), RespPort: 443, Proto: "tcp", Services: []string{"tls"}, IPBytes: sizes}
	for i, t := range at {
		p.Starts = append(p.Starts, base.Add(time.Duration(t*1e9)))
		if i < model.FlowsCap {
			p.Flows = append(p.Flows, model.FlowID(i+1))
		}
	}
	p.Count, p.FlowCount = uint64(len(at)), uint64(len(at))
	p.First, p.Last = base, base.Add(window)
	return Window{First: base, Last: base.Add(window), Addressed: []store.Pair{p}}
}

func pairRows(window time.Duration, seed uint64, of series) func() *Rows {
	return func() *Rows { return &Rows{Window: draw(window, seed, of)} }
}

func changed(rows func() *Rows, change func(*store.Pair)) func() *Rows {
	return func() *Rows {
		r := rows()
		change(&r.Window.Addressed[0])
		return r
	}
}

func withPort(port uint16, proto string, rows func() *Rows) func() *Rows {
	return changed(rows, func(p *store.Pair) { p.RespPort, p.Proto = port, proto })
}

func withResp(resp string, rows func() *Rows) func() *Rows {
	return changed(rows, func(p *store.Pair) { p.RespIP = ip(resp) })
}

func withOrig(orig string, rows func() *Rows) func() *Rows {
	return changed(rows, func(p *store.Pair) { p.OrigIP = ip(orig) })
}

// TestBattery draws each kind of traffic a hundred times and counts how often it is
// reported at medium or above: RITA's score alone cannot tell the first half from the
// second.
func TestBattery(t *testing.T) {
	const draws = 100
	for _, c := range []struct {
		name        string
		of          series
		least, most int // of 100
	}{
		{"beacon 60 s, jitter 0 %", beat(60, 0, fixed(300)), 100, 100},
		{"beacon 60 s, jitter 20 %", beat(60, 0.2, fixed(300)), 100, 100},
		{"beacon 60 s, jitter 50 %", beat(60, 0.5, fixed(300)), 99, 100},
		{"beacon 60 s, jitter 20 %, random sizes", beat(60, 0.2, lognormal), 99, 100},
		{"beacon 30 min, jitter 50 %", beat(1800, 0.5, fixed(300)), 90, 100},
		{"beacon 1 h, jitter 20 %", beat(3600, 0.2, fixed(300)), 99, 100},
		{"beacon 60 s, alive for two hours", only(3*time.Hour, 5*time.Hour, beat(60, 0.2, fixed(300))), 95, 100},
		{"beacon 60 s, office hours", only(8*time.Hour, 17*time.Hour, beat(60, 0.2, fixed(300))), 95, 100},
		{"independent, 2 min, random sizes", poisson(120, lognormal), 0, 1},
		{"independent, 2 min, fixed size", poisson(120, fixed(300)), 0, 1},
		{"independent, 10 min, random sizes", poisson(600, lognormal), 0, 1},
		{"independent, 2 min, office hours", only(8*time.Hour, 17*time.Hour, poisson(120, lognormal)), 0, 1},
		{"heavy-tailed", heavy, 0, 1},
		{"page loads", bursts, 0, 1},
	} {
		hits := 0
		for seed := range uint64(draws) {
			for _, d := range Run(scope(), &Rows{Window: draw(day, seed, c.of)}) {
				if severityRank(d.Severity) >= severityRank(model.SeverityMedium) {
					hits++
				}
			}
		}
		t.Logf("%-40s %3d %%", c.name, hits)
		if hits < c.least || hits > c.most {
			t.Errorf("%s: reported %d times of %d, want %d to %d", c.name, hits, draws, c.least, c.most)
		}
	}
}
