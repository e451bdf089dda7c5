// Package detect holds the window detectors: pure functions over aggregated rows of the
// store. Each file is one detector; All is every one we have. The same rows give the same
// detections, whatever order they come in.
package detect

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
)

// Scope is what a detector must know besides the rows.
type Scope struct {
	CaseID   string
	Run      string
	Internal []netip.Prefix // networks that belong to the site

	ScanTargets       int           // hosts or ports probed in vain from which a scan is reported
	BeaconScore       float64       // RITA score from which a pair is reported, 0 to 1
	BeaconConnections int           // connections a pair must have to be reported
	LongConnection    time.Duration // age from which one connection is reported
	DNSNames          int           // distinct names under one domain from which it is reported
}

// Rows is what the store aggregated for one case and one window.
type Rows struct {
	Horizontal []store.ScanGroup
	Vertical   []store.ScanGroup
	Window     Window
	Long       []store.LongGroup
	DNS        []DNSGroup
}

// Window is a stretch of at most one day with the pairs that were active in it.
type Window struct {
	First, Last model.Time
	Named       []store.Pair // by TLS SNI or HTTP Host
	Addressed   []store.Pair // by address, without those that Named explains
	Strobes     []store.Pair // with store.PairCap connections or more
}

// Technique is a MITRE ATT&CK technique as a detection names it.
type Technique struct {
	ID     string // v19
	Legacy string // id in v18 and older; the same where v19 did not move it
	Name   string
	Tactic string
	Phase  string
}

// The techniques the window detectors speak of. None of them was moved by v19.
var (
	scanningIPBlocks = Technique{"T1595.001", "T1595.001", "Active Scanning: Scanning IP Blocks", "Reconnaissance", model.PhaseRecon}
	serviceDiscovery = Technique{"T1046", "T1046", "Network Service Discovery", "Discovery", model.PhaseDiscovery}
	systemDiscovery  = Technique{"T1018", "T1018", "Remote System Discovery", "Discovery", model.PhaseDiscovery}
	webProtocols     = Technique{"T1071.001", "T1071.001", "Application Layer Protocol: Web Protocols", "Command and Control", model.PhaseC2}
	dnsProtocol      = Technique{"T1071.004", "T1071.004", "Application Layer Protocol: DNS", "Command and Control", model.PhaseC2}
	rawProtocol      = Technique{"T1095", "T1095", "Non-Application Layer Protocol", "Command and Control", model.PhaseC2}
	oddPort          = Technique{"T1571", "T1571", "Non-Standard Port", "Command and Control", model.PhaseC2}
	clearExfil       = Technique{"T1048.003", "T1048.003", "Exfiltration Over Alternative Protocol: Exfiltration Over Unencrypted Non-C2 Protocol", "Exfiltration", model.PhaseExfil}
)

// Detector is one way to see that traffic is suspicious.
type Detector struct {
	ID             string
	Title          string
	Techniques     []Technique // it may name, the usual one first
	FalsePositives []string    // benign traffic that looks the same
	Detect         func(Scope, *Rows) []model.Detection
}

// All is every window detector.
var All = []Detector{horizontalScan, verticalScan, beacon, strobe, longConnection, dnsTunnel}

// Run applies every detector. The result is sorted by id.
func Run(s Scope, rows *Rows) []model.Detection {
	var out []model.Detection
	for _, d := range All {
		found := d.Detect(s, rows)
		for i := range found {
			found[i].FalsePositives = slices.Clone(d.FalsePositives)
			if found[i].Title == "" {
				found[i].Title = d.Title
			}
		}
		out = append(out, found...)
	}
	return Merge(out)
}

// Merge drops repeats: of detections with one id, as neighbouring windows give for the
// same pair, the gravest stays, then the most confident, then the latest.
func Merge(in []model.Detection) []model.Detection {
	slices.SortStableFunc(in, func(a, b model.Detection) int {
		return cmp.Or(
			strings.Compare(a.DetectionID, b.DetectionID),
			cmp.Compare(severityRank(b.Severity), severityRank(a.Severity)),
			cmp.Compare(b.Confidence, a.Confidence),
			cmp.Compare(b.LastSeen, a.LastSeen),
			strings.Compare(a.Why, b.Why),
		)
	})
	return slices.CompactFunc(in, func(a, b model.Detection) bool { return a.DetectionID == b.DetectionID })
}

