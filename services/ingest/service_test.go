package ingest_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/testkit"
	"github.com/tracer-framework/tracer/services/ingest"
)

// observer collects the batches that come over the bus.
type observer struct {
	mu       sync.Mutex
	batches  map[string][]byte // by event id
	evidence map[string][]model.Evidence
	news     chan struct{}
}

func observe(t *testing.T, b *bus.Bus) *observer {
	o := &observer{batches: map[string][]byte{}, evidence: map[string][]model.Evidence{}, news: make(chan struct{}, 1000)}
	testkit.Run(t, func(ctx context.Context) error {
		return b.Consume(ctx, "fingerprint", func(_ context.Context, ev cloudevents.Event) error {
			batch := record.NewBatch()
			if err := batch.Decode(ev.Data()); err != nil {
				return bus.Permanent(err)
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			o.batches[ev.ID()] = append([]byte(nil), ev.Data()...)
			for _, e := range appendRows[model.Evidence](nil, batch.Evidence.Rows(), batch.Evidence.Row) {
				o.evidence[e.EvidenceID] = append(o.evidence[e.EvidenceID], e)
				o.news <- struct{}{}
			}
			return nil
		}, bus.ConsumeOptions{})
	})
	return o
}

func (o *observer) wait(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-o.news:
		case <-time.After(30 * time.Second):
			t.Fatal("no evidence record within 30 s")
		}
	}
}

func (o *observer) of(id string) []model.Evidence {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.evidence[id]
}

func startService(t *testing.T, b *bus.Bus, cfg ingest.Config, p *ingest.Progress) (stop func()) {
	t.Helper()
	s, err := ingest.New(cfg, ingest.Deps{Log: slog.New(slog.DiscardHandler), Bus: b, Progress: p})
	if err != nil {
		t.Fatal(err)
	}
	return testkit.Run(t, s.Run)
}

func openCase(t *testing.T, b *bus.Bus, paths ...string) model.Case {
	t.Helper()
	c, _, err := ingest.OpenCase(context.Background(), paths, "test")
	if err != nil {
		t.Fatal(err)
	}
	publishCase(t, b, c)
	return c
}

