package store

import (
	"context"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
)

// EvidenceByID returns the evidence with the given ids, sorted by id and kind. Ids that the
// store does not hold are left out.
func (s *Store) EvidenceByID(ctx context.Context, ids []string) ([]model.Evidence, error) {
	return s.evidence(ctx, "WHERE evidence_id IN {ids:Array(String)} ORDER BY evidence_id, kind, parent", map[string]any{"ids": ids})
}

// EvidenceChildren returns the evidence made from parent, such as the sealed batches of a
// capture, sorted by name.
func (s *Store) EvidenceChildren(ctx context.Context, parent string) ([]model.Evidence, error) {
	return s.evidence(ctx, "WHERE parent = {parent:String} ORDER BY name, kind, evidence_id", map[string]any{"parent": parent})
}

func (s *Store) evidence(ctx context.Context, condition string, values map[string]any) ([]model.Evidence, error) {
	var out []model.Evidence
	err := s.read(ctx, "evidence", condition, values, func(b *record.Batch) error {
		for i := range b.Evidence.Rows() {
			var e model.Evidence
			b.Evidence.Row(i, &e)
			out = append(out, e)
		}
		return nil
	})
	return out, err
}

// Incomplete returns those of the given inputs, in the given order, of which the store does
// not hold everything yet: the evidence row of the capture is missing, or fewer batches are
// stored than it says were published.
func (s *Store) Incomplete(ctx context.Context, evidenceIDs []string) ([]string, error) {
	if len(evidenceIDs) == 0 {
		return nil, nil
	}
	rows, err := s.conn.Query(ctx, `
SELECT c.evidence_id
FROM
(
    SELECT evidence_id, max(batches) AS batches
    FROM evidence
    WHERE kind = 'capture' AND evidence_id IN {ids:Array(String)}
    GROUP BY evidence_id
) AS c
LEFT JOIN
(
    SELECT parent, uniqExact(name) AS stored
    FROM evidence
    WHERE kind = 'batch' AND parent IN {ids:Array(String)}
    GROUP BY parent
) AS b ON b.parent = c.evidence_id
WHERE b.stored >= c.batches`, clickhouse.Named("ids", evidenceIDs))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	complete := make(map[string]bool)
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		complete[id] = true
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	var out []string
	for _, id := range evidenceIDs {
		if !complete[id] {
			out = append(out, id)
		}
	}
	return out, nil
}
