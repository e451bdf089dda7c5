package verify_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tracer-framework/tracer/pkg/evidence"
	"github.com/tracer-framework/tracer/pkg/evidence/verify"
	"github.com/tracer-framework/tracer/pkg/model"
)

// fixture is a data folder with one case: a capture, batches, events, documents, and a
// bundle of it.
type fixture struct {
	data, capture, docs, out string
	checkpoint               []byte // before the last batches were sealed
	ledger                   *evidence.Ledger
}

func write(t testing.TB, path string, data []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func build(t testing.TB, batches int) *fixture {
	t.Helper()
	root := t.TempDir()
	f := &fixture{data: filepath.Join(root, "data"), capture: filepath.Join(root, "in", "attack.pcap"), out: filepath.Join(root, "out")}
	f.docs = filepath.Join(f.data, "cases", "case-1")
	l, err := evidence.Open(filepath.Join(f.data, "ledger"), evidence.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f.ledger = l
	t.Cleanup(func() { _ = l.Close() })
	objects, err := evidence.OpenObjects(filepath.Join(f.data, "evidence", "objects"))
	if err != nil {
		t.Fatal(err)
	}
	captured := []byte("packets of an attack")
	id := write(t, f.capture, captured)
	seal := func(leaves ...evidence.Leaf) {
		t.Helper()
		if _, err := l.Append(t.Context(), leaves); err != nil {
			t.Fatal(err)
		}
	}
	object := func(kind, id, parent, name string, data []byte) evidence.Leaf {
		t.Helper()
		sum, err := objects.PutBytes(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		return evidence.Leaf{Kind: kind, ID: id, SHA256: sum, Size: uint64(len(data)), Parent: parent, Name: name}
	}
	event := func(id, name string, v any) evidence.Leaf {
		t.Helper()
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return object(evidence.KindEvent, id, "case-1", name, b)
	}
	seal(event("ev-1", "io.tracer.case.opened.v1", model.Case{CaseID: "case-1", Inputs: []model.Input{{EvidenceID: id, Name: "attack.pcap", URI: f.capture}}}))
	seal(evidence.Leaf{Kind: evidence.KindCapture, ID: id, SHA256: id, Size: uint64(len(captured)), Name: "attack.pcap"})
	f.checkpoint = l.Checkpoint()
	var list []evidence.Leaf
	for i := range batches {
		list = append(list, object(evidence.KindBatch, fmt.Sprintf("rec-%d", i), id, "", fmt.Appendf(nil, "batch %d", i)))
	}
	seal(list...)
	issued := model.ReportIssued{CaseID: "case-1", Run: "run-1", Dir: f.docs}
	list = nil
	for _, name := range []string{"report.html", "report.json"} {
		doc := []byte("document " + name)
		sum := write(t, filepath.Join(f.docs, name), doc)
		write(t, filepath.Join(f.out, name), doc)
		issued.Files = append(issued.Files, model.ReportFile{Name: name, SHA256: sum, Size: uint64(len(doc))})
		list = append(list, evidence.Leaf{
			Kind: evidence.KindReport, ID: evidence.ReportID("case-1", "run-1", name), SHA256: sum, Size: uint64(len(doc)), Parent: "case-1", Name: name,
		})
	}
	seal(append(list, event("ev-2", "io.tracer.report.issued.v1", issued))...)
	write(t, filepath.Join(f.out, "summary.json"), []byte("{}"))
	sel := evidence.Selection{Pick: evidence.OfCase("case-1", "run-1", []string{id}), Sources: map[string]string{id: f.capture}}
	if _, err := l.Export(t.Context(), f.out, sel); err != nil {
		t.Fatal(err)
	}
	return f
}

func check(t testing.TB, dir string, opt verify.Options) *verify.Report {
	t.Helper()
	r, err := verify.Dir(t.Context(), dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wants fails unless a problem holds every one of the words.
func wants(t testing.TB, r *verify.Report, what string, words ...string) {
	t.Helper()
	for _, p := range r.Problems {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(p, w) }) {
			return
		}
	}
	t.Errorf("%s: no problem names %q, only %q", what, words, r.Problems)
}

func TestClean(t *testing.T) {
	for _, n := range []int{1, 252, 253, 600} {
		f := build(t, n)
		r := check(t, f.data, verify.Options{Strict: true, Key: f.ledger.PublicKey(), Checkpoints: [][]byte{f.checkpoint}})
		if !r.OK() || r.Kind != "data" || !r.Pinned {
			t.Fatalf("%d batches: %+v", n, r)
		}
		if want := uint64(n + 2); r.Checked.Objects != want || r.Checked.Captures != 1 || r.Checked.Documents != 2 || r.Checked.Leaves != uint64(n+5) || r.Size != uint64(n+5) {
			t.Fatalf("%d batches: checked %+v", n, r.Checked)
		}
		r = check(t, f.out, verify.Options{Strict: true, Key: f.ledger.PublicKey(), Data: f.data})
		if !r.OK() || r.Kind != "bundle" || r.Checked.Proofs != uint64(n+3) || r.Checked.Documents != 3 || r.Checked.Captures != 1 {
			t.Fatalf("%d batches, bundle: %+v", n, r)
		}
	}
}

// files lists the files below dir.
func files(t testing.TB, dirs ...string) []string {
	t.Helper()
	var out []string
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				out = append(out, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// named is the part of a path that a problem must hold.
func named(path string) string {
	if i := strings.Index(path, "/tile/"); i >= 0 {
		return path[i+1:]
	}
	return filepath.Base(path)
}

// TestEveryByte flips each byte of each file, one at a time: each is found, and the file named.
func TestEveryByte(t *testing.T) {
	f := build(t, 3)
	for _, dirs := range [][2]string{{f.data, filepath.Dir(f.capture)}, {f.out, filepath.Dir(f.capture)}} {
		n := 0
		for _, path := range files(t, dirs[0], dirs[1]) {
			base := filepath.Base(path)
			if base == "ledger.key" || base == "ledger.lock" {
				continue // not read: not evidence
			}
			good, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := range good {
				bad := bytes.Clone(good)
				bad[i] ^= 1 << (i % 8)
				if err := os.WriteFile(path, bad, 0o644); err != nil {
					t.Fatal(err)
				}
				n++
				wants(t, check(t, dirs[0], verify.Options{}), fmt.Sprintf("%s byte %d", path, i), named(path))
				if t.Failed() {
					t.FailNow()
				}
			}
			for what, content := range map[string][]byte{"cut": good[:len(good)-1], "emptied": nil, "lengthened": append(bytes.Clone(good), '\n')} {
				if err := os.WriteFile(path, content, 0o644); err != nil {
					t.Fatal(err)
				}
				wants(t, check(t, dirs[0], verify.Options{}), path+" "+what, named(path))
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			wants(t, check(t, dirs[0], verify.Options{Strict: true}), path+" removed", named(path))
			if err := os.WriteFile(path, good, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if r := check(t, dirs[0], verify.Options{Strict: true}); !r.OK() {
			t.Fatalf("not restored: %q", r.Problems)
		}
		t.Logf("%s: %d changed bytes found and named", dirs[0], n)
	}
}

// TestSampledBytes does the same in a ledger with full and higher tiles.
func TestSampledBytes(t *testing.T) {
	f := build(t, 520)
	for _, path := range files(t, filepath.Join(f.data, "ledger", "tile")) {
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(good); i += 1 + len(good)/23 {
			bad := bytes.Clone(good)
			bad[i] ^= 4
			if err := os.WriteFile(path, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			wants(t, check(t, filepath.Join(f.data, "ledger"), verify.Options{}), fmt.Sprintf("%s byte %d", path, i), named(path))
		}
		if err := os.WriteFile(path, good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEntryAndTileChangedTogether(t *testing.T) {
	f := build(t, 3)
	dir := filepath.Join(f.data, "ledger")
	path := filepath.Join(dir, "tile", "entries", "000.p", "8")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Replace(b, []byte("attack.pcap"), []byte("benign.pcap"), 1)
	write(t, path, b)
	// The tile is made to agree with the changed entry: only the signed root is left.
	n := int(b[0])<<8 | int(b[1])
	second := b[2+n:]
	entry := second[2 : 2+(int(second[0])<<8|int(second[1]))]
	h := sha256.Sum256(append([]byte{0}, entry...))
	tile := filepath.Join(dir, "tile", "0", "000.p", "8")
	hashes, err := os.ReadFile(tile)
	if err != nil {
		t.Fatal(err)
	}
	copy(hashes[32:], h[:])
	write(t, tile, hashes)
	wants(t, check(t, f.data, verify.Options{}), "forged entry", "ledger/checkpoint does not fit")
}

// TestRollback puts an earlier state of the whole ledger back, signatures and all: only
// who kept a later checkpoint can tell.
func TestRollback(t *testing.T) {
	f := build(t, 3)
	_ = f.ledger.Close()
	dir := filepath.Join(f.data, "ledger")
	early := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(early, os.DirFS(f.data)); err != nil {
		t.Fatal(err)
	}
	l, err := evidence.Open(dir, evidence.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sum := strings.Repeat("ab", 32)
	if _, err := l.Append(t.Context(), []evidence.Leaf{{Kind: "note", ID: "late", SHA256: sum}}); err != nil {
		t.Fatal(err)
	}
	late := l.Checkpoint()
	if r := check(t, early, verify.Options{}); !r.OK() {
		t.Fatalf("the early copy is whole: %q", r.Problems)
	}
	wants(t, check(t, early, verify.Options{Checkpoints: [][]byte{late}}), "cut back", "ledger/checkpoint covers 8 entries", "covers 9", "cut back")

	// A bundle kept in the data folder is such a witness by itself.
	if _, err := l.Export(t.Context(), filepath.Join(early, "cases", "case-1"), evidence.Selection{Pick: func(evidence.Entry) bool { return false }}); err != nil {
		t.Fatal(err)
	}
	wants(t, check(t, early, verify.Options{}), "cut back, seen by a bundle", "evidence.json", "cut back")

	// Only the checkpoint set back: the tiles behind it give it away.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "checkpoint"), f.checkpoint)
	wants(t, check(t, f.data, verify.Options{}), "old checkpoint", "ledger/tile/entries/000.p/9 lies behind the checkpoint")

	// Another history of the same length under the same key.
	fork := filepath.Join(t.TempDir(), "fork")
	for _, name := range []string{"ledger.key"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(fork, name), b)
	}
	l, err = evidence.Open(fork, evidence.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range 12 {
		if _, err := l.Append(t.Context(), []evidence.Leaf{{Kind: "note", ID: fmt.Sprint(i), SHA256: sum}}); err != nil {
			t.Fatal(err)
		}
	}
	wants(t, check(t, fork, verify.Options{Checkpoints: [][]byte{late}}), "fork", "first 9 entries", "rewritten")
}

func TestForeignFiles(t *testing.T) {
	f := build(t, 3)
	for path, words := range map[string][]string{
		filepath.Join(f.data, "ledger", "tile", "0", "000.p", "200"):                 {"ledger/tile/0/000.p/200 lies behind"},
		filepath.Join(f.data, "ledger", "tile", "0", "000.p", "3"):                   {"ledger/tile/0/000.p/3 differs"},
		filepath.Join(f.data, "ledger", "tile", "0", "x"):                            {"ledger/tile/0/x does not belong"},
		filepath.Join(f.data, "ledger", "notes.txt"):                                 {"ledger/notes.txt does not belong"},
		filepath.Join(f.data, "evidence", "objects", "ab", "cd"):                     {"evidence/objects/ab/cd does not belong"},
		filepath.Join(f.data, "evidence", "objects", "ab", strings.Repeat("ab", 32)): {"evidence/objects/ab/abab", "changed", "no ledger entry"},
	} {
		write(t, path, []byte("x"))
		_ = f.ledger.Close()
		wants(t, check(t, f.data, verify.Options{}), path, words...)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(f.out, "more.html"), []byte("x"))
	wants(t, check(t, f.out, verify.Options{}), "added document", "more.html is not listed")
}

func TestNotPresent(t *testing.T) {
	f := build(t, 3)
	moved := filepath.Join(t.TempDir(), "attack.pcap")
	if err := os.Rename(f.capture, moved); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{f.data, f.out} {
		r := check(t, dir, verify.Options{})
		if !r.OK() || len(r.NotPresent) != 1 || !strings.Contains(r.NotPresent[0], f.capture) {
			t.Fatalf("%s: %+v", dir, r)
		}
		wants(t, check(t, dir, verify.Options{Strict: true}), "strict", f.capture, "not present")
		if r := check(t, dir, verify.Options{Strict: true, Captures: []string{filepath.Dir(moved)}}); !r.OK() || r.Checked.Captures != 1 {
			t.Fatalf("%s: moved capture: %+v", dir, r)
		}
	}
	_, public, err := evidence.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{f.data, f.out} {
		wants(t, check(t, dir, verify.Options{Key: public}), "other key", "not the given key")
	}
	if _, err := verify.Dir(t.Context(), t.TempDir(), verify.Options{}); err == nil {
		t.Fatal("an empty folder was verified")
	}
}

// TestStandsAlone: the verifier may use the standard library only.
func TestStandsAlone(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != "github.com/tracer-framework/tracer/pkg/evidence/verify" {
		t.Fatalf("the verifier depends on\n%s", got)
	}
}

func FuzzBundle(f *testing.F) {
	fix := build(f, 1)
	for _, name := range []string{"evidence.json", "evidence.json.sig"} {
		b, err := os.ReadFile(filepath.Join(fix.out, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, b)
	}
	f.Add([]byte(`{"schema":"io.tracer.evidence.bundle.v1","leaves":[{"index":18446744073709551615}],"files":[{"path":"../x"}]}`), fix.checkpoint)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, manifest, sig []byte) {
		write(t, filepath.Join(dir, "evidence.json"), manifest)
		write(t, filepath.Join(dir, "evidence.json.sig"), sig)
		if r, err := verify.Dir(t.Context(), dir, verify.Options{}); err == nil && r.OK() {
			t.Fatalf("accepted %q", manifest)
		}
	})
}

func FuzzLedger(f *testing.F) {
	fix := build(f, 1)
	dir := filepath.Join(fix.data, "ledger")
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	checkpoint, pub, entries := read("checkpoint"), read("ledger.pub"), read("tile/entries/000.p/6")
	f.Add(checkpoint, pub, entries)
	f.Add([]byte("a\n4611686018427387903\n"+strings.Repeat("A", 43)+"=\n\n— a b\n"), pub, entries)
	out := f.TempDir()
	if err := os.CopyFS(out, os.DirFS(dir)); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, c, p, e []byte) {
		write(t, filepath.Join(out, "checkpoint"), c)
		write(t, filepath.Join(out, "ledger.pub"), p)
		write(t, filepath.Join(out, "tile/entries/000.p/6"), e)
		r, err := verify.Dir(t.Context(), out, verify.Options{})
		same := bytes.Equal(c, checkpoint) && bytes.Equal(p, pub) && bytes.Equal(e, entries)
		if err == nil && r.OK() != same {
			t.Fatalf("OK %v, unchanged %v: %q", r.OK(), same, r.Problems)
		}
	})
}
