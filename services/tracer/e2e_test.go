package tracer_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// reference is the undisturbed investigation of the lab intrusion, made once.
var (
	referenceOnce sync.Once
	referenceDir  string
)

func reference(t testing.TB) string {
	t.Helper()
	needLibrary(t)
	referenceOnce.Do(func() {
		dir := filepath.Join(intrusion(t), "reference")
		mustTracer(t, 0, "investigate", "--data", filepath.Join(dir, "data"), "--out", filepath.Join(dir, "out"), "--export", "flows", captures(t))
		referenceDir = dir
	})
	if referenceDir == "" {
		t.Fatal("the undisturbed investigation failed")
	}
	return filepath.Join(referenceDir, "out")
}

// captures is a folder with the captures of the intrusion alone.
func captures(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(intrusion(t), "captures")
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"*.pcap", "*.pcapng", "*.gz", "*.zst"} {
		files, err := filepath.Glob(filepath.Join(intrusion(t), pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			copyFile(t, f, filepath.Join(dir, filepath.Base(f)))
		}
	}
	return dir
}

// The main job: captures in, sealed evidence and a report out; the store answers questions;
// the proofs hold; the findings agree with the truth.
func TestE2EInvestigate(t *testing.T) {
	out := reference(t)
	data := filepath.Join(filepath.Dir(out), "data")
	for _, name := range []string{"report.html", "report.md", "report.json", "summary.json", "detections.jsonl", "findings.jsonl", "traces.json", "evidence.json", "flows.jsonl"} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Errorf("document missing: %v", err)
		}
	}
	stdout, _ := mustTracer(t, 0, "verify", out)
	if !strings.Contains(stdout, "everything holds") {
		t.Errorf("verify of the report says: %s", stdout)
	}
	mustTracer(t, 0, "verify", data)

	stdout, _ = mustTracer(t, 0, "query", "--data", data, "SELECT count() AS n FROM flow")
	var count struct{ N json.Number }
	if err := json.Unmarshal([]byte(stdout), &count); err != nil {
		t.Fatalf("query printed %q: %v", stdout, err)
	}
	flows, err := os.ReadFile(filepath.Join(out, "flows.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if n := json.Number(itoa(strings.Count(string(flows), "\n"))); n != count.N {
		t.Errorf("flows.jsonl has %s lines, the store %s flows", n, count.N)
	}
	code, stdout, stderr := tracer(t, "lab", "score", intrusion(t), out)
	t.Logf("\n%s", stdout)
	if code != 0 {
		t.Errorf("the findings do not agree with the truth: exit status %d %s", code, stderr)
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// A byte changed in a document, a capture or a sealed batch is found and named.
func TestE2ETampering(t *testing.T) {
	needLibrary(t)
	dir := t.TempDir()
	caps := filepath.Join(dir, "caps")
	if err := os.Mkdir(caps, 0o750); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(captures(t), "*.gz"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no small capture: %v", err)
	}
	capture := filepath.Join(caps, filepath.Base(files[0]))
	copyFile(t, files[0], capture)
	data, out := filepath.Join(dir, "data"), filepath.Join(dir, "out")
	mustTracer(t, 0, "investigate", "--data", data, "--out", out, capture)
	mustTracer(t, 0, "verify", out)
	mustTracer(t, 0, "verify", data)
	var objects []string
	err = filepath.WalkDir(filepath.Join(data, "evidence", "objects"), func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			objects = append(objects, p)
		}
		return err
	})
	if err != nil || len(objects) == 0 {
		t.Fatalf("no sealed objects: %v", err)
	}
	for _, tc := range []struct{ what, verify, file string }{
		{"document", out, filepath.Join(out, "report.html")},
		{"detections", out, filepath.Join(out, "detections.jsonl")},
		{"capture, seen from the report", out, capture},
		{"capture, seen from the data folder", data, capture},
		{"sealed object", data, objects[len(objects)/2]},
		{"ledger checkpoint", data, filepath.Join(data, "ledger", "checkpoint")},
	} {
		t.Run(tc.what, func(t *testing.T) {
			before, err := os.ReadFile(tc.file)
			if err != nil {
				t.Fatal(err)
			}
			changed := slices.Clone(before)
			if len(changed) == 0 {
				changed = []byte("x")
			} else {
				changed[len(changed)/2] ^= 1
			}
			info, err := os.Stat(tc.file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(tc.file, changed, info.Mode()); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := os.WriteFile(tc.file, before, info.Mode()); err != nil {
					t.Fatal(err)
				}
				mustTracer(t, 0, "verify", tc.verify)
			}()
			stdout, _ := mustTracer(t, 1, "verify", tc.verify)
			if !strings.Contains(stdout, filepath.Base(tc.file)) {
				t.Errorf("verify does not name %s:\n%s", filepath.Base(tc.file), stdout)
			}
		})
	}
}

