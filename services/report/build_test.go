package report_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/services/report"
)

var update = flag.Bool("update", false, "write the golden files anew; read the difference before committing it")

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

var start = model.TimeOf(time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC))

func at(minutes, seconds int) model.Time {
	return start.Add(time.Duration(minutes)*time.Minute + time.Duration(seconds)*time.Second)
}

const (
	capture = "9f2c7ad0f1e3b54c8f6f3b7f8a4d2e90c5b1a6e7d8f90123456789abcdef0123"
	damaged = "1b5e0d3c7a9f8e6d5c4b3a29180f7e6d5c4b3a29180f7e6d5c4b3a29180f7e6d"
)

func flowIDs(from, n int) []model.FlowID {
	var out []model.FlowID
	for i := range n {
		out = append(out, model.FlowID(0x1000+uint64(from+i)))
	}
	return out
}

// small is a case that a reader can check by hand: a beacon, and the host that had been
// worked on from another one before.
func small() report.Input {
	det := model.Detection{
		DetectionID: "det-00000000000000b1", CaseID: "case-0000000000000001", Run: "run-x", Detector: "beacon", Title: "Beacon to 203.0.113.40",
		Why:      "10.1.4.23 contacted 203.0.113.40:443 48 times, every 60 s give or take 3 s, over 47 minutes.",
		Severity: model.SeverityHigh, Confidence: 88, Phase: model.PhaseC2, Technique: "T1071.001", TechniqueName: "Application Layer Protocol: Web Protocols",
		TechniqueLegacy: "T1071.001", Tactic: "command-and-control", FalsePositives: []string{"software that polls for updates", "monitoring agents"},
		OrigIP: ip("10.1.4.23"), RespIP: ip("203.0.113.40"), RespPort: 443, Proto: "tcp", Domain: "cdn.example.net",
		FirstSeen: at(10, 3), LastSeen: at(57, 9), Numbers: []model.Number{{Name: "connections", Value: 48}, {Name: "interval_median", Value: 60.1, Unit: "s"}, {Name: "score", Value: 0.9344}},
		FlowCount: 48, Flows: flowIDs(0, 48), EvidenceIDs: []string{capture}, From: []string{"0x0000000000001000"},
	}
	const trace = "trc-00000000000000a1"
	edge := func(id, from, to string, port uint16, service, phase, technique, direction, order string, start, end model.Time, flows []model.FlowID, out, in uint64, confidence uint8, why string, dets ...string) model.TraceEdge {
		return model.TraceEdge{
			EdgeID: id, TraceID: trace, CaseID: det.CaseID, Run: "run-x", OrigIP: ip(from), RespIP: ip(to), RespPort: port, Proto: "tcp", Service: service, Phase: phase,
			Technique: technique, Direction: direction, Order: order, Start: start, End: end, OrigBytes: out, RespBytes: in, FlowCount: uint64(len(flows)), Flows: flows,
			EvidenceIDs: []string{capture}, Detections: dets, Confidence: confidence, Why: why, From: append([]string{flows[0].String()}, dets...),
		}
	}
	return report.Input{
		Case: model.Case{
			CaseID: "case-0000000000000001", Run: "run-x", Title: "office.pcap and one more", Stage: model.StageMapped, Detections: 1, Traces: 1, Profiles: "4c1d7e90",
			Updated: at(999, 0),
			Inputs: []model.Input{
				{EvidenceID: damaged, Name: "cut.pcap", URI: "/home/somebody/cut.pcap", Size: 9000, ModTime: at(700, 0)},
				{EvidenceID: capture, Name: "office.pcap", URI: "/home/somebody/office.pcap", Size: 4_404_040, ModTime: at(600, 0)},
			},
		},
		Evidence: []model.Evidence{
			{
				EvidenceID: capture, Kind: "capture", Name: "office.pcap", URI: "/home/somebody/office.pcap", Size: 4_404_040, MediaType: "application/vnd.tcpdump.pcap",
				FirstPacket: at(0, 0), LastPacket: at(58, 30), Packets: 12_345, Flows: 310, Batches: 9, LinkTypes: []string{"ethernet"}, BytesRead: 4_404_040,
				Counters: map[string]uint64{"packets": 12_345, "dns_malformed": 2}, Tool: "tracer ingest", ToolVersion: "0.1", Sealed: at(800, 0), LeafIndex: 17,
			},
			{
				EvidenceID: damaged, Kind: "capture", Name: "cut.pcap", Size: 9000, FirstPacket: at(1, 0), LastPacket: at(2, 0), Packets: 70, Flows: 4, LinkTypes: []string{"ethernet"},
				BytesRead: 8000, BytesUnread: 1000, Problems: []string{"record 71 is cut short at byte 8000"}, Tool: "tracer ingest", ToolVersion: "0.1",
			},
		},
		Detections: []model.Detection{det},
		Traces: []model.Trace{{
			TraceID: trace, CaseID: det.CaseID, Run: "run-x", Seed: []string{det.DetectionID}, From: []string{det.DetectionID}, Title: "From 10.1.4.9, to victim 10.1.4.23, controlled from 203.0.113.40",
			Start: at(8, 0), End: at(57, 9),
			Hosts: []model.TraceHost{
				{IP: ip("10.1.4.9"), Role: "origin", Internal: true, Names: []string{"jump.example.org"}, FirstSeen: at(8, 0), Certainty: "possible"},
				{IP: ip("10.1.4.23"), Role: "victim", Internal: true, FirstSeen: at(8, 0), Certainty: "certain", Detections: []string{det.DetectionID}},
				{IP: ip("203.0.113.40"), Role: "c2", Names: []string{"cdn.example.net"}, FirstSeen: at(10, 3), Certainty: "certain", Detections: []string{det.DetectionID}},
			},
			Edges: []model.TraceEdge{
				edge("edg-00000000000000e1", "10.1.4.9", "10.1.4.23", 22, "ssh", model.PhaseTraversal, "T1021.004", "lateral", "possible", at(8, 0), at(9, 50), flowIDs(500, 1), 9_400, 61_000, 62,
					"10.1.4.9 worked on host 10.1.4.23 over SSH before that host's first suspicious act."),
				edge("edg-00000000000000e2", "10.1.4.23", "203.0.113.40", 443, "tls", model.PhaseC2, "T1071.001", "outbound", "certain", at(10, 3), at(57, 9), flowIDs(0, 48), 26_300, 30_100, 88, det.Why, det.DetectionID),
			},
			Origins: []model.Origin{{IP: ip("10.1.4.9"), Confidence: 60, Why: "10.1.4.9 is an inside host; how it was entered is not in the evidence."}},
			Stop:    model.Stop{Reason: "fixpoint", Open: []string{"10.1.4.23 to 10.1.4.2 port 445/tcp scored 1.5, below 3.0"}, Rounds: 2},
		}},
		Traffic: store.Traffic{
			Flows: 314, Hosts: 21, OrigBytes: 912_000, RespBytes: 3_300_000, First: at(0, 0), Last: at(58, 30),
			Talkers:  []store.Talker{{IP: ip("10.1.4.23"), Flows: 120, Peers: 9, BytesOut: 340_000, BytesIn: 1_200_000, First: at(0, 2), Last: at(58, 1)}},
			Services: []store.Service{{Proto: "tcp", Service: "tls", Port: 443, Flows: 160, Hosts: 11, Bytes: 3_900_000}, {Proto: "udp", Service: "dns", Port: 53, Flows: 130, Hosts: 1, Bytes: 31_000}},
			Volume:   []store.Volume{{At: at(0, 0), Flows: 100, Bytes: 1_000_000}, {At: at(20, 0), Flows: 114, Bytes: 2_000_000}, {At: at(40, 0), Flows: 100, Bytes: 1_212_000}}, Step: 1200,
		},
		Hosts: []store.Talker{
			{IP: ip("10.1.4.23"), Flows: 120, Peers: 9, BytesOut: 340_000, BytesIn: 1_200_000, First: at(0, 2), Last: at(58, 1), L2Addrs: []string{"02:00:0a:01:04:17"}},
			{IP: ip("10.1.4.9"), Flows: 14, Peers: 3, BytesOut: 20_000, BytesIn: 80_000, First: at(0, 9), Last: at(50, 1)},
			{IP: ip("203.0.113.40"), Flows: 48, Peers: 1, BytesOut: 30_100, BytesIn: 26_300, First: at(10, 3), Last: at(57, 9)},
		},
	}
}

