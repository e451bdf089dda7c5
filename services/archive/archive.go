// Package archive takes what the bus carries to where it stays: rows to the store, bytes
// to the sealed objects, and their digests to the evidence ledger.
//
// Each message goes through the same steps: its bytes become a durable object, its rows
// are stored, its digest is sealed in the ledger, its evidence row is stored, what was
// sealed is published, and only then is it acknowledged. Every step has the same effect
// when repeated, so a process may be killed between any two of them: the message is
// delivered again, and one row and one leaf result. Leaves stand in the ledger in the
// order of arrival; nothing but the proofs depends on it.
package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"syscall"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/evidence"
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/pkg/store"
)

// What the evidence records name as the tool.
const (
	toolName    = "tracer-archive"
	toolVersion = "0.1.0"
)

// Config of the service.
type Config struct {
	Workers int    `yaml:"workers"` // batches of flows archived at the same time; of events four times as many
	Key     string `yaml:"key"`     // file of the ledger's private key; empty: made on first start and kept in the ledger
}

// DefaultConfig lets eight messages share each insert and each commit of the ledger.
func DefaultConfig() Config { return Config{Workers: 8} }

// eventsPerWorker: an event is one row, so that many more of them are wanted in one insert.
const eventsPerWorker = 4

// Validate tells what is wrong with a configuration.
func (c Config) Validate() error {
	if c.Workers < 1 || c.Workers > 256 {
		return fmt.Errorf("workers: %d, expected 1 to 256", c.Workers)
	}
	return nil
}

// Deps is what the service uses.
type Deps struct {
	Log     *slog.Logger
	Bus     *bus.Bus
	Store   *store.Store
	Ledger  *evidence.Ledger
	Objects *evidence.Objects
}

// Service archives flows and events.
type Service struct {
	cfg     Config
	deps    Deps
	writer  *writer
	closing func() error // for what Open opened

	rows, bytes, sealed metric.Int64Counter
}

// New makes the service without starting anything.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	if deps.Bus == nil || deps.Store == nil || deps.Ledger == nil || deps.Objects == nil {
		return nil, errors.New("archive: bus, store, ledger and objects are needed")
	}
	if deps.Log == nil {
		deps.Log = slog.Default()
	}
	return &Service{cfg: cfg, deps: deps, writer: newWriter(deps.Store)}, nil
}

// Open opens the ledger (<data>/ledger) and the objects (<data>/evidence/objects) of the
// environment's data folder and makes the service on them. Run closes the ledger.
func Open(cfg Config, env *service.Env) (*Service, error) {
	ledger, err := evidence.Open(filepath.Join(env.Data, "ledger"), evidence.Options{Key: cfg.Key})
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	objects, err := evidence.OpenObjects(filepath.Join(env.Data, "evidence", "objects"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("archive: %w", err), ledger.Close())
	}
	s, err := New(cfg, Deps{Log: env.Log, Bus: env.Bus, Store: env.Store, Ledger: ledger, Objects: objects})
	if err != nil {
		return nil, errors.Join(err, ledger.Close())
	}
	s.closing = ledger.Close
	return s, nil
}

// Name implements service.Service.
func (s *Service) Name() string { return "archive" }

// Run archives until ctx is done and what it holds is finished.
func (s *Service) Run(ctx context.Context) (err error) {
	if s.closing != nil {
		defer func() { err = errors.Join(err, s.closing()) }()
	}
	meter := otel.Meter("tracer/archive")
	var errs [3]error
	s.rows, errs[0] = meter.Int64Counter("tracer_archive_rows_total", metric.WithDescription("rows stored, by table"))
	s.bytes, errs[1] = meter.Int64Counter("tracer_archive_object_bytes_total", metric.WithUnit("By"), metric.WithDescription("bytes of sealed objects stored"))
	s.sealed, errs[2] = meter.Int64Counter("tracer_archive_leaves_total", metric.WithDescription("leaves sealed, by kind"))
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("archive metrics: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The writer outlives the handlers that wait for it.
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.writer.run(writing)
	}()
	defer func() {
		stopWriting()
		<-written
	}()
	var wg sync.WaitGroup
	consume := func(durable string, h bus.Handler, workers int, result *error) {
		wg.Go(func() {
			defer cancel() // one that fails ends the other
			*result = s.deps.Bus.Consume(ctx, durable, service.Patient(h), bus.ConsumeOptions{Workers: workers})
		})
	}
	var flows, events error
	consume("archive-flow", s.flow, s.cfg.Workers, &flows)
	consume("archive-event", s.event, s.cfg.Workers*eventsPerWorker, &events)
	wg.Wait()
	return errors.Join(flows, events)
}

