package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/nats-io/nats.go"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/store"
)

// Version is the release this binary was built from; the build sets it.
var Version = "unknown"

// Exit statuses of every TRACER command.
const (
	ExitDone    = 0 // done
	ExitFound   = 1 // a check found something
	ExitUsage   = 2 // usage or bad input
	ExitPartial = 3 // some input was damaged; what was read is kept
)

// Env is what the services of one process share: how it is built is the only difference
// between one process for all and a process for each.
type Env struct {
	Log   *slog.Logger
	Bus   *bus.Bus
	Store *store.Store
	Data  string
	// Close releases what Connect or the embedded start opened, last opened first.
	Close func(context.Context) error
}

// Connect connects to the bus at URL.
func (c BusConfig) Connect(ctx context.Context, log *slog.Logger, name string, opts ...nats.Option) (*bus.Bus, error) {
	if c.Token != "" {
		opts = append(opts, nats.Token(c.Token.Reveal()))
	}
	b, err := bus.Connect(ctx, bus.Config{URL: c.URL, Name: name, Credentials: c.Credentials, Log: log}, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to the bus: %w", err)
	}
	return b, nil
}

// Connect builds the environment from a NATS server and a ClickHouse that stand elsewhere.
// Ingest needs no store: without a DSN Env.Store is nil.
func Connect(ctx context.Context, log *slog.Logger, name string, c Common) (*Env, error) {
	if c.Bus.URL == "" {
		return nil, errors.New("bus.url: expected the address of a NATS server, as in --bus nats://127.0.0.1:4222")
	}
	b, err := c.Bus.Connect(ctx, log, name)
	if err != nil {
		return nil, err
	}
	env := &Env{Log: log, Bus: b, Data: c.Data, Close: func(context.Context) error { b.Close(); return nil }}
	if dsn := c.Store.DSN.Reveal(); dsn != "" {
		st, err := store.Open(ctx, store.Config{DSN: dsn, Cluster: c.Store.Cluster, Log: log})
		if err != nil {
			b.Close()
			return nil, fmt.Errorf("connect to the store: %w", err)
		}
		env.Store = st
		env.Close = func(context.Context) error { b.Close(); return st.Close() }
	}
	return env, nil
}

// Patient makes a handler wait for a store that is away: what it could not read or write for
// that reason says nothing about the event, which is handled again until the store answers.
func Patient(h bus.Handler) bus.Handler {
	return func(ctx context.Context, ev cloudevents.Event) error {
		err := h(ctx, ev)
		if store.Passing(err) {
			return bus.Retry(err)
		}
		return err
	}
}

// Main runs one service as a process of its own until SIGTERM or SIGINT, and exits. cfg is
// a pointer to the service's configuration with its defaults set; extra adds flags of the
// service; build makes the service once the environment stands.
func Main(name string, cfg any, validate func() error, extra func(*flag.FlagSet), build func(*Env) (Service, error)) {
	if err := run(name, cfg, validate, extra, build, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(ExitUsage)
	}
}

func run(name string, cfg any, validate func() error, extra func(*flag.FlagSet), build func(*Env) (Service, error), args []string) error {
	common := DefaultCommon()
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	file := fs.String("config", "", "configuration `file` (YAML)")
	version := fs.Bool("version", false, "print the version and exit")
	// The file and the environment come first, flags override: parse once to find the file,
	// then again over what was loaded.
	flags := func() {
		fs.StringVar(&common.Data, "data", common.Data, "data `folder`")
		fs.StringVar(&common.Bus.URL, "bus", common.Bus.URL, "NATS `URL`")
		fs.StringVar(&common.Admin, "admin", common.Admin, "`address` of /healthz, /readyz and /metrics")
		fs.StringVar(&common.LogLevel, "log-level", common.LogLevel, "debug, info, warn or error")
		if extra != nil {
			extra(fs)
		}
	}
	flags()
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if *version {
		_, err := fmt.Fprintln(os.Stdout, name, Version)
		return err
	}
	if err := LoadConfig(*file, &common, map[string]any{name: cfg}); err != nil {
		return err
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := errors.Join(common.Validate(), validate()); err != nil {
		return err
	}
	LimitMemory()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log := Logger(common.LogLevel, false).With("service", name)
	env, err := Connect(ctx, log, "tracer-"+name, common)
	if err != nil {
		return err
	}
	svc, err := build(env)
	if err != nil {
		return errors.Join(err, env.Close(ctx))
	}
	return Serve(ctx, env, common, name, []Service{svc})
}

// Serve runs services with telemetry and health endpoints until ctx is done, then closes env.
func Serve(ctx context.Context, env *Env, common Common, name string, services []Service) error {
	metrics, stopTelemetry, err := Telemetry(ctx, "tracer-"+name, Version, common.Admin != "")
	if err != nil {
		return errors.Join(err, env.Close(ctx))
	}
	ready := func() error {
		rctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return env.Bus.Ready(rctx)
	}
	addr, err := ServeAdmin(ctx, env.Log, common.Admin, metrics, ready)
	if err != nil {
		return errors.Join(err, env.Close(ctx))
	}
	if addr != "" {
		env.Log.Info("health endpoint listening", "address", addr)
	}
	err = Run(ctx, env.Log, services)
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(err, stopTelemetry(sctx), env.Close(sctx))
}

// LimitMemory tells the garbage collector the memory limit of the container, where GOMEMLIMIT
// is not set and cgroup v2 names one: nine tenths of it.
func LimitMemory() {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	b, err := os.ReadFile("/sys/fs/cgroup/memory.max")
	if err != nil {
		return // no cgroup v2: no limit to learn
	}
	var limit int64
	if _, err := fmt.Sscan(string(b), &limit); err != nil || limit <= 0 {
		return // "max": no limit
	}
	debug.SetMemoryLimit(limit / 10 * 9)
}
