package render

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/services/report/internal/content"
)

// drawing collects the elements of one SVG. Numbers are written with one decimal, so that
// the same picture is the same bytes everywhere.
type drawing struct{ b strings.Builder }

func (d *drawing) add(format string, args ...any) {
	for i, a := range args {
		if f, ok := a.(float64); ok {
			args[i] = num(f)
		}
	}
	fmt.Fprintf(&d.b, format, args...)
}

func (d *drawing) svg(class, label string, width, height float64) template.HTML {
	//nolint:gosec // built from escaped text only
	return template.HTML(fmt.Sprintf(`<svg class="%s" viewBox="0 0 %s %s" width="%s" height="%s" role="img" aria-label="%s">`,
		class, num(width), num(height), num(width), num(height), esc(label)) + d.b.String() + "</svg>")
}

func num(f float64) string {
	s := fmt.Sprintf("%.1f", f)
	return strings.TrimSuffix(s, ".0")
}

// esc makes a text safe to stand in SVG.
func esc(s string) string { return html.EscapeString(Visible(s)) }

// short cuts a text for a place of limited width.
func short(s string, n int) string {
	r := []rune(Visible(s))
	if len(r) <= n {
		return string(r)
	}
	return string(r[:n-1]) + "…"
}

// scale maps times to the horizontal axis.
type scale struct {
	from, to model.Time
	x0, x1   float64
}

func newScale(from, to model.Time, x0, x1 float64) scale {
	span := max(to-from, 1_000_000)
	pad := span / 40
	return scale{from - pad, from + span + pad, x0, x1}
}

func (s scale) x(t model.Time) float64 {
	return s.x0 + (s.x1-s.x0)*float64(t-s.from)/float64(s.to-s.from)
}

var tickSteps = []time.Duration{
	time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	24 * time.Hour, 2 * 24 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour, 90 * 24 * time.Hour, 365 * 24 * time.Hour,
}

type tick struct {
	at          model.Time
	label, date string
}

// ticks are round moments, at most n; the date is given with the first and where it changes.
func (s scale) ticks(n int) []tick {
	step := tickSteps[len(tickSteps)-1]
	for _, d := range tickSteps {
		if s.to.Sub(s.from)/d <= time.Duration(n) {
			step = d
			break
		}
	}
	us := model.Time(step.Microseconds())
	var out []tick
	date := ""
	for at := (s.from/us + 1) * us; at < s.to && len(out) <= 2*n; at += us {
		t := at.Time()
		layout := "15:04:05"
		switch {
		case step >= 24*time.Hour:
			layout = ""
		case step >= time.Minute:
			layout = "15:04"
		case step < time.Second:
			layout = "15:04:05.000"
		}
		k := tick{at: at}
		if layout != "" {
			k.label = t.Format(layout)
		}
		if day := t.Format("2006-01-02"); day != date {
			k.date, date = day, day
		}
		out = append(out, k)
	}
	return out
}

func (d *drawing) axis(s scale, top, bottom float64) {
	n := int((s.x1 - s.x0) / 110)
	for _, k := range s.ticks(n) {
		x := s.x(k.at)
		d.add(`<line class="grid" x1="%v" x2="%v" y1="%v" y2="%v"/>`, x, x, top, bottom)
		d.add(`<text class="tick" x="%v" y="%v" text-anchor="middle">%v</text>`, x, top-6, k.label)
		if k.date != "" {
			d.add(`<text class="tick date" x="%v" y="%v" text-anchor="middle">%v</text>`, x, top-19, k.date)
		}
	}
}

// volume draws the traffic over time as bars.
func volume(t store.Traffic) template.HTML {
	if len(t.Volume) < 2 {
		return ""
	}
	const w, h, left, top, bottom = 1160.0, 132.0, 64.0, 34.0, 116.0
	var peak uint64 = 1
	for _, v := range t.Volume {
		peak = max(peak, v.Bytes)
	}
	d := &drawing{}
	from, to := t.Volume[0].At, t.Volume[len(t.Volume)-1].At+model.Time(t.Step)*1_000_000
	s := scale{from, to, left, w - 6}
	d.axis(s, top, bottom)
	d.add(`<text class="tick" x="%v" y="%v" text-anchor="end">%v</text><text class="tick" x="%v" y="%v" text-anchor="end">0</text>`, left-8, top+6, esc(content.Bytes(peak)), left-8, bottom)
	d.add(`<line class="base" x1="%v" x2="%v" y1="%v" y2="%v"/>`, left, w-6, bottom, bottom)
	width := math.Max(1, (s.x1-s.x0)/float64(len(t.Volume))-1)
	for _, v := range t.Volume {
		if v.Bytes == 0 && v.Flows == 0 {
			continue
		}
		height := math.Max(1, (bottom-top)*float64(v.Bytes)/float64(peak))
		d.add(`<rect class="bar" x="%v" y="%v" width="%v" height="%v"><title>%v: %v in %v flows</title></rect>`, s.x(v.At), bottom-height, width, height, esc(content.When(v.At)), esc(content.Bytes(v.Bytes)), esc(content.Count(v.Flows)))
	}
	return d.svg("chart volume", "Payload bytes over time", w, h)
}
