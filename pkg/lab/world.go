package lab

import (
	"container/heap"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Moments and durations inside the generator are nanoseconds (moments: since 1970).
const (
	microsecond = int64(time.Microsecond)
	millisecond = int64(time.Millisecond)
	second      = int64(time.Second)
	minute      = int64(time.Minute)
	hour        = int64(time.Hour)
)

// warmup is how long the world lives before the captures begin, so that they start, as
// real ones do, in the middle of conversations.
const warmup = 12 * minute

// world runs the actors in order of time and hands their packets, sorted, to the sensors.
//
// An actor is a function run at a moment; it emits packets at that moment or later and may
// schedule further functions. Packets wait in one bucket per second until no actor can
// add to it; memory therefore holds only the future of running conversations.
type world struct {
	start, end int64
	seed       int64
	scale      float64
	now        int64

	events  eventHeap
	ordinal uint64
	buckets []*bucket // by second since start
	flushed int       // buckets before this one are written
	free    []*bucket
	err     error

	sensors []*sensor
	edge    *sensor // between the core router and the firewall
	core    *sensor // mirror of the core switch, tagged
	wifi    *sensor // the wireless segment

	net   *network
	zone  *zone
	certs *issuer

	steps   []*Step
	benign  []Benign
	scratch []byte // of one message in the making
	body    []byte // of one document in the making
}

// sensor is a place where packets are seen, with its capture file.
type sensor struct {
	name   string
	out    *capture
	tagged bool
}

type event struct {
	t int64
	n uint64
	f func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].t < h[j].t || h[i].t == h[j].t && h[i].n < h[j].n
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*h = old[:len(old)-1]
	return e
}

// bucket holds the packets of one second.
type bucket struct {
	data []byte
	list []waiting
}

type waiting struct {
	t        int64
	off, end int
	s        *sensor
}

// at schedules f.
func (w *world) at(t int64, f func()) {
	if t >= w.end {
		return
	}
	w.ordinal++
	heap.Push(&w.events, event{t, w.ordinal, f})
}

// every schedules f at t and then again each time f says when.
func (w *world) every(t int64, f func(t int64) (next int64)) {
	w.at(t, func() { w.every(f(t), f) })
}

// run lives through the scenario. It stops at the first write error.
func (w *world) run() error {
	w.buckets = make([]*bucket, (w.end-w.start+second-1)/second)
	for len(w.events) > 0 && w.err == nil {
		e := heap.Pop(&w.events).(event)
		w.now = e.t
		w.flush(int((e.t - w.start) / second))
		e.f()
	}
	w.flush(len(w.buckets))
	return w.err
}

// flush writes all buckets before the given one.
func (w *world) flush(before int) {
	for ; w.flushed < min(before, len(w.buckets)); w.flushed++ {
		b := w.buckets[w.flushed]
		if b == nil {
			continue
		}
		slices.SortStableFunc(b.list, func(x, y waiting) int {
			switch {
			case x.t < y.t:
				return -1
			case x.t > y.t:
				return 1
			}
			return 0
		})
		for _, p := range b.list {
			if w.err == nil {
				w.err = p.s.out.write(p.t, b.data[p.off:p.end])
			}
		}
		w.buckets[w.flushed] = nil
		b.data, b.list = b.data[:0], b.list[:0]
		w.free = append(w.free, b)
	}
}

// bucketFor finds where a packet at t belongs; nil when no capture runs at that time.
func (w *world) bucketFor(t int64) *bucket {
	if t < w.start || t >= w.end {
		return nil
	}
	i := int((t - w.start) / second)
	if i < w.flushed {
		w.err = fmt.Errorf("packet at %s after its second was written", model.Time(t/1000))
		return nil
	}
	if w.buckets[i] == nil {
		if n := len(w.free); n > 0 {
			w.buckets[i], w.free = w.free[n-1], w.free[:n-1]
		} else {
			w.buckets[i] = new(bucket)
		}
	}
	return w.buckets[i]
}

// emit stores one packet: build appends the frame to the buffer it is given. It reports
// whether the packet is part of a capture.
func (w *world) emit(s *sensor, t int64, build func(b []byte) []byte) bool {
	if s == nil {
		return false
	}
	b := w.bucketFor(t)
	if b == nil {
		return false
	}
	off := len(b.data)
	b.data = build(b.data)
	b.list = append(b.list, waiting{t, off, len(b.data), s})
	return true
}

// step notes one action of the intruder; packets sent in its name fill in the rest.
func (w *world) step(s Step) *Step {
	if s.Via == nil {
		s.Via = []netip.Addr{}
	}
	w.steps = append(w.steps, &s)
	return &s
}

// saw counts one packet for the step.
func (s *Step) saw(at *sensor, t int64) {
	m := model.Time(t / 1000)
	if s.Packets == 0 || m < s.First {
		s.First = m
	}
	s.Last = max(s.Last, m)
	if s.Packets == 0 {
		s.Sensor = at.name
	}
	s.Packets++
}
