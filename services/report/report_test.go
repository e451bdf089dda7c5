package report_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/testkit"
	"github.com/tracer-framework/tracer/services/report"
)

var quietLog = slog.New(slog.DiscardHandler)

// stored puts the small case into a store, as archive does.
func stored() (*record.Batch, model.Case) {
	in := small()
	b := record.NewBatch()
	for i := range in.Evidence {
		b.Evidence.Append(&in.Evidence[i])
	}
	for i := range in.Detections {
		b.Detection.Append(&in.Detections[i])
	}
	for i := range in.Traces {
		b.Trace.Append(&in.Traces[i])
		for j := range in.Traces[i].Edges {
			b.TraceEdge.Append(&in.Traces[i].Edges[j])
		}
	}
	for i, id := range in.Detections[0].Flows {
		f := model.Flow{
			FlowID: id, EvidenceID: capture, Start: at(10+i, 3), End: at(10+i, 9), OrigIP: ip("10.1.4.23"), RespIP: ip("203.0.113.40"), RespPort: 443, Proto: "tcp", Service: "tls",
			ConnState: "SF", OrigBytes: 500, RespBytes: 600,
		}
		b.Flow.Append(&f)
	}
	return b, in.Case
}

func TestService(t *testing.T) {
	b, s := testkit.Bus(t), testkit.Store(t)
	dir := t.TempDir()
	svc, err := report.New(report.DefaultConfig(), report.Deps{Log: quietLog, Bus: b, Store: s, Data: dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	done := make(chan error, 2)
	go func() { done <- svc.Run(ctx) }()
	issued, reported := make(chan model.ReportIssued, 10), make(chan model.Case, 10)
	go func() {
		done <- b.Consume(ctx, "archive-event", func(_ context.Context, ev cloudevents.Event) error {
			if ev.Type() == event.ReportIssued {
				if err := event.Validate(ev); err != nil {
					t.Error(err)
				}
				r, err := event.Data[model.ReportIssued](ev)
				if err != nil {
					return bus.Permanent(err)
				}
				issued <- r
			}
			if c, err := event.Data[model.Case](ev); ev.Type() == event.CaseUpdated && err == nil && c.Stage == model.StageReported {
				reported <- c
			}
			return nil
		}, bus.ConsumeOptions{})
	}()
	batch, c := stored()
	publish := func(id string) {
		ev, err := event.New(event.CaseUpdated, id, "test", c.CaseID, &c)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Publish(ctx, ev); err != nil {
			t.Fatal(err)
		}
	}
	publish("mapped-1")
	select {
	case <-issued:
		t.Fatal("issued before the records were stored")
	case <-time.After(300 * time.Millisecond):
	}
	if err := s.Insert(ctx, "case", batch); err != nil {
		t.Fatal(err)
	}
	var r model.ReportIssued
	select {
	case r = <-issued:
	case <-ctx.Done():
		t.Fatal("no report in time")
	}
	<-reported
	if len(r.Files) != 8 || r.Run != c.Run || r.Dir != svc.Dir(c.CaseID) {
		t.Errorf("issued %+v", r)
	}
	first := readDir(t, r.Dir)
	if len(first) != 8 {
		t.Errorf("files %d", len(first))
	}
	var sum report.Summary
	if err := json.Unmarshal(first[report.FileSummary], &sum); err != nil || sum.Detections != 1 || sum.Traces != 1 || sum.Flows != 48 || sum.Packets != 12_415 {
		t.Errorf("summary %+v %v", sum, err)
	}
	// The same case treated again, under another run: other events, the same bytes.
	c.Run = "run-y"
	for i := range small().Detections {
		d := small().Detections[i]
		d.Run = c.Run
		again := record.NewBatch()
		again.Detection.Append(&d)
		tr := small().Traces[0]
		tr.Run = c.Run
		for j := range tr.Edges {
			tr.Edges[j].Run = c.Run
			again.TraceEdge.Append(&tr.Edges[j])
		}
		again.Trace.Append(&tr)
		if err := s.Insert(ctx, "again", again); err != nil {
			t.Fatal(err)
		}
	}
	publish("mapped-2")
	select {
	case r = <-issued:
	case <-ctx.Done():
		t.Fatal("no second report in time")
	}
	for name, b := range readDir(t, r.Dir) {
		if !bytes.Equal(b, first[name]) {
			t.Errorf("%s differs between runs", name)
		}
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func readDir(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, e := range entries {
		if out[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// served is the service's handler over a folder with the small case and a secret beside it.
func served(t *testing.T, cfg report.Config) *httptest.Server {
	t.Helper()
	data := t.TempDir()
	svc, err := report.New(cfg, report.Deps{Log: quietLog, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "secret.json"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	in := small()
	in.Case.Title = "<b>office</b>"
	docs := build(t, in)
	if err := docs.Write(svc.Dir(in.Case.CaseID)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(data, "secret.json"), filepath.Join(svc.Dir(in.Case.CaseID), "link.json")); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(svc.Handler())
	t.Cleanup(srv.Close)
	return srv
}

func get(t *testing.T, url, host, token string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		req.Host = host
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

func TestHandler(t *testing.T) {
	srv := served(t, report.DefaultConfig())
	const id = "case-0000000000000001"
	for _, tt := range []struct {
		path   string
		status int
		holds  string
	}{
		{"/", 200, "&lt;b&gt;office"},
		{"/healthz", 200, "ok"},
		{"/cases/" + id + "/", 200, "<h2>Summary</h2>"},
		{"/cases/" + id + "/report.md", 200, "# "},
		{"/cases/" + id + "/detections.jsonl", 200, "det-00000000000000b1"},
		{"/api/v1/cases", 200, id},
		{"/api/v1/cases/" + id, 200, `"detections": 1`},
		{"/api/v1/cases/case-0000000000000002", 404, "no such document"},
		{"/cases/" + id + "/link.json", 404, ""},
		{"/cases/" + id + "/..%2f..%2fsecret.json", 404, ""},
		{"/cases/..%2f/report.html", 404, ""},
		{"/cases/" + id + "/%2e%2e/secret.json", 404, ""},
		{"/cases/" + id + "/.report.html-123", 404, ""},
		{"/secret.json", 404, ""},
	} {
		status, body, header := get(t, srv.URL+tt.path, "", "")
		if status != tt.status || !strings.Contains(body, tt.holds) || strings.Contains(body, "secret") {
			t.Errorf("%s: %d %.80q", tt.path, status, body)
		}
		for _, h := range []string{"Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Cache-Control"} {
			if header.Get(h) == "" {
				t.Errorf("%s: header %s is missing", tt.path, h)
			}
		}
	}
	if status, _, _ := get(t, srv.URL+"/", "evil.example:80", ""); status != http.StatusMisdirectedRequest {
		t.Errorf("foreign host name: %d", status)
	}
	resp, err := http.Post(srv.URL+"/api/v1/cases", "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("post: %d", resp.StatusCode)
	}
}

func TestToken(t *testing.T) {
	cfg := report.DefaultConfig()
	cfg.Token = "let-me-in"
	srv := served(t, cfg)
	for _, path := range []string{"/", "/api/v1/cases", "/cases/case-0000000000000001/"} {
		for token, want := range map[string]int{"": 401, "wrong": 401, "let-me-in": 200} {
			if status, _, _ := get(t, srv.URL+path, "", token); status != want {
				t.Errorf("%s with token %q: %d, want %d", path, token, status, want)
			}
		}
	}
	if status, _, _ := get(t, srv.URL+"/healthz", "", ""); status != 200 {
		t.Errorf("healthz: %d", status)
	}
}

func TestValidate(t *testing.T) {
	for listen, ok := range map[string]bool{"": true, "127.0.0.1:0": true, "[::1]:8080": true, "localhost:80": true, "0.0.0.0:8080": false, ":8080": false, "nonsense": false} {
		cfg := report.DefaultConfig()
		cfg.Listen = listen
		if err := cfg.Validate(); (err == nil) != ok {
			t.Errorf("listen %q: %v", listen, err)
		}
	}
	cfg := report.DefaultConfig()
	cfg.Listen, cfg.Token = "0.0.0.0:8080", "x"
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}

// TestServeStops: the page is served while the service runs and ends with it.
func TestServeStops(t *testing.T) {
	cfg := report.DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	svc, err := report.New(cfg, report.Deps{Log: quietLog, Bus: testkit.Bus(t), Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	time.AfterFunc(300*time.Millisecond, cancel)
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the service did not stop")
	}
}