var severities = []string{
	model.SeverityInformational, model.SeverityLow, model.SeverityMedium, model.SeverityHigh, model.SeverityCritical,
}

func severityRank(s string) int { return slices.Index(severities, s) }

// raise starts a detection of the named detector about the given entities, which with the
// case make its id.
func (s Scope) raise(detector string, t Technique, sup store.Support, entities ...string) model.Detection {
	d := model.Detection{
		DetectionID: model.DeriveID("det", append([]string{s.CaseID, detector}, entities...)...),
		CaseID:      s.CaseID, Run: s.Run, Detector: detector,
		Phase: t.Phase, Technique: t.ID, TechniqueName: t.Name, TechniqueLegacy: t.Legacy, Tactic: t.Tactic,
	}
	Attach(&d, sup)
	return d
}

// Attach fills the fields of d that say on which flows it rests.
func Attach(d *model.Detection, sup store.Support) {
	d.FirstSeen, d.LastSeen = sup.First, sup.Last
	d.FlowCount = sup.FlowCount
	d.Flows = slices.Clone(sup.Flows)
	if len(d.Flows) > model.FlowsCap {
		d.Flows = d.Flows[:model.FlowsCap]
	}
	d.EvidenceIDs = slices.Clone(sup.EvidenceIDs)
	slices.Sort(d.EvidenceIDs)
	d.From = make([]string, 0, len(d.Flows))
	for _, id := range d.Flows {
		d.From = append(d.From, id.String())
	}
	slices.Sort(d.From)
}

// number rounds to four significant decimals, so that the figure prints shortly.
func number(name string, v float64, unit string) model.Number {
	return model.Number{Name: name, Value: math.Round(v*1e4) / 1e4, Unit: unit}
}

func numbers(n ...model.Number) []model.Number {
	slices.SortFunc(n, func(a, b model.Number) int { return strings.Compare(a.Name, b.Name) })
	return n
}

// internal reports whether ip belongs to the site.
func (s Scope) internal(ip netip.Addr) bool {
	ip = ip.Unmap()
	return slices.ContainsFunc(s.Internal, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// percent makes a confidence out of a share.
func percent(share float64) uint8 {
	return uint8(math.Round(100 * min(1, max(0, share))))
}

// span says a duration in the unit a person would use.
func span(d time.Duration) string {
	switch {
	case d < 2*time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.1f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.1f h", d.Hours())
	}
	return fmt.Sprintf("%.1f days", d.Hours()/24)
}

// size says a number of bytes in the unit a person would use.
func size(b uint64) string {
	v := float64(b)
	for _, u := range []string{"bytes", "KiB", "MiB", "GiB"} {
		if v < 1024 || u == "GiB" {
			if u == "bytes" {
				return fmt.Sprintf("%d bytes", b)
			}
			return fmt.Sprintf("%.1f %s", v, u)
		}
		v /= 1024
	}
	return ""
}

// unsolicited is multicast, broadcast, unspecified or link-local traffic: the address
// ranges that no pair statistics are made for.
func unsolicited(ip netip.Addr) bool {
	ip = ip.Unmap()
	return !ip.IsValid() || ip.IsMulticast() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() ||
		ip == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// housekeeping are the services hosts talk to all day by design: names, time, leases.
// Periodic or long traffic with them says nothing.
func housekeeping(proto string, port uint16) bool {
	switch port {
	case 53, 67, 68, 123, 137, 138, 547, 1900, 3702, 5353, 5355:
		return proto == "udp" || port == 53
	}
	return strings.HasPrefix(proto, "icmp")
}

// channel names the technique of a command channel by what it spoke, and where.
func channel(services []string, proto string, port uint16) Technique {
	web := false
	for _, s := range services {
		for p := range strings.SplitSeq(s, ",") {
			web = web || p == "http" || p == "tls"
		}
	}
	switch {
	case web && port != 0 && !slices.Contains(webPorts, port):
		return oddPort
	case web || proto == "tcp" && slices.Contains(webPorts, port):
		return webProtocols
	}
	return rawProtocol
}

// webPorts are where HTTP and TLS are at home.
var webPorts = []uint16{80, 443, 465, 563, 587, 636, 853, 989, 990, 993, 994, 995, 3128, 3269, 5061, 8000, 8008, 8080, 8081, 8443, 8883, 8888}
