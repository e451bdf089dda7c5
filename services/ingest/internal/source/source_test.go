package source_test

import (
	"encoding/csv"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tracer-framework/tracer/pkg/testkit"
	"github.com/tracer-framework/tracer/services/ingest/internal/source"
)

// accepted holds captures whose packet count differs from the peer's, with the reason.
var accepted = map[string]string{
	"ndpi/pcap/fuzz-2021-10-13.pcap": "its only packet claims 524501 bytes, more than any capture holds in one packet",
}

// TestPeerCounts compares the number of packets with what capinfos says of every capture.
func TestPeerCounts(t *testing.T) {
	for _, folder := range []string{"conn", "attacks", "fingerprints"} {
		dir := testkit.Data(t, folder)
		f, err := os.Open(filepath.Join(dir, "peer-tshark", "captures.tsv"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c := csv.NewReader(f)
		c.Comma, c.LazyQuotes, c.FieldsPerRecord = '\t', true, -1
		rows, err := c.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		good, all := 0, 0
		for _, row := range rows[1:] {
			want, err := strconv.ParseUint(row[3], 10, 64)
			if err != nil {
				continue
			}
			if !strings.HasPrefix(row[1], "pcap") && !strings.HasPrefix(row[1], "nsecpcap") && !strings.HasPrefix(row[1], "modpcap") {
				t.Logf("%s: %s is not read", row[0], row[1])
				continue
			}
			all++
			n, res, err := count(filepath.Join(dir, row[0]))
			if err != nil {
				t.Errorf("%s/%s: %v", folder, row[0], err)
				continue
			}
			if n != want {
				if accepted[row[0]] == "" {
					t.Errorf("%s/%s: %d packets, peer has %d; problems %q", folder, row[0], n, want, res.Problems)
				}
				continue
			}
			good++
		}
		t.Logf("%s: packet counts of %d of %d captures as the peer's", folder, good, all)
	}
}

func count(path string) (uint64, source.Result, error) {
	r, err := source.Open(path, math.MaxInt64)
	if err != nil {
		return 0, source.Result{}, err
	}
	var p source.Packet
	var n uint64
	for r.Next(&p) {
		n++
	}
	res, err := r.Close()
	return n, res, err
}
