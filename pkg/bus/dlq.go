package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tracer-framework/tracer/pkg/event"
)

// Headers of a dead letter, beside those of the original message.
const (
	headerReason     = "ce-dlqreason"          // why it was given up, percent-encoded
	headerDurable    = "tracer-dlq-durable"    // who gave it up
	headerSubject    = "tracer-dlq-subject"    // where it was published
	headerStream     = "tracer-dlq-stream"     // where it was stored
	headerSequence   = "tracer-dlq-sequence"   // at which place
	headerDeliveries = "tracer-dlq-deliveries" // how often it had been given out
	headerTruncated  = "tracer-dlq-truncated"  // size in bytes of a body that was too large to keep

	// headerRetry on a message names the only durable that is to handle it.
	headerRetry = "tracer-retry-durable"

	maxReason = 1024 // bytes of a reason that are kept
)

// Letter is a dead letter: a message that a durable consumer gave up on.
type Letter struct {
	Seq        uint64    `json:"seq"` // its number in the dead-letter stream
	Time       time.Time `json:"time"`
	Durable    string    `json:"durable"`
	Reason     string    `json:"reason"`
	Type       string    `json:"type"` // event type and id; empty if it could not be read
	ID         string    `json:"id"`
	Subject    string    `json:"subject"` // where the original was published
	Stream     string    `json:"stream"`  // where the original was stored, at Sequence
	Sequence   uint64    `json:"sequence"`
	Deliveries uint64    `json:"deliveries"`
	Size       int       `json:"size"` // of the body in bytes

	Header map[string][]string `json:"header,omitempty"` // ShowDLQ only
	Data   []byte              `json:"data,omitempty"`   // ShowDLQ only
}

// bury keeps a copy of the message as a dead letter and then takes it off its stream.
func (c *consumption) bury(msg jetstream.Msg, md *jetstream.MsgMetadata, cause error) {
	reason := cause.Error()
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "…"
	}
	h := nats.Header{}
	for k, v := range msg.Headers() {
		if !strings.HasPrefix(k, "Nats-") && k != headerRetry {
			h[k] = v
		}
	}
	h[headerReason] = []string{event.EncodeValue(reason)}
	h[headerDurable] = []string{c.durable.name}
	h[headerSubject] = []string{msg.Subject()}
	h[headerStream] = []string{md.Stream}
	h[headerSequence] = []string{strconv.FormatUint(md.Sequence.Stream, 10)}
	h[headerDeliveries] = []string{strconv.FormatUint(md.NumDelivered, 10)}
	// The place is part of the id: several durables may give up the same event, and a
	// retried one may fail again.
	h[jetstream.MsgIDHeader] = []string{"dlq-" + c.durable.name + "-" + strconv.FormatUint(md.Sequence.Stream, 10) + "-" + msg.Headers().Get(jetstream.MsgIDHeader)}
	h[jetstream.ExpectedStreamHeader] = []string{dlqStream}
	letter := &nats.Msg{Subject: dlqPrefix + c.durable.name, Header: h, Data: msg.Data()}
	if c.bus.fits(letter) != nil && int64(len(letter.Data)) > c.bus.nc.MaxPayload()-2*letterRoom {
		h[headerTruncated] = []string{strconv.Itoa(len(msg.Data()))}
		letter.Data = nil
	}
	if err := c.bus.send(c.work, letter, "dlq"); err != nil {
		c.bus.log.Error("dead letter not stored, the message stays", "durable", c.durable.name, "subject", msg.Subject(), "error", err)
		c.settle(msg.NakWithDelay(c.opt.Backoff[0]), msg)
		return
	}
	c.bus.tel.deadLettered.Add(c.work, 1, ofDurable(c.durable.name))
	c.bus.log.Error("event given up, kept as dead letter", "durable", c.durable.name, "subject", msg.Subject(),
		"stream", md.Stream, "sequence", md.Sequence.Stream, "deliveries", md.NumDelivered, "reason", reason)
	c.settle(msg.TermWithReason(oneLine(reason)), msg)
}

// oneLine makes text fit for a protocol line of the server.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 256 {
		s = strings.ToValidUTF8(s[:256], "")
	}
	return s
}

