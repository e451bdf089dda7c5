package tracer_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// capture is a pcap of n packets, a SYN a second from the given time on.
func capture(n int, from uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0)
	for i := range n {
		b = binary.LittleEndian.AppendUint32(b, from+uint32(i))
		b = append(b, 0, 0, 0, 0)
		frame := syn(uint16(40000 + i))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
		b = append(b, frame...)
	}
	return b
}

// syn is an Ethernet frame with a TCP SYN from the given port.
func syn(port uint16) []byte {
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}
	b = append(b, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2)
	b = binary.BigEndian.AppendUint16(b, port)
	return append(b, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 4, 0, 0, 0, 0, 0)
}

// beforeEpoch is a pcapng of one packet, ten thousand million seconds before 1970.
func beforeEpoch() []byte {
	block := func(kind uint32, body []byte) []byte {
		body = append(body, make([]byte, -len(body)&3)...)
		b := binary.LittleEndian.AppendUint32(nil, kind)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(body)+12))
		b = append(b, body...)
		return binary.LittleEndian.AppendUint32(b, uint32(len(body)+12))
	}
	b := block(0x0a0d0d0a, []byte{0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255})
	offset := int64(-10_000_000_000)
	iface := binary.LittleEndian.AppendUint64([]byte{1, 0, 0, 0, 0, 0, 0, 0, 14, 0, 8, 0}, uint64(offset))
	b = append(b, block(1, append(iface, 0, 0, 0, 0))...)
	frame := syn(40000)
	packet := append(make([]byte, 12), byte(len(frame)), 0, 0, 0, byte(len(frame)), 0, 0, 0)
	return append(b, block(6, append(packet, frame...))...)
}

