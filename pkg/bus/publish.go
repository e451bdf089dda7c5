package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"github.com/tracer-framework/tracer/pkg/event"
)

// letterRoom is kept free below the server's max_payload, so that every message that was
// published can be published again as a dead letter with its additional headers.
const letterRoom = 4 << 10

// Publish validates an event and sends it until the server has stored it, always under the
// event's id, so that it is stored once. While the stream is full or the server away it
// waits, saying so, until ctx is done. An event that can never be stored is an error at once.
func (b *Bus) Publish(ctx context.Context, ev cloudevents.Event) error {
	msg, span, ctx, err := b.message(ctx, ev)
	if err != nil {
		return err
	}
	err = b.send(ctx, msg, ev.Type())
	endSpan(span, err)
	return err
}

// PublishAsync is Publish that does not wait for the acknowledgement. Not more than 64
// messages are in flight; then it blocks, which is how backpressure reaches the source.
// Messages may be stored in another order. What fails later is told by Flush.
func (b *Bus) PublishAsync(ctx context.Context, ev cloudevents.Event) error {
	msg, span, ctx, err := b.message(ctx, ev)
	if err != nil {
		return err
	}
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		endSpan(span, ctx.Err())
		return fmt.Errorf("publish %s %q: %w", ev.Type(), ev.ID(), ctx.Err())
	}
	b.async.Add(1)
	// The first attempt is written here, in the caller's order; only what is not
	// acknowledged goes through the loop of Publish.
	ack, err := b.js.PublishMsgAsync(msg)
	typ := ev.Type()
	go func() {
		defer func() {
			<-b.slots
			b.async.Done()
		}()
		if err == nil {
			select {
			case a := <-ack.Ok():
				b.stored(ctx, typ, a)
				endSpan(span, nil)
				return
			case err := <-ack.Err():
				b.log.Debug("event not stored, trying again", "type", typ, "error", err)
			case <-ctx.Done():
			}
		}
		err := b.send(ctx, again(msg), typ)
		endSpan(span, err)
		if err != nil {
			b.mu.Lock()
			b.asyncErr = append(b.asyncErr, err)
			b.mu.Unlock()
		}
	}()
	return nil
}

// Flush waits until everything given to PublishAsync is stored, or failed, or ctx is done.
// It returns the errors since the last Flush.
func (b *Bus) Flush(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		b.async.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("flush the bus: %w", ctx.Err())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	err := errors.Join(b.asyncErr...)
	b.asyncErr = nil
	return err
}

// message makes the NATS message of an event.
func (b *Bus) message(ctx context.Context, ev cloudevents.Event) (*nats.Msg, trace.Span, context.Context, error) {
	if err := event.Validate(ev); err != nil {
		return nil, nil, ctx, fmt.Errorf("publish: %w", err)
	}
	subject, err := event.Subject(ev)
	if err != nil {
		return nil, nil, ctx, fmt.Errorf("publish: %w", err)
	}
	ctx, span := b.startSend(ctx, &ev, subject)
	h, body, err := event.Encode(ev)
	if err != nil {
		endSpan(span, err)
		return nil, nil, ctx, fmt.Errorf("publish: %w", err)
	}
	t, _ := event.Lookup(ev.Type())
	h[jetstream.MsgIDHeader] = []string{event.EncodeValue(ev.ID())}
	h[jetstream.ExpectedStreamHeader] = []string{t.Stream}
	if span.SpanContext().IsValid() {
		w3c.Inject(ctx, carrier(h))
	}
	msg := &nats.Msg{Subject: subject, Header: h, Data: body}
	if err := b.fits(msg); err != nil {
		endSpan(span, err)
		return nil, nil, ctx, fmt.Errorf("publish %s %q: %w", ev.Type(), ev.ID(), err)
	}
	return msg, span, ctx, nil
}

