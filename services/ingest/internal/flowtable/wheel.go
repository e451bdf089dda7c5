package flowtable

import (
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/ingest/internal/decode"
)

// deadline is the moment at which the flow ends if nothing further comes.
func (f *Flow) deadline() model.Time {
	d := f.Last + f.idle
	if f.Service != ServiceOther {
		switch {
		case f.Service == ServiceSSH:
			d = f.Last + idleInteractive
		case f.Key.Proto == decode.ProtoUDP:
			// Checked every ten seconds from the start, ended if silent for nine.
			d = min(d, after(f.Start+dnsCheck, dnsCheck, f.Last+dnsIdle))
		}
	}
	if f.Key.Proto != decode.ProtoTCP {
		return d
	}
	if f.deleteAt != 0 {
		return min(d, f.deleteAt)
	}
	if f.flags&flowDone != 0 {
		return d
	}
	o, r := f.O(), f.R()
	if f.attempt != 0 && (o.State == SynSent || o.State == SynAckSent) && r.State == Inactive {
		d = min(d, f.attempt)
	}
	closed := o.flags|r.flags&sideClosed != 0
	if closed && ((o.flags&r.flags)&sideClosed != 0 || o.State == Reset || r.State == Reset || o.State == Inactive || r.State == Inactive) ||
		o.State == Inactive && r.State == Inactive {
		// Checked every six seconds, ended if silent for more than five.
		d = min(d, after(f.Start+5*second, sessionCheck, f.Last+lingerTime+1))
		if f.halfAt != 0 {
			d = min(d, after(f.halfAt, sessionCheck, f.Last+lingerTime+1))
		}
	}
	return d
}

// after is the first of from, from+step, from+2*step ... that is not before t.
func after(from, step, t model.Time) model.Time {
	if t <= from {
		return from
	}
	return from + (t-from+step-1)/step*step
}

// advance moves the clock and ends flows whose time has come.
func (t *Table) advance(ts model.Time) {
	if !t.begun {
		t.begun = true
		t.now, t.tick = ts, int64(ts>>tickBits)
		return
	}
	if ts <= t.now {
		return // captures may step back; the clock does not
	}
	t.now = ts
	to := int64(ts >> tickBits)
	if to == t.tick {
		return
	}
	for n := int64(0); t.tick < to; n++ {
		if n == wheelSlots { // a leap over all slots
			t.tick = to
			break
		}
		at := t.tick % wheelSlots
		// Flows put back go to later slots, so the list is taken off first.
		i := t.wheel[at]
		t.wheel[at] = 0
		t.tick++
		for i != 0 {
			f := t.at(i)
			next := f.next
			f.tick, f.next, f.prev = noTick, 0, 0
			if f.deadline() <= t.now {
				t.end(i)
			} else {
				t.place(i, f)
			}
			i = next
		}
	}
}

// place files a flow in the slot of its deadline.
func (t *Table) place(i uint32, f *Flow) {
	at := int64(f.deadline() >> tickBits)
	at = max(at, t.tick)
	at = min(at, t.tick+wheelSlots-1)
	slot := int32(at % wheelSlots)
	if f.tick == slot {
		return
	}
	t.unplace(i, f)
	f.tick, f.prev, f.next = slot, 0, t.wheel[slot]
	if f.next != 0 {
		t.at(f.next).prev = i
	}
	t.wheel[slot] = i
}

func (t *Table) unplace(i uint32, f *Flow) {
	if f.tick == noTick {
		return
	}
	if f.prev != 0 {
		t.at(f.prev).next = f.next
	} else if t.wheel[f.tick] == i {
		t.wheel[f.tick] = f.next
	}
	if f.next != 0 {
		t.at(f.next).prev = f.prev
	}
	f.tick, f.next, f.prev = noTick, 0, 0
}
