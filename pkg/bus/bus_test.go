package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/testkit"
)

// quick is a backoff for tests: the order matters, not the length.
var quick = []time.Duration{30 * time.Millisecond, 60 * time.Millisecond, 90 * time.Millisecond}

func opened(t testing.TB, n int) cloudevents.Event {
	t.Helper()
	id := fmt.Sprintf("case-%d", n)
	ev, err := event.New(event.CaseOpened, "open-"+id, "/tracer/test", id, model.Case{CaseID: id, Stage: model.StageOpened})
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func observed(t testing.TB, n, size int) cloudevents.Event {
	t.Helper()
	ev, err := event.NewBulk(event.FlowObserved, fmt.Sprintf("obs-%06d", n), "/tracer/test", "ab12", n%event.Partitions, make([]byte, size))
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// seen counts the events a handler was given, by id.
type seen struct {
	mu  sync.Mutex
	ids map[string]int
}

func (s *seen) add(ev cloudevents.Event) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids = map[string]int{}
	}
	s.ids[ev.ID()]++
	return s.ids[ev.ID()]
}

func (s *seen) count(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[id]
}

func (s *seen) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ids)
}

// consume runs a Consume call until the returned function is called or the test ends.
func consume(t testing.TB, b *bus.Bus, durable string, h bus.Handler, opt bus.ConsumeOptions) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Consume(ctx, durable, h, opt) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("consume %s: %v", durable, err)
			}
		case <-time.After(30 * time.Second):
			t.Errorf("consume %s does not stop", durable)
		}
	})
	t.Cleanup(stop)
	return stop
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in 30 s: %s", what)
		}
		wait(t.Context(), 5*time.Millisecond)
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func lag(t testing.TB, b *bus.Bus, durable string) uint64 {
	t.Helper()
	all, err := b.Lag(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if l.Durable == durable {
			return l.Pending + l.AckPending
		}
	}
	t.Fatalf("no durable %s", durable)
	return 0
}

