package tracer_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// upCase is what the API tells of a case.
type upCase struct {
	ID     string `json:"case_id"`
	Title  string `json:"title"`
	Inputs []struct {
		Names []string `json:"names"`
	} `json:"inputs"`
	Packets uint64 `json:"packets"`
}

// upCases asks the API for its cases until there are n of them.
func upCases(t testing.TB, p *process, address string, n int) []upCase {
	t.Helper()
	var list struct{ Cases []upCase }
	for deadline := time.Now().Add(25 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if p.ended() {
			t.Fatalf("ended by itself:\n%s", p.stderr.String())
		}
		code, body := get(t, address+"/api/v1/cases")
		list.Cases = nil
		if err := json.Unmarshal(body, &list); code != http.StatusOK || err != nil {
			t.Fatalf("the API answers %d %s: %v", code, body, err)
		}
		if len(list.Cases) >= n {
			return list.Cases
		}
	}
	t.Fatalf("%d cases, want %d:\n%s", len(list.Cases), n, p.stderr.String())
	return nil
}

func get(t testing.TB, url string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// terminate is SIGTERM, waited for; it gives the exit status.
func (p *process) terminate(t testing.TB, within time.Duration) int {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(within):
		t.Fatalf("still there %s after SIGTERM", within)
	}
	return p.ProcessState.ExitCode()
}

// The whole system on one machine: captures that appear in the inbox become cases, the other
// commands find the running process through its data folder, and a restart does nothing twice.
func TestE2EUp(t *testing.T) {
	needLibrary(t)
	dir := t.TempDir()
	data, port := filepath.Join(dir, "data"), freePort(t)
	inbox, address := filepath.Join(data, "inbox"), "http://127.0.0.1:"+port
	args := []string{"up", "--data", data, "--listen", "127.0.0.1:" + port}
	up := start(t, nil, args...)
	waitPort(t, port, up)

	// Written in pieces, and moved in as a folder: two sets, or one if they settle together.
	first := capture(30, 1_700_000_000)
	f, err := os.Create(filepath.Join(inbox, "first.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	for piece := first; len(piece) > 0; piece = piece[min(len(piece), 800):] {
		if _, err := f.Write(piece[:min(len(piece), 800)]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	cases := upCases(t, up, address, 1)
	if cases[0].Title != "first.pcap" || cases[0].Packets != 30 {
		t.Errorf("the case of a file written in pieces is %+v", cases[0])
	}
	write(t, filepath.Join(dir, "monday", "second.pcap"), capture(20, 1_700_100_000))
	write(t, filepath.Join(dir, "monday", "third.pcap"), capture(10, 1_700_200_000))
	if err := os.Rename(filepath.Join(dir, "monday"), filepath.Join(inbox, "monday")); err != nil {
		t.Fatal(err)
	}
	upCases(t, up, address, 2)

	// The other commands, while it runs.
	stdout, _ := mustTracer(t, 0, "query", "--data", data, "SELECT count() AS n FROM flow")
	if strings.TrimSpace(stdout) != `{"n":60}` {
		t.Errorf("query of the running system prints %s", stdout)
	}
	write(t, filepath.Join(dir, "fourth.pcap"), capture(5, 1_700_300_000))
	stdout, _ = mustTracer(t, 0, "case", "open", "--wait", "--data", data, filepath.Join(dir, "fourth.pcap"))
	opened := strings.Fields(stdout)
	if len(opened) != 2 {
		t.Fatalf("case open printed %q", stdout)
	}
	if _, err := os.Stat(filepath.Join(opened[1], "report.html")); err != nil {
		t.Error(err)
	}
	stdout, _ = mustTracer(t, 0, "case", "list", "--data", data)
	for _, s := range []string{"first.pcap", "second.pcap and third.pcap", "fourth.pcap", opened[0]} {
		if !strings.Contains(stdout, s) {
			t.Errorf("case list does not name %s:\n%s", s, stdout)
		}
	}
	mustTracer(t, 0, "bus", "lag", "--data", data)
	mustTracer(t, 0, "dlq", "list", "--data", data)

	// Nobody else gets the folder or the port.
	holder := fmt.Sprintf("in use by process %d", up.Process.Pid)
	for _, tc := range []struct {
		want string
		args []string
	}{
		{holder, []string{"investigate", "--data", data, "--out", filepath.Join(dir, "out"), filepath.Join(dir, "fourth.pcap")}},
		{holder, []string{"up", "--data", data, "--listen", "127.0.0.1:" + freePort(t)}},
		{"127.0.0.1:" + port + " cannot be listened at", []string{"up", "--data", filepath.Join(dir, "other"), "--listen", "127.0.0.1:" + port}},
		{"127.0.0.1:" + port + " cannot be listened at", []string{"up", "--data", filepath.Join(dir, "other"), "--listen", "127.0.0.1:" + freePort(t), "--bus-listen", "127.0.0.1:" + port}},
	} {
		begin := time.Now()
		code, stdout, stderr := tracer(t, tc.args...)
		oneSentence(t, code, stdout, stderr, tc.want)
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("%s: refused after %s", strings.Join(tc.args, " "), took)
		}
	}

	if code := up.terminate(t, 15*time.Second); code != 0 {
		t.Errorf("exit status %d after SIGTERM:\n%s", code, up.stderr.String())
	}
	if _, err := os.Stat(filepath.Join(data, "endpoints.json")); err == nil {
		t.Error("the offer of the bus and the store outlives the process")
	}
	before := modified(t, filepath.Join(data, "cases"))
	up = start(t, nil, args...)
	waitPort(t, port, up)
	write(t, filepath.Join(inbox, "fifth.pcap"), capture(7, 1_700_400_000))
	for _, c := range upCases(t, up, address, 4) {
		if code, body := get(t, address+"/cases/"+c.ID+"/"); code != http.StatusOK || !strings.Contains(string(body), c.Title) {
			t.Errorf("the report of %s answers %d", c.Title, code)
		}
		if c.Title == "fifth.pcap" && len(c.Inputs) != 1 {
			t.Errorf("what the inbox held before the restart was taken again: %+v", c)
		}
	}
	for path, at := range before {
		if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(at) {
			t.Errorf("%s was written again by the restart (%v)", path, err)
		}
	}
	if code := up.terminate(t, 15*time.Second); code != 0 {
		t.Errorf("exit status %d after SIGTERM:\n%s", code, up.stderr.String())
	}
	stdout, _ = mustTracer(t, 0, "verify", data)
	if !strings.Contains(stdout, "everything holds") {
		t.Errorf("verify says: %s", stdout)
	}
	mustTracer(t, 0, "query", "--data", data, "SELECT 1")
}

// modified gives the time of change of every report below a folder.
func modified(t testing.TB, dir string) map[string]time.Time {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "report.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no reports below %s: %v", dir, err)
	}
	times := map[string]time.Time{}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		times[f] = info.ModTime()
	}
	return times
}