func build(t testing.TB, in report.Input) report.Documents {
	t.Helper()
	docs, err := report.Build(in)
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

func TestBuildGolden(t *testing.T) {
	docs := build(t, small())
	for _, name := range []string{report.FileMarkdown, report.FileJSON, report.FileNavigator, report.FileDetections} {
		path := filepath.Join("testdata", "small", name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, docs[name], 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(docs[name], want) {
			t.Errorf("%s differs from testdata/small; run with -update and read the difference", name)
		}
	}
	if b, ok := docs[report.FileFindings]; !ok || len(b) != 0 {
		t.Errorf("%s must be there and empty", report.FileFindings)
	}
}

// TestNothingOfTheRun: what differs from one treatment of a case to the next must not
// reach a document.
func TestNothingOfTheRun(t *testing.T) {
	for name, b := range build(t, small()) {
		for _, secret := range []string{"run-x", "/home/somebody", "somebody", at(999, 0).String(), at(800, 0).String(), at(700, 0).String(), "leaf_index", "\"sealed\""} {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s holds %q", name, secret)
			}
		}
	}
}

func TestOrderOfInputDoesNotMatter(t *testing.T) {
	want := build(t, large(30))
	for seed := range uint64(5) {
		r := rand.New(rand.NewPCG(seed, 1))
		in := large(30)
		r.Shuffle(len(in.Detections), func(i, j int) { in.Detections[i], in.Detections[j] = in.Detections[j], in.Detections[i] })
		r.Shuffle(len(in.Traces), func(i, j int) { in.Traces[i], in.Traces[j] = in.Traces[j], in.Traces[i] })
		r.Shuffle(len(in.Evidence), func(i, j int) { in.Evidence[i], in.Evidence[j] = in.Evidence[j], in.Evidence[i] })
		r.Shuffle(len(in.Hosts), func(i, j int) { in.Hosts[i], in.Hosts[j] = in.Hosts[j], in.Hosts[i] })
		r.Shuffle(len(in.Case.Inputs), func(i, j int) { in.Case.Inputs[i], in.Case.Inputs[j] = in.Case.Inputs[j], in.Case.Inputs[i] })
		in.Case.Run = fmt.Sprint("run", seed)
		for name, b := range build(t, in) {
			if !bytes.Equal(b, want[name]) {
				t.Fatalf("%s depends on the order of the input", name)
			}
		}
	}
}

// hostile are texts as they stand in the traffic of somebody who knows that it will be
// looked at.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `javascript:alert(1)`, `</style><svg onload=alert(1)>`, `'-alert(1)-'`, `{{.R}}`,
	"user\u202egnp.exe", "\u2066pay\u2069pal.com", "zero\u200bwidth\ufeff", "bell\x07\x1b[31mred\x1b[0m", "nul\x00byte", "bad\xff\xfeutf8", "line\nbreak | pipe\r\n# heading",
	"`code` [link](http://evil.test) ![x](http://evil.test/x.png) <http://evil.test> **bold** www.evil.test", strings.Repeat("A", 100_000), "]]>-->", "\u2028\u2029", "&amp;&lt;",
}

