package service_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"

	"github.com/tracer-framework/tracer/pkg/service"
)

func TestAdminEndpoints(t *testing.T) {
	metrics, stop, err := service.Telemetry(t.Context(), "tracer", "test", true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	counter, err := otel.Meter("tracer/test").Int64Counter("tracer_test_packets_total", metric.WithDescription("packets"))
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(t.Context(), 42)

	ready := errors.New("waiting for the bus")
	addr, err := service.ServeAdmin(t.Context(), slog.New(slog.DiscardHandler), "127.0.0.1:0", metrics, func() error { return ready })
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		path string
		code int
		body string
	}{
		{"/healthz", 200, "ok"},
		{"/readyz", 503, "waiting for the bus"},
		{"/metrics", 200, "tracer_test_packets_total 42"},
		{"/other", 404, ""},
	} {
		resp, err := http.Get("http://" + addr + tc.path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != tc.code || !strings.Contains(string(b), tc.body) {
			t.Errorf("%s: %d %s", tc.path, resp.StatusCode, b)
		}
	}
}
