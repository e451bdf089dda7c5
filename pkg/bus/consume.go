package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tracer-framework/tracer/pkg/event"
)

// Handler takes one event. Returning nil acknowledges it; its effects must be stored or
// published by then. An error wrapped by Permanent makes it a dead letter at once, one
// wrapped by Retry is waited out, any other is tried again later, up to MaxAttempts times.
//
// ctx outlives the stop of the consumer by ConsumeOptions.Grace, so that what was begun can
// be finished. A handler that only waits for something should also watch Stopping(ctx).
type Handler func(ctx context.Context, ev cloudevents.Event) error

// ConsumeOptions bound a Consume call. Zero values take the defaults.
type ConsumeOptions struct {
	Workers     int             // messages handled at the same time, per stream of the durable; default 1
	MaxAttempts int             // failed attempts in this call before a message becomes a dead letter; default 8
	Backoff     []time.Duration // wait before the second, third ... attempt; the last one repeats
	Grace       time.Duration   // time a handler gets to finish when ctx is done; default 20 s
}

// DefaultBackoff is the wait before each further attempt at a message.
var DefaultBackoff = []time.Duration{time.Second, 5 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute}

const (
	defaultAttempts = 8
	defaultGrace    = 20 * time.Second

	// lostLimit bounds the deliveries of a message that never had an outcome: it may be
	// the very thing that kills the process.
	lostLimit = 64
)

type permanentError struct{ err error }

func (e permanentError) Error() string { return e.err.Error() }
func (e permanentError) Unwrap() error { return e.err }

// Permanent marks an error that no repetition can heal: the message becomes a dead letter
// at once. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

type retryError struct{ err error }

func (e retryError) Error() string { return e.err.Error() }
func (e retryError) Unwrap() error { return e.err }

// Retry marks an error that says nothing about the message: the store is away, something
// is not there yet. The handler is called again with growing waits of at most two seconds,
// for as long as it takes; the message stays with its worker and no attempt is counted.
// Retry(nil) is nil.
func Retry(err error) error {
	if err == nil {
		return nil
	}
	return retryError{err}
}

type stoppingKey struct{}

// Stopping is closed when the consumer that called the handler has been told to stop. It
// is nil outside of a handler.
func Stopping(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return c
}

// consumption is one running Consume call.
type consumption struct {
	bus     *Bus
	durable durable
	handler Handler
	opt     ConsumeOptions
	stop    context.Context // done: take no more messages
	work    context.Context // done: give up what is in flight

	mu       sync.Mutex
	failures map[string]int // failed attempts by stream and sequence
}

// Consume hands the messages of a durable consumer to h until ctx is done; then it takes no
// more, lets the handlers in flight finish and returns nil. Each worker holds one message,
// which it keeps alive at the server however long the handler takes.
func (b *Bus) Consume(ctx context.Context, name string, h Handler, opt ConsumeOptions) error {
	d, ok := durableNamed(name)
	if !ok {
		return fmt.Errorf("consume: durable %q is not in the table of durables", name)
	}
	if opt.Workers < 1 {
		opt.Workers = 1
	}
	if opt.MaxAttempts < 1 {
		opt.MaxAttempts = defaultAttempts
	}
	if len(opt.Backoff) == 0 {
		opt.Backoff = DefaultBackoff
	}
	if opt.Grace <= 0 {
		opt.Grace = defaultGrace
	}
	work, cancel := context.WithCancel(context.WithValue(context.WithoutCancel(ctx), stoppingKey{}, ctx.Done()))
	defer cancel()
	c := &consumption{bus: b, durable: d, handler: h, opt: opt, stop: ctx, work: work, failures: map[string]int{}}
	var workers sync.WaitGroup
	for _, on := range d.on {
		for range opt.Workers {
			workers.Go(func() { c.run(on.stream) })
		}
	}
	done := make(chan struct{})
	go func() {
		workers.Wait()
		close(done)
	}()
	<-ctx.Done()
	select {
	case <-done:
	case <-time.After(opt.Grace):
		b.log.Warn("handlers did not finish in time, giving up their messages", "durable", name, "grace", opt.Grace)
		cancel()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			b.log.Error("a handler does not heed its context, leaving it behind", "durable", name)
		}
	}
	if b.nc.IsConnected() {
		_ = b.nc.FlushTimeout(2 * time.Second) // acknowledgements that do not arrive mean a redelivery
	}
	return nil
}

// run is one worker on one stream.
func (c *consumption) run(stream string) {
	for wait := backoff(0); c.stop.Err() == nil; {
		err := c.pull(stream, &wait)
		if c.stop.Err() != nil {
			return
		}
		c.bus.say("cannot take messages, waiting", "durable", c.durable.name, "stream", stream, "error", err)
		if sleep(c.stop, wait.next()) != nil {
			return
		}
	}
}

// pull takes messages one by one until the iterator breaks or the consumer is stopped.
func (c *consumption) pull(stream string, wait *backoff) error {
	cons, err := c.bus.js.Consumer(c.stop, stream, c.durable.name)
	if err != nil {
		return err
	}
	// One message is asked for only when the worker is free: none lies in a buffer
	// while its time at the server runs out.
	it, err := cons.Messages(jetstream.PullMaxMessages(1), jetstream.PullExpiry(10*time.Second),
		jetstream.PullHeartbeat(3*time.Second), jetstream.WithMessagesErrOnMissingHeartbeat(false))
	if err != nil {
		return err
	}
	defer giveBack(it)
	beat := cons.CachedInfo().Config.AckWait / 3
	for {
		msg, err := it.Next(jetstream.NextContext(c.stop))
		if err != nil {
			return err
		}
		*wait = 0
		c.handle(msg, beat)
	}
}