func TestHostileText(t *testing.T) {
	for _, text := range hostile {
		in := small()
		in.Case.Title = text
		in.Case.Inputs[0].Name = text
		d := &in.Detections[0]
		d.Title, d.Why, d.Domain, d.Indicator, d.Profile, d.Detector = text, text, text, text, text, text
		d.Technique, d.TechniqueName, d.TechniqueLegacy, d.Tactic = text, text, text, text
		d.FalsePositives = []string{text}
		d.Numbers[0].Name, d.Numbers[0].Unit = text, text
		e := &in.Evidence[0]
		e.Problems, e.LinkTypes, e.Tool = []string{text}, []string{text}, text
		e.Counters = map[string]uint64{text: 3}
		tr := &in.Traces[0]
		tr.Title = text
		tr.Hosts[0].Names = []string{text}
		tr.Edges[0].Why, tr.Edges[0].Service, tr.Edges[0].Technique = text, text, text
		tr.Origins[0].Why = text
		tr.Stop.Open = []string{text}
		in.Traffic.Services[0].Service = text
		in.Hosts[0].L2Addrs = []string{text}
		docs := build(t, in)
		checkPage(t, docs[report.FileHTML], text)
		checkMarkdown(t, docs[report.FileMarkdown])
		for _, name := range []string{report.FileJSON, report.FileTraces, report.FileNavigator, report.FileDetections} {
			if !json.Valid(docs[name]) {
				t.Errorf("%s is not JSON for %.40q", name, text)
			}
		}
		if bytes.Count(docs[report.FileDetections], []byte("\n")) != 1 {
			t.Errorf("a detection is not one line for %.40q", text)
		}
	}
}

