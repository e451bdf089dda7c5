package content

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Bytes writes a volume with two or three digits.
func Bytes(n uint64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1000, 0
	for f >= 999.5 && i < len(units)-1 {
		f /= 1000
		i++
	}
	if f < 9.95 {
		return fmt.Sprintf("%.1f %cB", f, units[i])
	}
	return fmt.Sprintf("%.0f %cB", f, units[i])
}

// Count writes a number with groups of three digits, set apart by a thin space that does
// not break.
func Count(n uint64) string {
	s := fmt.Sprint(n)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteRune('\u202f')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// When writes a time to the second.
func When(t model.Time) string {
	if t == 0 {
		return "unknown"
	}
	return t.Time().Format("2006-01-02 15:04:05") + " UTC"
}

// Duration writes a span with one unit, or two when that matters.
func Duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return "under a second"
	case d < 2*time.Minute:
		return Plural(uint64(d/time.Second), "second", "seconds")
	case d < 2*time.Hour:
		return Plural(uint64(d/time.Minute), "minute", "minutes")
	case d < 48*time.Hour:
		return fmt.Sprintf("%.1f hours", d.Hours())
	default:
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	}
}

// Plural writes a number with its noun.
func Plural(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + many
}

// some lists up to maxNamed things and says how many more there are.
func some(list []string) string {
	if n := maxNamed; len(list) > n {
		return strings.Join(list[:n], ", ") + " and " + Plural(uint64(len(list)-n), "other", "others")
	}
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " and " + list[len(list)-1]
}

// PhaseNames are the phases in words.
var PhaseNames = map[string]string{
	model.PhaseRecon: "Reconnaissance", model.PhaseExploit: "Exploitation", model.PhaseC2: "Command and control",
	model.PhaseDiscovery: "Discovery", model.PhaseCredential: "Credential access", model.PhaseTraversal: "Lateral movement",
	model.PhaseCollection: "Collection", model.PhaseExfil: "Exfiltration", model.PhaseUnknown: "Suspicious traffic",
}

// sure puts a confidence into words, after the bands of ICD 203.
func sure(confidence uint8) string {
	switch {
	case confidence >= 95:
		return "almost certain"
	case confidence >= 80:
		return "very likely"
	case confidence >= 55:
		return "likely"
	case confidence >= 45:
		return "about as likely as not"
	case confidence >= 20:
		return "unlikely"
	default:
		return "very unlikely"
	}
}

func sortedByIP(hosts []Host) []string {
	list := slices.Clone(hosts)
	slices.SortFunc(list, func(a, b Host) int { return a.IP.Compare(b.IP) })
	out := make([]string, len(list))
	for i, h := range list {
		out[i] = h.Label()
	}
	return out
}

// Label is the address with the host's first name, where it has one.
func (h Host) Label() string {
	if len(h.Names) > 0 {
		return fmt.Sprintf("%s (%s)", h.IP, h.Names[0])
	}
	return h.IP.String()
}