func TestPublishOnce(t *testing.T) {
	b := testkit.Bus(t)
	ev := opened(t, 1)
	for range 3 {
		if err := b.Publish(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	if n := lag(t, b, "ingest"); n != 1 {
		t.Errorf("%d messages stored, want 1", n)
	}
	var got seen
	consume(t, b, "ingest", func(_ context.Context, ev cloudevents.Event) error {
		got.add(ev)
		c, err := event.Data[model.Case](ev)
		if err != nil || c.CaseID != "case-1" || ev.Type() != event.CaseOpened {
			t.Errorf("got %+v %v", c, err)
		}
		return nil
	}, bus.ConsumeOptions{Workers: 2})
	until(t, "acknowledged", func() bool { return lag(t, b, "ingest") == 0 })
	if n := got.count(ev.ID()); n != 1 {
		t.Errorf("handled %d times", n)
	}
	if n := lag(t, b, "detect"); n != 1 {
		t.Errorf("the other durable has %d, want its own copy", n)
	}
}

func TestBulkLeavesStreamOnceHandled(t *testing.T) {
	b := testkit.Bus(t)
	const n = 200
	for i := range n {
		if err := b.PublishAsync(t.Context(), observed(t, i, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l := lag(t, b, "fingerprint"); l != n {
		t.Fatalf("%d stored, want %d", l, n)
	}
	var got seen
	consume(t, b, "fingerprint", func(_ context.Context, ev cloudevents.Event) error {
		if p, err := event.Partition(ev); err != nil || len(ev.Data()) != 1000 {
			t.Errorf("partition %d, %d bytes, %v", p, len(ev.Data()), err)
		}
		got.add(ev)
		return nil
	}, bus.ConsumeOptions{Workers: 4})
	until(t, "all handled", func() bool { return got.len() == n && lag(t, b, "fingerprint") == 0 })
	for id, c := range got.ids {
		if c != 1 {
			t.Errorf("%s handled %d times", id, c)
		}
	}
}

func TestBackoffOrder(t *testing.T) {
	b := testkit.Bus(t)
	var mu sync.Mutex
	var times []time.Time
	consume(t, b, "ingest", func(context.Context, cloudevents.Event) error {
		mu.Lock()
		defer mu.Unlock()
		times = append(times, time.Now())
		if len(times) < 4 {
			return errors.New("not yet")
		}
		return nil
	}, bus.ConsumeOptions{Backoff: quick})
	if err := b.Publish(t.Context(), opened(t, 1)); err != nil {
		t.Fatal(err)
	}
	until(t, "four attempts", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(times) == 4
	})
	until(t, "acknowledged", func() bool { return lag(t, b, "ingest") == 0 })
	mu.Lock()
	defer mu.Unlock()
	if len(times) != 4 {
		t.Fatalf("%d attempts, want 4", len(times))
	}
	for i, want := range quick {
		if got := times[i+1].Sub(times[i]); got < want {
			t.Errorf("attempt %d came after %s, want at least %s", i+2, got, want)
		}
	}
}

func TestPoisonBecomesDeadLetterAndIsRetried(t *testing.T) {
	b := testkit.Bus(t)
	var calls, others seen
	var healed sync.Map
	consume(t, b, "ingest", func(_ context.Context, ev cloudevents.Event) error {
		calls.add(ev)
		if _, ok := healed.Load("yes"); ok {
			return nil
		}
		switch ev.ID() {
		case "open-case-1":
			return errors.New("always fails: ä\n\"x\"")
		case "open-case-2":
			return fmt.Errorf("wrapped: %w", bus.Permanent(errors.New("hopeless")))
		case "open-case-3":
			panic("boom")
		}
		return nil
	}, bus.ConsumeOptions{Backoff: quick, MaxAttempts: 3})
	consume(t, b, "detect", func(_ context.Context, ev cloudevents.Event) error {
		others.add(ev)
		return nil
	}, bus.ConsumeOptions{})
	for i := range 4 {
		if err := b.Publish(t.Context(), opened(t, i)); err != nil {
			t.Fatal(err)
		}
	}
	var letters []bus.Letter
	until(t, "three dead letters", func() bool {
		var err error
		if letters, err = b.ListDLQ(t.Context()); err != nil {
			t.Fatal(err)
		}
		return len(letters) == 3
	})
	byID := map[string]bus.Letter{}
	for _, l := range letters {
		byID[l.ID] = l
	}
	for id, want := range map[string]struct {
		attempts int
		reason   string
	}{
		"open-case-1": {3, "always fails: ä\n\"x\""},
		"open-case-2": {1, "wrapped: hopeless"},
		"open-case-3": {3, "handler panicked: boom"},
	} {
		l := byID[id]
		if l.Reason != want.reason || l.Deliveries != uint64(want.attempts) || calls.count(id) != want.attempts {
			t.Errorf("%s: %d attempts, letter %+v, want %+v", id, calls.count(id), l, want)
		}
		if l.Durable != "ingest" || l.Subject != "tracer.v1.case.opened" || l.Stream != "CASE" || l.Type != event.CaseOpened {
			t.Errorf("%s: letter %+v", id, l)
		}
	}
	until(t, "nothing left", func() bool { return lag(t, b, "ingest") == 0 })
	shown, err := b.ShowDLQ(t.Context(), byID["open-case-2"].Seq)
	if err != nil || len(shown.Data) == 0 || shown.Header["Content-Type"] == nil {
		t.Errorf("show: %+v %v", shown, err)
	}

	healed.Store("yes", true)
	until(t, "others", func() bool { return others.len() == 4 })
	for _, l := range letters {
		if err := b.RetryDLQ(t.Context(), l.Seq); err != nil {
			t.Fatal(err)
		}
		until(t, "retried "+l.ID, func() bool { return calls.count(l.ID) == int(l.Deliveries)+1 })
	}
	until(t, "nothing left", func() bool { return lag(t, b, "ingest") == 0 && lag(t, b, "detect") == 0 })
	if left, err := b.ListDLQ(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("%d letters left, %v", len(left), err)
	}
	for i := range 4 {
		if n := others.count(opened(t, i).ID()); n != 1 {
			t.Errorf("the durable that had no trouble saw case %d %d times", i, n)
		}
	}
	if err := b.RetryDLQ(t.Context(), letters[0].Seq); err == nil {
		t.Error("a letter that is gone can be retried")
	}
}
