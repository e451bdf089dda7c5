package service_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tracer-framework/tracer/pkg/service"
)

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		begun := time.Now()
		err := service.Wait(t.Context(), log, "the tide", func() (bool, error) { return time.Since(begun) > 150*time.Second, nil })
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(out.String(), "the tide"); n != 2 {
			t.Errorf("said %d times in two and a half minutes what is waited for, want 2:\n%s", n, &out)
		}
		boom := errors.New("boom")
		if err := service.Wait(t.Context(), log, "x", func() (bool, error) { return false, boom }); !errors.Is(err, boom) {
			t.Errorf("got %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := service.Wait(ctx, log, "x", func() (bool, error) { return false, nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