// Same input, same bytes: for any number of workers and any order of the inputs.
func TestDeterminism(t *testing.T) {
	want := reference(t)
	files, err := filepath.Glob(filepath.Join(captures(t), "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i, workers := range []string{"1", "2", "4"} {
		t.Run(workers+" workers", func(t *testing.T) {
			dir := t.TempDir()
			conf := filepath.Join(dir, "tracer.yaml")
			if err := os.WriteFile(conf, []byte("ingest:\n  workers: "+workers+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			order := slices.Clone(files)
			for range i + 1 { // another order each time
				order = append(order[1:], order[0])
			}
			args := append([]string{"investigate", "--config", conf, "--data", filepath.Join(dir, "data"), "--out", filepath.Join(dir, "out")}, order...)
			mustTracer(t, 0, args...)
			sameDocuments(t, workers+" workers", want, filepath.Join(dir, "out"))
		})
	}
}

// Every service as a process of its own over TCP gives the same documents.
func TestE2ESplit(t *testing.T) {
	want := reference(t)
	s := startSplit(t)
	sameDocuments(t, "split", want, s.investigate(t, captures(t)))
}

// split is a deployment of one process a service, one for the bus and one for the store.
type split struct {
	env                []string
	data               string
	bus, store         *process
	busArgs, storeArgs []string
	services           map[string]*process
	serviceArgs        map[string][]string
	busURL, storeDSN   string
}

func startSplit(t testing.TB) *split {
	t.Helper()
	needLibrary(t)
	dir := t.TempDir()
	busPort, storePort := freePort(t), freePort(t)
	s := &split{
		env:      []string{"TRACER_BUS_TOKEN=bus-secret", "TRACER_STORE_TOKEN=store-secret"},
		data:     dir,
		busURL:   "nats://127.0.0.1:" + busPort,
		storeDSN: "http://default:store-secret@127.0.0.1:" + storePort + "/tracer",
		services: map[string]*process{}, serviceArgs: map[string][]string{},
	}
	s.busArgs = []string{"up", "--services", "none", "--data", filepath.Join(dir, "bus"), "--bus-listen", "127.0.0.1:" + busPort}
	s.storeArgs = []string{"up", "--services", "none", "--data", filepath.Join(dir, "store"), "--store-listen", "127.0.0.1:" + storePort}
	s.bus, s.store = start(t, s.env, s.busArgs...), start(t, s.env, s.storeArgs...)
	waitPort(t, busPort, s.bus)
	waitPort(t, storePort, s.store)
	for _, name := range []string{"ingest", "fingerprint", "archive", "tracemap", "report"} {
		s.serviceArgs[name] = []string{"run", name, "--bus", s.busURL, "--store", s.storeDSN, "--data", filepath.Join(dir, name)}
		s.services[name] = start(t, s.env, s.serviceArgs[name]...)
	}
	return s
}

func waitPort(t testing.TB, port string, p *process) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if p.ended() {
			t.Fatalf("ended by itself:\n%s", p.stderr.String())
		}
		if portOpen(port) {
			return
		}
	}
	t.Fatalf("nothing listens at port %s:\n%s", port, p.stderr.String())
}

// investigate opens a case and waits for its report; it gives the folder of the documents.
func (s *split) investigate(t testing.TB, input string) string {
	t.Helper()
	code, stdout, stderr := tracerEnv(t, s.env, "case", "open", "--wait", "--data", filepath.Join(s.data, "cli"), "--bus", s.busURL, "--store", s.storeDSN, input)
	lines := strings.Fields(stdout)
	if code != 0 || len(lines) != 2 {
		t.Fatalf("case open: exit status %d\n%s\n%s", code, stdout, stderr)
	}
	return lines[1]
}

func (s *split) restart(t testing.TB, name string) {
	t.Helper()
	s.services[name].kill()
	s.services[name] = start(t, s.env, s.serviceArgs[name]...)
}
