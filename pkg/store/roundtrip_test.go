package store_test

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/testkit"
)

// TestColumnsEqualTables compares the columns of every record with its table in the store.
func TestColumnsEqualTables(t *testing.T) {
	s := testkit.Store(t)
	for _, table := range record.Tables() {
		rows, err := s.Conn().Query(t.Context(),
			"SELECT name, type FROM system.columns WHERE database = {db:String} AND table = {table:String} ORDER BY position",
			clickhouse.Named("db", s.Database()), clickhouse.Named("table", table.Name))
		if err != nil {
			t.Fatal(err)
		}
		var got []record.Column
		for rows.Next() {
			var c record.Column
			if err := rows.Scan(&c.Name, &c.Type); err != nil {
				t.Fatal(err)
			}
			got = append(got, c)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, table.Columns) {
			t.Errorf("table %s:\n got %v\nwant %v", table.Name, got, table.Columns)
		}
	}
}

func TestDetectionsAndTraces(t *testing.T) {
	s := testkit.Store(t)
	ip := netip.MustParseAddr
	det := model.Detection{
		DetectionID: "det-2", CaseID: "case-1", Run: "r", Detector: "beacon", Why: "tab\t quote' back\\slash\nnew line",
		OrigIP: ip("10.0.0.1"), RespPort: 443, Numbers: []model.Number{{Name: "score", Value: 0.875}, {Name: "interval", Value: 60, Unit: "s"}},
		Flows: []model.FlowID{1, 1 << 63}, FalsePositives: []string{"update checks"}, FirstSeen: 1_700_000_000_000_001,
	}
	first := model.Detection{DetectionID: "det-1", CaseID: "case-1", Run: "r"}
	other := model.Detection{DetectionID: "det-1", CaseID: "case-1", Run: "other"}
	trace := model.Trace{
		TraceID: "trc-1", CaseID: "case-1", Run: "r", Seed: []string{"det-2"}, Title: "10.0.0.1 → 10.0.0.2",
		Hosts: []model.TraceHost{{IP: ip("10.0.0.1"), Role: "origin"}},
		Edges: []model.TraceEdge{{EdgeID: "edg-1", OrigIP: ip("10.0.0.1"), RespIP: ip("2001:db8::1"), Flows: []model.FlowID{7}}},
		Stop:  model.Stop{Reason: "fixpoint", Rounds: 3},
	}
	b := record.NewBatch()
	b.Detection.Append(&det)
	b.Detection.Append(&first)
	b.Detection.Append(&other)
	b.Trace.Append(&trace)
	for range 2 { // a redelivery changes nothing
		if err := s.Insert(t.Context(), "event-1", b); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Detections(t.Context(), "case-1", "r")
	if err != nil {
		t.Fatal(err)
	}
	if want := []model.Detection{first, det}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	traces, err := s.Traces(t.Context(), "case-1", "r")
	if err != nil {
		t.Fatal(err)
	}
	if want := []model.Trace{trace}; !reflect.DeepEqual(traces, want) {
		t.Errorf("got %+v\nwant %+v", traces, want)
	}
	if got, err := s.Detections(t.Context(), "case-2", "r"); err != nil || len(got) != 0 {
		t.Errorf("other case: %v, %v", got, err)
	}
}

func TestIncomplete(t *testing.T) {
	s := testkit.Store(t)
	ask := []string{"aa", "bb", "cc", "it's\\"}
	check := func(want ...string) {
		t.Helper()
		got, err := s.Incomplete(t.Context(), ask)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("incomplete: %q, want %q", got, want)
		}
	}
	put := func(token string, list ...model.Evidence) {
		t.Helper()
		b := record.NewBatch()
		for i := range list {
			b.Evidence.Append(&list[i])
		}
		if err := s.Insert(t.Context(), token, b); err != nil {
			t.Fatal(err)
		}
	}
	check(ask...)
	put("1", model.Evidence{EvidenceID: "aa", Kind: "capture", Batches: 2, Counters: map[string]uint64{"packets": 7}})
	check(ask...)
	put("2", model.Evidence{EvidenceID: "b1", Kind: "batch", Parent: "aa", Name: "rec-1"})
	put("2 again", model.Evidence{EvidenceID: "b1", Kind: "batch", Parent: "aa", Name: "rec-1", Sealed: 5})
	check(ask...)
	put("3", model.Evidence{EvidenceID: "b2", Kind: "batch", Parent: "aa", Name: "rec-2"},
		model.Evidence{EvidenceID: "it's\\", Kind: "capture", Batches: 1},
		model.Evidence{EvidenceID: "b3", Kind: "batch", Parent: "it's\\", Name: "rec-3"})
	check("bb", "cc")

	children, err := s.EvidenceChildren(t.Context(), "aa")
	if err != nil {
		t.Fatal(err)
	}
	if len(children) != 2 || children[0].Sealed != 5 || children[1].Name != "rec-2" {
		t.Errorf("children %+v", children)
	}
	byID, err := s.EvidenceByID(t.Context(), []string{"it's\\", "aa", "zz"})
	if err != nil {
		t.Fatal(err)
	}
	if len(byID) != 2 || byID[0].EvidenceID != "aa" || byID[0].Counters["packets"] != 7 || byID[1].EvidenceID != "it's\\" {
		t.Errorf("by id %+v", byID)
	}
}
