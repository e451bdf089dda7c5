package detect

import (
	"bufio"
	"compress/gzip"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tracer-framework/tracer/pkg/testkit"
)

// zeekRows reads a Zeek log in TSV form, plain or gzip.
func zeekRows(t *testing.T, path string, row func(map[string]string)) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		r = z
	}
	var names []string
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		fields := strings.Split(sc.Text(), "\t")
		switch {
		case fields[0] == "#fields":
			names = fields[1:]
		case !strings.HasPrefix(fields[0], "#"):
			m := map[string]string{}
			for i, n := range names[:min(len(names), len(fields))] {
				m[n] = fields[i]
			}
			row(m)
		}
	}
}

type connection struct {
	ts    int64
	bytes float64
	uid   string
}

// score sorts the connections by time and scores those within the last day of the data. RITA
// keeps its lists by the hour, so those of the whole hour in which the day begins count.
func score(t *testing.T, c []connection, first, last int64) (RITAScore, int) {
	t.Helper()
	slices.SortFunc(c, func(a, b connection) int { return int(a.ts - b.ts) })
	first = max(first, last-86400)
	var ts []int64
	var sizes []float64
	for _, x := range c {
		if x.ts >= first-first%3600 && x.ts <= last {
			ts, sizes = append(ts, x.ts), append(sizes, x.bytes)
		}
	}
	s, ok := RITA(ts, sizes, first, last)
	if !ok {
		t.Fatalf("no score for %d connections", len(ts))
	}
	return s, len(ts)
}

func seconds(s string) int64 {
	f, _ := strconv.ParseFloat(s, 64)
	return int64(f)
}

// TestConformanceRITALogs scores pairs of real Zeek logs whose scores RITA's integration
// tests state.
func TestConformanceRITALogs(t *testing.T) {
	t.Run("requests without a Host header", func(t *testing.T) {
		const orig, resp = "73.54.23.243", "64.225.56.201"
		missing := map[string]bool{}
		var conns []connection
		var first, last int64 = math.MaxInt64, 0
		logs, err := filepath.Glob(filepath.Join(testkit.Data(t, "zeek", "rita", "missing_host"), "*", "*.log.gz"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range logs {
			switch kind, _, _ := strings.Cut(filepath.Base(path), "."); kind {
			case "http":
				zeekRows(t, path, func(m map[string]string) {
					if m["id.orig_h"] == orig && m["id.resp_h"] == resp && m["host"] == "-" {
						missing[m["uid"]] = true
					}
				})
			case "conn":
				zeekRows(t, path, func(m map[string]string) {
					ts := seconds(m["ts"])
					first, last = min(first, ts), max(last, ts)
					if m["id.orig_h"] == orig && m["id.resp_h"] == resp && !strings.HasPrefix(m["proto"], "icmp") {
						b, _ := strconv.ParseFloat(m["orig_ip_bytes"], 64)
						conns = append(conns, connection{ts, b, m["uid"]})
					}
				})
			}
		}
		conns = slices.DeleteFunc(conns, func(c connection) bool { return missing[c.uid] })
		s, n := score(t, conns, first, last)
		if n != 331 || math.Abs(s.Score-0.963) > 0.001 {
			t.Errorf("%d connections, score %+v; RITA has 331 and 0.963", n, s)
		}
	})
	t.Run("through a proxy", func(t *testing.T) {
		dir := testkit.Data(t, "zeek", "rita", "proxy")
		names := map[string]string{}
		zeekRows(t, filepath.Join(dir, "http.log"), func(m map[string]string) {
			if m["method"] == "CONNECT" {
				host, _, _ := strings.Cut(m["host"], ":")
				names[m["uid"]] = host
			}
		})
		conns := map[string][]connection{}
		var first, last int64 = math.MaxInt64, 0
		zeekRows(t, filepath.Join(dir, "conn.log"), func(m map[string]string) {
			ts := seconds(m["ts"])
			first, last = min(first, ts), max(last, ts)
			if name := names[m["uid"]]; name != "" && m["id.orig_h"] == "10.136.0.18" {
				b, _ := strconv.ParseFloat(m["orig_ip_bytes"], 64)
				conns[name] = append(conns[name], connection{ts, b, m["uid"]})
			}
		})
		for _, want := range []struct {
			name                     string
			count                    int
			score, ts, ds, dur, hist float64
		}{
			{"www.honestimnotevil.com", 357, 0.979, 0.921, 0.995, 1, 1},
			{"www.google.com", 6, 0.586, 0.48, 0.865, 1, 0},
		} {
			s, n := score(t, conns[want.name], first, last)
			const tolerance = 0.05 // RITA's own tests allow as much
			if n != want.count || math.Abs(s.Score-want.score) > tolerance || math.Abs(s.TS-want.ts) > tolerance ||
				math.Abs(s.DS-want.ds) > tolerance || math.Abs(s.Dur-want.dur) > tolerance || math.Abs(s.Hist-want.hist) > tolerance {
				t.Errorf("%s: %d connections, %+v; want %+v", want.name, n, s, want)
			} else {
				t.Logf("%s: %.3f, RITA has %.3f", want.name, s.Score, want.score)
			}
		}
	})
}
