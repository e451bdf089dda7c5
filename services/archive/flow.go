package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/evidence"
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
)

// flow archives one batch of records. The blocks go into the store as they came.
func (s *Service) flow(ctx context.Context, ev cloudevents.Event) error {
	body := ev.Data()
	blocks, err := record.Blocks(body)
	if err != nil {
		return bus.Permanent(fmt.Errorf("%s: %w", nameOf(ev), err))
	}
	captures, err := captures(blocks)
	if err != nil {
		return bus.Permanent(fmt.Errorf("%s: %w", nameOf(ev), err))
	}
	digest := sha256.Sum256(body)
	if err := s.known(evidence.KindBatch, ev.ID(), hex.EncodeToString(digest[:])); err != nil {
		return err
	}
	sum, err := s.object(ctx, body)
	if err != nil {
		return err
	}
	row := model.Evidence{
		EvidenceID: sum, Kind: evidence.KindBatch, Parent: ev.Subject(), Name: ev.ID(), URI: "objects/" + sum[:2] + "/" + sum,
		Size: uint64(len(body)), MediaType: event.RecordsMediaType, Tool: toolName, ToolVersion: toolVersion,
		Counters: map[string]uint64{},
	}
	if err := s.insert(ctx, blocks); err != nil {
		return err
	}
	for _, b := range blocks {
		n := uint64(b.Rows)
		row.Counters[b.Table+"_rows"] += n
		row.Counters["rows"] += n
		if b.Table == "flow" {
			row.Flows += n
		}
	}
	leaves := []evidence.Leaf{{Kind: evidence.KindBatch, ID: ev.ID(), SHA256: sum, Size: row.Size, Parent: row.Parent, Name: ev.ID()}}
	for i := range captures {
		c := &captures[i]
		leaves = append(leaves, evidence.Leaf{Kind: evidence.KindCapture, ID: c.EvidenceID, SHA256: c.EvidenceID, Size: c.Size, Parent: c.Parent, Name: c.Name})
	}
	entries, err := s.seal(ctx, leaves...)
	if err != nil {
		return err
	}
	// The capture's row was stored with the blocks; this one, sealed later, replaces it.
	rows := append([]model.Evidence{row}, captures...)
	for i := range rows {
		rows[i].Sealed, rows[i].LeafIndex = entries[i].Sealed, entries[i].Index
	}
	if err := s.evidenceRows(ctx, rows); err != nil {
		return err
	}
	return s.publish(ctx, rows)
}

// captures reads the capture rows out of the evidence blocks of a batch.
func captures(blocks []record.Block) ([]model.Evidence, error) {
	var out []model.Evidence
	for _, block := range blocks {
		if block.Table != "evidence" {
			continue
		}
		b := record.NewBatch()
		if _, err := b.ReadNative(block.Table, block.Native); err != nil {
			return nil, fmt.Errorf("evidence rows: %w", err)
		}
		for i := range b.Evidence.Rows() {
			var e model.Evidence
			b.Evidence.Row(i, &e)
			if e.Kind == evidence.KindCapture {
				out = append(out, e)
			}
		}
	}
	return out, nil
}

// evidenceRows stores what was sealed.
func (s *Service) evidenceRows(ctx context.Context, rows []model.Evidence) error {
	b := record.NewBatch()
	for i := range rows {
		b.Evidence.Append(&rows[i])
	}
	return s.insertRows(ctx, b)
}
