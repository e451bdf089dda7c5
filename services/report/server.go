package report

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tracer-framework/tracer/services/report/internal/render"
)

// shutdownGrace is how long open requests may last when the service stops.
const shutdownGrace = 3 * time.Second

// serve answers the API and the web page until ctx is done. It tells ready whether it
// could listen.
func (s *Service) serve(ctx context.Context, ready chan<- error) error {
	l, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		err = fmt.Errorf("report: listen on %s: %w", s.cfg.Listen, err)
		ready <- err
		return err
	}
	ready <- nil
	s.deps.Log.Info("serving reports", "address", "http://"+l.Addr().String()+"/")
	srv := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 2 * time.Minute,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err = <-failed:
	case <-ctx.Done():
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close()
		}
		err = <-failed
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("report: serve: %w", err)
}

// Handler is the API and the web page:
//
//	GET /                          list of cases
//	GET /cases/{id}/               the report
//	GET /cases/{id}/{document}     one document
//	GET /api/v1/cases              summaries of all cases
//	GET /api/v1/cases/{id}         summary of a case
//	GET /healthz                   200 when it serves
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.Handle("GET /{$}", s.guarded(s.index))
	mux.Handle("GET /cases/{id}/{$}", s.guarded(func(w http.ResponseWriter, r *http.Request) { s.document(w, r, FileHTML) }))
	mux.Handle("GET /cases/{id}/{document}", s.guarded(func(w http.ResponseWriter, r *http.Request) { s.document(w, r, r.PathValue("document")) }))
	mux.Handle("GET /api/v1/cases", s.guarded(s.listCases))
	mux.Handle("GET /api/v1/cases/{id}", s.guarded(func(w http.ResponseWriter, r *http.Request) { s.document(w, r, FileSummary) }))
	return secured(mux)
}

// secured sets the headers that keep a page from being framed, sniffed or fed from
// elsewhere, and refuses requests under a foreign name: on a loopback address another
// site could otherwise reach it through the visitor's browser.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", render.Policy()+"; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && local.IP.IsLoopback() {
			host, _, err := net.SplitHostPort(r.Host)
			if err != nil {
				host = r.Host
			}
			if !loopback(strings.Trim(host, "[]")) {
				fail(w, http.StatusMisdirectedRequest, "this address answers to localhost only")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// guarded asks for the bearer token, if one is set.
func (s *Service) guarded(next http.HandlerFunc) http.Handler {
	want := sha256.Sum256([]byte(s.cfg.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.cfg.Token != "" {
			token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			got := sha256.Sum256([]byte(token))
			if !ok || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
				w.Header().Set("WWW-Authenticate", `Bearer realm="tracer"`)
				fail(w, http.StatusUnauthorized, "a valid bearer token is needed")
				return
			}
		}
		next(w, r)
	})
}

func fail(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": message})
}

// mediaTypes of the documents. A name that is not here is not served.
var mediaTypes = map[string]string{
	FileHTML: "text/html; charset=utf-8", FileMarkdown: "text/markdown; charset=utf-8", FileJSON: "application/json", FileSummary: "application/json",
	FileTraces: "application/json", FileNavigator: "application/json", FileDetections: "application/x-ndjson", FileFindings: "application/x-ndjson",
}

// document sends a document of a case. Both names are checked against what can exist, so
// no request can name another file.
func (s *Service) document(w http.ResponseWriter, r *http.Request, name string) {
	id := r.PathValue("id")
	media, known := mediaTypes[name]
	if !known || !caseIDForm.MatchString(id) {
		fail(w, http.StatusNotFound, "no such document")
		return
	}
	f, err := os.Open(filepath.Join(s.Dir(id), name))
	if errors.Is(err, os.ErrNotExist) {
		fail(w, http.StatusNotFound, "no such document")
		return
	}
	if err != nil {
		s.deps.Log.Error("document cannot be read", "case", id, "document", name, "error", err)
		fail(w, http.StatusInternalServerError, "the document cannot be read")
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		fail(w, http.StatusNotFound, "no such document")
		return
	}
	w.Header().Set("Content-Type", media)
	http.ServeContent(w, r, "", info.ModTime(), f)
}

// summaries reads the summaries of all cases, worst first.
func (s *Service) summaries() ([]Summary, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	out := []Summary{}
	for _, e := range entries {
		if !caseIDForm.MatchString(e.Name()) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(s.Dir(e.Name()), FileSummary))
		if errors.Is(err, os.ErrNotExist) {
			continue // being written
		}
		var sum Summary
		if err == nil {
			err = json.Unmarshal(b, &sum)
		}
		if err != nil {
			return nil, fmt.Errorf("summary of %s: %w", e.Name(), err)
		}
		out = append(out, sum)
	}
	slices.SortStableFunc(out, func(a, b Summary) int { return render.CompareSeverity(b.Severity, a.Severity) })
	return out, nil
}

func (s *Service) listCases(w http.ResponseWriter, _ *http.Request) {
	list, err := s.summaries()
	if err != nil {
		s.deps.Log.Error("cases cannot be listed", "error", err)
		fail(w, http.StatusInternalServerError, "the cases cannot be listed")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"cases": list})
}

func (s *Service) index(w http.ResponseWriter, _ *http.Request) {
	list, err := s.summaries()
	if err != nil {
		s.deps.Log.Error("cases cannot be listed", "error", err)
		fail(w, http.StatusInternalServerError, "the cases cannot be listed")
		return
	}
	rows := make([]render.CaseRow, len(list))
	for i, c := range list {
		rows[i] = render.CaseRow{CaseID: c.CaseID, Title: c.Title, Severity: c.Severity, Detections: c.Detections, Traces: c.Traces, Inputs: len(c.Inputs), Packets: c.Packets, Flows: c.Flows}
	}
	page, err := render.Index(rows)
	if err != nil {
		s.deps.Log.Error("page cannot be written", "error", err)
		fail(w, http.StatusInternalServerError, "the page cannot be written")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page)
}
