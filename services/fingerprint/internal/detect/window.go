package detect

import (
	"cmp"
	"slices"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
)

// windowsCap bounds the windows looked at, the latest first: a capture with forged times
// can span any number of days.
const windowsCap = 400

// Windows cuts the time covered by a case into stretches of at most one day, counted back
// from the end of each epoch, so that the last one is the window RITA would look at. An
// epoch is a time without a pause of a day: captures of different years make several.
func Windows(spans []store.Span) []Window {
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(a, b store.Span) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
	})
	const length = model.Time(day / 1000) // microseconds
	var epochs []Window
	for _, s := range spans {
		if n := len(epochs); n > 0 && s.First-epochs[n-1].Last <= length {
			epochs[n-1].Last = max(epochs[n-1].Last, s.Last)
			continue
		}
		epochs = append(epochs, Window{First: s.First, Last: s.Last})
	}
	var out []Window
	for _, e := range slices.Backward(epochs) {
		for last := e.Last; last >= e.First && len(out) < windowsCap; last -= length + 1 {
			out = append(out, Window{First: max(e.First, last-length), Last: last})
		}
	}
	slices.Reverse(out)
	return out
}

// Batches groups windows so that those of a group hold about most flows together: what is
// asked of the store at once has to fit its memory. Windows too short for a beacon are left
// out; none of them can hold a strobe either.
func Batches(windows []Window, spans []store.Span, most uint64) [][]Window {
	var out [][]Window
	var held uint64
	for _, w := range windows {
		if w.Last.Sub(w.First) < beaconSpan {
			continue
		}
		var flows uint64
		for _, s := range spans {
			if s.First <= w.Last && s.Last >= w.First {
				flows += s.Flows
			}
		}
		if len(out) == 0 || held+flows > most {
			out, held = append(out, nil), 0
		}
		held += flows
		out[len(out)-1] = append(out[len(out)-1], w)
	}
	return out
}
