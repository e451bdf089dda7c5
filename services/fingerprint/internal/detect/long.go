package detect

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
)

// RITA's steps for long connections, seconds.
const (
	longLow    = 4 * 3600
	longMedium = 8 * 3600
	longHigh   = 12 * 3600
)

var longConnection = Detector{
	ID:         "long_connection",
	Title:      "Connection that stays open for hours",
	Techniques: []Technique{rawProtocol, webProtocols, oddPort},
	FalsePositives: []string{
		"remote desktops, terminals and VPN tunnels of staff",
		"push notifications, messengers, streaming and telemetry",
		"database and file server sessions within the site",
	},
	Detect: detectLong,
}

// ordinaryInside are services whose connections within a site last all day.
var ordinaryInside = []uint16{
	22, 88, 111, 135, 139, 179, 389, 427, 445, 515, 548, 631, 636, 993, 1433, 1521, 1883, 2049, 2379, 2380, 3260, 3268, 3269, 3306, 3389, 4222, 5222,
	5223, 5432, 5672, 5900, 5985, 5986, 6379, 6443, 6514, 8883, 9042, 9092, 9200, 9300, 9997, 10050, 10051, 10250, 11211, 27017,
}

func detectLong(s Scope, rows *Rows) []model.Detection {
	var out []model.Detection
	for _, g := range rows.Long {
		longest := time.Duration(g.Longest) * time.Microsecond
		both := g.OrigPkts > 0 && g.RespPkts > 0
		inside := s.internal(g.OrigIP) && s.internal(g.RespIP)
		if longest < s.LongConnection || !both || unsolicited(g.OrigIP) || unsolicited(g.RespIP) || housekeeping(g.Proto, g.RespPort) {
			continue
		}
		if inside && (slices.Contains(ordinaryInside, g.RespPort) || g.RespPort >= 49152) {
			continue
		}
		base := s.LongConnection.Seconds()
		score := ritaBucket(longest.Seconds(), base, max(longLow, base+1), max(longMedium, base+2), max(longHigh, base+3))
		d := s.raise("long_connection", channel(g.Services, g.Proto, g.RespPort), g.Support,
			g.OrigIP.String(), g.RespIP.String(), g.Proto, strconv.Itoa(int(g.RespPort)))
		d.OrigIP, d.RespIP, d.RespPort, d.Proto, d.Domain = g.OrigIP, g.RespIP, g.RespPort, g.Proto, g.Name
		to := fmt.Sprintf("%s port %d/%s", g.RespIP, g.RespPort, g.Proto)
		if g.Name != "" {
			to += " (" + g.Name + ")"
		}
		d.Title = fmt.Sprintf("Connection of %s to %s lasted %s", g.OrigIP, to, span(longest))
		end := "it had ended by the end of the capture"
		if g.Open {
			end = "it was still open when the capture ended"
		}
		d.Why = fmt.Sprintf("%s kept a connection to %s open for %s (reported from %s); %s. It carried %s out and %s back in %d packets; protocols seen: %s.",
			g.OrigIP, to, span(longest), span(s.LongConnection), end, size(g.OrigBytes), size(g.RespBytes), g.OrigPkts+g.RespPkts, protocols(g.Services))
		d.Numbers = numbers(
			number("longest", longest.Seconds(), "s"),
			number("total_duration", (time.Duration(g.Total)*time.Microsecond).Seconds(), "s"),
			number("connections", float64(g.FlowCount), ""),
			number("orig_bytes", float64(g.OrigBytes), "bytes"),
			number("resp_bytes", float64(g.RespBytes), "bytes"),
			number("score", score, ""),
		)
		// Age says little about intent: a protocol nobody recognised or a port nobody uses adds to it.
		known := len(g.Services) > 0
		conf := 0.3 + 0.4*score
		if !known {
			conf += 0.1
		}
		d.Confidence = percent(conf)
		switch {
		case score >= 0.6 && !known:
			d.Severity = model.SeverityHigh
		case score >= 0.4:
			d.Severity = model.SeverityMedium
		default:
			d.Severity = model.SeverityLow
		}
		out = append(out, d)
	}
	return out
}

func protocols(services []string) string {
	if len(services) == 0 {
		return "none that is known"
	}
	return strings.Join(services, ", ")
}
