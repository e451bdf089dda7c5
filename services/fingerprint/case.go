package fingerprint

import (
	"context"
	"fmt"
	"sort"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/services/fingerprint/internal/detect"
	"github.com/tracer-framework/tracer/services/fingerprint/internal/profile"
)

// treat waits until everything read from the inputs of a case is stored, raises what is
// found in it, and says that the case is detected.
func (s *Service) treat(ctx context.Context, ev cloudevents.Event) error {
	c, err := event.Data[model.Case](ev)
	if err != nil {
		return bus.Permanent(fmt.Errorf("read case: %w", err))
	}
	ids := c.EvidenceIDs()
	if err := s.wait(ctx, c.CaseID, ids); err != nil {
		return err
	}
	set := s.inForce()
	begun := time.Now()
	found, err := Detect(ctx, s.deps.Store, s.cfg, set, c.CaseID, c.Run, ids)
	if err != nil {
		return fmt.Errorf("case %s: %w", c.CaseID, err)
	}
	for i := range found {
		d := &found[i]
		out, err := event.New(event.DetectionRaised, model.DeriveID("raised", c.Run, d.DetectionID), "tracer/fingerprint", d.DetectionID, d)
		if err != nil {
			return bus.Permanent(fmt.Errorf("case %s: %w", c.CaseID, err))
		}
		if err := s.deps.Bus.PublishAsync(ctx, out); err != nil {
			return err
		}
	}
	if err := s.deps.Bus.Flush(ctx); err != nil {
		return fmt.Errorf("publish detections of case %s: %w", c.CaseID, err)
	}
	c.Stage, c.Detections, c.Profiles = model.StageDetected, uint64(len(found)), set.Digest
	done, err := event.New(event.CaseUpdated, model.DeriveID("detected", c.Run, c.CaseID), "tracer/fingerprint", c.CaseID, &c)
	if err != nil {
		return bus.Permanent(fmt.Errorf("case %s: %w", c.CaseID, err))
	}
	if err := s.deps.Bus.Publish(ctx, done); err != nil {
		return err
	}
	s.count.detections.Add(ctx, int64(len(found)))
	s.deps.Log.Info("case detected", "case", c.CaseID, "detections", len(found), "took", time.Since(begun).Round(time.Millisecond))
	return nil
}

// wait ends when the store holds everything read from the inputs.
func (s *Service) wait(ctx context.Context, caseID string, ids []string) error {
	err := service.Wait(ctx, s.deps.Log, "the inputs of case "+caseID+" to be stored", func() (bool, error) {
		missing, err := s.deps.Store.Incomplete(ctx, ids)
		return len(missing) == 0, err
	})
	if err != nil {
		return fmt.Errorf("case %s: %w", caseID, err)
	}
	return nil
}

// Detect matches the profiles and runs the detectors over what the store holds of the
// inputs. The result depends on nothing else; it is sorted by id.
func Detect(ctx context.Context, st *store.Store, cfg Config, set *ProfileSet, caseID, run string, evidenceIDs []string) ([]model.Detection, error) {
	if len(evidenceIDs) == 0 {
		return nil, nil
	}
	scope := detect.Scope{
		CaseID: caseID, Run: run, Internal: cfg.Networks(),
		ScanTargets: cfg.ScanTargets, BeaconScore: cfg.BeaconScore, BeaconConnections: cfg.BeaconConnections,
		LongConnection: cfg.LongConnection, DNSNames: cfg.DNSNames,
	}
	found, err := matched(ctx, st, set, caseID, run, evidenceIDs)
	if err != nil {
		return nil, err
	}
	rows := &detect.Rows{}
	if rows.Horizontal, err = st.HorizontalScans(ctx, evidenceIDs, cfg.ScanTargets); err != nil {
		return nil, err
	}
	if rows.Vertical, err = st.VerticalScans(ctx, evidenceIDs, cfg.ScanTargets); err != nil {
		return nil, err
	}
	if rows.Long, err = st.LongConnections(ctx, evidenceIDs, cfg.LongConnection); err != nil {
		return nil, err
	}
	var fold detect.DNSFold
	if err := st.DNSNames(ctx, evidenceIDs, fold.Add); err != nil {
		return nil, err
	}
	for _, g := range fold.Suspicious(scope) {
		if g.Support, err = st.DNSSupport(ctx, evidenceIDs, g.OrigIP, g.Server(), g.Domain); err != nil {
			return nil, err
		}
		rows.DNS = append(rows.DNS, g)
	}
	found = append(found, detect.Run(scope, rows)...)

	pairs, err := paired(ctx, st, cfg, scope, evidenceIDs)
	if err != nil {
		return nil, err
	}
	return detect.Merge(append(found, pairs...)), nil
}

// flowsAtOnce is about how many flows the store gathers into pairs in one query.
const flowsAtOnce = 4 << 20

// paired adds what the detectors find in the pairs of every window.
func paired(ctx context.Context, st *store.Store, cfg Config, scope detect.Scope, evidenceIDs []string) ([]model.Detection, error) {
	spans, err := st.Spans(ctx, evidenceIDs)
	if err != nil {
		return nil, err
	}
	var found []model.Detection
	for _, windows := range detect.Batches(detect.Windows(spans), spans, flowsAtOnce) {
		q := store.PairQuery{
			EvidenceIDs: evidenceIDs, Unique: detect.RITAMinUnique, Connections: cfg.BeaconConnections, Strobe: detect.RITAStrobe, Long: cfg.LongConnection,
		}
		for _, w := range windows {
			q.Windows = append(q.Windows, store.Span{First: w.First, Last: w.Last})
		}
		named, err := st.NamedPairs(ctx, q)
		if err != nil {
			return nil, err
		}
		addressed, err := st.AddressedPairs(ctx, q)
		if err != nil {
			return nil, err
		}
		strobes, err := st.Strobes(ctx, q)
		if err != nil {
			return nil, err
		}
		for i, w := range windows {
			w.Named, w.Addressed, w.Strobes = of(i, named), of(i, addressed), of(i, strobes)
			found = append(found, detect.Run(scope, &detect.Rows{Window: w})...)
		}
	}
	return found, nil
}

// of is the pairs of one window; they are sorted by window.
func of(window int, pairs []store.Pair) []store.Pair {
	first := sort.Search(len(pairs), func(i int) bool { return pairs[i].Window >= window })
	end := sort.Search(len(pairs), func(i int) bool { return pairs[i].Window > window })
	return pairs[first:end]
}

// matched streams the rows that profiles look at past them.
func matched(ctx context.Context, st *store.Store, set *ProfileSet, caseID, run string, ids []string) ([]model.Detection, error) {
	fold := profile.NewFold(set)
	for _, kind := range profile.Kinds {
		if len(set.On(kind)) == 0 {
			continue
		}
		own, flow := set.Columns(kind)
		err := st.Records(ctx, ids, kind, own, flow, func(rec *store.Record) { fold.Add(kind, rec) })
		if err != nil {
			return nil, err
		}
	}
	return fold.Detections(caseID, run), nil
}
