package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/evidence"
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/store"
)

// event archives one small event: its data becomes an object, its rows are stored, its
// digest is sealed. Of an issued report the documents are sealed too.
func (s *Service) event(ctx context.Context, ev cloudevents.Event) error {
	rows, caseID, report, err := rowsOf(ev)
	if err != nil {
		return bus.Permanent(fmt.Errorf("%s: %w", nameOf(ev), err))
	}
	data := ev.Data()
	digest := sha256.Sum256(data)
	if err := s.known(evidence.KindEvent, ev.ID(), hex.EncodeToString(digest[:])); err != nil {
		return err
	}
	sum, err := s.object(ctx, data)
	if err != nil {
		return err
	}
	if rows.Rows() > 0 {
		if err := s.insertRows(ctx, rows); err != nil {
			return err
		}
	}
	leaves := []evidence.Leaf{{Kind: evidence.KindEvent, ID: ev.ID(), SHA256: sum, Size: uint64(len(data)), Parent: caseID, Name: ev.Type()}}
	if report == nil {
		_, err := s.seal(ctx, leaves...)
		return err
	}
	for _, f := range report.Files {
		leaves = append(leaves, evidence.Leaf{
			Kind: evidence.KindReport, ID: evidence.ReportID(caseID, report.Run, f.Name), SHA256: f.SHA256, Size: f.Size, Parent: caseID, Name: f.Name,
		})
	}
	entries, err := s.seal(ctx, leaves...)
	if err != nil {
		return err
	}
	if err := s.bundle(ctx, report); err != nil {
		return err
	}
	sealed := documents(report, entries[1:])
	if err := s.evidenceRows(ctx, sealed); err != nil {
		return err
	}
	return s.publish(ctx, sealed)
}

// stages in the order of a case's life.
var stages = []string{model.StageOpened, model.StageDetected, model.StageMapped, model.StageReported}

// rowsOf reads the data of an event into rows of its tables, and the case it belongs to.
func rowsOf(ev cloudevents.Event) (b *record.Batch, caseID string, report *model.ReportIssued, err error) {
	b = record.NewBatch()
	switch ev.Type() {
	case event.DetectionRaised:
		d, err := event.Data[model.Detection](ev)
		b.Detection.Append(&d)
		return b, d.CaseID, nil, err
	case event.TraceMapped:
		t, err := event.Data[model.Trace](ev)
		b.Trace.Append(&t)
		for i := range t.Edges {
			b.TraceEdge.Append(&t.Edges[i])
		}
		return b, t.CaseID, nil, err
	case event.CaseOpened, event.CaseUpdated:
		c, err := event.Data[model.Case](ev)
		// Of the rows of a run the one updated last holds. Stages may arrive in any
		// order, and be told with one time: the later stage is the later row.
		row := c
		row.Updated += model.Time(max(0, slices.Index(stages, c.Stage)))
		b.Case.Append(&row)
		return b, c.CaseID, nil, err
	case event.ReportIssued:
		r, err := event.Data[model.ReportIssued](ev)
		return b, r.CaseID, &r, err
	}
	return nil, "", nil, fmt.Errorf("event type %s is not one the archive knows: it may be of a newer version", ev.Type())
}

// mediaTypes of issued documents.
var mediaTypes = map[string]string{
	".html": "text/html", ".md": "text/markdown", ".json": "application/json", ".jsonl": "application/x-ndjson", ".csv": "text/csv",
}

// documents are the evidence rows of an issued report.
func documents(r *model.ReportIssued, entries []evidence.Entry) []model.Evidence {
	var out []model.Evidence
	for _, e := range entries {
		out = append(out, model.Evidence{
			EvidenceID: e.SHA256, Kind: evidence.KindReport, Parent: r.CaseID, Name: e.Name, URI: filepath.Join(r.Dir, e.Name),
			Size: e.Size, MediaType: mediaTypes[strings.ToLower(filepath.Ext(e.Name))],
			Tool: toolName, ToolVersion: toolVersion, Sealed: e.Sealed, LeafIndex: e.Index,
		})
	}
	return out
}

// bundle writes the proofs beside the documents, where their folder is on this machine.
func (s *Service) bundle(ctx context.Context, r *model.ReportIssued) error {
	if info, err := os.Stat(r.Dir); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		s.deps.Log.Info("documents are not on this machine, no proofs written beside them", "case", r.CaseID, "dir", r.Dir)
		return nil
	}
	c, err := s.deps.Store.Case(ctx, r.CaseID, r.Run)
	if errors.Is(err, store.ErrNotFound) {
		return bus.Retry(fmt.Errorf("proofs of case %s: the case itself is not stored yet", r.CaseID))
	}
	if err != nil {
		return fmt.Errorf("proofs of case %s: %w", r.CaseID, err)
	}
	sources := map[string]string{}
	for _, in := range c.Inputs {
		sources[in.EvidenceID] = in.URI
	}
	sel := evidence.Selection{Pick: evidence.OfCase(r.CaseID, r.Run, c.EvidenceIDs()), Sources: sources}
	if _, err := s.deps.Ledger.Export(ctx, r.Dir, sel); err != nil {
		return waitFor("the folder of the case", err)
	}
	return nil
}