// ListDLQ lists the dead letters, oldest first, without headers and bodies.
func (b *Bus) ListDLQ(ctx context.Context) ([]Letter, error) {
	s, err := b.js.Stream(ctx, dlqStream)
	if err != nil {
		return nil, fmt.Errorf("dead letters: %w", err)
	}
	var out []Letter
	for seq := uint64(1); ; {
		raw, err := s.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(dlqPrefix+">"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("dead letters: %w", err)
		}
		l := letterOf(raw)
		l.Header, l.Data = nil, nil
		out = append(out, l)
		seq = raw.Sequence + 1
	}
}

// ShowDLQ gives one dead letter with headers and body.
func (b *Bus) ShowDLQ(ctx context.Context, seq uint64) (Letter, error) {
	raw, _, err := b.letter(ctx, seq)
	if err != nil {
		return Letter{}, err
	}
	return letterOf(raw), nil
}

// RetryDLQ publishes a dead letter again where it came from, for the durable alone that
// gave it up, and removes it from the dead letters once that is stored.
func (b *Bus) RetryDLQ(ctx context.Context, seq uint64) error {
	raw, stream, err := b.letter(ctx, seq)
	if err != nil {
		return err
	}
	l := letterOf(raw)
	if raw.Header.Get(headerTruncated) != "" {
		return fmt.Errorf("dead letter %d: its body of %s bytes was too large to keep; publish the original again", seq, raw.Header.Get(headerTruncated))
	}
	if _, ok := durableNamed(l.Durable); !ok || l.Subject == "" || l.Stream == "" {
		return fmt.Errorf("dead letter %d does not say where it came from", seq)
	}
	h := nats.Header{}
	for k, v := range raw.Header {
		if !strings.HasPrefix(k, "Nats-") && !strings.HasPrefix(k, "tracer-dlq-") && k != headerReason {
			h[k] = v
		}
	}
	h[headerRetry] = []string{l.Durable}
	h[jetstream.MsgIDHeader] = []string{"retry-" + strconv.FormatUint(seq, 10) + "-" + event.EncodeValue(l.ID)}
	h[jetstream.ExpectedStreamHeader] = []string{l.Stream}
	if err := b.send(ctx, &nats.Msg{Subject: l.Subject, Header: h, Data: raw.Data}, l.Type); err != nil {
		return fmt.Errorf("retry dead letter %d: %w", seq, err)
	}
	if err := stream.DeleteMsg(ctx, seq); err != nil {
		return fmt.Errorf("dead letter %d was published again but not removed: %w", seq, err)
	}
	return nil
}

func (b *Bus) letter(ctx context.Context, seq uint64) (*jetstream.RawStreamMsg, jetstream.Stream, error) {
	s, err := b.js.Stream(ctx, dlqStream)
	if err != nil {
		return nil, nil, fmt.Errorf("dead letter %d: %w", seq, err)
	}
	raw, err := s.GetMsg(ctx, seq)
	if err == nil && !strings.HasPrefix(raw.Subject, dlqPrefix) {
		err = errors.New("that is a note of the server, not a message")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("dead letter %d: %w", seq, err)
	}
	return raw, s, nil
}

func letterOf(raw *jetstream.RawStreamMsg) Letter {
	l := Letter{
		Seq: raw.Sequence, Time: raw.Time.UTC(),
		Durable: raw.Header.Get(headerDurable), Subject: raw.Header.Get(headerSubject), Stream: raw.Header.Get(headerStream),
		Size: len(raw.Data), Header: raw.Header, Data: raw.Data,
	}
	l.Reason = raw.Header.Get(headerReason)
	if s, err := event.DecodeValue(l.Reason); err == nil {
		l.Reason = s
	}
	l.Sequence, _ = strconv.ParseUint(raw.Header.Get(headerSequence), 10, 64)
	l.Deliveries, _ = strconv.ParseUint(raw.Header.Get(headerDeliveries), 10, 64)
	if ev, err := event.Decode(raw.Header, raw.Data); err == nil {
		l.Type, l.ID = ev.Type(), ev.ID()
	}
	return l
}
