package detect

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/tracer-framework/tracer/pkg/testkit"
)

// TestConformanceRITA compares every sub-score with the figures recorded by running RITA's
// own scoring functions on twelve series.
func TestConformanceRITA(t *testing.T) {
	raw, err := os.ReadFile(testkit.Data(t, "beacons", "rita_golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var series []struct {
		Name                                         string
		TS                                           []int64
		Bytes                                        []float64
		DMin, DMax                                   int64
		TSScore, DSScore, HistScore, DurScore, Score float64
		TSSkew, TSMad, DSSkew, DSMad                 float64
		TotalBars, LongestRun                        int
		Coverage, Consistency                        float64
		Err                                          string
	}
	if err := json.Unmarshal(raw, &series); err != nil {
		t.Fatal(err)
	}
	for _, s := range series {
		t.Run(s.Name, func(t *testing.T) {
			got, ok := RITA(s.TS, s.Bytes, s.DMin, s.DMax)
			if ok != (s.Err == "") {
				t.Fatalf("scored %v, peer says %q", ok, s.Err)
			}
			want := RITAScore{
				Score: s.Score, TS: s.TSScore, DS: s.DSScore, Hist: s.HistScore, Dur: s.DurScore,
				TSSkew: s.TSSkew, TSMAD: s.TSMad, DSSkew: s.DSSkew, DSMAD: s.DSMad,
				Bars: s.TotalBars, Run: s.LongestRun, Coverage: s.Coverage, Consistency: s.Consistency,
			}
			if got != want {
				t.Errorf("\n got %+v\nwant %+v", got, want)
			}
		})
	}
}
