// Package tracemap is the service that traces: once the detections of a case are stored,
// it maps the ways the threat took through the network, back to where it came from and
// forward to what it reached.
package tracemap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/services/tracemap/internal/chain"
)

// Config is what an operator may set.
type Config struct {
	// InternalNetworks are the networks of the site, as CIDR prefixes.
	InternalNetworks []string `yaml:"internal_networks"`
	// ClockBound is by how much the clock of a sensor can be wrong. Zero is right for
	// captures of one sensor, or of sensors whose clocks were compared.
	ClockBound time.Duration `yaml:"clock_bound"`
	// ClockBounds are the bounds of single inputs, by their SHA-256.
	ClockBounds map[string]time.Duration `yaml:"clock_bounds"`
	// MaxHosts and MaxEdges bound a trace; what is left out is named in its stop certificate.
	MaxHosts int `yaml:"max_hosts"`
	MaxEdges int `yaml:"max_edges"`
	// MaxTargets is how many targets of a single detection are drawn.
	MaxTargets int `yaml:"max_targets"`
}

// maxRounds ends an expansion that gets further by one host a round.
const maxRounds = 64

// exchangesPerRound bounds what one round reads.
const exchangesPerRound = 50_000

// DefaultConfig takes the private address ranges as internal.
func DefaultConfig() Config {
	return Config{
		InternalNetworks: []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8", "fd00::/8", "fe80::/10", "::1/128"},
		MaxHosts:         200, MaxEdges: 200, MaxTargets: 8,
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
	if c.ClockBound < 0 {
		errs = append(errs, fmt.Errorf("clock_bound: %s, expected zero or more", c.ClockBound))
	}
	for _, id := range slices.Sorted(maps.Keys(c.ClockBounds)) {
		if c.ClockBounds[id] < 0 {
			errs = append(errs, fmt.Errorf("clock_bounds: %s: %s, expected zero or more", id, c.ClockBounds[id]))
		}
	}
	for _, r := range []struct {
		name      string
		value, at int
	}{{"max_hosts", c.MaxHosts, 2}, {"max_edges", c.MaxEdges, 1}, {"max_targets", c.MaxTargets, 1}} {
		if r.value < r.at {
			errs = append(errs, fmt.Errorf("%s: %d, expected at least %d", r.name, r.value, r.at))
		}
	}
	return errors.Join(errs...)
}

func (c Config) limits() chain.Limits {
	l := chain.Limits{MaxHosts: c.MaxHosts, MaxEdges: c.MaxEdges, MaxTargets: c.MaxTargets, MaxRounds: maxRounds}
	for _, n := range c.InternalNetworks {
		if p, err := netip.ParsePrefix(n); err == nil {
			l.Internal = append(l.Internal, p.Masked())
		}
	}
	l.ClockBound = func(evidenceID string) time.Duration {
		if d, ok := c.ClockBounds[evidenceID]; ok {
			return d
		}
		return c.ClockBound
	}
	return l
}

// Deps is what the service works with.
type Deps struct {
	Log   *slog.Logger
	Bus   *bus.Bus
	Store *store.Store
}

// Service maps traces.
type Service struct {
	cfg    Config
	deps   Deps
	cases  metric.Int64Counter
	traces metric.Int64Counter
}

// New checks the configuration; it starts nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("tracemap: %w", err)
	}
	s := &Service{cfg: cfg, deps: deps}
	m := otel.Meter("tracer/tracemap")
	var err error
	if s.cases, err = m.Int64Counter("tracer_tracemap_cases_total", metric.WithDescription("cases mapped")); err != nil {
		return nil, fmt.Errorf("tracemap: %w", err)
	}
	if s.traces, err = m.Int64Counter("tracer_tracemap_traces_total", metric.WithDescription("traces published")); err != nil {
		return nil, fmt.Errorf("tracemap: %w", err)
	}
	return s, nil
}

// Name of the service.
func (s *Service) Name() string { return "tracemap" }

// Run maps each case that becomes detected, until ctx is done.
func (s *Service) Run(ctx context.Context) error {
	return s.deps.Bus.Consume(ctx, "tracemap", service.Patient(s.handle), bus.ConsumeOptions{})
}

