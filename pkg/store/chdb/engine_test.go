package chdb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tracer-framework/tracer/pkg/store/chdb"
	"github.com/tracer-framework/tracer/pkg/testkit"
)

// TestMain lets the test binary act as another process, see child.
func TestMain(m *testing.M) {
	if role := os.Getenv("TRACER_TEST_CHILD"); role != "" {
		if err := roles[role](os.Args[1:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var roles = map[string]func([]string) error{"open": childOpen, "insert": childInsert, "count": childCount, "ask": childAsk}

// child runs a role in a process of its own.
func child(role string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "TRACER_TEST_CHILD="+role)
	return cmd
}

// answer is what a statement gave.
type answer struct {
	status int
	code   string
	text   string
}

// ask sends a statement with URL parameters.
func ask(t testing.TB, rt http.RoundTripper, sql string, params ...string) answer {
	t.Helper()
	a, err := send(t.Context(), rt, sql, "", params...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return a
}

func send(ctx context.Context, rt http.RoundTripper, sql, data string, params ...string) (answer, error) {
	q := url.Values{}
	for i := 0; i < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	body := sql
	if data != "" {
		q.Set("query", sql)
		body = data
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://embedded/?"+q.Encode(), strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get("X-ClickHouse-Exception-Code"), string(text)}, err
}

func want(t *testing.T, got answer, text string) {
	t.Helper()
	if got.status != 200 || got.text != text {
		t.Errorf("answer %d %q, want %q", got.status, got.text, text)
	}
}

func refused(t *testing.T, got answer, code string) {
	t.Helper()
	if got.status == 200 || got.code != code {
		t.Errorf("answer %d, code %s, %q; want code %s", got.status, got.code, got.text, code)
	}
}

func TestStatements(t *testing.T) {
	rt := testkit.Engine(t).Transport()
	ask(t, rt, "CREATE DATABASE st")
	in := func(sql string) answer { return ask(t, rt, sql, "database", "st") }
	want(t, in("CREATE TABLE a (x UInt32, s String) ENGINE = MergeTree ORDER BY x"), "")
	want(t, in("INSERT INTO a SELECT number, toString(number) FROM numbers(10)"), "")
	if got, err := send(t.Context(), rt, "INSERT INTO st.a FORMAT CSV", "100,\"x\"\n101,\"y\"\n"); err != nil || got.status != 200 {
		t.Errorf("insert: %+v %v", got, err)
	}
	want(t, in("SELECT count(), max(s) FROM a"), "12\ty\n")
	want(t, in("SELECT * FROM a WHERE x > 1000"), "")
	want(t, in("EXISTS TABLE a"), "1\n")
	want(t, ask(t, rt, "SELECT {x:UInt8} + {y:UInt8}, {s:String}", "param_x", "1", "param_y", "2", "param_s", `a\tb\\`), "3\ta\\tb\\\\\n")
	refused(t, in("SELECT * FROM nosuch"), "60")
	refused(t, in("SELEC 1 FROM"), "62")
	refused(t, ask(t, rt, "SELECT 1", "nosuchsetting", "1"), "115")
	refused(t, ask(t, rt, "SELECT 1", "not a setting", "1"), "36")
	refused(t, in("INSERT INTO a VALUES (1, 'x')"), "36")
	refused(t, in("SET max_threads = 1"), "36")
	refused(t, in("SELECT 1; SELECT 2"), "62")

	// Statements that come together are not run, not even the first.
	refused(t, in("CREATE TABLE b (x UInt8) ENGINE = Memory; CREATE TABLE c (x UInt8) ENGINE = Memory"), "62")
	refused(t, in("CREATE TABLE b (x UInt8) ENGINE = Memory; not a statement"), "62")
	want(t, in("EXISTS TABLE b"), "0\n")

	// Rows whose end is missing are not stored.
	body := io.MultiReader(strings.NewReader("200,\"z\"\n"), failing{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://embedded/?query="+url.QueryEscape("INSERT INTO st.a FORMAT CSV"), body)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := rt.RoundTrip(req); err == nil {
		resp.Body.Close()
		t.Errorf("half a body was answered with %d", resp.StatusCode)
	}
	want(t, in("SELECT count() FROM a WHERE x = 200"), "0\n")
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("connection lost") }

// TestInsertLeavesStdinAlone: the engine would read rows that are missing from there.
func TestInsertLeavesStdinAlone(t *testing.T) {
	rt := testkit.Engine(t).Transport()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stdin
	os.Stdin = r
	defer func() { os.Stdin = old }()
	if _, err := w.WriteString("7\n"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	ask(t, rt, "CREATE DATABASE stdin")
	ask(t, rt, "CREATE TABLE stdin.a (x UInt32) ENGINE = MergeTree ORDER BY x")
	for _, sql := range []string{"INSERT INTO stdin.a FORMAT CSV", "INSERT INTO stdin.a VALUES", "INSERT INTO stdin.a", "INSERT INTO stdin.a (x)"} {
		refused(t, ask(t, rt, sql), "36")
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "7\n" {
		t.Errorf("standard input holds %q after the inserts (%v)", b, err)
	}
	want(t, ask(t, rt, "SELECT count() FROM stdin.a"), "0\n")
}

// TestSettingsStayWithTheRequest runs one request after the other on few sessions.
func TestSettingsStayWithTheRequest(t *testing.T) {
	rt := testkit.Engine(t).Transport()
	def := ask(t, rt, "SELECT getSetting('max_block_size')").text
	for range 8 {
		want(t, ask(t, rt, "SELECT getSetting('max_block_size')", "max_block_size", "77"), "77\n")
		want(t, ask(t, rt, "SELECT getSetting('max_block_size')"), def)
		want(t, ask(t, rt, "SELECT currentDatabase()", "database", "system"), "system\n")
	}
	want(t, ask(t, rt, "SELECT getSetting('async_insert')"), "false\n")
	want(t, ask(t, rt, "SELECT value FROM system.server_settings WHERE name = 'mark_cache_size'"), "268435456\n")
}

func TestFormats(t *testing.T) {
	rt := testkit.Engine(t).Transport()
	const n = 200000
	for _, format := range []string{"JSONEachRow", "CSV", "CSVWithNames", "JSON", "TabSeparated"} {
		for _, params := range [][]string{{"default_format", format}, {"default_format", format, "readonly", "1"}} {
			got := ask(t, rt, fmt.Sprint("SELECT number FROM numbers(", n, ")"), params...)
			lines := strings.Count(got.text, "\n")
			switch {
			case got.status != 200:
				t.Errorf("%s: %+v", format, got)
			case format == "CSVWithNames":
				if lines != n+1 || strings.Count(got.text, "number") != 1 {
					t.Errorf("%s: %d lines", format, lines)
				}
			case format == "JSON":
				if strings.Count(got.text, `"meta"`) != 1 || !strings.Contains(got.text, fmt.Sprint(`"rows": `, n)) {
					t.Errorf("%s: not one document", format)
				}
			case lines != n:
				t.Errorf("%s: %d lines", format, lines)
			}
		}
	}
	if got := ask(t, rt, "SELECT number FROM numbers(200000) FORMAT JSON"); strings.Count(got.text, `"meta"`) != 1 {
		t.Error("FORMAT in the statement: not one document")
	}
}

func TestErrorAfterRows(t *testing.T) {
	rt := testkit.Engine(t).Transport()
	got := ask(t, rt, "SELECT throwIf(number = 50000) FROM numbers(100000)", "max_block_size", "1000")
	if got.status != 200 || !strings.HasPrefix(got.text, "0\n0\n") || !strings.HasSuffix(got.text, "\r\n__exception__\r\n") || !strings.Contains(got.text, "Code: 395.") {
		t.Errorf("answer %d, %d bytes ending in %q", got.status, len(got.text), got.text[max(0, len(got.text)-300):])
	}
}

func TestReadOnly(t *testing.T) {
	rt := testkit.Engine(t).Transport()
	ask(t, rt, "CREATE DATABASE ro")
	ask(t, rt, "CREATE TABLE ro.a (x UInt32) ENGINE = MergeTree ORDER BY x")
	read := func(sql string) answer { return ask(t, rt, sql, "readonly", "1", "database", "ro", "max_threads", "1") }
	want(t, read("SELECT count() FROM a"), "0\n")
	want(t, read("SHOW TABLES"), "a\n")
	want(t, read("SELECT 1;\n"), "1\n")
	want(t, read("-- all of it\nFROM a SELECT count() -- end"), "0\n")
	want(t, read("EXISTS a FORMAT CSV;"), "1\n")
	want(t, read("SELECT 1 FORMAT JSONCompactEachRow;"), "[1]\n")
	out := filepath.Join(t.TempDir(), "out")
	for _, sql := range []string{
		"INSERT INTO a SELECT 1",
		"CREATE TABLE b (x UInt8) ENGINE = Memory",
		"CREATE TEMPORARY TABLE b (x UInt8)",
		"DROP TABLE a",
		"ALTER TABLE a DELETE WHERE 1",
		"SYSTEM STOP MERGES",
		"KILL QUERY WHERE 1",
		"SELECT 1 INTO OUTFILE '" + out + "'",
		"SELECT 1 SETTINGS readonly = 0",
		"SELECT 1 SETTINGS max_threads = 2",
		"SELECT * FROM file('/etc/passwd', 'LineAsString')",
		"SELECT file('/etc/passwd')",
		"SELECT * FROM `/etc/passwd`",
		"SELECT * FROM default.`/etc/passwd`",
		"SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
		"SELECT * FROM s3('http://127.0.0.1:1/bucket/key', 'CSV')",
		"SELECT * FROM sqlite('/etc/passwd', 'a')",
		"SELECT * FROM remote('127.0.0.1:1', system.one)",
		"SELECT * FROM executable('id', 'TSV', 'a String')",
	} {
		if got := read(sql); got.code != "164" && got.code != "60" { // unknown table
			t.Errorf("%s: %+v", sql, got)
		}
	}
	if got := read("SELECT 1; SELECT 2"); got.status == 200 {
		t.Errorf("two statements: %+v", got)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a file was written")
	}
	// The pool for the others is as before.
	want(t, ask(t, rt, "INSERT INTO ro.a SELECT 1"), "")
}

func TestCancel(t *testing.T) {
	rt := testkit.Engine(t).Transport()
	ask(t, rt, "CREATE DATABASE cancel")
	ask(t, rt, "CREATE TABLE cancel.a (x UInt64) ENGINE = MergeTree ORDER BY x")
	for name, sql := range map[string]string{
		"select": "SELECT sum(cityHash64(number)) FROM numbers(1000000000000)",
		"stream": "SELECT number FROM numbers(1000000000000) WHERE number % 10000000 = 0",
		"insert": "INSERT INTO cancel.a SELECT cityHash64(number) FROM numbers(1000000000000)",
	} {
		for _, after := range []time.Duration{0, time.Millisecond, 200 * time.Millisecond} {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			start := time.Now()
			_, err := send(ctx, rt, sql, "")
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s after %v: error %v", name, after, err)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("%s after %v: took %v", name, after, took)
			}
		}
	}
	// What was cancelled before does not hit what comes after.
	for range 20 {
		want(t, ask(t, rt, "SELECT 1"), "1\n")
	}
	// A result that is not read to its end gives its session back.
	for range 12 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://embedded/", strings.NewReader("SELECT number FROM numbers(100000000)"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
}

// TestMixed runs inserts, queries and cancelled queries side by side on few sessions.
func TestMixed(t *testing.T) {
	rt := testkit.Engine(t).Transport()
	ask(t, rt, "CREATE DATABASE mixed")
	ask(t, rt, "CREATE TABLE mixed.a (x UInt64) ENGINE = MergeTree ORDER BY x")
	var wg sync.WaitGroup
	var stored sync.Map
	for w := range 6 {
		wg.Go(func() {
			for i := range 15 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%4)*5*time.Millisecond)
				_, err := send(ctx, rt, "SELECT sum(cityHash64(number)) FROM numbers(1000000000000)", "")
				cancel()
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("cancelled query: %v", err)
				}
				v := strconv.Itoa(w*1000 + i)
				if got, err := send(t.Context(), rt, "INSERT INTO mixed.a FORMAT CSV", v+"\n"); err != nil || got.status != 200 {
					t.Errorf("insert: %+v %v", got, err)
				} else {
					stored.Store(v, true)
				}
				if got, err := send(t.Context(), rt, "SELECT count() FROM mixed.a WHERE x = "+v, ""); err != nil || got.text != "1\n" {
					t.Errorf("count: %+v %v", got, err)
				}
			}
		})
	}
	wg.Wait()
	want(t, ask(t, rt, "SELECT count() FROM mixed.a"), "90\n")
}

func TestServe(t *testing.T) {
	e := testkit.Engine(t)
	srv := httptest.NewUnstartedServer(nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- e.Serve(ctx, srv.Listener, "right") }()
	base := "http://" + srv.Listener.Addr().String()
	get := func(user *url.Userinfo, key string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/?default_format=CSV", strings.NewReader("SELECT 41 + 1"))
		if err != nil {
			t.Fatal(err)
		}
		req.URL.User = user
		if key != "" {
			req.Header.Set("X-ClickHouse-Key", key)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	for _, c := range []struct {
		user *url.Userinfo
		key  string
		want int
	}{
		{nil, "", 403},
		{nil, "wrong", 403},
		{url.UserPassword("default", "wrong"), "right", 403},
		{url.UserPassword("right", ""), "", 403},
		{url.UserPassword("default", "right"), "", 200},
		{nil, "right", 200},
	} {
		if status, text := get(c.user, c.key); status != c.want || (status == 200) != (text == "42\n") {
			t.Errorf("%v %q: %d %q", c.user, c.key, status, text)
		}
	}
	// A client that goes away takes its query with it.
	gone, leave := context.WithTimeout(t.Context(), 300*time.Millisecond)
	req, err := http.NewRequestWithContext(gone, http.MethodPost, base, strings.NewReader("SELECT sum(cityHash64(number)) FROM numbers(1000000000000) -- left"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-ClickHouse-Key", "right")
	if _, err := http.DefaultClient.Do(req); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("query of a client that leaves: %v", err)
	}
	leave()
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if ask(t, e.Transport(), "SELECT count() FROM system.processes WHERE query LIKE '%-- le%ft'").text == "0\n" {
			break
		}
		if time.Since(start) > 10*time.Second {
			t.Fatal("the query goes on without its client")
		}
	}
	out, err := child("ask", "http://default:right@"+srv.Listener.Addr().String()+"/served").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("stored and read 3 flows")) {
		t.Errorf("second process: %v\n%s", err, out)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := e.Serve(t.Context(), nil, ""); err == nil {
		t.Error("serving without a token")
	}
}

func TestLibraryIsChecked(t *testing.T) {
	testkit.Engine(t)
	fake := filepath.Join(t.TempDir(), "libchdb.so")
	if err := os.WriteFile(fake, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := chdb.Open(chdb.Config{Lib: fake, Path: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "npm ci --ignore-scripts") {
		t.Errorf("a wrong library: %v", err)
	}
	t.Setenv("TRACER_LIBCHDB", filepath.Join(t.TempDir(), "absent"))
	if _, err := chdb.Library(); err == nil || !strings.Contains(err.Error(), "TRACER_LIBCHDB") {
		t.Errorf("a library that is not there: %v", err)
	}
	if _, err := chdb.Open(chdb.Config{Path: t.TempDir(), AllowUnknownLib: true}); err == nil {
		t.Error("a second engine in one process")
	}
}

// TestLock: a process that finds the folder in use says by whom.
func TestLock(t *testing.T) {
	testkit.Engine(t)
	dir := filepath.Join(t.TempDir(), "data")
	holder := child("open", dir, "wait")
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, len("open\n"))); err != nil {
		t.Fatal(err)
	}
	out, err := child("open", dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), fmt.Sprintf("in use by process %d", holder.Process.Pid)) {
		t.Errorf("second open: %v\n%s", err, out)
	}
	in.Close()
	if err := holder.Wait(); err != nil {
		t.Errorf("holder: %v", err)
	}
	if out, err := child("open", dir).CombinedOutput(); err != nil {
		t.Errorf("open after the holder has gone: %v\n%s", err, out)
	}
}
