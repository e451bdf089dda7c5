package store

import (
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/schemas"
)

// openForTest and filledBatch are testkit's, handed in by the external tests: testkit
// imports this package.
var (
	openForTest func(testing.TB, Config) *Store
	filledBatch func() *record.Batch
)

// SetTestkit hands them in.
func SetTestkit(open func(testing.TB, Config) *Store, filled func() *record.Batch) {
	openForTest, filledBatch = open, filled
}

func embedded(t *testing.T) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	entries, err := schemas.ClickHouse.ReadDir("clickhouse")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := schemas.ClickHouse.ReadFile("clickhouse/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		files["clickhouse/"+e.Name()] = &fstest.MapFile{Data: b}
	}
	return files
}

func TestMigrateTwice(t *testing.T) {
	s := openForTest(t, Config{})
	for range 2 {
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	applied, err := s.applied(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := len(embedded(t)); len(applied) != want {
		t.Errorf("%d migrations applied, want %d", len(applied), want)
	}
}

// TestMigrateFromEveryState stops after each migration in turn, as older programs would
// have, and goes on to the last.
func TestMigrateFromEveryState(t *testing.T) {
	all := embedded(t)
	known, err := migrations(all)
	if err != nil {
		t.Fatal(err)
	}
	for n := range known {
		s := openForTest(t, Config{})
		old := maps.Clone(all)
		for name := range all {
			if name[len("clickhouse/"):][:4] > format4(n) {
				delete(old, name)
			}
		}
		if err := s.migrate(t.Context(), old); err != nil {
			t.Fatalf("up to %d: %v", n, err)
		}
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatalf("from %d: %v", n, err)
		}
	}
}

func format4(n int) string { return string([]byte{'0', '0', byte('0' + n/10), byte('0' + n%10)}) }

func TestMigrateRefuses(t *testing.T) {
	s := openForTest(t, Config{})
	newer := embedded(t)
	newer["clickhouse/"+format4(len(newer)+1)+"_later.sql"] = &fstest.MapFile{Data: []byte("CREATE TABLE IF NOT EXISTS {{.Local \"later\"}}{{.OnCluster}} (x UInt8)\nENGINE = {{.Engine \"MergeTree\"}} ORDER BY x;\n")}
	if err := s.migrate(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "is of a newer version of tracer") {
		t.Errorf("a newer database: %v", err)
	}
	changed := embedded(t)
	for name, f := range changed {
		f.Data = append(f.Data, "-- changed\n"...)
		changed[name] = f
	}
	if err := s.migrate(t.Context(), changed); err == nil {
		t.Error("changed migrations were accepted")
	}
	gap := embedded(t)
	delete(gap, "clickhouse/0002_dns.sql")
	if _, err := migrations(gap); err == nil || !strings.Contains(err.Error(), "without gaps") {
		t.Errorf("a gap in the numbers: %v", err)
	}
}

// TestClusterForm lets the engine parse the statements for a cluster, which it cannot run.
func TestClusterForm(t *testing.T) {
	s := openForTest(t, Config{})
	d := dialect{Database: "tracer", cluster: "soc"}
	list := d.journal()
	known, err := migrations(schemas.ClickHouse)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range known {
		statements, err := m.statements(d)
		if err != nil {
			t.Fatal(err)
		}
		if len(statements) != 2 || !strings.Contains(statements[0], "ON CLUSTER `soc`") || !strings.Contains(statements[0], "ENGINE = Replicated") || !strings.Contains(statements[1], "ENGINE = Distributed('soc', 'tracer',") {
			t.Errorf("migration %s for a cluster:\n%s", m.name, strings.Join(statements, "\n\n"))
		}
		list = append(list, statements...)
	}
	for _, sql := range list {
		if err := s.exec(t.Context(), "EXPLAIN AST "+sql); err != nil {
			t.Errorf("%v in\n%s", err, sql)
		}
	}
}

func TestParameter(t *testing.T) {
	s := openForTest(t, Config{})
	hostile := []string{"", "a", "it's", `back\slash`, "tab\tnew\nline\r", "nul\x00", `\N`, "']) OR 1", "ü\xff"}
	read := func(sql, value string) string {
		t.Helper()
		resp, err := s.post(t.Context(), "", sql, map[string]string{"param_v": value, "default_format": "RowBinary"}, nil)
		if err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		defer resp.Body.Close()
		var b strings.Builder
		if err := resp.Write(&b); err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(b.String(), "\r\n\r\n")
		return body
	}
	for _, v := range hostile {
		if got := read("SELECT {v:String}", parameter(v)); got != string(rune(len(v)))+v {
			t.Errorf("%q came back as %q", v, got)
		}
	}
	want := string(rune(len(hostile)))
	for _, v := range hostile {
		want += string(rune(len(v))) + v
	}
	if got := read("SELECT {v:Array(String)}", parameter(hostile)); got != want {
		t.Errorf("list came back as %q, want %q", got, want)
	}
}

// refusing answers the first requests of a kind with an error, then lets all through.
type refusing struct {
	next http.RoundTripper
	left int
	fail func(*http.Request) (*http.Response, error)
}

func (r *refusing) RoundTrip(req *http.Request) (*http.Response, error) {
	if r.left > 0 && strings.Contains(req.URL.RawQuery, "INSERT") {
		r.left--
		return r.fail(req)
	}
	return r.next.RoundTrip(req)
}

// recorder keeps the messages of a log.
type recorder struct {
	slog.Handler
	text *strings.Builder
}

func newRecorder() recorder {
	b := new(strings.Builder)
	return recorder{slog.NewTextHandler(b, nil), b}
}
