// Package ingest reads captures into flow and protocol records. It is told of a case's
// inputs, reads each once, and publishes the records in batches whose content and ids
// derive from the input alone: reading again after a fault publishes the same messages.
package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
)

// What the evidence records name as the tool. The version rises with every change of what
// is read out of the same bytes.
const (
	toolName    = "tracer-ingest"
	toolVersion = "0.1.0"
)

// Config of the service.
type Config struct {
	Workers     int           `yaml:"workers"`      // goroutines that analyse packets, and captures read at a time
	BatchRows   int           `yaml:"batch_rows"`   // rows per kind of record in a batch
	Interim     time.Duration `yaml:"interim"`      // capture time after which a flow that still lives is recorded
	MaxFlows    int           `yaml:"max_flows"`    // live flows per capture; beyond, the one next to end is ended early
	MaxBuffered int64         `yaml:"max_buffered"` // bytes of out-of-order TCP segments per capture
	Inbox       string        `yaml:"inbox"`        // folder in which new captures open cases by themselves; empty: none
}

// DefaultConfig suits captures of any size.
func DefaultConfig() Config {
	return Config{
		Workers:     runtime.GOMAXPROCS(0),
		BatchRows:   8192,
		Interim:     time.Hour,
		MaxFlows:    4 << 20,
		MaxBuffered: 256 << 20,
	}
}

// Validate tells what is wrong with a configuration.
func (c Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Workers < 1 || c.Workers > 1024 {
		wrong("workers: %d, expected 1 to 1024", c.Workers)
	}
	if c.BatchRows < 1 || c.BatchRows > 8192 {
		wrong("batch_rows: %d, expected 1 to 8192", c.BatchRows)
	}
	if c.Interim < time.Minute {
		wrong("interim: %s, expected at least a minute", c.Interim)
	}
	if c.MaxFlows < Partitions {
		wrong("max_flows: %d, expected at least %d", c.MaxFlows, Partitions)
	}
	if c.MaxBuffered < 1<<20 {
		wrong("max_buffered: %d, expected at least a mebibyte", c.MaxBuffered)
	}
	return errors.Join(errs...)
}

// digest names what of the configuration, and of the tool, decides the records.
func (c Config) digest() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d %d %d %d", toolName, toolVersion, c.BatchRows, c.Interim, c.MaxFlows, c.MaxBuffered))
	return hex.EncodeToString(sum[:8])
}

// Deps is what the service uses.
type Deps struct {
	Log      *slog.Logger
	Bus      *bus.Bus
	Progress *Progress // counts what is done; may be nil
}

// Service reads the inputs of cases.
type Service struct {
	cfg  Config
	deps Deps

	packets, bytes, flows metric.Int64Counter
}

// New makes the service without starting anything.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	if deps.Log == nil {
		deps.Log = slog.Default()
	}
	return &Service{cfg: cfg, deps: deps}, nil
}

// Name implements service.Service.
func (s *Service) Name() string { return "ingest" }

