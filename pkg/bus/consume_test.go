package bus_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/bus/embedded"
	"github.com/tracer-framework/tracer/pkg/testkit"
)

// A handler that takes several times the server's patience keeps its message.
func TestSlowHandlerKeepsMessage(t *testing.T) {
	b := testkit.BusOn(t, testkit.BusServer(t, embedded.Config{}), bus.ProvisionOptions{AckWait: 300 * time.Millisecond})
	var got seen
	consume(t, b, "ingest", func(ctx context.Context, ev cloudevents.Event) error {
		got.add(ev)
		wait(ctx, 1500*time.Millisecond)
		return nil
	}, bus.ConsumeOptions{Workers: 2})
	if err := b.Publish(t.Context(), opened(t, 1)); err != nil {
		t.Fatal(err)
	}
	until(t, "handled", func() bool { return got.len() == 1 && lag(t, b, "ingest") == 0 })
	if n := got.count("open-case-1"); n != 1 {
		t.Errorf("handled %d times, want 1", n)
	}
}

// A worker that holds one message takes no second one into a buffer.
func TestInFlightIsBounded(t *testing.T) {
	b := testkit.Bus(t)
	for i := range 6 {
		if err := b.Publish(t.Context(), opened(t, i)); err != nil {
			t.Fatal(err)
		}
	}
	release := make(chan struct{})
	var in, most atomic.Int32
	consume(t, b, "ingest", func(context.Context, cloudevents.Event) error {
		if n := in.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-release
		in.Add(-1)
		return nil
	}, bus.ConsumeOptions{Workers: 2})
	until(t, "two in flight", func() bool { return in.Load() == 2 })
	wait(t.Context(), 200*time.Millisecond)
	all, err := b.Lag(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if all[0].Durable != "ingest" || all[0].AckPending != 2 || all[0].Pending != 4 {
		t.Errorf("backlog %+v, want 2 given out and 4 waiting", all[0])
	}
	close(release)
	until(t, "all handled", func() bool { return lag(t, b, "ingest") == 0 })
	if most.Load() != 2 {
		t.Errorf("%d at a time, want 2", most.Load())
	}
}

// Retry waits without counting attempts and without giving the message away.
func TestRetryIsNotCounted(t *testing.T) {
	b := testkit.Bus(t)
	var calls atomic.Int32
	consume(t, b, "ingest", func(context.Context, cloudevents.Event) error {
		if calls.Add(1) < 6 {
			return bus.Retry(errors.New("the store is away"))
		}
		return nil
	}, bus.ConsumeOptions{MaxAttempts: 1})
	if err := b.Publish(t.Context(), opened(t, 1)); err != nil {
		t.Fatal(err)
	}
	until(t, "handled", func() bool { return calls.Load() == 6 && lag(t, b, "ingest") == 0 })
	if l, err := b.ListDLQ(t.Context()); err != nil || len(l) != 0 {
		t.Errorf("dead letters %v %v", l, err)
	}
}

// Stopping lets the handler in flight finish; a message that only waits goes back at once.
func TestStopAndRestart(t *testing.T) {
	b := testkit.BusOn(t, testkit.BusServer(t, embedded.Config{}), bus.ProvisionOptions{AckWait: time.Minute})
	const n = 40
	for i := range n {
		if err := b.Publish(t.Context(), opened(t, i)); err != nil {
			t.Fatal(err)
		}
	}
	var done seen
	for round := 0; done.len() < n; round++ {
		if round > 50 {
			t.Fatalf("%d of %d handled after %d rounds", done.len(), n, round)
		}
		stop := consume(t, b, "ingest", func(ctx context.Context, ev cloudevents.Event) error {
			wait(ctx, 10*time.Millisecond)
			if ctx.Err() != nil {
				t.Error("cut off within the grace")
			}
			done.add(ev)
			return nil
		}, bus.ConsumeOptions{Workers: 3})
		wait(t.Context(), 60*time.Millisecond)
		stop()
	}
	for id, c := range done.ids {
		if c != 1 {
			t.Errorf("%s handled %d times", id, c)
		}
	}
	if l := lag(t, b, "ingest"); l != 0 {
		t.Errorf("%d left", l)
	}

	var waits atomic.Int32
	stop := consume(t, b, "detect", func(ctx context.Context, _ cloudevents.Event) error {
		waits.Add(1)
		select {
		case <-bus.Stopping(ctx):
		case <-time.After(20 * time.Second):
			t.Error("not told to stop")
		}
		return errors.New("told to stop")
	}, bus.ConsumeOptions{MaxAttempts: 1})
	until(t, "waiting", func() bool { return waits.Load() == 1 })
	stop()
	var again seen
	consume(t, b, "detect", func(_ context.Context, ev cloudevents.Event) error {
		again.add(ev)
		return nil
	}, bus.ConsumeOptions{})
	until(t, "handled after the restart, long before the server's patience ends", func() bool { return again.len() == n })
	if l, _ := b.ListDLQ(t.Context()); len(l) != 0 {
		t.Errorf("a stop made dead letters: %+v", l)
	}
}

// A handler that does not finish in its grace is told so, and its message is handled again.
func TestGraceIsBounded(t *testing.T) {
	b := testkit.Bus(t)
	if err := b.Publish(t.Context(), opened(t, 1)); err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int32
	stop := consume(t, b, "ingest", func(ctx context.Context, _ cloudevents.Event) error {
		calls.Add(1)
		<-ctx.Done()
		return ctx.Err()
	}, bus.ConsumeOptions{Grace: 50 * time.Millisecond})
	until(t, "called", func() bool { return calls.Load() == 1 })
	begin := time.Now()
	stop()
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("stop took %s", d)
	}
	var got seen
	consume(t, b, "ingest", func(_ context.Context, ev cloudevents.Event) error {
		got.add(ev)
		return nil
	}, bus.ConsumeOptions{})
	until(t, "handled again", func() bool { return got.len() == 1 })
}

