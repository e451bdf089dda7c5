// Package report is the service that tells: once the detections and traces of a case are
// stored, it writes the documents of the case, and it serves them with the API and web
// page.
package report

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
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
)

// Config is what an operator may set.
type Config struct {
	// Dir is the folder of the documents, one folder a case; not absolute: within the data folder.
	Dir string `yaml:"dir"`
	// Listen is the address of the API and the web page; empty: none.
	Listen string `yaml:"listen"`
	// Token must be sent by callers as a bearer token; empty: none, and only loopback addresses may be listened on.
	Token service.Secret `yaml:"token"`
}

// DefaultConfig writes documents and serves nothing.
func DefaultConfig() Config { return Config{Dir: "cases"} }

// Validate reports every rule the values break.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("dir: expected the folder of the documents"))
	}
	if c.Listen != "" {
		host, _, err := net.SplitHostPort(c.Listen)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("listen: %w", err))
		case c.Token == "" && !loopback(host):
			errs = append(errs, fmt.Errorf("listen: %s can be reached from other machines: expected a token, or an address such as 127.0.0.1:8080", c.Listen))
		}
	}
	return errors.Join(errs...)
}

// Folder is where the documents of a case are written, given the data folder.
func (c Config) Folder(data, caseID string) string {
	if filepath.IsAbs(c.Dir) {
		return filepath.Join(c.Dir, caseID)
	}
	return filepath.Join(data, c.Dir, caseID)
}

// Environment reads the token from TRACER_REPORT_TOKEN.
func (c *Config) Environment(lookup func(string) (string, bool)) {
	if v, ok := lookup("TRACER_REPORT_TOKEN"); ok {
		c.Token = service.Secret(v)
	}
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// Deps is what the service works with.
type Deps struct {
	Log   *slog.Logger
	Bus   *bus.Bus
	Store *store.Store
	Data  string // data folder
}

// Service writes and serves documents.
type Service struct {
	cfg     Config
	deps    Deps
	dir     string
	reports metric.Int64Counter
}

// New checks the configuration; it starts nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	dir, err := filepath.Abs(cfg.Folder(deps.Data, ""))
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	s := &Service{cfg: cfg, deps: deps, dir: dir}
	s.reports, err = otel.Meter("tracer/report").Int64Counter("tracer_report_reports_total", metric.WithDescription("reports issued"))
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return s, nil
}

// Name of the service.
func (s *Service) Name() string { return "report" }

// Dir is the folder that the documents of a case are written to.
func (s *Service) Dir(caseID string) string { return filepath.Join(s.dir, caseID) }

