package reach_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/tracemap/internal/reach"
)

func host(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}) }

func event(from, to int, start, end model.Time) reach.Event {
	return reach.Event{From: host(from), To: host(to), Start: start, End: end}
}

func TestForward(t *testing.T) {
	seeds := map[netip.Addr]reach.Seed{host(1): {At: 100}}
	tests := []struct {
		name   string
		events []reach.Event
		want   map[int]string // host: arrival, certain?
	}{
		{
			"in order",
			[]reach.Event{event(1, 2, 110, 120), event(2, 3, 130, 140)},
			map[int]string{1: "100 certain", 2: "110 certain", 3: "130 certain"},
		},
		{"too early", []reach.Event{event(1, 2, 110, 120), event(2, 3, 90, 109)}, map[int]string{1: "100 certain", 2: "110 certain"}},
		{
			"open before, alive after",
			[]reach.Event{event(1, 2, 110, 120), event(2, 3, 90, 115)},
			map[int]string{1: "100 certain", 2: "110 certain", 3: "110 possible"},
		},
		{
			"a later certain way beside an earlier possible one",
			[]reach.Event{event(1, 2, 90, 105), event(1, 2, 150, 160), event(2, 3, 170, 171)},
			map[int]string{1: "100 certain", 2: "100 certain", 3: "170 certain"},
		},
		{"a loop", []reach.Event{event(1, 2, 110, 120), event(2, 1, 111, 121), event(2, 2, 112, 113)}, map[int]string{1: "100 certain", 2: "110 certain"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := map[int]string{}
			for h, b := range reach.Forward(tt.events, seeds) {
				s := "possible"
				if b.Certain {
					s = "certain"
				}
				got[int(h.As4()[3])] = fmt.Sprintf("%d %s", b.At, s)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestBackward(t *testing.T) {
	events := []reach.Event{event(1, 2, 110, 120), event(2, 3, 130, 140), event(4, 3, 190, 200), event(5, 1, 50, 125)}
	got := reach.Backward(events, map[netip.Addr]reach.Seed{host(3): {At: 150}})
	if _, ok := got[host(4)]; ok {
		t.Error("host 4 acted after the bound and must not be an origin")
	}
	for h, want := range map[int]model.Time{3: 150, 2: 140, 1: 120, 5: 120} {
		if got[host(h)].At != want {
			t.Errorf("host %d: latest departure %d, want %d", h, got[host(h)].At, want)
		}
	}
	if path := reach.Path(got, host(5), false); len(path) != 3 || path[0].From != host(5) || path[2].To != host(3) {
		t.Errorf("way on from host 5: %v", path)
	}
}

// random makes a small dense case: few hosts and short times give many ties and loops.
func random(r *rand.Rand, eps time.Duration) []reach.Event {
	events := make([]reach.Event, 2+r.IntN(30))
	for i := range events {
		start := model.Time(1 + r.IntN(60))
		events[i] = event(r.IntN(8), r.IntN(8), start, start+model.Time(r.IntN(12)))
		events[i].Eps = eps
	}
	return events
}

func TestProperties(t *testing.T) {
	for n := range uint64(3000) {
		r := rand.New(rand.NewPCG(n, 7))
		eps := time.Duration(r.IntN(4)) * time.Microsecond
		events := random(r, eps)
		seeds := map[netip.Addr]reach.Seed{host(r.IntN(8)): {At: model.Time(r.IntN(40)), Eps: eps}}
		got := reach.Forward(events, seeds)

		for h := range got {
			checkPath(t, got, h, seeds)
		}

		shuffled := slices.Clone(events)
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if again := reach.Forward(shuffled, seeds); !reflect.DeepEqual(got, again) {
			t.Fatalf("case %d: the order of the events changed the result", n)
		}

		const shift = model.Time(1_000_000)
		moved := slices.Clone(events)
		for i := range moved {
			moved[i].Start += shift
			moved[i].End += shift
		}
		movedSeeds := map[netip.Addr]reach.Seed{}
		for h, s := range seeds {
			movedSeeds[h] = reach.Seed{At: s.At + shift, Eps: s.Eps}
		}
		for h, b := range reach.Forward(moved, movedSeeds) {
			if b.At-shift != got[h].At || b.Certain != got[h].Certain || b.Certain && b.Sure-shift != got[h].Sure {
				t.Fatalf("case %d: shifting all clocks changed host %s", n, h)
			}
		}

		more := reach.Forward(append(slices.Clone(events), random(r, eps)[0]), seeds)
		for h, b := range got {
			if m, ok := more[h]; !ok || m.At > b.At || b.Certain && (!m.Certain || m.Sure > b.Sure) {
				t.Fatalf("case %d: an event more took host %s away or later", n, h)
			}
		}

		wide := slices.Clone(events)
		for i := range wide {
			wide[i].Eps += 2 * time.Microsecond
		}
		wideSeeds := map[netip.Addr]reach.Seed{}
		for h, s := range seeds {
			wideSeeds[h] = reach.Seed{At: s.At, Eps: s.Eps + 2*time.Microsecond}
		}
		wider := reach.Forward(wide, wideSeeds)
		for h := range got {
			if _, ok := wider[h]; !ok {
				t.Fatalf("case %d: wider clock bounds lost host %s", n, h)
			}
		}
		for h, b := range wider {
			if b.Certain && !got[h].Certain {
				t.Fatalf("case %d: wider clock bounds made host %s certain", n, h)
			}
		}
	}
}

// checkPath walks both paths to a host by the definition of the time rule.
func checkPath(t *testing.T, got map[netip.Addr]reach.Bound, h netip.Addr, seeds map[netip.Addr]reach.Seed) {
	t.Helper()
	for _, certain := range []bool{false, true} {
		if certain && !got[h].Certain {
			continue
		}
		path := reach.Path(got, h, certain)
		if len(path) == 0 {
			if _, ok := seeds[h]; !ok {
				t.Fatalf("host %s is reached without a path", h)
			}
			continue
		}
		seed, ok := seeds[path[0].From]
		if !ok || path[len(path)-1].To != h {
			t.Fatalf("path to %s does not lead from a seed to it: %v", h, path)
		}
		low, high := seed.At.Add(-seed.Eps), seed.At.Add(seed.Eps)
		for i, e := range path {
			if i > 0 && path[i-1].To != e.From {
				t.Fatalf("path to %s is broken: %v", h, path)
			}
			if certain && high > e.Start.Add(-e.Eps) || !certain && low > e.End.Add(e.Eps) {
				t.Fatalf("path to %s breaks the time rule (certain %v): %v", h, certain, path)
			}
			low, high = max(low, e.Start.Add(-e.Eps)), e.Start.Add(e.Eps)
		}
	}
}

// TestForwardAndBackwardAgree: a host can have sent the threat to the target in time,
// exactly when the target can have got it from that host.
func TestForwardAndBackwardAgree(t *testing.T) {
	for n := range uint64(2000) {
		r := rand.New(rand.NewPCG(n, 11))
		events := random(r, 0)
		target, bound := host(r.IntN(8)), model.Time(30+r.IntN(40))
		back := reach.Backward(events, map[netip.Addr]reach.Seed{target: {At: bound}})
		for i := range 8 {
			at := model.Time(r.IntN(60))
			arrival, forward := reach.Forward(events, map[netip.Addr]reach.Seed{host(i): {At: at}})[target]
			forward = forward && arrival.At <= bound
			departure, backward := back[host(i)]
			backward = backward && departure.At >= at
			if forward != backward {
				t.Fatalf("case %d: from %s at %d to %s by %d: forward %v, backward %v", n, host(i), at, target, bound, forward, backward)
			}
		}
	}
}

func BenchmarkForward(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	events := make([]reach.Event, 1_000_000)
	for i := range events {
		var a, c [4]byte
		a[0], c[0] = 10, 10
		a[2], a[3], c[2], c[3] = byte(r.IntN(20)), byte(r.IntN(256)), byte(r.IntN(20)), byte(r.IntN(256))
		start := model.Time(r.Int64N(86_400_000_000))
		events[i] = reach.Event{From: netip.AddrFrom4(a), To: netip.AddrFrom4(c), Start: start, End: start + model.Time(r.Int64N(60_000_000))}
	}
	seeds := map[netip.Addr]reach.Seed{host(1): {At: 1}}
	b.ReportAllocs()
	for b.Loop() {
		reach.Forward(events, seeds)
	}
}
