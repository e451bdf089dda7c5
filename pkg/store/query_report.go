package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
)

const ofRun = "WHERE case_id = {case:String} AND run = {run:String} "

// Detections returns the detections of a run of a case, sorted by id.
func (s *Store) Detections(ctx context.Context, caseID, run string) ([]model.Detection, error) {
	var out []model.Detection
	err := s.read(ctx, "detection", ofRun+"ORDER BY detection_id", map[string]any{"case": caseID, "run": run}, func(b *record.Batch) error {
		for i := range b.Detection.Rows() {
			var d model.Detection
			b.Detection.Row(i, &d)
			out = append(out, d)
		}
		return nil
	})
	return out, err
}

// Traces returns the traces of a run of a case with their edges, sorted by id.
func (s *Store) Traces(ctx context.Context, caseID, run string) ([]model.Trace, error) {
	var out []model.Trace
	err := s.read(ctx, "trace", ofRun+"ORDER BY trace_id", map[string]any{"case": caseID, "run": run}, func(b *record.Batch) error {
		for i := range b.Trace.Rows() {
			var t model.Trace
			b.Trace.Row(i, &t)
			out = append(out, t)
		}
		return nil
	})
	return out, err
}

// ErrNotFound says that the store does not hold what was asked for, or not yet.
var ErrNotFound = errors.New("not in the store")

// Case returns a run of a case in its latest stage; ErrNotFound where it is not stored (yet).
func (s *Store) Case(ctx context.Context, caseID, run string) (model.Case, error) {
	var out *model.Case
	err := s.read(ctx, "case", ofRun, map[string]any{"case": caseID, "run": run}, func(b *record.Batch) error {
		for i := range b.Case.Rows() {
			out = new(model.Case)
			b.Case.Row(i, out)
		}
		return nil
	})
	if err != nil {
		return model.Case{}, err
	}
	if out == nil {
		return model.Case{}, fmt.Errorf("case %s, run %s: %w", caseID, run, ErrNotFound)
	}
	return *out, nil
}

// QueryReadOnly runs a statement written by a user and streams its result in a format of
// ClickHouse, such as JSONEachRow, CSV or Pretty. The statement can read tables and nothing
// else: it cannot write, open files or addresses, or change settings. The caller closes the
// result; an error in the middle of it is the error of Read.
func (s *Store) QueryReadOnly(ctx context.Context, sql, format string) (io.ReadCloser, error) {
	resp, err := s.post(ctx, s.cfg.Database, sql, map[string]string{"readonly": "1", "default_format": format}, nil)
	if err != nil {
		return nil, statementError(err)
	}
	return newResult(resp), nil
}

// refused is what the store says of a statement of a user.
type refused struct {
	text string
	error
}

func (r refused) Error() string { return r.text }
func (r refused) Unwrap() error { return r.error }

// statementError reduces an exception to the sentence about the statement.
func statementError(err error) error {
	ex, ok := errors.AsType[*clickhouse.Exception](err)
	if !ok {
		return fmt.Errorf("query: %w", err)
	}
	msg := strings.TrimSpace(ex.Message)
	if before, after, ok := strings.Cut(msg, " Expected one of: "); ok && len(after) > 200 {
		// The list of all that may follow hides the place that matters.
		msg = before
		if i := strings.LastIndexByte(after, '('); i >= 0 {
			msg += " " + after[i:]
		}
	}
	return refused{"query: " + strings.ReplaceAll(msg, ". . ", ". "), err}
}
