// Package fingerprint is the service that recognises: it fills the fingerprint columns of
// every batch of flows, and, once all inputs of a case are stored, matches threat profiles
// and runs the window detectors over them.
package fingerprint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/pkg/store"
)

// Config is what an operator may set.
type Config struct {
	// InternalNetworks are the networks of the site, as CIDR prefixes.
	InternalNetworks []string `yaml:"internal_networks"`
	// Profiles is a folder of own threat profiles (*.yaml), read at the start; empty: none.
	Profiles string `yaml:"profiles"`
	// Workers fill that many batches at the same time.
	Workers int `yaml:"workers"`
	// ScanTargets is the number of hosts (or ports) probed in vain from which a scan is reported.
	ScanTargets int `yaml:"scan_targets"`
	// BeaconScore is the RITA beacon score, 0 to 1, from which a pair is reported.
	BeaconScore float64 `yaml:"beacon_score"`
	// BeaconConnections is how many connections a pair must have to be reported as a beacon.
	BeaconConnections int `yaml:"beacon_connections"`
	// LongConnection is the age from which a single connection is reported.
	LongConnection time.Duration `yaml:"long_connection"`
	// DNSNames is the number of distinct names under one domain from which it is reported.
	DNSNames int `yaml:"dns_names"`
}

// DefaultConfig takes the private address ranges as internal, and RITA's thresholds where
// it has them.
func DefaultConfig() Config {
	return Config{
		InternalNetworks:  []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8", "fd00::/8", "fe80::/10", "::1/128"},
		Workers:           2,
		ScanTargets:       5,
		BeaconScore:       0.7,
		BeaconConnections: 20,
		LongConnection:    time.Hour,
		DNSNames:          100,
	}
}

// Validate reports every rule the values break.
func (c Config) Validate() error {
	var errs []error
	for _, n := range c.InternalNetworks {
		if _, err := netip.ParsePrefix(n); err != nil {
			errs = append(errs, fmt.Errorf("internal_networks: %w", err))
		}
	}
	for _, r := range []struct {
		name      string
		value, at int
	}{{"workers", c.Workers, 1}, {"scan_targets", c.ScanTargets, 2}, {"beacon_connections", c.BeaconConnections, 4}, {"dns_names", c.DNSNames, 2}} {
		if r.value < r.at {
			errs = append(errs, fmt.Errorf("%s: %d, expected at least %d", r.name, r.value, r.at))
		}
	}
	if !(c.BeaconScore > 0 && c.BeaconScore <= 1) {
		errs = append(errs, fmt.Errorf("beacon_score: %v, expected above 0 and at most 1", c.BeaconScore))
	}
	if c.LongConnection < time.Minute {
		errs = append(errs, fmt.Errorf("long_connection: %s, expected at least 1m", c.LongConnection))
	}
	return errors.Join(errs...)
}

// Networks are the internal networks; those that Validate refuses are left out.
func (c Config) Networks() []netip.Prefix {
	var out []netip.Prefix
	for _, n := range c.InternalNetworks {
		if p, err := netip.ParsePrefix(n); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}

// Deps is what the service works with.
type Deps struct {
	Log   *slog.Logger
	Bus   *bus.Bus
	Store *store.Store
}

// Service recognises. Its parts are two consumers and the profiles in force.
type Service struct {
	cfg    Config
	deps   Deps
	parser *ProfileParser
	base   *ProfileSet // shipped and of the folder
	count  counters

	mu    sync.Mutex
	own   map[string]*Profile // of the bucket
	force *ProfileSet
}

type counters struct {
	batches, rows, detections, refused metric.Int64Counter
}

// New checks the configuration and loads the profiles; it starts nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("fingerprint: %w", err)
	}
	parser, err := NewProfileParser(cfg.Networks())
	if err != nil {
		return nil, fmt.Errorf("fingerprint: %w", err)
	}
	base, err := parser.Load(cfg.Profiles)
	if err != nil {
		return nil, fmt.Errorf("fingerprint: %w", err)
	}
	s := &Service{cfg: cfg, deps: deps, parser: parser, base: base, force: base, own: map[string]*Profile{}}
	m := otel.Meter("tracer/fingerprint")
	for _, c := range []struct {
		into        *metric.Int64Counter
		name, about string
	}{
		{&s.count.batches, "tracer_fingerprint_batches_total", "batches filled and published"},
		{&s.count.rows, "tracer_fingerprint_rows_total", "rows in those batches"},
		{&s.count.detections, "tracer_fingerprint_detections_total", "detections raised"},
		{&s.count.refused, "tracer_fingerprint_profiles_refused_total", "profiles of the bus that were at fault"},
	} {
		if *c.into, err = m.Int64Counter(c.name, metric.WithDescription(c.about)); err != nil {
			return nil, fmt.Errorf("fingerprint: %w", err)
		}
	}
	return s, nil
}

// Name is the name of the service.
func (s *Service) Name() string { return "fingerprint" }

// Run fills batches and treats cases until ctx is done.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.watch(ctx)
	var wait sync.WaitGroup
	errs := make([]error, 2)
	wait.Go(func() {
		defer cancel()
		errs[0] = s.deps.Bus.Consume(ctx, "fingerprint", s.recognize, bus.ConsumeOptions{Workers: s.cfg.Workers})
	})
	wait.Go(func() {
		defer cancel()
		errs[1] = s.deps.Bus.Consume(ctx, "detect", service.Patient(s.treat), bus.ConsumeOptions{})
	})
	wait.Wait()
	return errors.Join(errs...)
}

// batches are reused: their columns are large.
var batches = sync.Pool{New: func() any { return record.NewBatch() }}

// recognize fills one batch and hands it on. The same batch gives the same bytes and id.
func (s *Service) recognize(ctx context.Context, ev cloudevents.Event) error {
	suffix, ok := strings.CutPrefix(ev.ID(), "obs-")
	if !ok {
		return bus.Permanent(fmt.Errorf("event id %q does not begin with obs-", ev.ID()))
	}
	partition, err := event.Partition(ev)
	if err != nil {
		return bus.Permanent(err)
	}
	b := batches.Get().(*record.Batch)
	defer batches.Put(b)
	if err := b.Decode(ev.Data()); err != nil {
		return bus.Permanent(fmt.Errorf("decode batch %s: %w", ev.ID(), err))
	}
	Fill(b)
	body, err := b.Encode(nil)
	if err != nil {
		return bus.Permanent(fmt.Errorf("encode batch %s: %w", ev.ID(), err))
	}
	out, err := event.NewBulk(event.FlowRecognized, "rec-"+suffix, "tracer/fingerprint", ev.Subject(), partition, body)
	if err != nil {
		return bus.Permanent(err)
	}
	if err := s.deps.Bus.Publish(ctx, out); err != nil {
		return err
	}
	s.count.batches.Add(ctx, 1)
	s.count.rows.Add(ctx, int64(b.Rows()))
	return nil
}
