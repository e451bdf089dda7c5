// Package reach answers, over influences with times, which hosts a threat can have come
// to (Forward: earliest arrival, the blast radius) and which hosts it can have come from
// (Backward: latest departure, the origin).
//
// The time rule. An influence goes from one host to another from its Start (first payload
// byte) to its End (last packet of its flow); its sensor's clock is right within Eps. Seen
// from the true time, Start lies in [Start-Eps, Start+Eps]. A path of influences is
//
//   - possible when, walking it, the latest of the lower bounds so far is never after the
//     next influence's End+Eps: a flow that was open before its originator was compromised
//     may carry the threat later;
//   - certain when each influence's upper bound Start+Eps is not after the next one's
//     lower bound Start-Eps;
//   - contradicted otherwise, and then it is no path.
//
// Both rules only become weaker with an earlier arrival (forward) or a later departure
// (backward), so Dijkstra's algorithm finds the exact bounds. Everything here is pure:
// results do not depend on the order of the events.
package reach

import (
	"cmp"
	"container/heap"
	"net/netip"
	"slices"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Event is one influence of a host upon another.
type Event struct {
	From, To netip.Addr
	Start    model.Time    // first payload byte that went from From to To
	End      model.Time    // last packet of the flow; not before Start
	Eps      time.Duration // bound of the clock error, never negative
}

func (e Event) lo() model.Time     { return e.Start.Add(-e.Eps) }
func (e Event) hi() model.Time     { return e.Start.Add(e.Eps) }
func (e Event) latest() model.Time { return e.End.Add(e.Eps) }

// Compare orders events by time, then by everything else.
func Compare(a, b Event) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End),
		a.From.Compare(b.From), a.To.Compare(b.To), cmp.Compare(a.Eps, b.Eps))
}

// Bound is what is known of a host: by when the threat can have been there (Forward), or
// until when it can still have left (Backward).
type Bound struct {
	// At is the earliest possible arrival, or the latest possible departure.
	At model.Time
	// Via is the influence that gave At: the last one on the way here (Forward), or the
	// first one on the way on (Backward). At a seed it is the zero Event.
	Via Event
	// Certain says that a certain path exists; Sure is then the earliest certain arrival
	// or the latest certain departure, and SureVia the influence that gave it.
	Certain bool
	Sure    model.Time
	SureVia Event
}

// Seed is a host at which the threat is known to have been.
type Seed struct {
	At  model.Time
	Eps time.Duration // bound of the clock error
}

// Forward gives each host that the threat can have come to from the seeds, the seeds
// included. Work: O(n log n) for n events.
func Forward(events []Event, seeds map[netip.Addr]Seed) map[netip.Addr]Bound {
	out := index(events, func(e Event) netip.Addr { return e.From })
	possible := search(seeds, out, +1,
		func(s Seed) model.Time { return s.At.Add(-s.Eps) },
		func(at model.Time, e Event) (netip.Addr, model.Time, bool) {
			return e.To, max(at, e.lo()), at <= e.latest()
		})
	certain := search(seeds, out, +1,
		func(s Seed) model.Time { return s.At.Add(s.Eps) },
		func(at model.Time, e Event) (netip.Addr, model.Time, bool) {
			return e.To, e.hi(), at <= e.lo()
		})
	return join(possible, certain)
}

// Backward gives each host from which the threat can have come to the targets, no later
// than the time each target is known to have had it. The targets are included.
func Backward(events []Event, targets map[netip.Addr]Seed) map[netip.Addr]Bound {
	in := index(events, func(e Event) netip.Addr { return e.To })
	possible := search(targets, in, -1,
		func(s Seed) model.Time { return s.At.Add(s.Eps) },
		func(at model.Time, e Event) (netip.Addr, model.Time, bool) {
			return e.From, min(at, e.latest()), e.lo() <= at
		})
	certain := search(targets, in, -1,
		func(s Seed) model.Time { return s.At.Add(-s.Eps) },
		func(at model.Time, e Event) (netip.Addr, model.Time, bool) {
			return e.From, e.lo(), e.hi() <= at
		})
	return join(possible, certain)
}

// Path is the way by which the threat came to host, first influence first, read from the
// result of Forward; for the result of Backward, the way on from host to a target. With
// certain set it is the certain path, which is empty where there is none.
func Path(bounds map[netip.Addr]Bound, host netip.Addr, certain bool) []Event {
	var path []Event
	backward := false
	for range bounds {
		b, ok := bounds[host]
		via := b.Via
		if certain {
			via, ok = b.SureVia, ok && b.Certain
		}
		if !ok || !via.From.IsValid() {
			break
		}
		path = append(path, via)
		if backward = via.From == host; backward {
			host = via.To
		} else {
			host = via.From
		}
	}
	if !backward {
		slices.Reverse(path)
	}
	return path
}

func index(events []Event, key func(Event) netip.Addr) map[netip.Addr][]Event {
	sorted := slices.Clone(events)
	slices.SortFunc(sorted, Compare)
	by := make(map[netip.Addr][]Event)
	for _, e := range sorted {
		if e.From == e.To {
			continue
		}
		by[key(e)] = append(by[key(e)], e)
	}
	return by
}

type found struct {
	at   model.Time
	via  Event
	done bool
}

// search is Dijkstra's algorithm: sign +1 looks for the least time of each host, -1 for
// the greatest. step says where an event leads when its near end is reached at a time,
// when one is there then, and whether the event may be used at all.
func search(seeds map[netip.Addr]Seed, next map[netip.Addr][]Event, sign model.Time,
	start func(Seed) model.Time,
	step func(model.Time, Event) (netip.Addr, model.Time, bool),
) map[netip.Addr]*found {
	got := make(map[netip.Addr]*found, len(seeds))
	q := &queue{}
	for host, s := range seeds {
		at := start(s)
		got[host] = &found{at: at}
		heap.Push(q, entry{sign * at, host})
	}
	for q.Len() > 0 {
		e := heap.Pop(q).(entry)
		here := got[e.host]
		if here.done {
			continue
		}
		here.done = true
		for _, ev := range next[e.host] {
			host, at, ok := step(here.at, ev)
			if !ok {
				continue
			}
			there := got[host]
			if there == nil {
				got[host] = &found{at: at, via: ev}
			} else if !there.done && sign*at < sign*there.at {
				there.at, there.via = at, ev
			} else {
				continue
			}
			heap.Push(q, entry{sign * at, host})
		}
	}
	return got
}

func join(possible, certain map[netip.Addr]*found) map[netip.Addr]Bound {
	out := make(map[netip.Addr]Bound, len(possible))
	for host, p := range possible {
		b := Bound{At: p.at, Via: p.via}
		if c := certain[host]; c != nil {
			b.Certain, b.Sure, b.SureVia = true, c.at, c.via
		}
		out[host] = b
	}
	return out
}

type entry struct {
	key  model.Time
	host netip.Addr
}

// queue is a heap of hosts by time, then address, so that ties fall the same way always.
type queue []entry

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].key < q[j].key || q[i].key == q[j].key && q[i].host.Less(q[j].host)
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(entry)) }
func (q *queue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}
