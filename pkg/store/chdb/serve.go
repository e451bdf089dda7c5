package chdb

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"time"
)

// Serve answers the ClickHouse HTTP protocol on l until ctx is done, so that other
// processes can use the store while this one holds it. Requests must carry token as
// password (basic authentication) or in X-ClickHouse-Key. The caller passes a listener on
// the loopback address: the connection is not encrypted.
func (e *Engine) Serve(ctx context.Context, l net.Listener, token string) error {
	if token == "" {
		return errors.New("serve store: a token is required")
	}
	srv := &http.Server{
		Handler:           e.handler(token),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close()
		}
	})
	err := srv.Serve(l)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (e *Engine) handler(token string) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ping" {
			_, _ = io.WriteString(w, "Ok.\n")
			return
		}
		key := r.Header.Get("X-ClickHouse-Key")
		if _, password, ok := r.BasicAuth(); ok {
			key = password
		}
		got := sha256.Sum256([]byte(key))
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("X-ClickHouse-Exception-Code", "516") // AUTHENTICATION_FAILED
			http.Error(w, "Code: 516. DB::Exception: the token is not right. (AUTHENTICATION_FAILED)", http.StatusForbidden)
			return
		}
		resp, err := transport{e}.RoundTrip(r)
		if err != nil {
			if r.Context().Err() != nil {
				return // the client is gone or the server ends
			}
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		defer resp.Body.Close()
		maps.Copy(w.Header(), resp.Header)
		w.WriteHeader(resp.StatusCode)
		if copyFlush(w, resp.Body) != nil {
			abort(w)
		}
	})
}

// abort cuts the connection, so that the client does not take the part for the whole.
func abort(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close()
	}
}

// copyFlush copies piece by piece and sends each on at once.
func copyFlush(w http.ResponseWriter, body io.Reader) error {
	flush := http.NewResponseController(w)
	buf := make([]byte, 256<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return werr
			}
			if ferr := flush.Flush(); ferr != nil {
				return ferr
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