// checkPage reads the page as a browser does and refuses whatever could act: a second
// script, a handler, a link or picture that leaves the page, an invisible character.
func checkPage(t *testing.T, page []byte, text string) {
	t.Helper()
	if len(page) > 2_000_000 {
		t.Errorf("page of %d bytes for %.40q", len(page), text)
	}
	doc, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	var hrefs []string
	count := map[string]int{}
	for n := range doc.Descendants() {
		switch n.Type {
		case html.ElementNode:
			count[n.Data]++
			for _, a := range n.Attr {
				switch {
				case strings.HasPrefix(a.Key, "on"), a.Key == "src", a.Key == "style", a.Key == "srcset", a.Key == "action":
					t.Errorf("attribute %s on <%s> for %.40q", a.Key, n.Data, text)
				case a.Key == "href":
					if !strings.HasPrefix(a.Val, "#") {
						t.Errorf("a link leaves the page: %q", a.Val)
					}
					hrefs = append(hrefs, a.Val[1:])
				case a.Key == "id":
					if ids[a.Val] {
						t.Errorf("id %q stands twice", a.Val)
					}
					ids[a.Val] = true
				}
				checkSeen(t, a.Val)
			}
		case html.TextNode:
			if n.Parent.Data != "script" && n.Parent.Data != "style" {
				checkSeen(t, n.Data)
			}
		}
	}
	if count["script"] != 1 || count["style"] != 1 || count["img"]+count["iframe"]+count["link"]+count["object"]+count["foreignobject"] > 0 {
		t.Errorf("elements %v for %.40q", count, text)
	}
	for _, h := range hrefs {
		if !ids[h] {
			t.Errorf("link to #%s leads nowhere", h)
		}
	}
}

func checkSeen(t *testing.T, s string) {
	t.Helper()
	for _, r := range s {
		if r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff || r == 0xfffd {
			t.Errorf("invisible character %U in %.60q", r, s)
			return
		}
	}
}

func checkMarkdown(t *testing.T, md []byte) {
	t.Helper()
	s := string(md)
	checkSeen(t, s)
	for _, bad := range []string{"<script", "<img", "<svg", "http://evil", "<http", "\n# heading"} {
		if strings.Contains(s, bad) {
			t.Errorf("markdown holds %q", bad)
		}
	}
}

func TestEmptyCases(t *testing.T) {
	in := small()
	in.Detections, in.Traces, in.Hosts = nil, nil, nil
	docs := build(t, in)
	if !bytes.Contains(docs[report.FileMarkdown], []byte("No detector and no threat profile found anything suspicious")) {
		t.Error("a quiet case must say so")
	}
	checkPage(t, docs[report.FileHTML], "")
	docs = build(t, report.Input{})
	checkPage(t, docs[report.FileHTML], "")
	if string(docs[report.FileDetections]) != "" || strings.TrimSpace(string(docs[report.FileTraces])) != "[]" {
		t.Errorf("detections %q, traces %q", docs[report.FileDetections], docs[report.FileTraces])
	}
	unread := small()
	unread.Evidence = nil // inputs that gave no record at all
	checkPage(t, build(t, unread)[report.FileHTML], "")
}

// TestProbedWithoutTrace: who was probed is named even where no trace tells of it.
func TestProbedWithoutTrace(t *testing.T) {
	in := report.Input{
		Detections: []model.Detection{{
			DetectionID: "det-1", Detector: "horizontal_scan", Severity: model.SeverityLow, Phase: model.PhaseRecon, OrigIP: ip("203.0.113.9"),
			FlowCount: 5, Flows: flowIDs(0, 2), Numbers: []model.Number{{Name: "targets", Value: 2}},
		}},
		Listed: []model.Flow{{FlowID: flowIDs(0, 1)[0], RespIP: ip("10.0.0.7")}, {FlowID: flowIDs(1, 1)[0], RespIP: ip("192.168.4.2")}},
	}
	if md := string(build(t, in)[report.FileMarkdown]); !strings.Contains(md, "- 2 addresses of a private network were probed; no trace leads into them: 10.0.0.7 and 192.168.4.2.") {
		t.Error(md)
	}
}

// TestEveryStatementHasIDs: no claim of the summary stands without what it rests on.
func TestEveryStatementHasIDs(t *testing.T) {
	for _, in := range []report.Input{small(), large(40)} {
		docs := build(t, in)
		var r struct {
			Summary []struct {
				Statements []struct {
					Text string   `json:"text"`
					IDs  []string `json:"ids"`
				} `json:"statements"`
			} `json:"summary"`
			Limits []struct {
				IDs []string `json:"ids"`
			} `json:"limits"`
		}
		if err := json.Unmarshal(docs[report.FileJSON], &r); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, p := range r.Summary {
			for _, s := range p.Statements {
				n++
				if len(s.IDs) == 0 {
					t.Errorf("no ids behind %q", s.Text)
				}
			}
		}
		if n < 6 {
			t.Errorf("only %d statements", n)
		}
		checkPage(t, docs[report.FileHTML], "")
	}
}

