package service_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tracer-framework/tracer/pkg/service"
)

type stage struct {
	name string
	run  func(ctx context.Context) error
}

func (s stage) Name() string                  { return s.name }
func (s stage) Run(ctx context.Context) error { return s.run(ctx) }

// Stages stop front to back, each drained before the next is told to stop.
func TestRunStopsInDataOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		note := func(s string) { mu.Lock(); order = append(order, s); mu.Unlock() }
		mk := func(name string, drain time.Duration) service.Service {
			return stage{name, func(ctx context.Context) error {
				<-ctx.Done()
				note(name + " told")
				time.Sleep(drain)
				note(name + " drained")
				return nil
			}}
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { time.Sleep(time.Second); cancel() }()
		err := service.Run(ctx, slog.New(slog.DiscardHandler), []service.Service{mk("ingest", 3*time.Second), mk("archive", time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"ingest told", "ingest drained", "archive told", "archive drained"}
		if !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
	})
}

// A fault of one stage stops all and is returned with the stage's name.
func TestRunFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("disk on fire")
		err := service.Run(t.Context(), slog.New(slog.DiscardHandler), []service.Service{
			stage{"ingest", func(ctx context.Context) error { <-ctx.Done(); return nil }},
			stage{"archive", func(context.Context) error { time.Sleep(time.Second); return boom }},
		})
		if !errors.Is(err, boom) || !strings.HasPrefix(err.Error(), "archive: ") {
			t.Errorf("got %v", err)
		}
	})
}

// A stage that ends by itself without being told is a fault: nobody would notice it missing.
func TestRunSilentEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := service.Run(t.Context(), slog.New(slog.DiscardHandler), []service.Service{
			stage{"report", func(context.Context) error { return nil }},
		})
		if err == nil || !strings.Contains(err.Error(), "report: stopped by itself") {
			t.Errorf("got %v", err)
		}
	})
}

// A stage that does not drain is left behind after the grace, and named.
func TestRunGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		release := make(chan struct{})
		start := time.Now()
		err := service.Run(ctx, slog.New(slog.DiscardHandler), []service.Service{
			stage{"tracemap", func(context.Context) error { <-release; return nil }},
		})
		if err == nil || !strings.Contains(err.Error(), "tracemap: not drained within") {
			t.Errorf("got %v", err)
		}
		if d := time.Since(start); d != service.Grace {
			t.Errorf("waited %s, want %s", d, service.Grace)
		}
		close(release)
	})
}
