package testkit

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/bus/embedded"
)

// Bus is a connection to a provisioned bus of its own: a real NATS server in the test's
// process, its streams in a temporary folder. A worker that falls silent loses its message
// after 3 seconds.
func Bus(t testing.TB) *bus.Bus {
	t.Helper()
	return BusOn(t, BusServer(t, embedded.Config{}), bus.ProvisionOptions{})
}

// BusServer starts a NATS server in the test's process, stopped when the test ends. An
// empty StoreDir becomes a temporary folder.
func BusServer(t testing.TB, cfg embedded.Config) *embedded.Server {
	t.Helper()
	if cfg.StoreDir == "" {
		cfg.StoreDir = t.TempDir()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := embedded.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// BusOn connects to s and provisions it.
func BusOn(t testing.TB, s *embedded.Server, p bus.ProvisionOptions) *bus.Bus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	b, err := bus.Connect(ctx, bus.Config{Name: t.Name(), Log: slog.New(slog.DiscardHandler)}, nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if p.AckWait == 0 {
		p.AckWait = 3 * time.Second
	}
	if err := bus.Provision(ctx, b, p); err != nil {
		t.Fatal(err)
	}
	return b
}
