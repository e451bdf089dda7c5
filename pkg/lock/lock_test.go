package lock_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tracer-framework/tracer/pkg/lock"
)

func TestTake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if err := os.WriteFile(path, []byte("4194303 of a process that was killed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	held, err := lock.Take(path)
	if err != nil {
		t.Fatal(err)
	}
	us := strconv.Itoa(os.Getpid())
	if b, err := os.ReadFile(path); err != nil || string(b) != us+"\n" {
		t.Errorf("the file names %q, %v", b, err)
	}
	// A second opening is another holder to the kernel, also in the same process.
	if _, err := lock.Take(path); !errors.Is(err, lock.ErrHeld) || !strings.Contains(err.Error(), "in use by process "+us+":") {
		t.Errorf("taken twice: %v", err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lock.Take(path)
	if err != nil {
		t.Fatalf("after the holder closed it: %v", err)
	}
	again.Close()
}

func TestTakeWhileLookedAt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	look, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(look.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { look.Close() })
	f, err := lock.Take(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func TestTakeNowhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "lock")
	if _, err := lock.Take(path); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("error: %v", err)
	}
}
