package tracemap_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/pkg/testkit"
	"github.com/tracer-framework/tracer/services/tracemap"
)

const (
	capture = "9f2c7ad0f1e3b54c8f6f3b7f8a4d2e90c5b1a6e7d8f90123456789abcdef0123"
	second  = model.Time(1_000_000)
	t0      = model.Time(1_790_000_000) * second
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

var theCase = model.Case{CaseID: "case-0000000000000001", Run: "r1", Stage: model.StageDetected, Inputs: []model.Input{{EvidenceID: capture, Name: "a.pcap"}}}

// beaconed are flows and detections of a host that was worked on over SSH, then beaconed.
func beaconed() ([]model.Flow, []model.Detection) {
	var flows []model.Flow
	add := func(at model.Time, from, to string, port uint16, service string, out, in uint64) model.FlowID {
		f := model.Flow{
			FlowID: model.FlowID(0x100 + len(flows)), EvidenceID: capture, Start: at, End: at + second, OrigIP: ip(from), RespIP: ip(to), OrigPort: uint16(40000 + len(flows)),
			RespPort: port, Proto: "tcp", Service: service, ConnState: "SF", OrigBytes: out, RespBytes: in, OrigDataStart: at + 10, RespDataStart: at + 20,
		}
		if service == "tls" {
			f.TLSSNI = "cdn.example.net"
		}
		flows = append(flows, f)
		return f.FlowID
	}
	for i := range 100 {
		add(t0+model.Time(i)*second, fmt.Sprintf("10.0.0.%d", 50+i%20), "10.0.0.2", 445, "", 500, 9000)
	}
	add(t0+1500*second, "10.0.0.4", "10.0.0.5", 22, "ssh", 9000, 9000)
	d := model.Detection{
		DetectionID: "det-1", CaseID: theCase.CaseID, Run: "r1", Detector: "beacon", Title: "Beacon", Why: "It beacons.", Severity: model.SeverityHigh, Confidence: 90,
		Phase: model.PhaseC2, Technique: "T1071.001", OrigIP: ip("10.0.0.5"), RespIP: ip("192.0.2.1"), RespPort: 443, Proto: "tcp", EvidenceIDs: []string{capture},
	}
	for i := range 300 {
		id := add(t0+model.Time(1600+i*60)*second, "10.0.0.5", "192.0.2.1", 443, "tls", 100, 200)
		d.FlowCount++
		if len(d.Flows) < model.FlowsCap {
			d.Flows = append(d.Flows, id)
		}
	}
	d.FirstSeen, d.LastSeen = t0+1600*second, t0+model.Time(1600+299*60+1)*second
	return flows, []model.Detection{d}
}

func fill(t *testing.T, s *store.Store, flows []model.Flow, dets []model.Detection) {
	t.Helper()
	b := record.NewBatch()
	for i := range flows {
		b.Flow.Append(&flows[i])
	}
	for i := range dets {
		b.Detection.Append(&dets[i])
	}
	if err := s.Insert(t.Context(), fmt.Sprint("fill", len(flows), len(dets)), b); err != nil {
		t.Fatal(err)
	}
}

func TestMap(t *testing.T) {
	flows, dets := beaconed()
	var want []byte
	for seed := range uint64(2) {
		r := rand.New(rand.NewPCG(seed, 1))
		r.Shuffle(len(flows), func(i, j int) { flows[i], flows[j] = flows[j], flows[i] })
		s := testkit.Store(t)
		fill(t, s, flows, dets)
		traces, err := tracemap.Map(t.Context(), s, tracemap.DefaultConfig(), theCase, dets)
		if err != nil {
			t.Fatal(err)
		}
		if len(traces) != 1 || len(traces[0].Edges) != 2 || len(traces[0].Hosts) != 3 {
			t.Fatalf("%+v", traces)
		}
		if e := traces[0].Edges[1]; e.FlowCount != 300 || e.OrigBytes != 30_000 || e.RespBytes != 60_000 || len(e.Flows) != 200 || e.Order != model.OrderCertain {
			t.Errorf("beacon edge %+v", e)
		}
		if h := traces[0].Hosts[2]; h.IP != ip("192.0.2.1") || h.Role != "c2" || len(h.Names) != 1 {
			t.Errorf("host %+v", h)
		}
		got, _ := json.Marshal(traces)
		if want == nil {
			want = got
		} else if !bytes.Equal(got, want) {
			t.Error("the order of the flows changed the traces")
		}
	}
}

func TestService(t *testing.T) {
	b, s := testkit.Bus(t), testkit.Store(t)
	flows, dets := beaconed()
	svc, err := tracemap.New(tracemap.DefaultConfig(), tracemap.Deps{Log: slog.New(slog.DiscardHandler), Bus: b, Store: s})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	done := make(chan error, 2)
	go func() { done <- svc.Run(ctx) }()
	mapped, traces := make(chan model.Case, 10), make(chan model.Trace, 10)
	go func() {
		done <- b.Consume(ctx, "archive-event", func(_ context.Context, ev cloudevents.Event) error {
			switch ev.Type() {
			case event.TraceMapped:
				tr, err := event.Data[model.Trace](ev)
				if err != nil {
					return bus.Permanent(err)
				}
				if err := event.Validate(ev); err != nil {
					t.Error(err)
				}
				traces <- tr
			case event.CaseUpdated:
				c, err := event.Data[model.Case](ev)
				if err != nil {
					return bus.Permanent(err)
				}
				if c.Stage == model.StageMapped {
					mapped <- c
				}
			}
			return nil
		}, bus.ConsumeOptions{})
	}()
	c := theCase
	c.Detections = uint64(len(dets))
	ev, err := event.New(event.CaseUpdated, "detected-1", "test", c.CaseID, &c)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(ctx, ev); err != nil {
		t.Fatal(err)
	}
	select {
	case <-mapped:
		t.Fatal("mapped before the detections were stored")
	case <-time.After(300 * time.Millisecond):
	}
	fill(t, s, flows, dets)
	select {
	case got := <-mapped:
		if got.Traces != 1 || got.Detections != 1 || got.Run != "r1" {
			t.Errorf("case %+v", got)
		}
	case <-ctx.Done():
		t.Fatal("not mapped in time")
	}
	select {
	case tr := <-traces:
		if tr.Run != "r1" || len(tr.Edges) != 2 || tr.Edges[0].Run != "r1" {
			t.Errorf("trace %+v", tr)
		}
	case <-ctx.Done():
		t.Fatal("no trace in time")
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestValidate(t *testing.T) {
	if err := tracemap.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	bad := tracemap.DefaultConfig()
	bad.InternalNetworks, bad.ClockBound, bad.MaxHosts, bad.MaxTargets = []string{"10.0.0.0/99"}, -1, 0, 0
	if err := bad.Validate(); err == nil {
		t.Error("a bad configuration was accepted")
	}
}