// handle maps a case. Doing it again publishes the same events under the same ids.
func (s *Service) handle(ctx context.Context, ev cloudevents.Event) error {
	c, err := event.Data[model.Case](ev)
	if err != nil {
		return bus.Permanent(fmt.Errorf("read case: %w", err))
	}
	if c.Stage != model.StageDetected {
		return nil
	}
	dets, err := s.detections(ctx, &c)
	if err != nil {
		return err
	}
	begun := time.Now()
	traces, err := Map(ctx, s.deps.Store, s.cfg, c, dets)
	if err != nil {
		return fmt.Errorf("case %s: %w", c.CaseID, err)
	}
	for i := range traces {
		t := &traces[i]
		out, err := event.New(event.TraceMapped, model.DeriveID("mapped", c.Run, t.TraceID), "tracer/tracemap", t.TraceID, t)
		if err != nil {
			return bus.Permanent(fmt.Errorf("case %s: %w", c.CaseID, err))
		}
		if err := s.deps.Bus.PublishAsync(ctx, out); err != nil {
			return err
		}
	}
	if err := s.deps.Bus.Flush(ctx); err != nil {
		return fmt.Errorf("publish traces of case %s: %w", c.CaseID, err)
	}
	c.Stage, c.Traces = model.StageMapped, uint64(len(traces))
	done, err := event.New(event.CaseUpdated, model.DeriveID("case-mapped", c.Run, c.CaseID), "tracer/tracemap", c.CaseID, &c)
	if err != nil {
		return bus.Permanent(fmt.Errorf("case %s: %w", c.CaseID, err))
	}
	if err := s.deps.Bus.Publish(ctx, done); err != nil {
		return err
	}
	s.cases.Add(ctx, 1)
	s.traces.Add(ctx, int64(len(traces)))
	s.deps.Log.Info("case mapped", "case", c.CaseID, "traces", len(traces), "took", time.Since(begun).Round(time.Millisecond))
	return nil
}

// detections waits until the store holds as many detections as the case says.
func (s *Service) detections(ctx context.Context, c *model.Case) (dets []model.Detection, err error) {
	err = service.Wait(ctx, s.deps.Log, "the detections of case "+c.CaseID+" to be stored", func() (_ bool, err error) {
		dets, err = s.deps.Store.Detections(ctx, c.CaseID, c.Run)
		return uint64(len(dets)) >= c.Detections, err
	})
	if err != nil {
		return nil, fmt.Errorf("case %s: %w", c.CaseID, err)
	}
	return dets, nil
}

// Map grows the traces of a case from its detections over the stored flows. The result
// depends on nothing else; it is sorted by start and id.
func Map(ctx context.Context, st *store.Store, cfg Config, c model.Case, dets []model.Detection) ([]model.Trace, error) {
	evidence := c.EvidenceIDs()
	if len(evidence) == 0 || len(dets) == 0 {
		return nil, nil
	}
	var ids []model.FlowID
	for _, d := range dets {
		ids = append(ids, d.Flows...)
	}
	flows, err := st.FlowsByID(ctx, evidence, ids)
	if err != nil {
		return nil, err
	}
	spans, err := st.Spans(ctx, evidence)
	if err != nil {
		return nil, err
	}
	var begin model.Time
	if len(spans) > 0 {
		begin = spans[0].First
	}
	domains, err := st.DomainExchanges(ctx, evidence, chain.TunnelDomains(dets))
	if err != nil {
		return nil, err
	}
	m := chain.New(cfg.limits(), c.CaseID, c.Run, begin, dets, flows, domains)
	if orig, all := m.Unlisted(); len(orig) > 0 {
		exchanges, _, err := st.Exchanges(ctx, store.ExchangeQuery{
			EvidenceIDs: evidence, Hosts: orig, Suspects: all,
			Ports: chain.RemotePorts(), Services: chain.RemoteServices(),
			TransferBytes: chain.TransferBytes, TransferRatio: chain.TransferRatio, Limit: exchangesPerRound,
		})
		if err != nil {
			return nil, err
		}
		m.Complete(exchanges)
	}
	for {
		hosts := m.Frontier()
		if len(hosts) == 0 {
			break
		}
		exchanges, more, err := st.Exchanges(ctx, store.ExchangeQuery{
			EvidenceIDs: evidence, Hosts: hosts, Suspects: m.Suspects(), Outside: m.Meetings(),
			Ports: chain.RemotePorts(), Services: chain.RemoteServices(),
			TransferBytes: chain.TransferBytes, TransferRatio: chain.TransferRatio, Limit: exchangesPerRound,
		})
		if err != nil {
			return nil, err
		}
		clients, err := st.Clients(ctx, evidence, m.Dests(exchanges))
		if err != nil {
			return nil, err
		}
		m.Add(hosts, exchanges, clients)
		if more {
			m.Cut(hosts, exchangesPerRound)
		}
	}
	names, err := st.HostNames(ctx, evidence, m.Hosts())
	if err != nil {
		return nil, err
	}
	return m.Traces(names), nil
}
