package evidence_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/tracer-framework/tracer/pkg/evidence"
	"github.com/tracer-framework/tracer/pkg/model"
)

func leaf(i int) evidence.Leaf {
	id := fmt.Sprintf("rec-%06d", i)
	sum := sha256.Sum256([]byte(id))
	return evidence.Leaf{Kind: evidence.KindBatch, ID: id, SHA256: hex.EncodeToString(sum[:]), Size: uint64(i), Parent: "capture", Name: "name " + id}
}

func leaves(from, to int) []evidence.Leaf {
	var out []evidence.Leaf
	for i := from; i < to; i++ {
		out = append(out, leaf(i))
	}
	return out
}

func open(t testing.TB, dir string, opt evidence.Options) *evidence.Ledger {
	t.Helper()
	l, err := evidence.Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// root opens a checkpoint with its key and returns size and root.
func root(t testing.TB, l *evidence.Ledger, checkpoint []byte) (int64, tlog.Hash) {
	t.Helper()
	v, err := note.NewVerifier(l.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(checkpoint, note.VerifierList(v))
	if err != nil {
		t.Fatalf("checkpoint %q: %v", checkpoint, err)
	}
	var origin, hash string
	var size int64
	if _, err := fmt.Sscan(n.Text, &origin, &size, &hash); err != nil {
		t.Fatal(err)
	}
	h, err := tlog.ParseHash(hash)
	if err != nil {
		t.Fatal(err)
	}
	return size, h
}

func TestAppendProveReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	now := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	opt := evidence.Options{Now: func() time.Time { return now }}
	l := open(t, dir, opt)
	type seen struct {
		size int64
		hash tlog.Hash
	}
	var old []seen
	n := 0
	for _, step := range []int{1, 1, 5, 248, 1, 1, 255, 256, 257, 600} {
		got, err := l.Append(t.Context(), leaves(n, n+step))
		if err != nil {
			t.Fatal(err)
		}
		for i, index := range got {
			if index != uint64(n+i) {
				t.Fatalf("leaf %d sealed at %d", n+i, index)
			}
		}
		n += step
		size, hash := root(t, l, l.Checkpoint())
		if size != int64(n) {
			t.Fatalf("checkpoint says %d, expected %d", size, n)
		}
		for _, o := range old {
			p, _, err := l.Consistency(uint64(o.size))
			if err != nil {
				t.Fatal(err)
			}
			if err := tlog.CheckTree(p, size, hash, o.size, o.hash); err != nil {
				t.Fatalf("consistency of %d with %d: %v", o.size, size, err)
			}
		}
		old = append(old, seen{size, hash})
	}
	check := func(l *evidence.Ledger) {
		t.Helper()
		for i := 0; i < n; i += 7 {
			p, err := l.Prove(uint64(i))
			if err != nil {
				t.Fatal(err)
			}
			size, hash := root(t, l, p.Checkpoint)
			if err := tlog.CheckRecord(p.Hashes, size, hash, int64(i), tlog.RecordHash(p.Entry)); err != nil {
				t.Fatalf("proof of %d: %v", i, err)
			}
			e, ok, err := l.Lookup(evidence.KindBatch, leaf(i).ID)
			if err != nil || !ok || e.Leaf != leaf(i) || e.Index != uint64(i) || e.Sealed != model.TimeOf(now) || l.Sealed(uint64(i)) != e.Sealed {
				t.Fatalf("lookup of %d: %+v %v %v", i, e, ok, err)
			}
		}
	}
	check(l)
	before := l.Checkpoint()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, opt)
	check(l)
	if string(l.Checkpoint()) != string(before) {
		t.Fatal("reopening changed the checkpoint")
	}
	got, err := l.Append(t.Context(), []evidence.Leaf{leaf(3), leaf(n), leaf(700), leaf(n)})
	if want := []uint64{3, uint64(n), 700, uint64(n)}; err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("append of known and new leaves: %v %v, expected %v", got, err, want)
	}
	info, err := os.Stat(filepath.Join(dir, "ledger.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("private key: %v %v", info.Mode(), err)
	}
	if got := evidence.TilePath(-1, 1234067, 5); got != "tile/entries/x001/x234/067.p/5" {
		t.Fatalf("tile path %s", got)
	}
}

func TestConflict(t *testing.T) {
	l := open(t, t.TempDir(), evidence.Options{})
	if _, err := l.Append(t.Context(), leaves(0, 3)); err != nil {
		t.Fatal(err)
	}
	other := leaf(1)
	other.SHA256 = leaf(2).SHA256
	_, err := l.Append(t.Context(), []evidence.Leaf{leaf(9), other})
	var conflict *evidence.ConflictError
	if !errors.Is(err, evidence.ErrConflict) || !errors.As(err, &conflict) {
		t.Fatalf("error %v", err)
	}
	if conflict.Sealed != leaf(1).SHA256 || conflict.Refused != leaf(2).SHA256 || conflict.Index != 1 {
		t.Fatalf("conflict %+v", conflict)
	}
	if l.Size() != 3 {
		t.Fatalf("a refused call left %d entries", l.Size())
	}
	inside := leaf(8)
	inside.SHA256 = leaf(2).SHA256
	if _, err := l.Append(t.Context(), []evidence.Leaf{leaf(8), inside}); !errors.Is(err, evidence.ErrConflict) || l.Size() != 3 {
		t.Fatalf("conflict within one call: %v", err)
	}
}

