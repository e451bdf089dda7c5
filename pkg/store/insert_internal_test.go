package store

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
)

func count(t *testing.T, s *Store, table string) (n uint64) {
	t.Helper()
	if err := s.Conn().QueryRow(t.Context(), "SELECT count() FROM "+quoteName(table)).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func status(code int, exception, text string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		if exception != "" {
			w.Header().Set("X-ClickHouse-Exception-Code", exception)
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, text)
		return w.Result(), nil
	}
}

// TestInsertWaits: what passes is waited for, with one line in the log.
func TestInsertWaits(t *testing.T) {
	for name, c := range map[string]struct {
		fail func(*http.Request) (*http.Response, error)
		says string
	}{
		"server away": {func(*http.Request) (*http.Response, error) { return nil, syscall.ECONNREFUSED }, "cannot be reached"},
		"gateway":     {status(502, "", "bad gateway"), "cannot be reached"},
		"disk full":   {status(500, "243", "Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE)"), "disk of the store is full"},
		"disk full 2": {status(500, "75", "Code: 75. DB::ErrnoException: Cannot write to file, errno: 28, strerror: No space left on device. (CANNOT_WRITE_TO_FILE_DESCRIPTOR)"), "disk of the store is full"},
		"too many":    {status(500, "252", "Code: 252. DB::Exception: Too many parts. (TOO_MANY_PARTS)"), "TOO_MANY_PARTS"},
	} {
		t.Run(name, func(t *testing.T) {
			rec := newRecorder()
			s := openForTest(t, Config{Log: slog.New(rec)})
			if err := s.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.wait = backoff{time.Millisecond, 4 * time.Millisecond}
			s.http.Transport = &refusing{s.http.Transport, 5, c.fail}
			b := record.NewBatch()
			b.Flow.Append(&model.Flow{FlowID: 1})
			rec.text.Reset()
			if err := s.Insert(t.Context(), "", b); err != nil {
				t.Fatal(err)
			}
			if n := count(t, s, "flow"); n != 1 {
				t.Errorf("%d rows", n)
			}
			log := rec.text.String()
			if strings.Count(log, "waiting") != 1 || strings.Count(log, "answers again") != 1 || !strings.Contains(log, c.says) {
				t.Errorf("log:\n%s", log)
			}
		})
	}
}

func TestInsertGivesUp(t *testing.T) {
	s := openForTest(t, Config{})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.wait = backoff{time.Millisecond, 4 * time.Millisecond}
	next := s.http.Transport

	// What cannot succeed is an error at once.
	start := time.Now()
	var ex *clickhouse.Exception
	if err := s.InsertNative(t.Context(), "flow", "", []byte("no block")); !errors.As(err, &ex) {
		t.Errorf("a broken block: %v", err)
	}
	if err := s.InsertNative(t.Context(), "nosuch", "", nil); err == nil {
		t.Error("a table that is not known")
	}
	if time.Since(start) > 5*time.Second {
		t.Error("waited for what cannot succeed")
	}

	// While waiting, the end of the context ends it.
	s.http.Transport = &refusing{next, 1 << 30, status(503, "", "starting")}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	b := record.NewBatch()
	b.Flow.Append(&model.Flow{FlowID: 1})
	if err := s.Insert(ctx, "", b); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("end of the context: %v", err)
	}
}

// TestTokenStoresOnce: an insert whose answer was lost is sent again and stored once, in a
// table that replaces nothing by itself.
func TestTokenStoresOnce(t *testing.T) {
	s := openForTest(t, Config{})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.wait = backoff{time.Millisecond, 4 * time.Millisecond}
	next := s.http.Transport
	s.http.Transport = &refusing{next, 3, func(req *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		return nil, io.ErrUnexpectedEOF
	}}
	b := record.NewBatch()
	b.Flow.Append(&model.Flow{FlowID: 1})
	for _, token := range []string{"one", "one", "two"} {
		if err := s.Insert(t.Context(), token, b); err != nil {
			t.Fatal(err)
		}
	}
	ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"final": 0}))
	var parts uint64
	if err := s.Conn().QueryRow(ctx, "SELECT count() FROM flow").Scan(&parts); err != nil {
		t.Fatal(err)
	}
	if parts != 2 {
		t.Errorf("%d rows before replacing, want one per token", parts)
	}
	if n := count(t, s, "flow"); n != 1 {
		t.Errorf("%d rows, want the flow once", n)
	}
}

