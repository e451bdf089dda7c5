package bus

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/tracer-framework/tracer/pkg/event"
)

// telemetry is what the bus measures. Spans are made per message, never per record.
type telemetry struct {
	tracer       trace.Tracer
	published    metric.Int64Counter       // messages stored by the server, by event type
	duplicates   metric.Int64Counter       // of these, messages the server already had
	consumed     metric.Int64Counter       // messages a handler took, by durable
	retried      metric.Int64Counter       // messages given back for another attempt, by durable
	deadLettered metric.Int64Counter       // messages given up on, by durable
	panics       metric.Int64Counter       // handlers that panicked, by durable
	errors       metric.Int64Counter       // errors the server told outside of a request
	stalled      metric.Int64UpDownCounter // messages that wait for the bus right now
}

func newTelemetry() (telemetry, error) {
	m := otel.Meter("tracer/bus")
	t := telemetry{tracer: otel.Tracer("tracer/bus")}
	var errs [8]error
	t.published, errs[0] = m.Int64Counter("tracer.bus.published", metric.WithUnit("{message}"), metric.WithDescription("Messages stored by the server."))
	t.duplicates, errs[1] = m.Int64Counter("tracer.bus.duplicates", metric.WithUnit("{message}"), metric.WithDescription("Published messages that the server already had."))
	t.consumed, errs[2] = m.Int64Counter("tracer.bus.consumed", metric.WithUnit("{message}"), metric.WithDescription("Messages handled and acknowledged."))
	t.retried, errs[3] = m.Int64Counter("tracer.bus.retried", metric.WithUnit("{message}"), metric.WithDescription("Attempts that failed and are made again."))
	t.deadLettered, errs[4] = m.Int64Counter("tracer.bus.deadlettered", metric.WithUnit("{message}"), metric.WithDescription("Messages given up on and kept as dead letters."))
	t.panics, errs[5] = m.Int64Counter("tracer.bus.panics", metric.WithUnit("{panic}"), metric.WithDescription("Handlers that panicked."))
	t.errors, errs[6] = m.Int64Counter("tracer.bus.errors", metric.WithUnit("{error}"), metric.WithDescription("Errors the server told outside of a request, such as denied permissions."))
	t.stalled, errs[7] = m.Int64UpDownCounter("tracer.bus.stalled", metric.WithUnit("{message}"), metric.WithDescription("Messages that wait for the bus: stream full, server away."))
	return t, errors.Join(errs[:]...)
}

func ofType(typ string) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(attribute.String("type", typ)))
}

func ofDurable(name string) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(attribute.String("durable", name)))
}

// carrier carries the W3C trace context in plain lower-case headers.
type carrier nats.Header

func (c carrier) Get(key string) string { return nats.Header(c).Get(key) }
func (c carrier) Set(key, value string) { c[key] = []string{value} }
func (c carrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for k := range c {
		keys = append(keys, k)
	}
	return keys
}

var w3c propagation.TraceContext

// startSend begins the span of a publish and, when tracing is on, notes in the event the
// trace it began in. The extension names the origin, the plain headers the last hop.
func (b *Bus) startSend(ctx context.Context, ev *cloudevents.Event, subject string) (context.Context, trace.Span) {
	ctx, span := b.tel.tracer.Start(ctx, "send "+template(ev), trace.WithSpanKind(trace.SpanKindProducer))
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("messaging.system", "nats"),
			attribute.String("messaging.operation.name", "send"),
			attribute.String("messaging.operation.type", "send"),
			attribute.String("messaging.destination.name", subject),
			attribute.String("messaging.destination.template", template(ev)),
			attribute.String("messaging.message.id", ev.ID()),
			attribute.Int("messaging.message.body.size", len(ev.Data())),
		)
	}
	if span.SpanContext().IsValid() && ev.Extensions()["traceparent"] == nil {
		origin := carrier{}
		w3c.Inject(ctx, origin)
		// The caller's event stays as it is: its context is copied before the change.
		ev.Context = ev.Context.Clone()
		ev.SetExtension("traceparent", origin.Get("traceparent"))
		if s := origin.Get("tracestate"); s != "" {
			ev.SetExtension("tracestate", s)
		}
	}
	return ctx, span
}

// startProcess begins the span of handling a message, child of the span that sent it.
func (b *Bus) startProcess(ctx context.Context, h nats.Header, ev *cloudevents.Event, durable, subject string) (context.Context, trace.Span) {
	if h.Get("traceparent") != "" {
		ctx = w3c.Extract(ctx, carrier(h))
	}
	ctx, span := b.tel.tracer.Start(ctx, "process "+template(ev), trace.WithSpanKind(trace.SpanKindConsumer))
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("messaging.system", "nats"),
			attribute.String("messaging.operation.name", "process"),
			attribute.String("messaging.operation.type", "process"),
			attribute.String("messaging.consumer.group.name", durable),
			attribute.String("messaging.destination.name", subject),
			attribute.String("messaging.destination.template", template(ev)),
			attribute.String("messaging.message.id", ev.ID()),
			attribute.Int("messaging.message.body.size", len(ev.Data())),
		)
	}
	return ctx, span
}

func endSpan(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		span.RecordError(err)
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// template is the event's subject without its partition, which bounds the number of names.
func template(ev *cloudevents.Event) string {
	if t, ok := event.Lookup(ev.Type()); ok {
		if t.Bulk {
			return t.Subject + ".{partition}"
		}
		return t.Subject
	}
	return "unknown"
}