func TestBadLeaves(t *testing.T) {
	l := open(t, t.TempDir(), evidence.Options{})
	for name, change := range map[string]func(*evidence.Leaf){
		"kind":   func(f *evidence.Leaf) { f.Kind = "Batch" },
		"id":     func(f *evidence.Leaf) { f.ID = "" },
		"utf8":   func(f *evidence.Leaf) { f.ID = "\xff" },
		"sha":    func(f *evidence.Leaf) { f.SHA256 = strings.ToUpper(f.SHA256) },
		"size":   func(f *evidence.Leaf) { f.Size = 1 << 53 },
		"parent": func(f *evidence.Leaf) { f.Parent = strings.Repeat("x", 2000) },
		"name":   func(f *evidence.Leaf) { f.Name = strings.Repeat("x", 5000) },
	} {
		f := leaf(171)
		change(&f)
		if _, err := l.Append(t.Context(), []evidence.Leaf{f}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	f := leaf(1)
	f.Name = "caf\xe9 \"\\\b\t\n\f\r\x01é\u2028"
	if _, err := l.Append(t.Context(), []evidence.Leaf{f}); err != nil {
		t.Fatal(err)
	}
	p, err := l.Prove(0)
	if err != nil {
		t.Fatal(err)
	}
	if want := `"name":"caf` + "\uFFFD" + ` \"\\\b\t\n\f\r\u0001é` + "\u2028" + `"`; !strings.Contains(string(p.Entry), want) {
		t.Fatalf("entry %s does not hold %s", p.Entry, want)
	}
}

func TestOneWriter(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, evidence.Options{})
	_, err := evidence.Open(dir, evidence.Options{})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("in use by process %d", os.Getpid())) {
		t.Fatalf("second writer: %v", err)
	}
}

func TestKeyFromOutside(t *testing.T) {
	private, public, err := evidence.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key")
	dir := t.TempDir()
	if _, err := evidence.Open(dir, evidence.Options{Key: path}); err == nil {
		t.Fatal("a missing key from outside was made up")
	}
	if err := os.WriteFile(path, []byte(private), 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, dir, evidence.Options{Key: path})
	if l.PublicKey() != public {
		t.Fatalf("public key %s, expected %s", l.PublicKey(), public)
	}
	if _, err := os.Stat(filepath.Join(dir, "ledger.key")); err == nil {
		t.Fatal("the ledger holds a private key though one was given")
	}
	_ = l.Close()
	if _, err := evidence.Open(dir, evidence.Options{}); err == nil {
		t.Fatal("opened without the key the ledger was begun with")
	}
}

func TestConcurrentAppend(t *testing.T) {
	l := open(t, t.TempDir(), evidence.Options{})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 25 {
				// Every leaf is sealed by two workers.
				if _, err := l.Append(t.Context(), leaves((w/2)*100+i*4, (w/2)*100+i*4+4)); err != nil {
					t.Error(err)
				}
				if p, err := l.Prove(l.Size() - 1); err != nil {
					t.Error(err)
				} else if size, hash := root(t, l, p.Checkpoint); tlog.CheckRecord(p.Hashes, size, hash, int64(p.Index), tlog.RecordHash(p.Entry)) != nil {
					t.Error("proof taken while others append does not hold")
				}
			}
		})
	}
	wg.Wait()
	if l.Size() != 400 {
		t.Fatalf("%d entries, expected 400", l.Size())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Append(ctx, leaves(900, 901)); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), leaves(901, 902)); err != nil {
		t.Fatalf("append after a cancelled one: %v", err)
	}
}

// TestFaults makes every effect on disk fail in turn, as a full disk would, and as a
// crash would. After the fault the ledger must go on (full disk) or reopen (crash) with
// every acknowledged leaf in place and nothing twice.
func TestFaults(t *testing.T) {
	full := syscall.ENOSPC
	step := 1
	if testing.Short() {
		step = 4
	}
	for _, crash := range []bool{false, true} {
		for at := 1; ; at += step {
			dir := t.TempDir()
			n, armed := 0, true
			opt := evidence.WithFault(evidence.Options{}, func(op, path string) error {
				if n++; armed && (n == at || crash && n > at) {
					armed = crash
					return fmt.Errorf("%s %s: %w", op, filepath.Base(path), full)
				}
				return nil
			})
			var acked []evidence.Leaf
			l, err := evidence.Open(dir, opt)
			if err == nil {
				for i := 0; i < 300; i += 100 { // the third fills a tile
					batch := leaves(i, i+100)
					_, err = l.Append(t.Context(), batch)
					if err != nil && !errors.Is(err, full) {
						t.Fatalf("fault %d: %v", at, err)
					}
					if err != nil && !crash {
						batch = append([]evidence.Leaf{leaf(5000 + i)}, batch...) // another order, other tiles
						_, err = l.Append(t.Context(), batch)
					}
					if err == nil {
						acked = append(acked, batch...)
					} else if !crash {
						t.Fatalf("fault %d: append does not go on: %v", at, err)
					}
				}
				_ = l.Close()
			}
			hit := n >= at
			armed = false
			l, err = evidence.Open(dir, opt)
			if err != nil {
				t.Fatalf("crash %v, fault %d: reopen: %v", crash, at, err)
			}
			for i := range acked {
				if e, ok, err := l.Lookup(acked[i].Kind, acked[i].ID); err != nil || !ok || e.Leaf != acked[i] {
					t.Fatalf("crash %v, fault %d: acknowledged leaf %d lost: %v", crash, at, i, err)
				}
			}
			if _, err := l.Append(t.Context(), leaves(0, 320)); err != nil {
				t.Fatal(err)
			}
			ids := map[string]bool{}
			for i := range l.Size() {
				e, err := l.Entry(i)
				if err != nil || ids[e.ID] {
					t.Fatalf("entry %d: %v, twice: %v", i, err, ids[e.ID])
				}
				ids[e.ID] = true
			}
			_ = l.Close()
			verifyClean(t, dir)
			if !hit {
				break // at lies behind the last effect: all were tried
			}
		}
	}
}