// Run reads the inputs of every opened case until ctx is done. Reading that is under way
// then is broken off: the case is delivered again at the next start.
func (s *Service) Run(ctx context.Context) error {
	meter := otel.Meter("tracer/ingest")
	var errs [3]error
	s.packets, errs[0] = meter.Int64Counter("tracer_ingest_packets_total", metric.WithDescription("packets read"))
	s.bytes, errs[1] = meter.Int64Counter("tracer_ingest_bytes_total", metric.WithUnit("By"), metric.WithDescription("bytes of captures read"))
	s.flows, errs[2] = meter.Int64Counter("tracer_ingest_flows_total", metric.WithDescription("flows observed"))
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("ingest metrics: %w", err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	if s.cfg.Inbox != "" {
		wg.Go(func() { s.watchInbox(ctx) })
	}
	return s.deps.Bus.Consume(ctx, "ingest", s.handle, bus.ConsumeOptions{Workers: 1})
}

// marker is what the key-value bucket keeps of a capture that was read and published.
type marker struct {
	Digest  string `json:"digest"` // of tool version and configuration
	Batches uint32 `json:"batches"`
	Flows   uint64 `json:"flows"`
	Packets uint64 `json:"packets"`
}

// handle reads what of a case's inputs was not read before.
func (s *Service) handle(ctx context.Context, ev cloudevents.Event) error {
	c, err := event.Data[model.Case](ev)
	if err != nil {
		return bus.Permanent(fmt.Errorf("case opened: %w", err))
	}
	done, err := s.deps.Bus.KV(ctx, "ingest")
	if err != nil {
		return fmt.Errorf("open markers: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // a stop of the service breaks reading off
		select {
		case <-bus.Stopping(ctx):
			cancel(errors.New("the service is stopping"))
		case <-ctx.Done():
		}
	}()
	var inputs []model.Input
	for _, in := range c.Inputs {
		if len(inputs) == 0 || inputs[len(inputs)-1].EvidenceID != in.EvidenceID {
			inputs = append(inputs, in)
		}
	}
	for _, in := range inputs {
		s.deps.Progress.begin(in)
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, len(inputs))
	for range min(s.cfg.Workers, len(inputs)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(inputs) || ctx.Err() != nil {
					return
				}
				if errs[i] = s.input(ctx, done, inputs[i]); errs[i] != nil {
					cancel(errs[i])
				}
				s.deps.Progress.end()
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// input reads one capture and publishes its records, unless that was done before.
func (s *Service) input(ctx context.Context, done jetstream.KeyValue, in model.Input) error {
	key := "done/" + in.EvidenceID
	if entry, err := done.Get(ctx, key); err == nil {
		var m marker
		if err := json.Unmarshal(entry.Value(), &m); err != nil {
			return bus.Permanent(fmt.Errorf("marker of %s: %w", in.Name, err))
		}
		if m.Digest != s.cfg.digest() {
			// The records are sealed; the same batches with other bytes would be a conflict.
			s.deps.Log.Warn("capture was read before by another version or with other settings: its records are kept; use another data folder to read it anew",
				"evidence_id", in.EvidenceID, "name", in.Name)
		} else {
			s.deps.Log.Debug("capture was read before", "evidence_id", in.EvidenceID, "name", in.Name)
		}
		s.deps.Progress.add(in.Size, m.Packets, m.Flows)
		return nil
	} else if !errors.Is(err, jetstream.ErrKeyNotFound) {
		return fmt.Errorf("read marker: %w", err)
	}
	started := time.Now()
	ev, err := read(ctx, in, s.cfg, s.deps.Progress, func(partition, n int, b *record.Batch) error {
		return s.publish(ctx, in.EvidenceID, partition, n, b)
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", in.Name, err)
	}
	if err := s.deps.Bus.Flush(ctx); err != nil {
		return fmt.Errorf("publish records of %s: %w", in.Name, err)
	}
	if ev.Packets == 0 && len(ev.Problems) > 0 || ev.Counters["content_changed"] > 0 {
		// The evidence record carries the problems on; whoever asked is told them by the report.
		s.deps.Log.Info("capture not read", "name", in.Name, "evidence_id", in.EvidenceID, "problems", ev.Problems)
		return nil // without a marker: another case may find the file in order
	}
	value, err := json.Marshal(marker{Digest: s.cfg.digest(), Batches: ev.Batches, Flows: ev.Flows, Packets: ev.Packets})
	if err != nil {
		return fmt.Errorf("encode marker: %w", err)
	}
	if _, err := done.Put(ctx, key, value); err != nil {
		return fmt.Errorf("write marker: %w", err)
	}
	s.packets.Add(ctx, int64(ev.Packets))
	s.bytes.Add(ctx, int64(ev.BytesRead))
	s.flows.Add(ctx, int64(ev.Flows))
	s.deps.Log.Info("capture read", "name", in.Name, "evidence_id", in.EvidenceID, "packets", ev.Packets, "flows", ev.Flows,
		"batches", ev.Batches, "bytes_unread", ev.BytesUnread, "problems", len(ev.Problems), "took", time.Since(started).Round(time.Millisecond))
	return nil
}

// publish sends one batch. Its id names evidence, partition and number, so that a batch
// published again is recognised.
func (s *Service) publish(ctx context.Context, evidence string, partition, n int, b *record.Batch) error {
	body, err := b.Encode(nil)
	if err != nil {
		return fmt.Errorf("encode batch: %w", err)
	}
	id := model.DeriveID("obs", evidence, strconv.Itoa(partition), strconv.Itoa(n))
	ev, err := event.NewBulk(event.FlowObserved, id, "tracer/ingest", evidence, partition, body)
	if err != nil {
		return fmt.Errorf("make event: %w", err)
	}
	if err := s.deps.Bus.PublishAsync(ctx, ev); err != nil {
		return fmt.Errorf("publish batch: %w", err)
	}
	return nil
}
