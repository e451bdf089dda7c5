package tracer_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/tracer-framework/tracer/pkg/testkit"
)

const module = "github.com/tracer-framework/tracer/"

// packages lists the packages of pkg/: each is shared by at least two services and hides
// a decision. Adding one is a visible line here.
var packages = []string{
	"model",    // the nouns
	"record",   // records as columns
	"lock",     // one process at a time
	"event",    // CloudEvents catalogue and codec
	"bus",      // JetStream
	"store",    // ClickHouse
	"evidence", // ledger and verifier
	"service",  // lifecycle
	"lab",      // intrusions with ground truth
	"testkit",  // the real things for tests
}

type pkg struct {
	ImportPath, Name                   string
	Imports, TestImports, XTestImports []string
	Deps                               []string
}

func workspace(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps=false", "-json=ImportPath,Name,Imports,TestImports,XTestImports,Deps", "work")
	cmd.Dir = testkit.Root(t)
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatal(err)
	}
	var all []pkg
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// serviceOf gives the service an import path belongs to, "" for none.
func serviceOf(path string) string {
	rest, ok := strings.CutPrefix(path, module+"services/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// layers: a package of pkg/ may import those to its right.
var layers = map[string][]string{
	"model":    {},
	"record":   {"model"},
	"lock":     {},
	"event":    {"model", "record"},
	"bus":      {"model", "record", "event", "lock"},
	"store":    {"model", "record", "lock"},
	"evidence": {"model", "lock"},
	"lab":      {"model"},
	"service":  {"model", "event", "bus", "store", "evidence"},
	"testkit":  {"model", "record", "event", "bus", "store", "evidence", "lab"},
}

func pkgOf(path string) string {
	rest, ok := strings.CutPrefix(path, module+"pkg/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

func TestArchImports(t *testing.T) {
	for _, p := range workspace(t) {
		from, fromPkg := serviceOf(p.ImportPath), pkgOf(p.ImportPath)
		if fromPkg != "" && !slices.Contains(packages, fromPkg) {
			t.Errorf("%s: pkg/%s is not in the list of shared packages: is it imported by two services, and does it hide a decision?", p.ImportPath, fromPkg)
		}
		for _, imp := range p.Imports {
			to := serviceOf(imp)
			if to != "" && from == "" {
				t.Errorf("%s imports %s: pkg and schemas never import a service", p.ImportPath, imp)
			}
			if to != "" && from != "" && to != from && from != "tracer" {
				t.Errorf("%s imports %s: a service never imports another service; they meet on the bus", p.ImportPath, imp)
			}
			if toPkg := pkgOf(imp); fromPkg != "" && toPkg != "" && toPkg != fromPkg && !slices.Contains(layers[fromPkg], toPkg) {
				t.Errorf("%s imports %s: pkg/%s may import only %v of pkg", p.ImportPath, imp, fromPkg, layers[fromPkg])
			}
			if pkgOf(imp) == "testkit" {
				t.Errorf("%s imports %s outside a test: testkit is for _test.go files", p.ImportPath, imp)
			}
			heavy := imp == module+"pkg/store/chdb" || imp == module+"pkg/bus/embedded" || strings.HasPrefix(imp, "github.com/nats-io/nats-server/") || imp == "github.com/ebitengine/purego"
			inside := strings.HasPrefix(p.ImportPath, module+"pkg/store/chdb") || strings.HasPrefix(p.ImportPath, module+"pkg/bus/embedded")
			if heavy && !inside && from != "tracer" && fromPkg != "testkit" {
				t.Errorf("%s imports %s: the embedded servers are linked by services/tracer and pkg/testkit only", p.ImportPath, imp)
			}
			if fromPkg == "model" && strings.Contains(imp, ".") {
				t.Errorf("%s imports %s: the nouns need the standard library only", p.ImportPath, imp)
			}
		}
	}
}

// The verifier must not share code with the writer, or one fault would hide another.
func TestArchVerifierStandsAlone(t *testing.T) {
	for _, p := range workspace(t) {
		if p.ImportPath != module+"pkg/evidence/verify" {
			continue
		}
		for _, dep := range p.Deps {
			if dep == module+"pkg/evidence" || strings.HasPrefix(dep, "golang.org/x/mod/sumdb") {
				t.Errorf("the verifier depends on %s, which the writer of the ledger uses", dep)
			}
		}
		return
	}
	t.Fatal("package pkg/evidence/verify not found")
}