// TestKill ends a writing process at random moments. Every leaf it said was sealed must be
// there after reopening, and the ledger must verify.
func TestKill(t *testing.T) {
	if dir := os.Getenv("LEDGER_CHILD"); dir != "" {
		child(dir)
		return
	}
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	acked := 0
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	for range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), "LEDGER_CHILD="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if lines.Scan() { // it is open
			time.AfterFunc(time.Duration(rng.IntN(60_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		}
		for lines.Scan() {
			var n int
			if _, err := fmt.Sscanf(lines.Text(), "sealed %d", &n); err == nil {
				acked = max(acked, n)
			}
		}
		_ = cmd.Wait()
		l, err := evidence.Open(dir, evidence.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if l.Size() < uint64(acked) {
			t.Fatalf("%d leaves acknowledged, %d there", acked, l.Size())
		}
		_ = l.Close()
		verifyClean(t, dir)
	}
	if acked == 0 {
		t.Fatal("no child sealed anything")
	}
	t.Logf("%d leaves acknowledged over %d kills", acked, rounds)
}

// child seals leaves in order, batches of growing size, until it is killed.
func child(dir string) {
	l, err := evidence.Open(dir, evidence.Options{})
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		return
	}
	fmt.Fprintln(os.Stdout, "open")
	for n, step := int(l.Size()), 1; ; step = step%97 + 1 {
		if _, err := l.Append(context.Background(), leaves(n, n+step)); err != nil {
			fmt.Fprintln(os.Stdout, err)
			return
		}
		n += step
		fmt.Fprintln(os.Stdout, "sealed", n)
	}
}

// TestDamage changes what is on disk: Open must refuse.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, evidence.Options{})
	if _, err := l.Append(t.Context(), leaves(0, 300)); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	for _, name := range []string{"checkpoint", "tile/entries/000", "tile/entries/001.p/44", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "ledger.pub", "ledger.key"} {
		path := filepath.Join(dir, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := append([]byte(nil), good...)
		bad[len(bad)/2] ^= 1
		for what, content := range map[string][]byte{"changed": bad, "cut": good[:len(good)-1], "emptied": nil} {
			if name == "ledger.key" && what == "cut" {
				continue // only the line feed
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if l, err := evidence.Open(dir, evidence.Options{}); err == nil {
				t.Errorf("%s %s: opened", name, what)
				_ = l.Close()
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if l, err := evidence.Open(dir, evidence.Options{}); err == nil {
			t.Errorf("%s removed: opened", name)
			_ = l.Close()
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := evidence.Open(dir, evidence.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

func FuzzDecode(f *testing.F) {
	f.Add(evidence.Encode(evidence.Entry{Leaf: leaf(1), Sealed: 1}))
	f.Add([]byte(`{"id":"a","kind":"b"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := evidence.Decode(data)
		if err == nil && string(evidence.Encode(e)) != string(data) {
			t.Fatalf("%q accepted, but %q is its form", data, evidence.Encode(e))
		}
	})
}

func BenchmarkAppend1000(b *testing.B) {
	l := open(b, b.TempDir(), evidence.Options{})
	n := 0
	for b.Loop() {
		if _, err := l.Append(b.Context(), leaves(n, n+1000)); err != nil {
			b.Fatal(err)
		}
		n += 1000
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "leaves/s")
}

func BenchmarkAppend1(b *testing.B) {
	l := open(b, b.TempDir(), evidence.Options{})
	n := 0
	for b.Loop() {
		if _, err := l.Append(b.Context(), leaves(n, n+1)); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "leaves/s")
}

func BenchmarkAppend1From8(b *testing.B) {
	l := open(b, b.TempDir(), evidence.Options{})
	n := 0
	for b.Loop() {
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 16 {
					if _, err := l.Append(b.Context(), leaves(n+w*16+i, n+w*16+i+1)); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		n += 128
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "leaves/s")
}
