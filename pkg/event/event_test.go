package event_test

import (
	"strings"
	"testing"

	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/model"
)

func TestNew(t *testing.T) {
	c := model.Case{CaseID: "case-1", Run: "r", Stage: model.StageOpened}
	ev, err := event.New(event.CaseOpened, "id-1", "/tracer/investigate", c.CaseID, &c)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(ev.Data()), `"inputs":[]`) {
		t.Errorf("nil list is not written as an empty one: %s", ev.Data())
	}
	if c.Inputs != nil {
		t.Error("the caller's value was changed")
	}
	h, body, err := event.Encode(ev)
	if err != nil {
		t.Fatal(err)
	}
	back, err := event.Decode(h, body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := event.Data[model.Case](back)
	if err != nil || got.CaseID != "case-1" || back.Subject() != "case-1" {
		t.Errorf("got %+v %v", got, err)
	}
	if s, err := event.Subject(back); err != nil || s != "tracer.v1.case.opened" {
		t.Errorf("subject %s %v", s, err)
	}
}

func TestNewRefuses(t *testing.T) {
	det := model.Detection{DetectionID: "det-1", CaseID: "case-1", Severity: "high", Phase: "c2"}
	if _, err := event.New(event.DetectionRaised, "id", "/s", "det-1", det); err != nil {
		t.Fatal(err)
	}
	bad := det
	bad.Severity = "terrible"
	for name, c := range map[string]struct {
		typ  string
		data any
		want string
	}{
		"unknown type": {"io.tracer.cake.baked.v1", det, "not in the catalogue"},
		"planned":      {event.FindingRaised, det, "planned"},
		"bulk":         {event.FlowObserved, det, "NewBulk"},
		"other data":   {event.DetectionRaised, model.Case{}, "carries model.Detection, not model.Case"},
		"nil":          {event.DetectionRaised, nil, "carries model.Detection"},
		"nil pointer":  {event.DetectionRaised, (*model.Detection)(nil), "carries model.Detection"},
		"schema":       {event.DetectionRaised, bad, "/severity"},
		"wrong stage":  {event.CaseOpened, model.Case{CaseID: "c", Stage: model.StageMapped}, "/stage"},
	} {
		if _, err := event.New(c.typ, "id", "/s", "x", c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
	if _, err := event.New(event.DetectionRaised, "", "/s", "x", det); err == nil {
		t.Error("an event without id passes")
	}
}

func TestNewBulk(t *testing.T) {
	ev, err := event.NewBulk(event.FlowObserved, "obs-1", "/tracer/ingest", "ab12", 3, []byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := event.Subject(ev); s != "tracer.v1.flow.observed.3" {
		t.Errorf("subject %s", s)
	}
	h, body, err := event.Encode(ev)
	if err != nil {
		t.Fatal(err)
	}
	if h["ce-id"][0] != "obs-1" || h["ce-partitionkey"][0] != "3" || string(body) != "\x01\x02\x03" {
		t.Errorf("encoded %v %x", h, body)
	}
	back, err := event.Decode(h, body)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := event.Partition(back); err != nil || p != 3 {
		t.Errorf("partition %d %v", p, err)
	}
	for _, p := range []int{-1, event.Partitions} {
		if _, err := event.NewBulk(event.FlowObserved, "obs-1", "/s", "ab12", p, nil); err == nil {
			t.Errorf("partition %d passes", p)
		}
	}
	if _, err := event.NewBulk(event.CaseOpened, "x", "/s", "ab12", 0, nil); err == nil {
		t.Error("a small event passes as bulk")
	}
}

func BenchmarkEncodeBulk(b *testing.B) {
	body := make([]byte, 256<<10)
	for b.Loop() {
		ev, err := event.NewBulk(event.FlowObserved, "obs-0123456789abcdef", "/tracer/ingest", "ab12", 3, body)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := event.Encode(ev); err != nil {
			b.Fatal(err)
		}
	}
}
