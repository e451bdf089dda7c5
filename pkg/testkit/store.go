package testkit

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/pkg/store/chdb"
)

// engine is the embedded ClickHouse of the test process: the library starts once.
var engine = sync.OnceValues(func() (*chdb.Engine, error) {
	if _, err := chdb.Library(); err != nil {
		return nil, nil
	}
	// The folder cannot go with the first test that uses it, nor is there a hook at the
	// end of all tests: folders of processes that are gone go when the next one starts.
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), "tracer-test-store-*"))
	for _, dir := range dirs {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), "tracer-test-store-%d", &pid); err != nil {
			continue
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); os.IsNotExist(err) {
			_ = os.RemoveAll(dir)
		}
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("tracer-test-store-%d", os.Getpid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return chdb.Open(chdb.Config{Path: filepath.Join(dir, "clickhouse"), MaxMemory: 4 << 30})
})

// Engine is the embedded ClickHouse that all tests of the process share. Without libchdb
// the test is skipped.
func Engine(t testing.TB) *chdb.Engine {
	t.Helper()
	e, err := engine()
	if err != nil {
		t.Fatal(err)
	}
	if e == nil {
		t.Skip("libchdb.so not present: run `npm ci --ignore-scripts` at the top of the workspace")
	}
	return e
}

var databases atomic.Uint64

// Store is an empty, migrated store in a database of its own, which goes with the test.
func Store(t testing.TB) *store.Store {
	t.Helper()
	s := OpenStore(t, store.Config{})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// OpenStore opens a store that is not migrated yet on the shared engine, in a database of
// its own unless cfg names one.
func OpenStore(t testing.TB, cfg store.Config) *store.Store {
	t.Helper()
	cfg.Transport = Engine(t).Transport()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Database == "" {
		cfg.Database = fmt.Sprintf("test%d", databases.Add(1))
	}
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