// What is no event is kept as a dead letter at once, byte for byte.
func TestUnreadableMessage(t *testing.T) {
	s := testkit.BusServer(t, embedded.Config{})
	b := testkit.BusOn(t, s, bus.ProvisionOptions{})
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, m := range []*nats.Msg{
		{Subject: "tracer.v1.case.opened", Data: []byte("no event")},
		{Subject: "tracer.v1.case.opened", Header: nats.Header{"Content-Type": {"application/cloudevents+json"}}, Data: []byte("{")},
		{Subject: "tracer.v1.case.opened", Header: nats.Header{"ce-specversion": {"1.0"}}, Data: make([]byte, 1<<20-100)},
	} {
		if _, err := nc.RequestMsg(m, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	consume(t, b, "ingest", func(context.Context, cloudevents.Event) error {
		t.Error("handed to the handler")
		return nil
	}, bus.ConsumeOptions{})
	var letters []bus.Letter
	until(t, "dead letters", func() bool {
		letters, err = b.ListDLQ(t.Context())
		return err == nil && len(letters) == 3
	})
	until(t, "nothing left", func() bool { return lag(t, b, "ingest") == 0 })
	if l, err := b.ShowDLQ(t.Context(), letters[0].Seq); err != nil || string(l.Data) != "no event" || l.Deliveries != 1 || l.Type != "" {
		t.Errorf("letter %+v %v", l, err)
	}
	// Too large for the headers of a dead letter: kept without its body, which is told.
	if err := b.RetryDLQ(t.Context(), letters[2].Seq); err == nil || letters[2].Size != 0 {
		t.Errorf("the letter without body: %+v %v", letters[2], err)
	}
	if err := b.RetryDLQ(t.Context(), letters[0].Seq); err != nil {
		t.Error(err)
	}
}

// A message that kills its worker each time is given up before the handler sees it again.
func TestLostWorkers(t *testing.T) {
	s := testkit.BusServer(t, embedded.Config{})
	b := testkit.BusOn(t, s, bus.ProvisionOptions{})
	if err := b.Publish(t.Context(), opened(t, 1)); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for range 64 { // a worker that takes the message and gives no outcome
		m, err := nc.Request("$JS.API.CONSUMER.MSG.NEXT.CASE.ingest", []byte(`{"batch":1,"expires":5000000000}`), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Nak(); err != nil {
			t.Fatal(err)
		}
	}
	consume(t, b, "ingest", func(context.Context, cloudevents.Event) error {
		t.Error("handed to the handler")
		return nil
	}, bus.ConsumeOptions{})
	until(t, "dead letter", func() bool {
		l, err := b.ListDLQ(t.Context())
		return err == nil && len(l) == 1 && l[0].Deliveries == 65
	})
}

func TestUnknownDurable(t *testing.T) {
	b := testkit.Bus(t)
	if err := b.Consume(t.Context(), "nobody", nil, bus.ConsumeOptions{}); err == nil {
		t.Error("an unknown durable passes")
	}
}

// archive-event reads several streams in one call.
func TestSeveralStreams(t *testing.T) {
	b := testkit.Bus(t)
	var got seen
	var mu sync.Mutex
	types := map[string]bool{}
	consume(t, b, "archive-event", func(_ context.Context, ev cloudevents.Event) error {
		got.add(ev)
		mu.Lock()
		types[ev.Type()] = true
		mu.Unlock()
		return nil
	}, bus.ConsumeOptions{})
	for _, ev := range oneOfEach(t) {
		if err := b.Publish(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "one of each", func() bool { return got.len() == 5 && lag(t, b, "archive-event") == 0 })
	if len(types) != 5 {
		t.Errorf("types %v", types)
	}
}