// TestEveryKind stores rows of every kind and reads them back.
func TestEveryKind(t *testing.T) {
	s := openForTest(t, Config{})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := filledBatch()
	if err := s.Insert(t.Context(), "every", b); err != nil {
		t.Fatal(err)
	}
	sameRows[model.Flow](t, s, "flow", b, func(b *record.Batch) rowsOf[model.Flow] { return b.Flow })
	sameRows[model.DNS](t, s, "dns", b, func(b *record.Batch) rowsOf[model.DNS] { return b.DNS })
	sameRows[model.HTTP](t, s, "http", b, func(b *record.Batch) rowsOf[model.HTTP] { return b.HTTP })
	sameRows[model.TLS](t, s, "tls", b, func(b *record.Batch) rowsOf[model.TLS] { return b.TLS })
	sameRows[model.SSH](t, s, "ssh", b, func(b *record.Batch) rowsOf[model.SSH] { return b.SSH })
	sameRows[model.Evidence](t, s, "evidence", b, func(b *record.Batch) rowsOf[model.Evidence] { return b.Evidence })
	sameRows[model.Detection](t, s, "detection", b, func(b *record.Batch) rowsOf[model.Detection] { return b.Detection })
	sameRows[model.Trace](t, s, "trace", b, func(b *record.Batch) rowsOf[model.Trace] { return b.Trace })
	sameRows[model.TraceEdge](t, s, "trace_edge", b, func(b *record.Batch) rowsOf[model.TraceEdge] { return b.TraceEdge })
	sameRows[model.Case](t, s, "case", b, func(b *record.Batch) rowsOf[model.Case] { return b.Case })
}

type rowsOf[T any] interface {
	Rows() int
	Row(i int, v *T)
}

func list[T any](rows rowsOf[T]) []T {
	out := make([]T, rows.Rows())
	for i := range out {
		rows.Row(i, &out[i])
	}
	return out
}

// sameRows compares the rows of a table with those of a batch, regardless of order.
func sameRows[T any](t *testing.T, s *Store, table string, b *record.Batch, pick func(*record.Batch) rowsOf[T]) {
	t.Helper()
	var got []T
	err := s.read(t.Context(), table, "", nil, func(b *record.Batch) error {
		got = append(got, list(pick(b))...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := list(pick(b))
	if len(got) != len(want) {
		t.Errorf("%s: %d rows, want %d", table, len(got), len(want))
	}
	for _, w := range want {
		found := false
		for _, g := range got {
			found = found || reflect.DeepEqual(w, g)
		}
		if !found {
			t.Errorf("%s: a row did not come back: %+v", table, w)
		}
	}
}

// TestManyYears: the times of a capture may be spread over years, with a partition for
// each month.
func TestManyYears(t *testing.T) {
	s := openForTest(t, Config{})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	const days = 1500
	b := record.NewBatch()
	for i := range days {
		b.Flow.Append(&model.Flow{FlowID: model.FlowID(i), Start: model.Time(i) * 86_400_000_000})
	}
	b.Flow.Append(&model.Flow{FlowID: days, Start: 4_294_967_295_000_000}) // the last of a pcap's times, in 2106
	start := time.Now()
	if err := s.Insert(t.Context(), "days", b); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, "flow"); n != days+1 {
		t.Errorf("%d rows, want %d", n, days+1)
	}
	t.Logf("%d days in %v", days, time.Since(start))
}

// TestHighestSeqHolds: of the records of one flow the one with the highest seq is seen,
// whether they came in one block or in several, in order or not.
func TestHighestSeqHolds(t *testing.T) {
	s := openForTest(t, Config{})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	insert := func(seqs ...uint16) {
		t.Helper()
		b := record.NewBatch()
		for _, seq := range seqs {
			b.Flow.Append(&model.Flow{FlowID: 1, Seq: seq, OrigBytes: uint64(seq) * 100})
		}
		if err := s.Insert(t.Context(), "", b); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		seqs []uint16
		want uint64
	}{{[]uint16{1, 2, 0}, 200}, {[]uint16{4}, 400}, {[]uint16{3}, 400}, {[]uint16{4, 4}, 400}} {
		insert(c.seqs...)
		var rows, bytes uint64
		if err := s.Conn().QueryRow(t.Context(), "SELECT count(), sum(orig_bytes) FROM flow").Scan(&rows, &bytes); err != nil {
			t.Fatal(err)
		}
		if rows != 1 || bytes != c.want {
			t.Errorf("after %v: %d rows, %d bytes, want 1 and %d", c.seqs, rows, bytes, c.want)
		}
	}
}

// TestErrorInResult: an error behind rows already sent is no row.
func TestErrorInResult(t *testing.T) {
	s := openForTest(t, Config{})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := s.QueryReadOnly(t.Context(), "SELECT throwIf(number = 300000) FROM numbers(1000000)", "CSV")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows, err := io.ReadAll(r)
	var ex *clickhouse.Exception
	if !errors.As(err, &ex) || ex.Code != 395 {
		t.Errorf("error %v", err)
	}
	if strings.Trim(string(rows), "0\n") != "" || len(rows) == 0 {
		t.Errorf("%d bytes of rows, ending in %q", len(rows), rows[max(0, len(rows)-100):])
	}
	// The bytes of a frame inside of rows are rows.
	r, err = s.QueryReadOnly(t.Context(), `SELECT '\r\n__exception__\r\nabcdefghijklmnop\r\nCode: 1. x\r\n__exception__\r\n' FROM numbers(2)`, "RowBinary")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if rows, err = io.ReadAll(r); err != nil || strings.Count(string(rows), "__exception__") != 4 {
		t.Errorf("%q, %v", rows, err)
	}
}