func publishCase(t *testing.T, b *bus.Bus, c model.Case) {
	t.Helper()
	ev, err := event.New(event.CaseOpened, model.DeriveID("opened", c.CaseID, c.Run), "tracer/test", c.CaseID, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(context.Background(), ev); err != nil {
		t.Fatal(err)
	}
}

// TestService opens cases over a real bus.
func TestService(t *testing.T) {
	dir := t.TempDir()
	good, gone := filepath.Join(dir, "good.pcap"), filepath.Join(dir, "gone.pcap")
	for path, n := range map[string]int{good: 60_000, gone: 500} {
		if err := os.WriteFile(path, generate(n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := testkit.Bus(t)
	o := observe(t, b)
	var progress ingest.Progress
	stop := startService(t, b, config(2), &progress)

	c := openCase(t, b, good)
	o.wait(t, 1)
	ev := o.of(c.Inputs[0].EvidenceID)[0]
	if len(ev.Problems) > 0 || int(ev.Batches) < 3 {
		t.Errorf("evidence %+v, want several batches without problems", ev)
	}
	want := readAll(t, good, config(1))
	waitBatches(t, o, int(ev.Batches))
	for _, body := range want.batches {
		if !o.has(body) {
			t.Error("a batch of a plain read did not come over the bus")
		}
	}
	if n := progress.Packets.Load(); n != ev.Packets {
		t.Errorf("progress counts %d packets, the evidence %d", n, ev.Packets)
	}

	// The same input in another case is not read again; a file that changed since it was
	// registered is refused, one that is gone too.
	before, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(dir, "changed.pcap")
	if err := os.WriteFile(changed, before[:len(before)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	swapped := filepath.Join(dir, "swapped.pcap") // other bytes, size and time as before
	if err := os.WriteFile(swapped, before[:len(before)/3], 0o600); err != nil {
		t.Fatal(err)
	}
	c2, _, err := ingest.OpenCase(context.Background(), []string{good, gone, changed, swapped}, "second")
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(swapped)
	if err != nil {
		t.Fatal(err)
	}
	other := append([]byte(nil), before[:len(before)/3]...)
	other[len(other)/2] ^= 1
	if err := os.WriteFile(swapped, other, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(swapped, st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(changed, before[:len(before)/2+1], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	publishCase(t, b, c2)
	o.wait(t, 3)
	for _, in := range c2.Inputs {
		evs := o.of(in.EvidenceID)
		if len(evs) != 1 {
			t.Errorf("%s: %d evidence records, want 1", in.Name, len(evs))
			continue
		}
		wantProblem := map[string]string{"good.pcap": "", "swapped.pcap": "not those that were registered", "gone.pcap": "cannot be read", "changed.pcap": "refused"}[in.Name]
		got := strings.Join(evs[0].Problems, " ")
		if (wantProblem == "") != (got == "") || !strings.Contains(got, wantProblem) {
			t.Errorf("%s: problems %q, want %q", in.Name, got, wantProblem)
		}
	}
	stop()
}

func (o *observer) has(body []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, b := range o.batches {
		if string(b) == string(body) {
			return true
		}
	}
	return false
}

func waitBatches(t *testing.T, o *observer, n int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		o.mu.Lock()
		have := len(o.batches)
		o.mu.Unlock()
		if have >= n {
			return
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Fatalf("fewer than %d batches came", n)
}

// TestInbox drops captures into a watched folder and starts the service again: what was
// taken is not taken once more, what is new makes a case of its own.
func TestInbox(t *testing.T) {
	b := testkit.Bus(t)
	o := observe(t, b)
	cfg := config(1)
	cfg.Inbox = t.TempDir()
	drop := func(name string, data []byte) {
		t.Helper()
		path := filepath.Join(cfg.Inbox, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cases := make(chan model.Case, 8)
	done := make(chan error, 1)
	go func() {
		done <- b.Consume(ctx, "detect", func(_ context.Context, ev cloudevents.Event) error {
			c, err := event.Data[model.Case](ev)
			cases <- c
			return err
		}, bus.ConsumeOptions{})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	stop := startService(t, b, cfg, nil)
	drop("a.pcap", generate(100))
	drop("notes.txt", []byte("no capture"))
	if c := <-cases; len(c.Inputs) != 1 || c.Title != "a.pcap" {
		t.Errorf("the first case is %q with %d inputs", c.Title, len(c.Inputs))
	}
	o.wait(t, 1)
	stop()
	stop = startService(t, b, cfg, nil)
	defer stop()
	drop("monday/b.pcap", generate(120))
	drop("monday/.c.pcap.part", generate(130))
	if c := <-cases; len(c.Inputs) != 1 || c.Title != "b.pcap" {
		t.Errorf("the case after the restart is %q with %d inputs", c.Title, len(c.Inputs))
	}
	o.wait(t, 1)
}

// TestOpenCase checks what a case is made of.
func TestOpenCase(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"b.bin": generate(10), "sub/a.pcap": generate(20), "readme": []byte("text")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, skipped, err := ingest.OpenCase(context.Background(), []string{dir}, "folder")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Inputs) != 2 || len(skipped) != 1 || filepath.Base(skipped[0].Path) != "readme" {
		t.Errorf("inputs %+v, skipped %+v", c.Inputs, skipped)
	}
	again, _, err := ingest.OpenCase(context.Background(), []string{filepath.Join(dir, "sub"), filepath.Join(dir, "b.bin")}, "other")
	if err != nil {
		t.Fatal(err)
	}
	if again.CaseID != c.CaseID || again.Run == c.Run {
		t.Errorf("cases %s/%s and %s/%s: want the same id and another run", c.CaseID, c.Run, again.CaseID, again.Run)
	}
	if _, _, err := ingest.OpenCase(context.Background(), []string{filepath.Join(dir, "readme")}, ""); err == nil {
		t.Error("a case without captures was opened")
	}
	if _, _, err := ingest.OpenCase(context.Background(), []string{filepath.Join(dir, "nothing")}, ""); err == nil {
		t.Error("a case of a missing file was opened")
	}
}

// TestResume stops the service in the middle of a capture and starts it again: in the end
// the batches are those of a plain read, each once.
func TestResume(t *testing.T) {
	path := filepath.Join(t.TempDir(), "long.pcap")
	if err := os.WriteFile(path, generate(300_000), 0o600); err != nil {
		t.Fatal(err)
	}
	want := readAll(t, path, config(1))
	b := testkit.Bus(t)
	o := observe(t, b)
	stop := startService(t, b, config(2), nil)
	c := openCase(t, b, path)
	waitBatches(t, o, 2)
	stop()
	startService(t, b, config(1), nil)
	o.wait(t, 1)
	waitBatches(t, o, len(want.batches))
	for id, body := range want.batches {
		if !o.has(body) {
			t.Errorf("batch %s is missing", id)
		}
	}
	if got := o.count(); got != len(want.batches) {
		t.Errorf("%d batches came, want %d", got, len(want.batches))
	}
	if ev := o.of(c.Inputs[0].EvidenceID); len(ev) == 0 || ev[0].Batches != want.ev.Batches {
		t.Errorf("evidence %+v, want %d batches", ev, want.ev.Batches)
	}
}

func (o *observer) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.batches)
}