// Run writes the documents of each case that becomes mapped, and serves them, until ctx is
// done.
func (s *Service) Run(ctx context.Context) error {
	if err := os.MkdirAll(s.dir, 0o750); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if s.cfg.Listen == "" {
		return s.consume(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	ready := make(chan error, 1)
	go func() {
		served <- s.serve(ctx, ready)
		cancel() // without its page the service has failed
	}()
	if err := <-ready; err != nil {
		return err
	}
	err := s.consume(ctx)
	cancel()
	return errors.Join(err, <-served)
}

func (s *Service) consume(ctx context.Context) error {
	return s.deps.Bus.Consume(ctx, "report", service.Patient(s.handle), bus.ConsumeOptions{})
}

// caseIDForm is the form of a case id. It becomes the name of a folder, so nothing else
// may stand in it.
var caseIDForm = regexp.MustCompile(`^case-[0-9a-f]{16}$`)

// handle writes the documents of a case. Doing it again writes the same bytes.
func (s *Service) handle(ctx context.Context, ev cloudevents.Event) error {
	c, err := event.Data[model.Case](ev)
	if err != nil {
		return bus.Permanent(fmt.Errorf("read case: %w", err))
	}
	if c.Stage != model.StageMapped {
		return nil
	}
	if !caseIDForm.MatchString(c.CaseID) {
		return bus.Permanent(fmt.Errorf("case id %q: expected case- and 16 hexadecimal digits", c.CaseID))
	}
	in, err := s.gather(ctx, c)
	if err != nil {
		return err
	}
	begun := time.Now()
	docs, err := Build(in)
	if err != nil {
		return fmt.Errorf("case %s: %w", c.CaseID, err)
	}
	if err := docs.Write(s.Dir(c.CaseID)); err != nil {
		return bus.Retry(fmt.Errorf("case %s: %w", c.CaseID, err))
	}
	issued := model.ReportIssued{CaseID: c.CaseID, Run: c.Run, Dir: s.Dir(c.CaseID), Files: docs.Files()}
	out, err := event.New(event.ReportIssued, model.DeriveID("issued", c.Run, c.CaseID), "tracer/report", c.CaseID, &issued)
	if err != nil {
		return bus.Permanent(fmt.Errorf("case %s: %w", c.CaseID, err))
	}
	if err := s.deps.Bus.Publish(ctx, out); err != nil {
		return err
	}
	c.Stage = model.StageReported
	done, err := event.New(event.CaseUpdated, model.DeriveID("case-reported", c.Run, c.CaseID), "tracer/report", c.CaseID, &c)
	if err != nil {
		return bus.Permanent(fmt.Errorf("case %s: %w", c.CaseID, err))
	}
	if err := s.deps.Bus.Publish(ctx, done); err != nil {
		return err
	}
	s.reports.Add(ctx, 1)
	s.deps.Log.Info("report issued", "case", c.CaseID, "dir", s.Dir(c.CaseID), "took", time.Since(begun).Round(time.Millisecond))
	return nil
}

// gather waits until the store holds all that the case says there is, and reads it.
func (s *Service) gather(ctx context.Context, c model.Case) (Input, error) {
	var dets []model.Detection
	var traces []model.Trace
	err := service.Wait(ctx, s.deps.Log, "the records of case "+c.CaseID+" to be stored", func() (_ bool, err error) {
		if dets, err = s.deps.Store.Detections(ctx, c.CaseID, c.Run); err != nil {
			return false, err
		}
		traces, err = s.deps.Store.Traces(ctx, c.CaseID, c.Run)
		return uint64(len(dets)) >= c.Detections && uint64(len(traces)) >= c.Traces, err
	})
	if err != nil {
		return Input{}, fmt.Errorf("case %s: %w", c.CaseID, err)
	}
	return Gather(ctx, s.deps.Store, c, dets, traces)
}

// Gather reads from the store what a report needs beside the detections and traces.
func Gather(ctx context.Context, st *store.Store, c model.Case, dets []model.Detection, traces []model.Trace) (Input, error) {
	in := Input{Case: c, Detections: dets, Traces: traces}
	ids := c.EvidenceIDs()
	var err error
	if in.Evidence, err = st.EvidenceByID(ctx, ids); err != nil {
		return in, fmt.Errorf("case %s: %w", c.CaseID, err)
	}
	if in.Traffic, err = st.Traffic(ctx, ids); err != nil {
		return in, fmt.Errorf("case %s: %w", c.CaseID, err)
	}
	var hosts []netip.Addr
	for _, d := range dets {
		hosts = append(hosts, d.OrigIP, d.RespIP)
	}
	for _, t := range traces {
		for _, h := range t.Hosts {
			hosts = append(hosts, h.IP)
		}
	}
	hosts = slices.DeleteFunc(hosts, func(a netip.Addr) bool { return !a.IsValid() })
	var several []model.FlowID
	for _, d := range dets {
		if !d.RespIP.IsValid() {
			several = append(several, d.Flows...)
		}
	}
	if len(several) > 0 {
		if in.Listed, err = st.FlowsByID(ctx, ids, several); err != nil {
			return in, fmt.Errorf("case %s: %w", c.CaseID, err)
		}
	}
	if in.Hosts, err = st.TrafficOf(ctx, ids, hosts); err != nil {
		return in, fmt.Errorf("case %s: %w", c.CaseID, err)
	}
	return in, nil
}

// Write puts the documents into a folder, each complete or not there at all.
func (d Documents) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("write documents: %w", err)
	}
	for _, f := range d.Files() {
		if err := writeFile(filepath.Join(dir, f.Name), d[f.Name]); err != nil {
			return fmt.Errorf("write document %s: %w", f.Name, err)
		}
	}
	return nil
}

// writeFile replaces a file as a whole, on disk before it has its name.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(0o640), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