func squeezed(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b) // into memory
	_ = w.Close()
	return out.Bytes()
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Bad input and wrong usage: one sentence that says what and where, the exit status of the
// contract, and soon.
func TestBadUsage(t *testing.T) {
	dir := t.TempDir()
	good := capture(20, 1_700_000_000)
	random := []byte("\x28\xb5\x2f\xfd\xf1\x0e\x3b\x7c\x99\x50\x11\x90\x72\x18\x88\xff\xee\x02")
	for name, b := range map[string][]byte{
		"good.pcap": good, "empty.pcap": nil, "text.txt": []byte("hello, this is text"), "docs/a.txt": []byte("a"), "docs/b.txt": []byte("b"),
		"magic.pcap": append([]byte{0xde, 0xad, 0xbe, 0xef}, good[4:]...), "broken.pcap.zst": random, "broken.pcap.gz": []byte("\x1f\x8bno gzip at all"),
		"text.gz": squeezed([]byte("text in gzip")), "broken.yaml": []byte("id: [open\n"), "key.yaml": []byte("id: x\nbogus: 1\n"),
		"data/store/x": nil, "profile.yaml": []byte("id: x\nwhen: [1\n"),
	} {
		write(t, filepath.Join(dir, name), b)
	}
	if err := os.Mkdir(filepath.Join(dir, "nothing"), 0o750); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	port := freePort(t)
	for _, tc := range []struct {
		args string
		want string // part of the sentence
	}{
		{"investigate", "expected tracer investigate INPUT..."},
		{"investigate missing.pcap", "missing.pcap: no such file"},
		{"investigate good.pcap missing.pcap", "missing.pcap: no such file"},
		{"investigate nothing", "no files in nothing"},
		{"investigate docs", "docs/a.txt: byte 0: found 61, expected a pcap or pcapng header (and 1 more files)"},
		{"investigate empty.pcap", "empty.pcap: byte 0: empty, expected a pcap or pcapng header"},
		{"investigate text.txt", "text.txt: byte 0: found 68656c6c, expected"},
		{"investigate text.gz", "text.gz: byte 0: found 74657874, expected"},
		{"investigate magic.pcap", "magic.pcap: byte 0: found deadbeef, expected"},
		{"investigate broken.pcap.gz", "broken.pcap.gz: byte 0: damaged: gzip: invalid header"},
		{"investigate broken.pcap.zst", "broken.pcap.zst: byte 0: damaged: "},
		{"investigate -", "standard input: it is empty"},
		{"investigate - -", "named twice"},
		{"investigate --bogus good.pcap", "unknown flag: --bogus"},
		{"investigate --export pictures good.pcap", "--export pictures: expected flows"},
		{"investigate --data good.pcap/x good.pcap", "good.pcap: not a directory"},
		{"investigate --out good.pcap/x good.pcap", "good.pcap: not a directory"},
		{"investigate --out /proc/none good.pcap", "/proc/none: no such file"},
		{"bogus", `no command "bogus"`},
		{"profile bogus", `tracer profile has no command "bogus"`},
		{"profile test broken.yaml", "broken.yaml: line 1, column 5"},
		{"profile test key.yaml", `key.yaml: line 2, column 1: unknown field "bogus"`},
		{"profile test missing.yaml", "missing.yaml: no such file"},
		{"--config missing.yaml version", "missing.yaml: no such file"},
		{"--config broken.yaml version", "broken.yaml: line 1, column 5"},
		{"--config key.yaml version", `key.yaml: line 1: unknown key "id"`},
		{"--log-level loud version", "expected debug, info, warn or error"},
		{"verify nothing", "neither evidence.json"},
		{"verify missing", "missing: no such file"},
		{"verify good.pcap", "expected a folder"},
		{"run", "expected tracer run SERVICE..."},
		{"run bogus", `no service "bogus": expected some of ingest`},
		{"run archive", "store.dsn: expected the address of a ClickHouse"},
		{"run archive --bus nats://127.0.0.1:" + port, "store.dsn: expected the address of a ClickHouse"},
		{"run archive --store http://127.0.0.1:" + port, "bus.url: expected the address of a NATS server"},
		{"up --services bogus", `no service "bogus": expected all, none or some of`},
		{"up --listen 0.0.0.0:" + port, "expected a token"},
		{"query --data missing SELECT", "no store in missing"},
		{"query --format XML SELECT", "--format XML: expected one of"},
		{"case list --data missing", "no store in missing"},
		{"case open --data missing good.pcap", "no running system offers its bus in missing"},
		{"dlq list --data missing", "no bus in missing"},
		{"dlq show --data missing x", `"x": expected the number`},
		{"bus lag --data missing", "no bus in missing"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			begin := time.Now()
			code, stdout, stderr := tracer(t, strings.Fields(tc.args)...)
			if code == 2 && strings.Contains(stderr, "libchdb.so") {
				t.Skip("the embedded store is not installed")
			}
			oneSentence(t, code, stdout, stderr, tc.want)
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
	if _, err := os.Stat("missing"); err == nil {
		t.Error("a command that refused its data folder has made it")
	}
}

// oneSentence checks a refusal.
func oneSentence(t testing.TB, code int, stdout, stderr, want string) {
	t.Helper()
	if code != 2 || stdout != "" {
		t.Errorf("exit status %d, want 2; stdout %q", code, stdout)
	}
	if !strings.HasPrefix(stderr, "tracer: ") || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, want) {
		t.Errorf("stderr is %q, want one sentence with %q", stderr, want)
	}
}

// Damaged captures: what can be read is, what cannot is told with its place, the rest of the
// folder is not disturbed, and the exit status is 3.
func TestDamagedInput(t *testing.T) {
	needLibrary(t)
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	good := capture(20, 1_700_000_000)
	absurd := append(bytes.Clone(good), 1, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0xff, 0xff, 0xff, 0xf0, 0xff, 0xff, 0xff)
	for name, b := range map[string][]byte{
		"good.pcap": good, "same.pcap": good, "none.pcap": good[:24], "empty.pcap": nil, "notes.txt": []byte("text"),
		"absurd.pcap": absurd, "cut.pcap.gz": squeezed(good)[:150], "late.pcap": capture(5, 0xffffff00), "early.pcapng": beforeEpoch(),
	} {
		write(t, filepath.Join(in, name), b)
	}
	want := []string{
		"partly read: absurd.pcap: byte 1424: packet of 4294967280 bytes, expected at most 262144",
		"cut.pcap.gz: byte ", "early.pcapng: 1 packets have times before 1970",
	}
	for _, at := range []int{4, 23, 25, 39, 40, 41, 93, 95, 111, 700, 1423} {
		name := fmt.Sprintf("cut%d.pcap", at)
		write(t, filepath.Join(in, name), good[:at])
		place := at
		if at > 24 {
			place = 24 + (at-24)/70*70
		}
		want = append(want, fmt.Sprintf("partly read: %s: byte %d: file ends inside", name, place))
	}
	data, out := filepath.Join(dir, "data"), filepath.Join(dir, "out")
	stdout, stderr := mustTracer(t, 3, "investigate", "--data", data, "--out", out, in)
	for _, s := range want {
		if !strings.Contains(stdout, s) {
			t.Errorf("stdout does not tell %q:\n%s", s, stdout)
		}
	}
	for _, s := range []string{"empty.pcap: byte 0: empty", "no capture: notes.txt"} {
		if !strings.Contains(stderr, s) {
			t.Errorf("stderr does not tell %q:\n%s", s, stderr)
		}
	}
	if strings.Contains(stderr, "goroutine") || strings.Contains(stdout, "good.pcap: ") {
		t.Errorf("stdout:\n%s\nstderr:\n%s", stdout, stderr)
	}
	report, err := os.ReadFile(filepath.Join(out, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"2106-02-07", "good.pcap, same.pcap"} {
		if !strings.Contains(string(report), s) {
			t.Errorf("the report does not tell %q", s)
		}
	}
	if strings.Contains(string(report), "9999-12-31") {
		t.Error("a time before 1970 stands in the report as one of the year 9999")
	}

	// A named file that is no capture makes the result partial; the same file under one name
	// or two is read once.
	good1, text := filepath.Join(in, "good.pcap"), filepath.Join(in, "notes.txt")
	stdout, stderr = mustTracer(t, 3, "investigate", "--data", data, "--out", out, good1, text)
	if !strings.Contains(stdout, "20 packets, 20 flows") || !strings.Contains(stderr, "notes.txt: byte 0: found 74657874, expected") {
		t.Errorf("stdout:\n%s\nstderr:\n%s", stdout, stderr)
	}
	stdout, _ = mustTracer(t, 0, "investigate", "--data", data, "--out", out, good1, good1, filepath.Join(in, "same.pcap"))
	if !strings.Contains(stdout, "good.pcap and same.pcap\n20 packets, 20 flows") {
		t.Errorf("stdout:\n%s", stdout)
	}
	mustTracer(t, 0, "verify", data)

	for sql, want := range map[string]string{
		"SELECT 1; SELECT 2":                                "Multi-statements are not allowed",
		"INSERT INTO flow SELECT * FROM flow":               "only statements that read are allowed",
		"DROP TABLE flow":                                   "only statements that read are allowed",
		"SELECT * FROM file('/etc/passwd', 'LineAsString')": "leads outside of the tables",
		"SELEC 1":              "Syntax error: failed at position 7",
		"SELECT * FROM nosuch": "Unknown table expression identifier 'nosuch'",
		"":                     "empty query",
	} {
		code, stdout, stderr := tracer(t, "query", "--data", data, sql)
		oneSentence(t, code, stdout, stderr, want)
	}
	code, stdout, stderr := tracer(t, "dlq", "show", "--data", data, "1")
	oneSentence(t, code, stdout, stderr, "there is no message 1")
}
