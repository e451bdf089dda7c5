package archive_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/bus/embedded"
	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/evidence"
	"github.com/tracer-framework/tracer/pkg/evidence/verify"
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/pkg/testkit"
	"github.com/tracer-framework/tracer/services/archive"
)

// capture is an input file with the batches read from it.
type capture struct {
	input   model.Input
	batches []cloudevents.Event
	rows    int
}

// newCapture makes a capture file and n batches of rows flows each; the last batch also
// carries the capture's evidence row.
func newCapture(t testing.TB, dir string, seed uint64, n, rows int) capture {
	t.Helper()
	content := fmt.Appendf(nil, "capture %d", seed)
	sum := sha256.Sum256(content)
	c := capture{rows: n * rows, input: model.Input{
		EvidenceID: hex.EncodeToString(sum[:]), Name: fmt.Sprintf("c%d.pcap", seed), URI: filepath.Join(dir, fmt.Sprintf("c%d.pcap", seed)), Size: uint64(len(content)),
	}}
	if err := os.WriteFile(c.input.URI, content, 0o644); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := range n {
		b := record.NewBatch()
		for r := range rows {
			f := model.Flow{
				FlowID: model.FlowID(rng.Uint64()), EvidenceID: c.input.EvidenceID, Start: model.Time(1_700_000_000_000_000 + rng.Int64N(1e10)),
				OrigIP: netip.AddrFrom4([4]byte{10, 0, byte(rng.IntN(4)), byte(r)}), OrigPort: uint16(rng.UintN(65536)),
				RespIP: netip.AddrFrom4([4]byte{192, 0, 2, byte(rng.IntN(256))}), RespPort: 443, Proto: "tcp", Service: "tls",
				CommunityID: "1:" + hex.EncodeToString(binary(rng.Uint64())), ConnState: "SF", History: "ShADadfF",
				OrigBytes: rng.Uint64N(1e5), RespBytes: rng.Uint64N(1e6), OrigPkts: 12, RespPkts: 14, TLSSNI: "example.org", Source: "pcap", Sensor: "file",
			}
			f.End = f.Start.Add(time.Second)
			b.Flow.Append(&f)
		}
		if i == n-1 {
			b.Evidence.Append(&model.Evidence{EvidenceID: c.input.EvidenceID, Kind: "capture", Name: c.input.Name, URI: c.input.URI, Size: c.input.Size, Batches: uint32(n)})
		}
		body, err := b.Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		ev, err := event.NewBulk(event.FlowRecognized, model.DeriveID("rec", c.input.EvidenceID, fmt.Sprint(i)), "tracer/fingerprint", c.input.EvidenceID, i%event.Partitions, body)
		if err != nil {
			t.Fatal(err)
		}
		c.batches = append(c.batches, ev)
	}
	return c
}

func binary(v uint64) []byte { return fmt.Appendf(nil, "%020d", v) }

