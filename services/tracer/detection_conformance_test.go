package tracer_test

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/pkg/testkit"
	"github.com/tracer-framework/tracer/services/fingerprint"
	"github.com/tracer-framework/tracer/services/ingest"
)

// label is one row of the reference list of attack captures.
type label struct {
	file, class, behaviour string
}

func labels(t *testing.T) []label {
	t.Helper()
	f, err := os.Open(testkit.Data(t, "attacks", "LABELS.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []label
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if c := strings.Split(sc.Text(), "\t"); len(c) > 3 && c[0] != "file" {
			out = append(out, label{c[0], c[1], c[2]})
		}
	}
	return out
}

// expected says which detector or profile must report a labelled behaviour at medium or
// above. Behaviours that are not listed need what is not read or measured: SMB, Kerberos,
// FTP, the payload of ICMP, the rhythm within one connection, repeated logins.
var expected = map[string][]string{
	"scan":                   {"horizontal_scan", "vertical_scan"},
	"syn scan":               {"vertical_scan"},
	"icmp scan":              {"horizontal_scan"},
	"beacon":                 {"beacon"},
	"long-connection":        {"long_connection"},
	"dns exfiltration":       {"dns_tunnel"},
	"dns anomalies":          {"dns_tunnel"},
	"zone transfer":          {"dns-zone-transfer"},
	"sql injection":          {"web-sql-injection"},
	"exploitation log4shell": {"log4shell-lookup", "java-class-download"},
	"exploitation":           {"log4shell-lookup", "java-class-download"},
	"c2 over TLS":            {"remote-access-tool-certificate"},
	"web attack":             {"web-command-injection", "web-cross-site-scripting", "web-path-traversal"},
	"download":               {"executable-from-address"},
}

// lowOnly are captures whose behaviour is shown too briefly for more than a line of low severity.
var lowOnly = map[string]string{
	"ndpi/pcap/dns-exf.pcap":                               "one single query",
	"ncsa-scan/445_scan.pcap":                              "nine hosts, from outside",
	"corelight/zeek-long-connections/long_connection.pcap": "less than two hours",
}

// detections reads one capture into the store and returns what is found in it.
func detections(t *testing.T, st *store.Store, set *fingerprint.ProfileSet, path string) (evidenceID string, found []model.Detection) {
	t.Helper()
	ctx := context.Background()
	ev, err := ingest.Read(ctx, path, ingest.DefaultConfig(), func(partition, n int, b *record.Batch) error {
		fingerprint.Fill(b)
		return st.Insert(ctx, fmt.Sprintf("%s-%d-%d", path, partition, n), b)
	})
	if err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	return ev.EvidenceID, detect(t, st, set, []string{ev.EvidenceID})
}

func detect(t *testing.T, st *store.Store, set *fingerprint.ProfileSet, ids []string) []model.Detection {
	t.Helper()
	found, err := fingerprint.Detect(context.Background(), st, fingerprint.DefaultConfig(), set, "case-conformance", "run", ids)
	if err != nil {
		t.Fatalf("detect in %d inputs: %v", len(ids), err)
	}
	return found
}

func shippedProfiles(t *testing.T) *fingerprint.ProfileSet {
	t.Helper()
	p, err := fingerprint.NewProfileParser(fingerprint.DefaultConfig().Networks())
	if err != nil {
		t.Fatal(err)
	}
	set, err := p.Load("")
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func grave(d model.Detection) bool {
	return d.Severity != model.SeverityInformational && d.Severity != model.SeverityLow
}

func kindOf(d model.Detection) string {
	if d.Profile != "" {
		return d.Profile
	}
	return d.Detector
}

// TestConformanceDetections runs the detectors over the labelled captures: each behaviour
// in the table must be found, and captures labelled benign must raise nothing at medium or
// above.
func TestConformanceDetections(t *testing.T) {
	root := testkit.Data(t, "attacks")
	st := testkit.Store(t)
	set := shippedProfiles(t)
	var found, wanted, benign, alarms int
	var ids []string
	var apart []model.Detection // of the captures one by one
	for _, l := range labels(t) {
		id, got := detections(t, st, set, filepath.Join(root, filepath.FromSlash(l.file)))
		ids = append(ids, id)
		apart = append(apart, got...)
		for _, d := range got {
			t.Logf("%s [%s]: %s %d %s: %s", l.file, l.behaviour, d.Severity, d.Confidence, kindOf(d), d.Why)
		}
		switch {
		case l.class == "benign":
			benign++
			for _, d := range got {
				if grave(d) {
					alarms++
					t.Errorf("false alarm in %s (%s): %s %s: %s", l.file, l.behaviour, d.Severity, kindOf(d), d.Why)
				}
			}
		case l.class == "attack" && expected[l.behaviour] != nil:
			wanted++
			ok := slices.ContainsFunc(got, func(d model.Detection) bool {
				return slices.Contains(expected[l.behaviour], kindOf(d)) && (grave(d) || lowOnly[l.file] != "")
			})
			if !ok {
				t.Errorf("missed in %s: %s; raised %d others", l.file, l.behaviour, len(got))
				continue
			}
			found++
		case l.class == "attack":
			kinds := map[string]int{}
			for _, d := range got {
				kinds[kindOf(d)+" "+d.Severity]++
			}
			t.Logf("%s (%s, not in the table): %v", l.file, l.behaviour, slices.Sorted(maps.Keys(kinds)))
		}
	}
	// All captures in one case: what was found in each must be found again, and the order of
	// the inputs must not change a byte.
	begun := time.Now()
	together := detect(t, st, set, ids)
	t.Logf("all %d captures in one case: %d detections in %s", len(ids), len(together), time.Since(begun).Round(time.Millisecond))
	for _, d := range apart {
		if grave(d) && !slices.ContainsFunc(together, func(x model.Detection) bool { return x.DetectionID == d.DetectionID && grave(x) }) {
			t.Errorf("found in one capture, not among all: %s %s", kindOf(d), d.Why)
		}
	}
	slices.Reverse(ids)
	if !reflect.DeepEqual(together, detect(t, st, set, ids)) {
		t.Error("the order of the inputs changed the detections")
	}
	t.Logf("recall %d of %d labelled behaviours; %d false alarms in %d benign captures", found, wanted, alarms, benign)
}

// TestConformanceFalseAlarms runs the detectors over hundreds of captures of ordinary
// programs, made to show one protocol each.
func TestConformanceFalseAlarms(t *testing.T) {
	if testing.Short() {
		t.Skip("reads hundreds of captures")
	}
	st := testkit.Store(t)
	set := shippedProfiles(t)
	// All of them in make conformance; make test takes every sixth.
	every := 6
	if os.Getenv("TRACER_CONFORMANCE") != "" {
		every = 1
	}
	var seen, captures, alarms int
	look := func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.Contains(filepath.Base(path), ".pcap") || strings.HasSuffix(path, ".out") {
			return err
		}
		if seen++; seen%every != 0 {
			return nil
		}
		captures++
		name := filepath.Base(path)
		_, found := detections(t, st, set, path)
		for _, d := range found {
			t.Logf("%s: %s %d %s: %s", name, d.Severity, d.Confidence, kindOf(d), d.Why)
			if grave(d) {
				alarms++
				t.Errorf("%s: %s %s: %s", name, d.Severity, kindOf(d), d.Why)
			}
		}
		return nil
	}
	for _, folder := range []string{"conn", "fingerprints"} {
		if err := filepath.WalkDir(testkit.Data(t, folder, "ndpi"), look); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d alarms in %d captures", alarms, captures)
}
