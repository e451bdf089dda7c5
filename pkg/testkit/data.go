// Package testkit gives tests the real things: the reference data, an embedded NATS
// server and an embedded ClickHouse. Only _test.go files import it.
package testkit

import (
	"os"
	"path/filepath"
	"testing"
)

// Root is the top folder of the workspace, found by its go.work.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("go.work not found above the test's folder")
		}
		dir = up
	}
}

// Data is the path of a file or folder of the reference data, which is kept outside the
// repository: in $TRACER_TESTDATA, or ../shared/data beside the workspace. Where the data
// is absent the test is skipped with a sentence that says so.
func Data(t testing.TB, elem ...string) string {
	t.Helper()
	base := os.Getenv("TRACER_TESTDATA")
	if base == "" {
		base = filepath.Join(Root(t), "..", "shared", "data")
	}
	p := filepath.Join(append([]string{base}, elem...)...)
	if _, err := os.Stat(p); err != nil {
		t.Skipf("reference data %s not present: set TRACER_TESTDATA to the folder that holds it", filepath.Join(elem...))
	}
	return p
}
