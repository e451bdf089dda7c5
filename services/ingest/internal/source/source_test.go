package source_test

import (
	"encoding/binary"
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

// TestConformancePacketCounts compares the number of packets with what capinfos says of every capture.
func TestConformancePacketCounts(t *testing.T) {
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
				t.Errorf("%s/%s: %d packets, peer has %d; problems %q", folder, row[0], n, want, res.Problems)
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

// TestOldVersions reads a packet of 4 captured bytes of 60 in every order of the two lengths.
func TestOldVersions(t *testing.T) {
	for _, tc := range []struct {
		minor           uint16
		first, second   uint32
		captured, wired int
	}{
		{4, 4, 60, 4, 60},
		{3, 4, 60, 4, 60},
		{3, 60, 4, 4, 60},
		{2, 60, 4, 4, 60},
		{0, 60, 4, 4, 60},
	} {
		b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
		b = binary.LittleEndian.AppendUint16(b, 2)
		b = binary.LittleEndian.AppendUint16(b, tc.minor)
		for _, v := range []uint32{0, 0, 65535, 1, 1700000000, 0, tc.first, tc.second} {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		path := filepath.Join(t.TempDir(), "old.pcap")
		if err := os.WriteFile(path, append(b, 1, 2, 3, 4), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := source.Open(path, math.MaxInt64)
		if err != nil {
			t.Fatal(err)
		}
		var p source.Packet
		if !r.Next(&p) || len(p.Data) != tc.captured || int(p.WireLen) != tc.wired {
			t.Errorf("version 2.%d, lengths %d and %d: captured %d of %d bytes", tc.minor, tc.first, tc.second, len(p.Data), p.WireLen)
		}
		if _, err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}
