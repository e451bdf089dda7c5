package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/bus/embedded"
	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/testkit"
	"github.com/tracer-framework/tracer/schemas"
)

func oneOfEach(t testing.TB) []cloudevents.Event {
	t.Helper()
	var out []cloudevents.Event
	for typ, data := range map[string]any{
		event.CaseOpened:      model.Case{CaseID: "c", Stage: model.StageOpened},
		event.CaseUpdated:     model.Case{CaseID: "c", Stage: model.StageDetected},
		event.DetectionRaised: model.Detection{DetectionID: "d", CaseID: "c", Severity: model.SeverityLow, Phase: model.PhaseC2},
		event.TraceMapped:     model.Trace{TraceID: "t", CaseID: "c", Stop: model.Stop{Reason: "fixpoint"}},
		event.ReportIssued:    model.ReportIssued{CaseID: "c"},
	} {
		ev, err := event.New(typ, "id-"+typ, "/tracer/test", "c", data)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, ev)
	}
	return out
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A full stream makes publishers wait and say so; when it drains, nothing is missing.
func TestFullStream(t *testing.T) {
	var log testkit.Output
	s := testkit.BusServer(t, embedded.Config{})
	testkit.BusOn(t, s, bus.ProvisionOptions{BulkBytes: 256 << 10})
	b, err := bus.Connect(t.Context(), bus.Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	const n, size = 400, 10 << 10
	var sent atomic.Int32
	produced := make(chan error, 1)
	go func() {
		for i := range n {
			if err := b.PublishAsync(t.Context(), observed(t, i, size)); err != nil {
				produced <- err
				return
			}
			sent.Add(1)
		}
		produced <- b.Flush(t.Context())
	}()
	until(t, "the publisher to wait, with a word", func() bool { return strings.Contains(log.String(), "waiting for the bus: the stream is full") })
	held := sent.Load()
	if held > 150 {
		t.Errorf("%d messages of %d bytes were taken by a stream of 256 KiB", held, size)
	}
	wait(t.Context(), 300*time.Millisecond)
	if now := sent.Load(); now > held+5 {
		t.Errorf("publishing went on: %d, then %d", held, now)
	}
	if c := strings.Count(log.String(), "the stream is full"); c != 1 {
		t.Errorf("the same is said %d times at once", c)
	}
	var got seen
	consume(t, b, "fingerprint", func(_ context.Context, ev cloudevents.Event) error {
		got.add(ev)
		return nil
	}, bus.ConsumeOptions{Workers: 2})
	if err := <-produced; err != nil {
		t.Fatal(err)
	}
	until(t, "everything handled", func() bool { return got.len() == n && lag(t, b, "fingerprint") == 0 })
	for id, c := range got.ids {
		if c != 1 {
			t.Errorf("%s handled %d times", id, c)
		}
	}
}

// The server goes away twice while events are published and consumed: nothing is lost,
// and nothing is stored twice.
func TestServerRestart(t *testing.T) {
	cfg := embedded.Config{StoreDir: t.TempDir(), Listen: freePort(t), Log: slog.New(slog.DiscardHandler)}
	s, err := embedded.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Stop() }()
	var log testkit.Output
	b, err := bus.Connect(t.Context(), bus.Config{URL: s.ClientURL(), Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := bus.Provision(t.Context(), b, bus.ProvisionOptions{AckWait: time.Second}); err != nil {
		t.Fatal(err)
	}
	const n = 1500
	var got seen
	stop := consume(t, b, "fingerprint", func(_ context.Context, ev cloudevents.Event) error {
		got.add(ev)
		return nil
	}, bus.ConsumeOptions{Workers: 2})
	produced := make(chan error, 1)
	var sent atomic.Int32
	go func() {
		for i := range n {
			if err := b.PublishAsync(t.Context(), observed(t, i, 2000)); err != nil {
				produced <- err
				return
			}
			if i%2 == 0 { // and one that stays in its stream
				if err := b.Publish(t.Context(), opened(t, i)); err != nil {
					produced <- err
					return
				}
			}
			sent.Add(1)
		}
		produced <- b.Flush(t.Context())
	}()
	for _, at := range []int32{n / 4, n / 2} {
		until(t, "some sent", func() bool { return sent.Load() >= at })
		s.Stop()
		wait(t.Context(), 300*time.Millisecond)
		if s, err = embedded.Start(cfg); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-produced; err != nil {
		t.Fatal(err)
	}
	until(t, "all handled", func() bool { return got.len() == n && lag(t, b, "fingerprint") == 0 })
	stop()
	if l := lag(t, b, "ingest"); l != n/2 {
		t.Errorf("%d small events stored, want %d", l, n/2)
	}
	if !strings.Contains(log.String(), "disconnected from the bus, reconnecting") {
		t.Errorf("the wait was not told:\n%s", log.String())
	}
}

func TestPublishRefuses(t *testing.T) {
	b := testkit.Bus(t)
	begin := time.Now()
	if err := b.Publish(t.Context(), observed(t, 1, 1<<20)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("a message over the server's limit: %v", err)
	}
	if err := b.PublishAsync(t.Context(), observed(t, 1, 1<<20)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("a message over the server's limit: %v", err)
	}
	ev := opened(t, 1)
	ev.DataEncoded = []byte(`{"case_id":"x"}`)
	if err := b.Publish(t.Context(), ev); err == nil || !strings.Contains(err.Error(), "missing properties") {
		t.Errorf("data against the schema: %v", err)
	}
	ev = opened(t, 1)
	ev.SetType("io.tracer.cake.baked.v1")
	if err := b.Publish(t.Context(), ev); err == nil || !strings.Contains(err.Error(), "catalogue") {
		t.Errorf("unknown type: %v", err)
	}
	if d := time.Since(begin); d > time.Second {
		t.Errorf("took %s: what can never be stored is not waited for", d)
	}
	if err := b.Publish(t.Context(), observed(t, 1, 900<<10)); err != nil {
		t.Errorf("the largest batch: %v", err)
	}
}

// Without streams a publisher waits and says what is missing; its context ends the wait.
func TestNotProvisioned(t *testing.T) {
	s := testkit.BusServer(t, embedded.Config{})
	var log testkit.Output
	b, err := bus.Connect(t.Context(), bus.Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err = b.Publish(ctx, opened(t, 1))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(log.String(), "was the bus provisioned?") {
		t.Errorf("log: %s", log.String())
	}
	done := make(chan error, 1)
	go func() { done <- b.Publish(t.Context(), opened(t, 1)) }()
	if err := bus.Provision(t.Context(), b, bus.ProvisionOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := bus.Provision(t.Context(), b, bus.ProvisionOptions{BulkBytes: 1 << 30}); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestConnect(t *testing.T) {
	addr := freePort(t)
	cfg := embedded.Config{StoreDir: t.TempDir(), Listen: addr, Token: "secret", Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	quiet := slog.New(slog.DiscardHandler)
	if _, err := bus.Connect(ctx, bus.Config{URL: "nats://" + addr, Log: quiet}); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("no server: %v", err)
	}
	connected := make(chan error, 1)
	go func() {
		b, err := bus.Connect(t.Context(), bus.Config{URL: "nats://" + addr, Log: quiet}, nats.Token("secret"))
		if err == nil {
			err = b.Ready(t.Context())
			b.Close()
		}
		connected <- err
	}()
	s := testkit.BusServer(t, cfg)
	if err := <-connected; err != nil {
		t.Errorf("server that comes later: %v", err)
	}
	if _, err := bus.Connect(t.Context(), bus.Config{URL: "nats://" + addr, Log: quiet}, nats.Token("wrong")); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("wrong token: %v", err)
	}
	if _, err := embedded.Start(cfg); err == nil || !strings.Contains(err.Error(), "in use by process") {
		t.Errorf("second server on the same folder: %v", err)
	}
	if !strings.Contains(s.ClientURL(), addr) {
		t.Errorf("client URL %s", s.ClientURL())
	}
}

func TestKV(t *testing.T) {
	b := testkit.Bus(t)
	for _, name := range []string{"ingest", "profiles", "config"} {
		kv, err := b.KV(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		rev, err := kv.Put(t.Context(), "k", []byte("v"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Update(t.Context(), "k", []byte("w"), rev+1); !errors.Is(err, jetstream.ErrKeyExists) && err == nil {
			t.Errorf("%s: an update against a wrong revision passes", name)
		}
	}
	if _, err := b.KV(t.Context(), "nobody"); err == nil {
		t.Error("an unknown bucket opens")
	}
}

// Spans of publishing and handling belong to one trace, the event names its origin, and
// the counters count.
func TestTelemetry(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	reader := sdkmetric.NewManualReader()
	wasT, wasM := otel.GetTracerProvider(), otel.GetMeterProvider()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))
	otel.SetMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	defer otel.SetTracerProvider(wasT)
	defer otel.SetMeterProvider(wasM)

	b := testkit.Bus(t)
	ctx, root := otel.Tracer("test").Start(t.Context(), "root")
	small, bulk := opened(t, 1), observed(t, 1, 100)
	for _, ev := range []cloudevents.Event{small, small, bulk} {
		if err := b.Publish(ctx, ev); err != nil {
			t.Fatal(err)
		}
	}
	root.End()
	if small.Extensions()["traceparent"] != nil {
		t.Error("the caller's event was changed")
	}
	want := root.SpanContext().TraceID()
	for durable, ev := range map[string]cloudevents.Event{"ingest": small, "fingerprint": bulk} {
		got := make(chan cloudevents.Event, 1)
		stop := consume(t, b, durable, func(ctx context.Context, ev cloudevents.Event) error {
			if id := trace.SpanContextFromContext(ctx).TraceID(); id != want {
				t.Errorf("handler of %s runs in trace %s, want %s", durable, id, want)
			}
			got <- ev
			return nil
		}, bus.ConsumeOptions{})
		select {
		case g := <-got:
			if tp, _ := g.Extensions()["traceparent"].(string); !strings.Contains(tp, want.String()) || g.ID() != ev.ID() {
				t.Errorf("origin %q, want trace %s", tp, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("nothing came")
		}
		stop()
	}
	var names []string
	for _, s := range spans.GetSpans() {
		names = append(names, s.Name)
	}
	for _, n := range []string{"send tracer.v1.case.opened", "send tracer.v1.flow.observed.{partition}", "process tracer.v1.case.opened", "process tracer.v1.flow.observed.{partition}"} {
		if !strings.Contains(fmt.Sprint(names), n) {
			t.Errorf("no span %q in %v", n, names)
		}
	}
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	sum := func(name string, attr attribute.KeyValue) (total int64) {
		for _, sm := range rm.ScopeMetrics {
			for _, m := range sm.Metrics {
				if s, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == name {
					for _, p := range s.DataPoints {
						if v, ok := p.Attributes.Value(attr.Key); ok && v == attr.Value {
							total += p.Value
						}
					}
				}
			}
		}
		return total
	}
	for _, c := range []struct {
		name string
		attr attribute.KeyValue
		want int64
	}{
		{"tracer.bus.published", attribute.String("type", event.CaseOpened), 2},
		{"tracer.bus.duplicates", attribute.String("type", event.CaseOpened), 1},
		{"tracer.bus.published", attribute.String("type", event.FlowObserved), 1},
		{"tracer.bus.consumed", attribute.String("durable", "ingest"), 1},
	} {
		if got := sum(c.name, c.attr); got != c.want {
			t.Errorf("%s{%s} = %d, want %d", c.name, c.attr.Value.AsString(), got, c.want)
		}
	}
}

// The tables of streams, durables and event types agree: the server refuses a message that
// does not come to the stream its type names.
func TestEveryTypeHasItsStream(t *testing.T) {
	b := testkit.Bus(t)
	published := map[string]bool{}
	for _, ev := range oneOfEach(t) {
		published[ev.Type()] = true
		if err := b.Publish(t.Context(), ev); err != nil {
			t.Error(err)
		}
	}
	sealed, err := event.New(event.EvidenceSealed, "id", "/tracer/test", "e", model.Evidence{EvidenceID: "e", Kind: "batch"})
	if err != nil {
		t.Fatal(err)
	}
	recognized, err := event.NewBulk(event.FlowRecognized, "rec-1", "/tracer/test", "e", 7, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range []cloudevents.Event{sealed, recognized, observed(t, 1, 1)} {
		published[ev.Type()] = true
		if err := b.Publish(t.Context(), ev); err != nil {
			t.Error(err)
		}
	}
	for _, typ := range event.Types() {
		if !typ.Planned && !published[typ.Name] {
			t.Errorf("%s is not tried here", typ.Name)
		}
	}
	all, err := b.Lag(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]uint64{"ingest": 1, "fingerprint": 1, "detect": 1, "archive-flow": 1, "archive-event": 5, "tracemap": 1, "report": 1}
	for _, l := range all {
		if l.Pending != want[l.Durable] {
			t.Errorf("%s has %d messages before it, want %d", l.Durable, l.Pending, want[l.Durable])
		}
	}
	if len(all) != len(want) {
		t.Errorf("durables %+v", all)
	}
	// The AsyncAPI document names the same durables.
	if list := "enum: [" + strings.Join(bus.Durables(), ", ") + "]"; !bytes.Contains(schemas.AsyncAPI, []byte(list)) {
		t.Errorf("asyncapi.yaml lacks %q", list)
	}
}
