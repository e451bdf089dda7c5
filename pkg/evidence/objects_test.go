package evidence_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/tracer-framework/tracer/pkg/evidence"
)

func TestObjects(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "objects")
	o, err := evidence.OpenObjects(dir)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 10 {
				data := fmt.Appendf(nil, "object %d", (w/2)*10+i) // each twice
				sum, err := o.PutBytes(t.Context(), data)
				if err != nil {
					t.Error(err)
					return
				}
				r, err := o.Get(sum)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(r)
				if err := errors.Join(err, r.Close()); err != nil || string(got) != string(data) {
					t.Errorf("object %s: %q %v", sum, got, err)
				}
			}
		})
	}
	wg.Wait()
	found, err := filepath.Glob(filepath.Join(dir, "??", "*"))
	if err != nil || len(found) != 40 {
		t.Fatalf("%d files, expected 40: %v", len(found), err)
	}

	sum := sha256.Sum256([]byte("right"))
	name := hex.EncodeToString(sum[:])
	if err := o.Put(t.Context(), name, strings.NewReader("wrong")); !errors.Is(err, evidence.ErrDigest) {
		t.Fatalf("wrong bytes: %v", err)
	}
	if _, err := os.Stat(o.Path(name)); err == nil {
		t.Fatal("wrong bytes were kept")
	}
	if err := o.Put(t.Context(), "../../x", strings.NewReader("x")); err == nil {
		t.Fatal("a path was taken for a digest")
	}
	// A damaged object is replaced by the right bytes.
	if err := o.Put(t.Context(), name, strings.NewReader("right")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.Path(name), []byte("wight"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := o.Put(t.Context(), name, strings.NewReader("right")); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(o.Path(name)); err != nil || string(got) != "right" {
		t.Fatalf("%q %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.PutBytes(ctx, []byte("late")); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// TestObjectFaults makes every effect fail in turn: a Put that failed left no object under
// its name, one that succeeded is whole, and nothing else stays behind.
func TestObjectFaults(t *testing.T) {
	for at := 1; ; at++ {
		dir := filepath.Join(t.TempDir(), "objects")
		n, armed := 0, true
		fault := func(string, string) error {
			if n++; armed && n == at {
				return syscall.ENOSPC
			}
			return nil
		}
		o, err := evidence.OpenObjectsWithFault(dir, fault)
		if err == nil {
			if _, err = o.PutBytes(t.Context(), []byte("content")); err != nil && !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			hit := n >= at
			armed = false
			sum, err := o.PutBytes(t.Context(), []byte("content"))
			if err != nil {
				t.Fatalf("fault %d: does not go on: %v", at, err)
			}
			if got, err := os.ReadFile(o.Path(sum)); err != nil || string(got) != "content" {
				t.Fatalf("fault %d: %q %v", at, got, err)
			}
			if found, _ := filepath.Glob(filepath.Join(dir, "??", "*")); len(found) != 1 {
				t.Fatalf("fault %d: left behind: %q", at, found)
			}
			if !hit {
				return
			}
		} else if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}
