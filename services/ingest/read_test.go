package ingest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/testkit"
	"github.com/tracer-framework/tracer/services/ingest"
	"github.com/tracer-framework/tracer/services/ingest/internal/source"
)

// config is the default with a number of workers.
func config(workers int) ingest.Config {
	c := ingest.DefaultConfig()
	c.Workers = workers
	return c
}

// rows is everything read out of one capture.
type rows struct {
	ev    model.Evidence
	flows []model.Flow
	dns   []model.DNS
	http  []model.HTTP
	tls   []model.TLS
	ssh   []model.SSH
	// encoded batches by partition and number
	batches map[string][]byte
}

func readAll(t testing.TB, path string, cfg ingest.Config) rows {
	t.Helper()
	var mu sync.Mutex
	out := rows{batches: map[string][]byte{}}
	ev, err := ingest.Read(context.Background(), path, cfg, func(partition, n int, b *record.Batch) error {
		body, err := b.Encode(nil)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		id := fmt.Sprintf("%d/%d", partition, n)
		if out.batches[id] != nil {
			return fmt.Errorf("batch %s twice", id)
		}
		out.batches[id] = body
		back := record.NewBatch()
		if err := back.Decode(body); err != nil {
			return err
		}
		out.flows = appendRows(out.flows, back.Flow.Rows(), back.Flow.Row)
		out.dns = appendRows(out.dns, back.DNS.Rows(), back.DNS.Row)
		out.http = appendRows(out.http, back.HTTP.Rows(), back.HTTP.Row)
		out.tls = appendRows(out.tls, back.TLS.Rows(), back.TLS.Row)
		out.ssh = appendRows(out.ssh, back.SSH.Rows(), back.SSH.Row)
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	out.ev = ev
	slices.SortFunc(out.flows, func(a, b model.Flow) int { return int(a.FirstPacket) - int(b.FirstPacket) })
	return out
}

func appendRows[T any](out []T, n int, row func(int, *T)) []T {
	for i := range n {
		var v T
		row(i, &v)
		out = append(out, v)
	}
	return out
}

// captures lists the captures below folders of the reference data.
func captures(t testing.TB, folders ...string) []string {
	t.Helper()
	var paths []string
	for _, f := range folders {
		paths = append(paths, testkit.Data(t, f))
	}
	found, _, err := source.Expand(paths)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestEveryCapture reads every capture of the reference data: no crash, every batch
// decodes, counts agree, and the bytes are the same for 1, 2 and 4 workers.
func TestEveryCapture(t *testing.T) {
	packets, flows, panics := uint64(0), 0, uint64(0)
	paths := captures(t, "conn", "attacks", "fingerprints")
	for _, path := range paths {
		r := readAll(t, path, config(1))
		packets += r.ev.Packets
		flows += len(r.flows)
		if n := r.ev.Counters["analyzer_panics"]; n > 0 {
			panics += n
			t.Errorf("%s: %d parser failures", path, n)
		}
		if int(r.ev.Batches) != len(r.batches) {
			t.Errorf("%s: %d batches announced, %d emitted", path, r.ev.Batches, len(r.batches))
		}
		var sum uint64
		ids := map[model.FlowID]bool{}
		for _, f := range r.flows {
			if !f.Open {
				sum += f.OrigPkts + f.RespPkts
				if ids[f.FlowID] {
					t.Errorf("%s: flow id %s twice", path, f.FlowID)
				}
				ids[f.FlowID] = true
			}
			if f.End < f.Start {
				t.Errorf("%s: flow %s ends before it starts", path, f.FlowID)
			}
		}
		if sum > r.ev.Packets {
			t.Errorf("%s: %d packets in flows, %d in the capture", path, sum, r.ev.Packets)
		}
		if r.ev.Flows != uint64(len(ids)) {
			t.Errorf("%s: %d flows counted, %d recorded", path, r.ev.Flows, len(ids))
		}
		for _, d := range r.dns {
			if !ids[d.FlowID] {
				t.Errorf("%s: dns record of flow %s, which is not recorded", path, d.FlowID)
			}
		}
	}
	t.Logf("%d captures, %d packets, %d flows", len(paths), packets, flows)
}

// TestDeterminism compares the encoded batches of 1, 2 and 4 workers.
func TestDeterminism(t *testing.T) {
	var paths []string
	for _, p := range captures(t, "attacks", "fingerprints") {
		if size(t, p) > 1<<20 {
			paths = append(paths, p)
		}
	}
	for _, path := range paths {
		want := readAll(t, path, config(1))
		for _, workers := range []int{2, 4} {
			got := readAll(t, path, config(workers))
			if len(got.batches) != len(want.batches) {
				t.Errorf("%s: %d batches with %d workers, %d with one", path, len(got.batches), workers, len(want.batches))
			}
			for id, b := range want.batches {
				if !bytes.Equal(b, got.batches[id]) {
					t.Errorf("%s: batch %s differs with %d workers: %x", path, id, workers, sha256.Sum256(got.batches[id]))
				}
			}
		}
	}
	t.Logf("%d captures", len(paths))
}

func size(t testing.TB, path string) int64 {
	t.Helper()
	var n int64
	err := filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		n = st.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestProblems reads what is no capture, or a damaged one.
func TestProblems(t *testing.T) {
	dir := testkit.Data(t, "conn")
	for _, c := range []struct{ file, want string }{
		{"brimcap/extra.pcapng", "expected"},
		{"ndpi/pcap/fuzz-2021-10-13.pcap", "byte 237"},
		{"pcapng-conformance/le/test901.pcapng", ""},
		{"tcpdump/juniper_monitor_invalid_cookie_length.pcap", ""},
	} {
		r := readAll(t, filepath.Join(dir, c.file), config(1))
		t.Logf("%s: %d packets, %d bytes read, %d not, %q", c.file, r.ev.Packets, r.ev.BytesRead, r.ev.BytesUnread, r.ev.Problems)
		if !strings.Contains(strings.Join(r.ev.Problems, " "), c.want) {
			t.Errorf("%s: problems %q, want one with %q", c.file, r.ev.Problems, c.want)
		}
	}
}

// FuzzRead reads anything as a capture, through every stage: the batches decode, and no
// parser fails.
func FuzzRead(f *testing.F) {
	f.Add(generate(40))
	if dir := os.Getenv("TRACER_TESTDATA"); dir != "" {
		found, _, err := source.Expand([]string{dir})
		if err != nil {
			f.Fatal(err)
		}
		for i := 0; i < len(found); i += 23 {
			if b, err := os.ReadFile(found[i]); err == nil && len(b) < 4096 {
				f.Add(b)
			}
		}
	}
	path := filepath.Join(f.TempDir(), "x")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		r := readAll(t, path, config(1))
		if n := r.ev.Counters["analyzer_panics"]; n > 0 {
			t.Errorf("%d parser failures", n)
		}
	})
}