// giveBack ends an iterator and returns a message that came in meanwhile to the server.
func giveBack(it jetstream.MessagesContext) {
	it.Drain()
	for {
		msg, err := it.Next(jetstream.NextMaxWait(time.Second))
		if err != nil {
			return
		}
		_ = msg.Nak() // lost: given out again when its time is up
	}
}

// handle takes a message to its outcome: acknowledged, given back or dead letter.
func (c *consumption) handle(msg jetstream.Msg, beat time.Duration) {
	md, err := msg.Metadata()
	if err != nil {
		c.bus.say("message without stream position", "durable", c.durable.name, "subject", msg.Subject(), "error", err)
		return
	}
	if only := msg.Headers().Get(headerRetry); only != "" && only != c.durable.name {
		c.settle(msg.Ack(), msg) // a dead letter of another durable, tried again
		return
	}
	stopBeat := c.keepAlive(msg, beat)
	defer stopBeat()
	ev, err := event.Decode(msg.Headers(), msg.Data())
	if err != nil {
		c.bury(msg, md, fmt.Errorf("cannot be read: %w", err))
		return
	}
	if md.NumDelivered > lostLimit {
		c.bury(msg, md, fmt.Errorf("given out %d times, and the worker was lost each time or could not finish", md.NumDelivered-1))
		return
	}
	ctx, span := c.bus.startProcess(c.work, msg.Headers(), &ev, c.durable.name, msg.Subject())
	err = c.attempt(ctx, ev)
	endSpan(span, err)

	key := fmt.Sprintf("%s:%d", md.Stream, md.Sequence.Stream)
	var permanent permanentError
	switch {
	case err == nil:
		c.forget(key)
		c.bus.tel.consumed.Add(ctx, 1, ofDurable(c.durable.name))
		c.settle(msg.Ack(), msg)
	case errors.As(err, &permanent):
		c.forget(key)
		c.bury(msg, md, err)
	case c.stop.Err() != nil: // cut off by the stop: not the message's fault
		c.settle(msg.Nak(), msg)
	default:
		n := c.failed(key)
		if n >= c.opt.MaxAttempts {
			c.forget(key)
			c.bury(msg, md, err)
			return
		}
		delay := c.opt.Backoff[min(n, len(c.opt.Backoff))-1]
		c.bus.tel.retried.Add(ctx, 1, ofDurable(c.durable.name))
		c.bus.log.Warn("event failed, trying again", "durable", c.durable.name, "type", ev.Type(), "id", ev.ID(), "attempt", n, "delay", delay, "error", err)
		c.settle(msg.NakWithDelay(delay), msg)
	}
}

// attempt calls the handler, again and again while it asks for Retry and nobody asks to stop.
func (c *consumption) attempt(ctx context.Context, ev cloudevents.Event) error {
	for wait := backoff(0); ; {
		err := c.call(ctx, ev)
		if _, ok := errors.AsType[retryError](err); !ok {
			return err
		}
		if wait > 3 { // waiting shortly is everyday business
			c.bus.say("waiting to handle events", "durable", c.durable.name, "type", ev.Type(), "error", err)
		}
		c.bus.tel.retried.Add(ctx, 1, ofDurable(c.durable.name))
		if sleep(c.stop, wait.next()) != nil {
			return err
		}
	}
}

// call calls the handler once. A panic becomes an error, so that one hostile message does
// not take the process and all others with it.
func (c *consumption) call(ctx context.Context, ev cloudevents.Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.bus.tel.panics.Add(ctx, 1, ofDurable(c.durable.name))
			c.bus.log.Error("handler panicked", "durable", c.durable.name, "type", ev.Type(), "id", ev.ID(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("handler panicked: %v", p)
		}
	}()
	return c.handler(ctx, ev)
}

// keepAlive tells the server at every beat that the message is being worked on, until the
// returned function is called.
func (c *consumption) keepAlive(msg jetstream.Msg, beat time.Duration) func() {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		t := time.NewTicker(beat)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				_ = msg.InProgress() // a lost one is made up for by the next
			case <-stop:
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

// settle notes that an acknowledgement could not be sent: the message will come again.
func (c *consumption) settle(err error, msg jetstream.Msg) {
	if err != nil {
		c.bus.say("acknowledgement not sent, the message will be given out again", "durable", c.durable.name, "subject", msg.Subject(), "error", err)
	}
}

func (c *consumption) failed(key string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.failures) > maxAckPending*16 { // messages that others finished
		clear(c.failures)
	}
	c.failures[key]++
	return c.failures[key]
}

func (c *consumption) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.failures, key)
}

// Backlog is what a durable consumer has before it.
type Backlog struct {
	Durable    string
	Pending    uint64 // messages not given out yet
	AckPending uint64 // messages given out and not acknowledged
}

// Lag tells the backlog of every durable consumer, in the order of the data's way. A
// message stored at this very moment may not be counted yet.
func (b *Bus) Lag(ctx context.Context) ([]Backlog, error) {
	out := make([]Backlog, 0, len(durables))
	for _, d := range durables {
		l := Backlog{Durable: d.name}
		for _, on := range d.on {
			c, err := b.js.Consumer(ctx, on.stream, d.name)
			if err != nil {
				return nil, fmt.Errorf("lag of %s on %s: %w", d.name, on.stream, err)
			}
			info := c.CachedInfo()
			l.Pending += info.NumPending
			l.AckPending += uint64(info.NumAckPending)
		}
		out = append(out, l)
	}
	return out, nil
}
