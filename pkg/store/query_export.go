package store

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
)

// exportPage is the number of flows read at a time for an export.
const exportPage = 50_000

// ExportFlows writes the flows of the given inputs as JSON lines, sorted by start and id.
func (s *Store) ExportFlows(ctx context.Context, evidenceIDs []string, w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<16)
	enc := json.NewEncoder(out)
	var start, id int64
	for {
		rows := 0
		err := s.read(ctx, "flow",
			"WHERE evidence_id IN {ids:Array(String)} AND (toUnixTimestamp64Micro(start), flow_id) > ({start:Int64}, {id:UInt64}) ORDER BY start, flow_id LIMIT {page:UInt32}",
			map[string]any{"ids": evidenceIDs, "start": start, "id": uint64(id), "page": uint32(exportPage)},
			func(b *record.Batch) error {
				for i := range b.Flow.Rows() {
					var f model.Flow
					b.Flow.Row(i, &f)
					if err := enc.Encode(&f); err != nil {
						return fmt.Errorf("write flow %s: %w", f.FlowID, err)
					}
					start, id = int64(f.Start), int64(f.FlowID)
					rows++
				}
				return nil
			})
		if err != nil {
			return errors.Join(err, out.Flush())
		}
		if rows < exportPage {
			return out.Flush()
		}
	}
}

// Cases lists the latest run of every case, the one last touched first.
func (s *Store) Cases(ctx context.Context) ([]model.Case, error) {
	var out []model.Case
	err := s.read(ctx, "case", "ORDER BY updated DESC, case_id, run LIMIT 1 BY case_id", nil, func(b *record.Batch) error {
		for i := range b.Case.Rows() {
			var c model.Case
			b.Case.Row(i, &c)
			out = append(out, c)
		}
		return nil
	})
	return out, err
}
