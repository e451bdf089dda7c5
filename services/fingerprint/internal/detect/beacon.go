package detect

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
)

const (
	day = 24 * time.Hour

	// shortWindow is the capture length below which pairs without a rhythm of their own are
	// not reported: RITA's histogram then spans minutes, and every page load looks even.
	shortWindow = time.Hour

	// beaconSpan is how long a pair must have been active: a scan or a page load is as
	// regular as any clock for a few seconds.
	beaconSpan = 5 * time.Minute

	// A pair that was active only for part of the day is judged over that part if its rhythm
	// is this clear: RITA alone gives it 0.5 at most.
	burstConnections = 60
	burstSpan        = 30 * time.Minute
	burstSpread      = 0.25
)

var beacon = Detector{
	ID:         "beacon",
	Title:      "Periodic connections to one destination",
	Techniques: []Technique{webProtocols, rawProtocol, oddPort},
	FalsePositives: []string{
		"update checks, licence checks, telemetry and monitoring agents",
		"mail, chat and web pages that poll their server",
		"steady load of many independent users behind one address (no rhythm: reported low)",
	},
	Detect: detectBeacon,
}

var strobe = Detector{
	ID:         "strobe",
	Title:      "More than one connection a second, all day",
	Techniques: []Technique{webProtocols, rawProtocol, oddPort},
	FalsePositives: []string{
		"load balancers, proxies and health checks",
		"an address that stands for many users",
	},
	Detect: detectStrobe,
}

// rhythm is how regular the connections of a pair are, by their start in microseconds.
type rhythm struct {
	beats  int     // after connections of one burst were taken as one beat
	median float64 // interval, seconds
	mad    float64 // median absolute deviation of the intervals, seconds
	spread float64 // 1.4826*mad/median: 0 for a clock, about 1 for independent arrivals
}

// regular reports whether the intervals are too even for independent arrivals, whose
// spread is 1.03 with a sampling error that falls with the number of beats.
func (r rhythm) regular() bool {
	return r.beats >= 10 && r.median > 0 && r.spread+1/math.Sqrt(float64(r.beats)) <= 0.75
}

// rhythmOf measures the intervals as they are, and again with connections that start
// within a tenth of the mean interval of each other taken as one beat: many clients open
// two connections at once. The more even of the two counts.
func rhythmOf(starts []model.Time) rhythm {
	if len(starts) < 3 {
		return rhythm{}
	}
	raw := spreadOf(starts)
	mean := (starts[len(starts)-1] - starts[0]) / model.Time(len(starts)-1)
	beats := []model.Time{starts[0]}
	for i, t := range starts[1:] {
		if t-starts[i] > mean/10 {
			beats = append(beats, t)
		}
	}
	if len(beats) >= 10 && len(beats) < len(starts) {
		if merged := spreadOf(beats); merged.spread < raw.spread || raw.median == 0 {
			return merged
		}
	}
	return raw
}

func spreadOf(starts []model.Time) rhythm {
	gaps := make([]float64, 0, len(starts))
	for i := 1; i < len(starts); i++ {
		gaps = append(gaps, starts[i].Sub(starts[i-1]).Seconds())
	}
	slices.Sort(gaps)
	r := rhythm{beats: len(starts), median: median(gaps)}
	r.mad = deviation(gaps, r.median)
	if r.spread = math.Inf(1); r.median > 0 {
		r.spread = 1.4826 * r.mad / r.median
	}
	return r
}

func detectBeacon(s Scope, rows *Rows) []model.Detection {
	var out []model.Detection
	for _, pairs := range [][]store.Pair{rows.Window.Named, rows.Window.Addressed} {
		for _, p := range pairs {
			if d, ok := s.beacon(p, rows.Window); ok {
				out = append(out, d)
			}
		}
	}
	return out
}

// candidate applies RITA's import filter: traffic within the site and from outside to
// inside is no beacon. Pairs of two outside addresses are kept, because a capture is often
// looked at where its networks are not known; the sentence then says so.
func (s Scope) candidate(p store.Pair) (outside, ok bool) {
	if unsolicited(p.OrigIP) || p.OrigIP.IsLoopback() || p.RespIP.IsValid() && unsolicited(p.RespIP) || housekeeping(p.Proto, p.RespPort) {
		return false, false
	}
	from, to := s.internal(p.OrigIP), p.RespIP.IsValid() && s.internal(p.RespIP)
	return !from, !to
}

