// Package service runs one stage of TRACER or all of them: lifecycle, configuration,
// logging, OpenTelemetry and the health endpoints.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Service is one stage. Run blocks until ctx is done, drains what it holds and
// returns nil; any other return is a fault that stops the process. New of each
// service is inert: no goroutine, socket or query before Run.
type Service interface {
	Name() string
	Run(ctx context.Context) error
}

// Grace bounds how long one stage may drain after it was told to stop. What is not
// finished by then is delivered again at the next start: nothing is lost.
const Grace = 30 * time.Second

// Run runs the services, given in data order, side by side until ctx is done or one of
// them fails. Then they stop front to back: each stage is drained before the next is told
// to stop. The first fault is returned, with the name of its stage.
func Run(ctx context.Context, log *slog.Logger, services []Service) error {
	type stage struct {
		name string
		stop context.CancelFunc
		done chan struct{}
	}
	fault := make(chan struct{})
	var once sync.Once
	var mu sync.Mutex
	var errs []error
	fail := func(err error) {
		mu.Lock()
		errs = append(errs, err)
		mu.Unlock()
		once.Do(func() { close(fault) })
	}
	stages := make([]stage, 0, len(services))
	for _, s := range services {
		sctx, stop := context.WithCancel(context.WithoutCancel(ctx))
		st := stage{name: s.Name(), stop: stop, done: make(chan struct{})}
		stages = append(stages, st)
		go func() {
			defer close(st.done)
			err := s.Run(sctx)
			switch {
			case err != nil:
				fail(fmt.Errorf("%s: %w", st.name, err))
			case sctx.Err() == nil:
				fail(fmt.Errorf("%s: stopped by itself", st.name))
			}
		}()
		log.Info("stage started", "stage", st.name)
	}
	select {
	case <-ctx.Done():
	case <-fault:
	}
	for _, st := range stages {
		st.stop()
		timer := time.NewTimer(Grace)
		select {
		case <-st.done:
			log.Info("stage stopped", "stage", st.name)
		case <-timer.C:
			fail(fmt.Errorf("%s: not drained within %s; what it held is delivered again at the next start", st.name, Grace))
		}
		timer.Stop()
	}
	mu.Lock()
	defer mu.Unlock()
	return errors.Join(errs...)
}
