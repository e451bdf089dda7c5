package detect

import (
	"math"
	"slices"
)

// RITA's beacon score, computed from its published formulas so that the figure equals the
// one an analyst knows from RITA v5 (recorded answers: TestConformanceRITA). All inputs are
// whole seconds and originator IP bytes; all scores run from 0 to 1 with three decimals.

// RITAMinUnique is the number of distinct seconds below which RITA gives no beacon score.
const RITAMinUnique = 4

// RITAStrobe is the number of connections of a pair in one day from which RITA calls it a
// strobe and gives no beacon score.
const RITAStrobe = 86400

const (
	ritaBins        = 24 // bins of the connection histogram
	ritaMinBars     = 6  // non-empty bins below which the duration score is 0
	ritaIdealRun    = 12 // consecutive non-empty bins that make the consistency score 1
	ritaMinBimodal  = 11 // non-empty bins below which no bimodal fit is tried
	ritaBimodalBins = 0.05
)

// RITAScore is the beacon score with what it was made of.
type RITAScore struct {
	Score, TS, DS, Hist, Dur float64

	TSSkew, TSMAD         float64 // of the intervals between connections, seconds
	DSSkew, DSMAD         float64 // of the originator bytes
	Bars, Run             int     // non-empty histogram bins, longest run of them
	Coverage, Consistency float64
}

// RITA scores one pair. ts holds the start of each connection in seconds, sorted; bytes the
// originator IP bytes of each; first and last bound the window that was looked at. ok is
// false where RITA gives no score: fewer than four distinct seconds, fewer than three
// intervals that are not zero, fewer than three sizes, or an empty window.
func RITA(ts []int64, bytes []float64, first, last int64) (s RITAScore, ok bool) {
	var gaps []float64
	for i := 1; i < len(ts); i++ {
		if d := ts[i] - ts[i-1]; d > 0 {
			gaps = append(gaps, float64(d))
		}
	}
	if len(gaps) < RITAMinUnique-1 || len(bytes) < 3 || last <= first {
		return RITAScore{}, false
	}
	slices.Sort(gaps)
	sizes := slices.Clone(bytes)
	slices.Sort(sizes)
	s.TS, s.TSSkew, s.TSMAD = ritaSpread(gaps, 1)
	s.DS, s.DSSkew, s.DSMAD = ritaSpread(sizes, 0)
	bins := ritaHistogram(ts, first, last)
	s.Hist, s.Bars, s.Run = ritaShape(bins)
	if s.Bars >= ritaMinBars {
		span := float64(ts[len(ts)-1] - ts[0])
		s.Coverage = min(1, math.Ceil(1000*span/float64(last-first))/1000)
		s.Consistency = min(1, math.Ceil(1000*float64(s.Run)/ritaIdealRun)/1000)
		s.Dur = max(s.Coverage, s.Consistency)
	}
	s.Score = round3(0.25*s.TS + 0.25*s.DS + 0.25*s.Dur + 0.25*s.Hist)
	return s, true
}

// ritaSpread scores how little the sorted values v vary: the mean of one minus the Bowley
// skewness and of the median absolute deviation relative to the median. whenZero is the
// second term where the median is below 1.
func ritaSpread(v []float64, whenZero float64) (score, skew, mad float64) {
	n := len(v)
	low, high := v[:n/2], v[n/2:]
	if n%2 == 1 {
		high = v[n/2+1:]
	}
	q1, q2, q3 := median(low), median(v), median(high)
	if q3-q1 >= 10 && q2 != q1 && q2 != q3 {
		skew = (q1 + q3 - 2*q2) / (q3 - q1)
	}
	mad = deviation(v, q2)
	flat := whenZero
	if q2 >= 1 {
		flat = (q2 - mad) / q2
	}
	if flat < 0 || math.IsNaN(flat) {
		flat = 0
	}
	return round3((1 - math.Abs(skew) + flat) / 2), skew, mad
}

// ritaHistogram counts connections in 24 equal stretches of the window. One before the
// window, which RITA's hourly lists can hold, counts in the first.
func ritaHistogram(ts []int64, first, last int64) [ritaBins]int {
	var bins [ritaBins]int
	step := float64(last-first) / ritaBins
	bin := 0
	for _, t := range ts {
		for bin < ritaBins-1 && float64(t) >= float64(first)+float64(bin+1)*step {
			bin++
		}
		bins[bin]++
	}
	return bins
}

// ritaShape scores an even histogram (low coefficient of variation) or one whose bars have
// two heights, and counts the non-empty bars and the longest run of them around the clock.
func ritaShape(bins [ritaBins]int) (score float64, bars, run int) {
	var sum, tallest, here float64
	for _, b := range bins {
		sum += float64(b)
		tallest = max(tallest, float64(b))
		if b > 0 {
			bars++
		}
	}
	for i := range 2 * ritaBins { // twice, so that a run may wrap around
		if here++; bins[i%ritaBins] == 0 {
			here = 0
		}
		run = max(run, int(here))
	}
	run = min(run, ritaBins)
	if sum == 0 {
		return 0, 0, 0
	}
	mean, square := sum/ritaBins, 0.0
	for _, b := range bins {
		square += (float64(b) - mean) * (float64(b) - mean)
	}
	if cv := math.Sqrt(square/ritaBins) / mean; cv <= 1 {
		score = round3(1 - cv)
	}
	if bars >= ritaMinBimodal {
		width := math.Ceil(ritaBimodalBins * tallest)
		count := map[float64]int{}
		for _, b := range bins {
			if b > 0 {
				count[math.Floor(float64(b)/width)*width]++
			}
		}
		var one, two int
		for _, c := range count {
			if c > one {
				one, two = c, one
			} else if c > two {
				two = c
			}
		}
		score = max(score, min(1, round3(float64(one+two)/float64(max(bars-1, 1)))))
	}
	return score, bars, run
}

// ritaBucket maps a figure to RITA's threat scale: 0 below base, then 0.2 to 0.8 by linear
// steps between base, low, medium and high.
func ritaBucket(v, base, low, medium, high float64) float64 {
	switch {
	case v < base:
		return 0
	case v < low:
		return 0.2 + 0.2*(v-base)/(low-base)
	case v < medium:
		return 0.4 + 0.2*(v-low)/(medium-low)
	default:
		return min(0.8, 0.6+0.2*(v-medium)/(high-medium))
	}
}

func round3(v float64) float64 { return math.Round(v*1000) / 1000 }

// median of sorted values; 0 for none.
func median(v []float64) float64 {
	n := len(v)
	if n == 0 {
		return 0
	}
	if n%2 == 1 {
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}

// deviation is the median absolute deviation of v from m, unscaled.
func deviation(v []float64, m float64) float64 {
	d := make([]float64, len(v))
	for i, x := range v {
		d[i] = math.Abs(x - m)
	}
	slices.Sort(d)
	return median(d)
}
