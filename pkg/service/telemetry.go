package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Logger writes JSON lines to stderr at the given level, or readable text when text is set.
func Logger(level string, text bool) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo
	}
	opt := &slog.HandlerOptions{Level: l}
	if text {
		return slog.New(slog.NewTextHandler(os.Stderr, opt))
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, opt))
}

// Telemetry installs the OpenTelemetry providers and gives the handler of /metrics and a
// function that flushes and stops them.
//
// Traces are exported only when OTEL_EXPORTER_OTLP_ENDPOINT (or the traces form of it) or
// OTEL_TRACES_EXPORTER is set; otherwise the no-operation provider is installed, which
// costs next to nothing. Metrics are collected when withMetrics asks for /metrics or an
// exporter is configured.
func Telemetry(ctx context.Context, name, version string, withMetrics bool) (http.Handler, func(context.Context) error, error) {
	res, err := resource.New(ctx, resource.WithSchemaURL(""), resource.WithFromEnv(),
		resource.WithAttributes(attr("service.name", name), attr("service.version", version), attr("service.namespace", "tracer")))
	if err != nil {
		return nil, nil, fmt.Errorf("describe this process to OpenTelemetry: %w", err)
	}
	otel.SetTextMapPropagator(propagation.TraceContext{})
	var stops []func(context.Context) error
	stop := func(ctx context.Context) error {
		var errs []error
		for _, f := range stops {
			errs = append(errs, f(ctx))
		}
		return errors.Join(errs...)
	}

	otlp := os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != ""
	if otlp || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "" || os.Getenv("OTEL_TRACES_EXPORTER") != "" {
		exp, err := autoexport.NewSpanExporter(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("export traces: %w", err)
		}
		tp := trace.NewTracerProvider(trace.WithBatcher(exp), trace.WithResource(res))
		otel.SetTracerProvider(tp)
		stops = append(stops, tp.Shutdown)
	} else {
		otel.SetTracerProvider(noop.NewTracerProvider())
	}

	exportMetrics := otlp || os.Getenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") != "" || os.Getenv("OTEL_METRICS_EXPORTER") != ""
	if !withMetrics && !exportMetrics {
		otel.SetMeterProvider(metricnoop.NewMeterProvider())
		return http.NotFoundHandler(), stop, nil
	}
	registry := prometheus.NewRegistry()
	opts := []metric.Option{metric.WithResource(res)}
	prom, err := otelprom.New(otelprom.WithRegisterer(registry), otelprom.WithoutScopeInfo())
	if err != nil {
		return nil, nil, fmt.Errorf("collect metrics: %w", err)
	}
	opts = append(opts, metric.WithReader(prom))
	if exportMetrics {
		reader, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("export metrics: %w", err)
		}
		opts = append(opts, metric.WithReader(reader))
	}
	mp := metric.NewMeterProvider(opts...)
	otel.SetMeterProvider(mp)
	stops = append(stops, mp.Shutdown)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), stop, nil
}

// ServeAdmin answers /healthz (the process lives), /readyz (ready reports nil) and /metrics
// at addr until ctx is done. It returns the bound address at once; an empty addr serves nothing.
func ServeAdmin(ctx context.Context, log *slog.Logger, addr string, metrics http.Handler, ready func() error) (string, error) {
	if addr == "" {
		return "", nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("listen for health checks at %s: %w", addr, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writePlain(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			writePlain(w, http.StatusServiceUnavailable, err.Error()+"\n")
			return
		}
		writePlain(w, http.StatusOK, "ready\n")
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("health endpoint failed", "error", err)
		}
	}()
	context.AfterFunc(ctx, func() {
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if err := srv.Shutdown(sctx); err != nil {
			log.Warn("health endpoint did not stop cleanly", "error", err)
		}
	})
	return l.Addr().String(), nil
}

func writePlain(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	// A client that left is not a fault of this process.
	_, _ = w.Write([]byte(body))
}

func attr(k, v string) attribute.KeyValue { return attribute.String(k, v) }