// large makes an intrusion over n hosts, with many detections and a trace that fills the
// pictures.
func large(n int) report.Input {
	in := small()
	in.Case.Title = "Branch office, 2 November"
	tr := &in.Traces[0]
	tr.TraceID = "trc-00000000000000c0"
	tr.Edges, tr.Hosts, in.Detections = nil, nil, nil
	add := func(role, phase, from, to string, port uint16, service string, t0, t1 model.Time, severity string, out uint64) {
		i := len(tr.Edges)
		d := small().Detections[0]
		d.DetectionID = fmt.Sprintf("det-%016x", i)
		d.Severity, d.Phase, d.OrigIP, d.RespIP, d.FirstSeen, d.LastSeen = severity, phase, ip(from), ip(to), t0, t1
		d.RespPort = port
		d.Title = fmt.Sprintf("%s from %s to %s", phase, from, to)
		d.Confidence = uint8(40 + i%55)
		var dets []string
		if severity != "" {
			in.Detections = append(in.Detections, d)
			dets = []string{d.DetectionID}
		}
		e := small().Traces[0].Edges[1]
		e.EdgeID = fmt.Sprintf("edg-%016x", i)
		e.TraceID, e.OrigIP, e.RespIP, e.RespPort, e.Service, e.Phase, e.Start, e.End, e.Detections, e.OrigBytes = tr.TraceID, ip(from), ip(to), port, service, phase, t0, t1, dets, out
		e.Technique = map[string]string{"recon": "T1595.001", "exploit": "T1190", "c2": "T1071.001", "discovery": "T1046", "traversal": "T1021.002", "exfil": "T1041"}[phase]
		if i%7 == 3 {
			e.Order = "possible"
		}
		tr.Edges = append(tr.Edges, e)
		for _, h := range tr.Hosts {
			if h.IP == ip(to) {
				return
			}
		}
		tr.Hosts = append(tr.Hosts, model.TraceHost{IP: ip(to), Role: role, Internal: ip(to).IsPrivate(), FirstSeen: t0, Certainty: "certain", Detections: dets})
	}
	tr.Hosts = append(tr.Hosts, model.TraceHost{IP: ip("198.51.100.23"), Role: "origin", FirstSeen: at(0, 5), Certainty: "certain"})
	add("pivot", "recon", "198.51.100.23", "10.20.0.10", 0, "", at(0, 5), at(4, 0), "low", 0)
	add("pivot", "exploit", "198.51.100.23", "10.20.0.10", 80, "http", at(6, 11), at(6, 15), "", 2_400)
	add("c2", "c2", "10.20.0.10", "203.0.113.77", 443, "tls", at(7, 0), at(58, 0), "high", 66_000)
	for i := range max(0, n-6) {
		add("target", "discovery", "10.20.0.10", fmt.Sprintf("10.20.1.%d", i+1), 445, "", at(12, i), at(12, i+1), "medium", 0)
	}
	add("pivot", "traversal", "10.20.0.10", "10.20.0.31", 445, "smb", at(20, 0), at(22, 40), "high", 71_000)
	add("victim", "traversal", "10.20.0.31", "10.20.0.40", 3389, "rdp", at(31, 0), at(44, 0), "", 930_000)
	add("c2", "c2", "10.20.0.31", "203.0.113.77", 443, "tls", at(24, 0), at(58, 0), "high", 41_000)
	add("exfil", "exfil", "10.20.0.40", "192.0.2.200", 443, "tls", at(46, 0), at(53, 0), "critical", 812_000_000)
	tr.Hosts[1].Names = []string{"www.branch.example"}
	tr.Origins = []model.Origin{{IP: ip("198.51.100.23"), Confidence: 84, Why: "198.51.100.23 acted first and nothing in the evidence led to it."}}
	tr.Title = "From 198.51.100.23, 2 pivots, to victim 10.20.0.40, controlled from 203.0.113.77, sending to 192.0.2.200"
	tr.Start = at(0, 5)
	var seeds []string
	for _, d := range in.Detections {
		seeds = append(seeds, d.DetectionID)
	}
	tr.From, tr.Seed = seeds, seeds
	in.Traffic.Volume = nil
	for i := range 60 {
		in.Traffic.Volume = append(in.Traffic.Volume, store.Volume{At: at(i, 0), Flows: uint64(5 + i%9), Bytes: uint64(40_000 + (i*7919)%160_000)})
	}
	for i := 46; i < 54; i++ {
		in.Traffic.Volume[i].Bytes += 900_000
	}
	in.Traffic.Step = 60
	return in
}