func (s Scope) beacon(p store.Pair, w Window) (model.Detection, bool) {
	outside, ok := s.candidate(p)
	if !ok || int(p.Count) < s.BeaconConnections || p.Count >= RITAStrobe {
		return model.Detection{}, false
	}
	starts := slices.Clone(p.Starts)
	slices.Sort(starts)
	seconds := make([]int64, len(starts))
	for i, t := range starts {
		seconds[i] = int64(t / 1e6)
	}
	sizes := make([]float64, len(p.IPBytes))
	for i, b := range p.IPBytes {
		sizes[i] = float64(b)
	}
	r := rhythmOf(starts)
	regular := r.regular()
	first, last := w.First, w.Last
	score, ok := RITA(seconds, sizes, int64(first/1e6), int64(last/1e6))
	active := starts[len(starts)-1].Sub(starts[0])
	if active < beaconSpan {
		return model.Detection{}, false
	}
	burst := false
	if ok && score.Score < s.BeaconScore && regular && r.spread <= burstSpread && r.beats >= burstConnections && active >= burstSpan {
		burst = true
		first, last = starts[0], starts[len(starts)-1]
		score, ok = RITA(seconds, sizes, int64(first/1e6), int64(last/1e6))
	}
	looked := last.Sub(first)
	if !ok || score.Score < s.BeaconScore || looked < shortWindow && !regular {
		return model.Detection{}, false
	}

	to := p.Name
	entities := []string{p.OrigIP.String(), "name", p.Name}
	if to == "" {
		to = p.RespIP.String()
		entities = []string{p.OrigIP.String(), "ip", to}
	}
	d := s.raise("beacon", channel(p.Services, p.Proto, p.RespPort), p.Support, entities...)
	d.OrigIP, d.RespIP, d.RespPort, d.Proto, d.Domain = p.OrigIP, p.RespIP, p.RespPort, p.Proto, p.Name
	if p.RespPort != 0 {
		to += fmt.Sprintf(" port %d/%s", p.RespPort, p.Proto)
	}
	every := span(time.Duration(r.median * float64(time.Second)))
	var why strings.Builder
	fmt.Fprintf(&why, "%s opened %d connections to %s within %s, half of the intervals within %s of %s. RITA beacon score %.3f (timing %.3f, size %.3f, duration %.3f, histogram %.3f). ",
		p.OrigIP, p.Count, to, span(active), span(time.Duration(r.mad*float64(time.Second))), every, score.Score, score.TS, score.DS, score.Dur, score.Hist)
	if regular {
		fmt.Fprintf(&why, "The intervals spread by %.2f of their median; independent arrivals would spread by about 1.", r.spread)
		d.Title = fmt.Sprintf("Beacon: %s calls %s every %s", p.OrigIP, to, every)
	} else {
		fmt.Fprintf(&why, "The intervals spread by %s of their median, as independent arrivals do, so the score alone speaks for a beacon.", ratio(r.spread))
		d.Title = fmt.Sprintf("Steady connections of %s to %s, without a rhythm", p.OrigIP, to)
	}
	switch {
	case burst:
		fmt.Fprintf(&why, " The score covers the %s in which the pair was active, not a whole day.", span(looked))
	case looked < day-time.Second:
		fmt.Fprintf(&why, " The score covers the %s that were captured, not a whole day, which makes it weaker.", span(looked))
	}
	if outside {
		why.WriteString(" The originator lies outside the networks configured as internal.")
	}
	d.Why = why.String()
	d.Numbers = numbers(
		number("connections", float64(p.Count), ""),
		number("rita_score", score.Score, ""),
		number("rita_ts", score.TS, ""),
		number("rita_ds", score.DS, ""),
		number("rita_dur", score.Dur, ""),
		number("rita_hist", score.Hist, ""),
		number("rita_threat", ritaBucket(100*score.Score, 50, 70, 90, 100), ""),
		number("interval_median", r.median, "s"),
		number("interval_mad", r.mad, "s"),
		number("interval_spread", min(r.spread, 1000), ""),
		number("beats", float64(r.beats), ""),
		number("window", looked.Seconds(), "s"),
		number("orig_bytes", float64(p.OrigBytes), "bytes"),
		number("resp_bytes", float64(p.RespBytes), "bytes"),
	)
	d.Confidence = beaconConfidence(score.Score, r, looked, burst)
	switch {
	case regular && score.Score >= 0.9 && looked >= 6*time.Hour && !burst:
		d.Severity = model.SeverityHigh
	case regular:
		d.Severity = model.SeverityMedium
	default:
		d.Severity = model.SeverityLow
	}
	return d, true
}

// beaconConfidence is score * evenness * number * length, where
//
//	evenness = 0.4 + 0.6*(1 - spread), at least 0.4
//	number   = min(1, ln(beats)/ln(60))
//	length   = 1 from a day on, 0.9 from six hours, 0.8 from one hour, else 0.65; a burst 0.8 at most
func beaconConfidence(score float64, r rhythm, looked time.Duration, burst bool) uint8 {
	even := 0.4 + 0.6*max(0, 1-r.spread)
	count := min(1, math.Log(max(2, float64(r.beats)))/math.Log(60))
	length := 0.65
	switch {
	case looked >= day-time.Second:
		length = 1
	case looked >= 6*time.Hour:
		length = 0.9
	case looked >= time.Hour:
		length = 0.8
	}
	if burst {
		length = min(length, 0.8)
	}
	return percent(score * even * count * length)
}

func ratio(v float64) string {
	if math.IsInf(v, 0) || v > 1000 {
		return "many times"
	}
	return fmt.Sprintf("%.2f", v)
}

func detectStrobe(s Scope, rows *Rows) []model.Detection {
	var out []model.Detection
	for _, p := range rows.Window.Strobes {
		outside, ok := s.candidate(p)
		if !ok || p.Count < RITAStrobe {
			continue
		}
		d := s.raise("strobe", channel(p.Services, p.Proto, p.RespPort), p.Support, p.OrigIP.String(), addr(p.RespIP), p.Name)
		d.OrigIP, d.RespIP, d.RespPort, d.Proto, d.Domain = p.OrigIP, p.RespIP, p.RespPort, p.Proto, p.Name
		to := p.Name
		if to == "" {
			to = addr(p.RespIP)
		}
		took := p.Last.Sub(p.First)
		d.Title = fmt.Sprintf("%s connects to %s more than once a second", p.OrigIP, to)
		d.Why = fmt.Sprintf("%s opened %d connections to %s within %s, more than the %d that make a strobe.", p.OrigIP, p.Count, to, span(took), RITAStrobe)
		if outside {
			d.Why += " The originator lies outside the networks configured as internal."
		}
		d.Numbers = numbers(
			number("connections", float64(p.Count), ""),
			number("window", took.Seconds(), "s"),
			number("orig_bytes", float64(p.OrigBytes), "bytes"),
			number("resp_bytes", float64(p.RespBytes), "bytes"),
		)
		d.Confidence, d.Severity = 60, model.SeverityMedium
		out = append(out, d)
	}
	return out
}

func addr(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}
