package communityid_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tracer-framework/tracer/pkg/testkit"
	"github.com/tracer-framework/tracer/services/ingest/internal/communityid"
	"github.com/tracer-framework/tracer/services/ingest/internal/decode"
	"github.com/tracer-framework/tracer/services/ingest/internal/source"
)

type row struct {
	Proto       uint8  `json:"proto"`
	Src         string `json:"saddr"`
	Dst         string `json:"daddr"`
	SrcPort     uint16 `json:"sport"`
	DstPort     uint16 `json:"dport"`
	CommunityID string `json:"communityid"`
}

// TestConformanceCommunityID computes every value of the specification's baselines, from the tuples
// listed there and from the packets they were made of.
func TestConformanceCommunityID(t *testing.T) {
	dir := testkit.Data(t, "fingerprints", "community-id")
	for _, c := range []struct {
		file  string
		seed  uint16
		plain bool
	}{{"baseline_deflt.json", 0, false}, {"baseline_seed1.json", 1, false}, {"baseline_nob64.json", 0, true}} {
		raw, err := os.ReadFile(filepath.Join(dir, "baseline", c.file))
		if err != nil {
			t.Fatal(err)
		}
		var rows []row
		if err := json.Unmarshal(raw, &rows); err != nil {
			t.Fatal(err)
		}
		wanted := map[string]bool{}
		for _, r := range rows {
			f := communityid.Flow{
				Src: netip.MustParseAddr(r.Src), Dst: netip.MustParseAddr(r.Dst),
				SrcPort: r.SrcPort, DstPort: r.DstPort, Proto: r.Proto,
			}
			if r.Proto == 1 || r.Proto == 58 {
				_, f.OneWay = decode.Opposite(r.Proto, uint8(r.SrcPort), uint8(r.DstPort))
			}
			if got := show(communityid.Append(nil, c.seed, f), c.plain); got != r.CommunityID {
				t.Errorf("%s: %+v: %s, want %s", c.file, f, got, r.CommunityID)
			}
			wanted[r.CommunityID] = true
		}
		seen := map[string]bool{}
		captures, err := filepath.Glob(filepath.Join(dir, "pcaps", "*.pcap"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range captures {
			r, err := source.Open(path, math.MaxInt64)
			if err != nil {
				t.Fatal(err)
			}
			var f source.Packet
			var p decode.Packet
			var d decode.Decoder
			for r.Next(&f) {
				if d.Decode(&f, &p) {
					seen[show(communityid.Append(nil, c.seed, communityid.Flow{
						Src: p.Src.Netip(p.V4), Dst: p.Dst.Netip(p.V4), SrcPort: p.SrcPort, DstPort: p.DstPort,
						Proto: p.Proto, OneWay: p.OneWay,
					}), c.plain)] = true
				}
			}
			if _, err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
		for id := range wanted {
			if !seen[id] {
				t.Errorf("%s: %s not computed from the packets", c.file, id)
			}
		}
		t.Logf("%s: %d tuples, %d values", c.file, len(rows), len(wanted))
	}
}

func show(id []byte, plain bool) string {
	if !plain {
		return string(id)
	}
	sum, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(string(id), "1:"))
	return "1:" + hex.EncodeToString(sum)
}

// TestVectors needs no reference data: examples of the specification's text.
func TestVectors(t *testing.T) {
	a, b := netip.MustParseAddr("128.232.110.120"), netip.MustParseAddr("66.35.250.204")
	for _, f := range []communityid.Flow{
		{Src: a, Dst: b, SrcPort: 34855, DstPort: 80, Proto: 6},
		{Src: b, Dst: a, SrcPort: 80, DstPort: 34855, Proto: 6},
	} {
		if got, want := string(communityid.Append(nil, 0, f)), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="; got != want {
			t.Errorf("%+v: %s, want %s", f, got, want)
		}
	}
}