// object makes bytes durable under their digest.
func (s *Service) object(ctx context.Context, data []byte) (string, error) {
	sum, err := s.deps.Objects.PutBytes(ctx, data)
	if err != nil {
		return "", waitFor("the evidence folder", err)
	}
	s.bytes.Add(ctx, int64(len(data)))
	return sum, nil
}

// seal puts leaves into the ledger and returns their entries.
func (s *Service) seal(ctx context.Context, leaves ...evidence.Leaf) ([]evidence.Entry, error) {
	indexes, err := s.deps.Ledger.Append(ctx, leaves)
	switch {
	case errors.Is(err, evidence.ErrConflict), errors.Is(err, evidence.ErrLeaf):
		return nil, bus.Permanent(err)
	case err != nil:
		return nil, waitFor("the ledger", err)
	}
	out := make([]evidence.Entry, len(leaves))
	for i, leaf := range leaves {
		out[i] = evidence.Entry{Leaf: leaf, Index: indexes[i], Sealed: s.deps.Ledger.Sealed(indexes[i])}
		s.sealed.Add(ctx, 1, metric.WithAttributes(attribute.String("kind", leaf.Kind)))
	}
	return out, nil
}

// known refuses an event whose id was sealed with other bytes before anything of it is stored.
func (s *Service) known(kind, id, sum string) error {
	e, ok, err := s.deps.Ledger.Lookup(kind, id)
	if err != nil {
		return waitFor("the ledger", err)
	}
	if ok && e.SHA256 != sum {
		return bus.Permanent(&evidence.ConflictError{Kind: kind, ID: id, Sealed: e.SHA256, Refused: sum, Index: e.Index})
	}
	return nil
}

// insert stores blocks of rows; stored again they replace themselves.
func (s *Service) insert(ctx context.Context, blocks []record.Block) error {
	if err := s.writer.insert(ctx, blocks); err != nil {
		return err
	}
	for _, b := range blocks {
		s.rows.Add(ctx, int64(b.Rows), metric.WithAttributes(attribute.String("table", b.Table)))
	}
	return nil
}

// insertRows stores the rows of a batch.
func (s *Service) insertRows(ctx context.Context, b *record.Batch) error {
	blocks, err := b.Native()
	if err != nil {
		return bus.Permanent(fmt.Errorf("encode rows: %w", err))
	}
	return s.insert(ctx, blocks)
}

// publish tells everyone what was sealed.
func (s *Service) publish(ctx context.Context, rows []model.Evidence) error {
	for i := range rows {
		e := &rows[i]
		id := model.DeriveID("sealed", e.Kind, e.Parent, e.Name, e.EvidenceID)
		ev, err := event.New(event.EvidenceSealed, id, "tracer/archive", e.EvidenceID, e)
		if err != nil {
			return bus.Permanent(fmt.Errorf("tell of sealed evidence: %w", err))
		}
		ev.SetTime(e.Sealed.Time())
		if err := s.deps.Bus.Publish(ctx, ev); err != nil {
			return fmt.Errorf("tell of sealed evidence: %w", err)
		}
	}
	return nil
}

// waitFor marks a fault of the disk, which is waited out, and says a full one in words.
func waitFor(what string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return bus.Retry(fmt.Errorf("the disk of %s is full: make room, the archive goes on by itself: %w", what, err))
	}
	return bus.Retry(fmt.Errorf("%s cannot be written, trying again: %w", what, err))
}

// nameOf is the part of an error message that names an event.
func nameOf(ev cloudevents.Event) string { return ev.Type() + " " + ev.ID() }