// fits says whether the server takes a message of this size, headers included.
func (b *Bus) fits(msg *nats.Msg) error {
	size := int64(len(msg.Data))
	for k, vs := range msg.Header {
		for _, v := range vs {
			size += int64(len(k) + len(v) + 4)
		}
	}
	if limit := b.nc.MaxPayload() - letterRoom; limit > 0 && size > limit {
		return fmt.Errorf("message of %d bytes is over the %d bytes that the server's max_payload leaves: %w", size, limit, nats.ErrMaxPayload)
	}
	return nil
}

// send publishes msg until it is stored, ctx is done or it is clear that it never will be.
// Of the messages that wait for the same stream one at a time asks the server, so that a
// stall costs next to nothing and ends as soon as there is room.
func (b *Bus) send(ctx context.Context, msg *nats.Msg, typ string) error {
	err := b.once(ctx, msg, typ)
	if err == nil || hopeless(err) {
		return failed(msg, err)
	}
	b.tel.stalled.Add(ctx, 1)
	defer b.tel.stalled.Add(context.WithoutCancel(ctx), -1)
	turn := b.turn(msg.Header.Get(jetstream.ExpectedStreamHeader))
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return failed(msg, fmt.Errorf("%w (%s)", ctx.Err(), explain(err)))
	}
	told := false
	for wait := probe; ; wait = min(2*wait, maxProbe) {
		last := err
		if err = b.once(ctx, msg, typ); err == nil {
			if told {
				b.log.Info("the bus takes messages again", "subject", msg.Subject)
			}
			return nil
		}
		if hopeless(err) {
			return failed(msg, err)
		}
		if ctx.Err() != nil {
			return failed(msg, fmt.Errorf("%w (%s)", ctx.Err(), explain(last)))
		}
		if wait > probe { // one lost acknowledgement is not worth a word
			told = true
			b.say("waiting for the bus: "+explain(err), "subject", msg.Subject, "error", err)
		}
		if e := sleep(ctx, wait); e != nil {
			return failed(msg, fmt.Errorf("%w (%s)", e, explain(err)))
		}
	}
}

// once publishes msg once and waits for the acknowledgement.
func (b *Bus) once(ctx context.Context, msg *nats.Msg, typ string) error {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	ack, err := b.js.PublishMsg(ctx, again(msg), jetstream.WithRetryAttempts(0))
	if err == nil {
		b.stored(ctx, typ, ack)
	}
	return err
}

// turn is the channel of one place that messages waiting for a stream take turns in.
func (b *Bus) turn(stream string) chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := b.turns[stream]
	if !ok {
		c = make(chan struct{}, 1)
		b.turns[stream] = c
	}
	return c
}

func failed(msg *nats.Msg, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("publish on %s: %w", msg.Subject, err)
}

func (b *Bus) stored(ctx context.Context, typ string, ack *jetstream.PubAck) {
	b.tel.published.Add(ctx, 1, ofType(typ))
	if ack.Duplicate {
		b.tel.duplicates.Add(ctx, 1, ofType(typ))
	}
}

// again copies the message for another attempt: the client keeps what it was given and
// sets the reply subject in it.
func again(msg *nats.Msg) *nats.Msg {
	return &nats.Msg{Subject: msg.Subject, Header: msg.Header, Data: msg.Data}
}

// hopeless says whether repeating a publish that failed so cannot help.
func hopeless(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.Code < 500 && api.Code != 429 && api.Code != 408
	}
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadSubject) ||
		errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrHeadersNotSupported)
}

// explain puts a publish error that may pass into words.
func explain(err error) string {
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api):
		switch d := api.Description; {
		case strings.Contains(d, "maximum messages exceeded"), strings.Contains(d, "maximum bytes exceeded"):
			return "the stream is full"
		case strings.Contains(d, "no space left"), strings.Contains(d, "insufficient"), strings.Contains(d, "resource"):
			return "the server is out of storage"
		}
		return "the server cannot store messages now"
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		return "no stream takes this subject, or its servers have no leader; was the bus provisioned?"
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrConnectionReconnecting):
		return "the server is away"
	}
	return "the server does not answer"
}
