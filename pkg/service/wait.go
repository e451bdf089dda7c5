package service

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tracer-framework/tracer/pkg/bus"
)

// Wait calls ready, first often, then once a second, until it reports true or fails. Once a
// minute it logs what is waited for. Called inside of a handler it ends with bus.Retry when
// the consumer is told to stop.
func Wait(ctx context.Context, log *slog.Logger, what string, ready func() (bool, error)) error {
	pause := 50 * time.Millisecond
	said := time.Now()
	for {
		ok, err := ready()
		if err != nil {
			return err
		}
		if ok {
			return nil
		}
		if time.Since(said) > time.Minute {
			said = time.Now()
			log.Info("waiting", "for", what)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-bus.Stopping(ctx):
			return bus.Retry(fmt.Errorf("stopped while waiting for %s", what))
		case <-time.After(pause):
		}
		pause = min(time.Second, pause*3/2)
	}
}