func publish(t testing.TB, b *bus.Bus, events ...cloudevents.Event) {
	t.Helper()
	for _, ev := range events {
		if err := b.Publish(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
}

func newEvent(t testing.TB, typ, id, subject string, data any) cloudevents.Event {
	t.Helper()
	ev, err := event.New(typ, id, "tracer/test", subject, data)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// eventually waits until ok or fails after a minute.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// start runs the archive on data and returns a function that stops it.
func start(t testing.TB, b *bus.Bus, s *store.Store, data string) (stop func()) {
	t.Helper()
	svc, err := archive.Open(archive.DefaultConfig(), &service.Env{Log: slog.New(slog.DiscardHandler), Bus: b, Store: s, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	return testkit.Run(t, svc.Run)
}

func complete(t testing.TB, s *store.Store, captures ...capture) {
	t.Helper()
	var ids []string
	for _, c := range captures {
		ids = append(ids, c.input.EvidenceID)
	}
	eventually(t, "captures to be complete", func() bool {
		missing, err := s.Incomplete(t.Context(), ids)
		if err != nil {
			t.Fatal(err)
		}
		return len(missing) == 0
	})
}

func count(t testing.TB, s *store.Store, query string) uint64 {
	t.Helper()
	var n uint64
	if err := s.Conn().QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func verified(t testing.TB, dir string) *verify.Report {
	t.Helper()
	r, err := verify.Dir(t.Context(), dir, verify.Options{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() {
		t.Fatalf("verify %s: %s", dir, strings.Join(r.Problems, "\n"))
	}
	return r
}

// investigation is everything the bus carries for one case.
type investigation struct {
	c      model.Case
	docs   string
	events []cloudevents.Event
}

func newInvestigation(t testing.TB, data string, captures ...capture) investigation {
	t.Helper()
	v := investigation{docs: filepath.Join(data, "cases", "case-1")}
	v.c = model.Case{CaseID: "case-1", Run: "run-1", Title: "test", Stage: model.StageOpened, Updated: 1_700_000_000_000_000}
	for _, c := range captures {
		v.c.Inputs = append(v.c.Inputs, c.input)
	}
	add := func(typ, id string, data any) { v.events = append(v.events, newEvent(t, typ, id, v.c.CaseID, data)) }
	// The stages come in the wrong order on purpose.
	mapped := v.c
	mapped.Stage = model.StageMapped
	add(event.CaseUpdated, "mapped-1", mapped)
	add(event.CaseOpened, "opened-1", v.c)
	for i := range 20 {
		add(event.DetectionRaised, fmt.Sprintf("raised-%d", i), model.Detection{DetectionID: fmt.Sprintf("det-%d", i), CaseID: v.c.CaseID, Run: v.c.Run, Detector: "beacon", Severity: "high", Phase: "c2"})
	}
	ip := netip.MustParseAddr("10.0.0.1")
	add(event.TraceMapped, "trace-1", model.Trace{
		TraceID: "trc-1", CaseID: v.c.CaseID, Run: v.c.Run, Hosts: []model.TraceHost{{IP: ip, Role: "victim", Certainty: "certain"}},
		Edges: []model.TraceEdge{{EdgeID: "edg-1", TraceID: "trc-1", CaseID: v.c.CaseID, Run: v.c.Run, OrigIP: ip, RespIP: ip, Proto: "tcp", Phase: "c2", Order: "certain", Direction: "lateral"}},
		Stop:  model.Stop{Reason: "fixpoint"},
	})
	report := model.ReportIssued{CaseID: v.c.CaseID, Run: v.c.Run, Dir: v.docs}
	if err := os.MkdirAll(v.docs, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"detections.jsonl", "report.html", "report.json"} {
		doc := []byte("the document " + name)
		sum := sha256.Sum256(doc)
		if err := os.WriteFile(filepath.Join(v.docs, name), doc, 0o644); err != nil {
			t.Fatal(err)
		}
		report.Files = append(report.Files, model.ReportFile{Name: name, SHA256: hex.EncodeToString(sum[:]), Size: uint64(len(doc))})
	}
	add(event.ReportIssued, "report-1", report)
	return v
}

// settled checks that all of the investigation is archived, once, and proved.
func settled(t testing.TB, s *store.Store, data string, v investigation, captures ...capture) {
	t.Helper()
	var rows, batches uint64
	for _, c := range captures {
		rows += uint64(c.rows)
		batches += uint64(len(c.batches))
	}
	for query, want := range map[string]uint64{
		"SELECT count() FROM flow": rows,
		"SELECT count() FROM evidence WHERE kind = 'batch' AND leaf_index + 1 > 0": batches,
		"SELECT count() FROM evidence WHERE kind = 'capture'":                      uint64(len(captures)),
		"SELECT count() FROM evidence WHERE sealed = 0":                            0,
		"SELECT uniqExact(leaf_index) FROM evidence":                               batches + uint64(len(captures)) + 3,
		"SELECT count() FROM evidence WHERE kind = 'report'":                       3,
		"SELECT count() FROM detection":                                            20,
		"SELECT count() FROM trace":                                                1,
		"SELECT count() FROM trace_edge":                                           1,
	} {
		if got := count(t, s, query); got != want {
			t.Errorf("%s: %d, expected %d", query, got, want)
		}
	}
	c, err := s.Case(t.Context(), v.c.CaseID, v.c.Run)
	if err != nil || c.Stage != model.StageMapped {
		t.Errorf("case in stage %q, expected the latest, mapped: %v", c.Stage, err)
	}
	r := verified(t, data)
	if want := batches + uint64(len(captures)) + uint64(len(v.events)) + 3; r.Checked.Leaves != want || r.Size != want {
		t.Errorf("%d leaves, expected %d", r.Checked.Leaves, want)
	}
	if r.Checked.Objects != batches+uint64(len(v.events)) || r.Checked.Captures != uint64(len(captures)) || r.Checked.Documents != 3 {
		t.Errorf("checked %+v", r.Checked)
	}
	r = verified(t, v.docs)
	if r.Kind != "bundle" || r.Checked.Documents != 3 || r.Checked.Proofs != batches+uint64(len(captures))+3 {
		t.Errorf("bundle: checked %+v", r.Checked)
	}
	b, err := evidence.ReadBundle(v.docs)
	if err != nil || !b.Holds(evidence.KindReport, evidence.ReportID(v.c.CaseID, v.c.Run, "report.html")) {
		t.Errorf("bundle does not hold the report of the run: %v", err)
	}
}

func reported(t testing.TB, s *store.Store) {
	t.Helper()
	eventually(t, "the report to be sealed", func() bool { return count(t, s, "SELECT count() FROM evidence WHERE kind = 'report'") == 3 })
	eventually(t, "the detections to be stored", func() bool { return count(t, s, "SELECT count() FROM detection") == 20 })
	eventually(t, "the traces to be stored", func() bool { return count(t, s, "SELECT count() FROM trace_edge") == 1 })
}

func TestArchive(t *testing.T) {
	s, b, data := testkit.Store(t), testkit.Bus(t), t.TempDir()
	captures := []capture{newCapture(t, t.TempDir(), 1, 9, 100), newCapture(t, t.TempDir(), 2, 1, 7)}
	v := newInvestigation(t, data, captures...)
	for _, c := range captures {
		publish(t, b, c.batches...)
	}
	stop := start(t, b, s, data)
	complete(t, s, captures...)
	publish(t, b, v.events...)
	reported(t, s)
	stop()
	settled(t, s, data, v, captures...)

	letters, err := b.ListDLQ(t.Context())
	if err != nil || len(letters) != 0 {
		t.Fatalf("dead letters: %+v %v", letters, err)
	}
}

// TestRefused: what no repetition can heal becomes a dead letter and changes nothing.
func TestRefused(t *testing.T) {
	s, b, data := testkit.Store(t), testkit.Bus(t), t.TempDir()
	c := newCapture(t, t.TempDir(), 1, 3, 10)

	// The first batch was sealed before, with other bytes.
	ledger, err := evidence.Open(filepath.Join(data, "ledger"), evidence.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sum := strings.Repeat("ab", 32)
	if _, err := ledger.Append(t.Context(), []evidence.Leaf{{Kind: evidence.KindBatch, ID: c.batches[0].ID(), SHA256: sum}}); err != nil {
		t.Fatal(err)
	}
	if err := ledger.Close(); err != nil {
		t.Fatal(err)
	}
	stop := start(t, b, s, data)
	publish(t, b, c.batches...)
	eventually(t, "the other batches", func() bool { return count(t, s, "SELECT count() FROM evidence WHERE kind = 'batch'") == 2 })
	var letters []bus.Letter
	eventually(t, "the dead letter", func() bool {
		if letters, err = b.ListDLQ(t.Context()); err != nil {
			t.Fatal(err)
		}
		return len(letters) > 0
	})
	if r := fmt.Sprintf("%+v", letters); !strings.Contains(r, sum) || !strings.Contains(r, "already sealed") {
		t.Errorf("the dead letter does not name both digests: %s", r)
	}
	stop()
	if n := count(t, s, "SELECT count() FROM flow"); n != 20 {
		t.Errorf("%d flows stored, expected those of the two batches that were taken", n)
	}
}

// TestKill ends the archive as a process of its own at random moments, between any two of
// its steps, until everything is archived: once.
func TestKill(t *testing.T) {
	if os.Getenv("ARCHIVE_CHILD") != "" {
		child(t)
		return
	}
	s, data := testkit.Store(t), t.TempDir()
	server := testkit.BusServer(t, embedded.Config{Listen: "127.0.0.1:0"})
	b := testkit.BusOn(t, server, bus.ProvisionOptions{AckWait: 2 * time.Second})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serving, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- testkit.Engine(t).Serve(serving, l, "secret") }()
	t.Cleanup(func() { cancel(); <-served })

	captures := []capture{newCapture(t, t.TempDir(), 1, 24, 50), newCapture(t, t.TempDir(), 2, 16, 50)}
	v := newInvestigation(t, data, captures...)
	for _, c := range captures {
		publish(t, b, c.batches...)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	kill := func() {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$", "-test.v")
		cmd.Env = append(os.Environ(), "ARCHIVE_CHILD="+data, "ARCHIVE_BUS="+server.ClientURL(), "ARCHIVE_STORE=http://default:secret@"+l.Addr().String()+"/"+s.Database())
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() && lines.Text() != "archiving" {
		}
		time.Sleep(time.Duration(rng.IntN(600_000)) * time.Microsecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	// First the flows, detections and traces; the report comes when all of them are stored.
	last := len(v.events) - 1
	publish(t, b, v.events[:last]...)
	kills, rounds := 0, 8
	if testing.Short() {
		rounds = 3
	}
	for ; kills < rounds; kills++ {
		kill()
	}
	before := count(t, s, "SELECT count() FROM evidence WHERE kind = 'batch'")
	stop := start(t, b, s, data)
	complete(t, s, captures...)
	stop()
	publish(t, b, v.events[last])
	for ; kills < rounds+rounds/2; kills++ {
		kill()
	}
	stop = start(t, b, s, data)
	reported(t, s)
	eventually(t, "an empty queue", func() bool {
		lag, err := b.Lag(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range lag {
			if strings.HasPrefix(x.Durable, "archive-") && (x.Pending > 0 || x.AckPending > 0) {
				return false
			}
		}
		return true
	})
	stop()
	settled(t, s, data, v, captures...)
	t.Logf("%d kills, %d of %d batches archived by killed processes", kills, before, len(captures[0].batches)+len(captures[1].batches))
}

// TestDiskFull: with a full disk under ledger and objects the archive waits, says why, and
// goes on once there is room.
func TestDiskFull(t *testing.T) {
	s, data := testkit.Store(t), t.TempDir()
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=512k"); err != nil {
		t.Skipf("cannot mount a small disk here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(data, 0); err != nil {
			t.Error(err)
		}
	})
	server := testkit.BusServer(t, embedded.Config{Listen: "127.0.0.1:0"})
	b := testkit.BusOn(t, server, bus.ProvisionOptions{})
	var said testkit.Output
	talking, err := bus.Connect(t.Context(), bus.Config{URL: server.ClientURL(), Name: "archive", Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(talking.Close)
	c := newCapture(t, t.TempDir(), 1, 12, 200)
	stop := start(t, talking, s, data)
	filler := filepath.Join(data, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	publish(t, b, c.batches...)
	eventually(t, "a word about the full disk", func() bool {
		return strings.Contains(said.String(), "is full: make room, the archive goes on by itself")
	})
	if n := count(t, s, "SELECT count() FROM evidence"); n > 0 {
		t.Errorf("%d evidence rows with a full disk", n)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	complete(t, s, c)
	stop()
	if r, err := verify.Dir(t.Context(), data, verify.Options{}); err != nil || !r.OK() || r.Checked.Objects != 12 {
		t.Errorf("verify: %+v %v", r, err)
	}
	if letters, err := b.ListDLQ(t.Context()); err != nil || len(letters) > 0 {
		t.Errorf("dead letters: %+v %v", letters, err)
	}
}

// child archives until it is killed.
func child(t *testing.T) {
	ctx := t.Context()
	b, err := bus.Connect(ctx, bus.Config{URL: os.Getenv("ARCHIVE_BUS"), Name: "child"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(ctx, store.Config{DSN: os.Getenv("ARCHIVE_STORE")})
	if err != nil {
		t.Fatal(err)
	}
	svc, err := archive.Open(archive.DefaultConfig(), &service.Env{Log: slog.Default(), Bus: b, Store: s, Data: os.Getenv("ARCHIVE_CHILD")})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(os.Stdout, "archiving")
	t.Fatal(svc.Run(ctx))
}

// BenchmarkArchive archives batches of 8192 flows from the bus to store and ledger.
func BenchmarkArchive(b *testing.B) {
	s, nats, data := testkit.Store(b), testkit.Bus(b), b.TempDir()
	start(b, nats, s, data)
	var seed uint64
	const batches, rows = 16, 8192
	total, size := 0, 0
	for b.Loop() {
		b.StopTimer()
		seed++
		c := newCapture(b, b.TempDir(), seed, batches, rows)
		b.StartTimer()
		for _, ev := range c.batches {
			if err := nats.PublishAsync(b.Context(), ev); err != nil {
				b.Fatal(err)
			}
			size += len(ev.Data())
		}
		complete(b, s, c)
		total += c.rows
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(size)/float64(total), "B/row")
}
