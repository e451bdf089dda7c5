package tracer_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/testkit"
)

// The README's table of events is the catalogue. TRACER_UPDATE=1 writes it anew.
func TestReadmeEvents(t *testing.T) {
	path := filepath.Join(testkit.Root(t), "README.md")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const open, end = "<!-- events: rendered from the catalogue by a test -->\n", "<!-- /events -->"
	before, rest, ok := strings.Cut(string(b), open)
	if !ok {
		t.Fatal("the marker before the table of events is missing")
	}
	_, after, ok := strings.Cut(rest, end)
	if !ok {
		t.Fatal("the marker behind the table of events is missing")
	}
	want := before + open + strings.TrimSpace(event.Table()) + "\n" + end + after
	if want == string(b) {
		return
	}
	if os.Getenv("TRACER_UPDATE") != "" && os.Getenv("CI") == "" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Error("the table of events is not the catalogue's: run TRACER_UPDATE=1 go test -run TestReadmeEvents ./services/tracer")
}
