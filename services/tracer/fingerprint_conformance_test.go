package tracer_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/testkit"
	"github.com/tracer-framework/tracer/services/fingerprint"
	"github.com/tracer-framework/tracer/services/ingest"
)

// handshakes is what the fingerprints of a capture are compared by.
type handshakes struct {
	tls   []model.TLS
	ssh   []model.SSH
	proto map[string]string // "addr:port addr:port", originator first and the other way, to proto
}

func readHandshakes(t *testing.T, path string) handshakes {
	t.Helper()
	var mu sync.Mutex
	h := handshakes{proto: map[string]string{}}
	_, err := ingest.Read(context.Background(), path, ingest.DefaultConfig(), func(_, _ int, b *record.Batch) error {
		fingerprint.Fill(b)
		mu.Lock()
		defer mu.Unlock()
		for i := range b.TLS.Rows() {
			var r model.TLS
			b.TLS.Row(i, &r)
			h.tls = append(h.tls, r)
		}
		for i := range b.SSH.Rows() {
			var r model.SSH
			b.SSH.Row(i, &r)
			h.ssh = append(h.ssh, r)
		}
		for i := range b.Flow.Rows() {
			var f model.Flow
			b.Flow.Row(i, &f)
			a, z := fmt.Sprintf("%s:%d", f.OrigIP, f.OrigPort), fmt.Sprintf("%s:%d", f.RespIP, f.RespPort)
			h.proto[a+" "+z], h.proto[z+" "+a] = f.Proto, f.Proto
		}
		return nil
	})
	if err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	return h
}

// values are the fingerprints by kind and by "sender receiver".
func (h *handshakes) values() map[string][]string {
	m := map[string][]string{}
	add := func(kind string, e *model.Endpoints, fromOrig bool, v string) {
		if v == "" {
			return
		}
		a, z := fmt.Sprintf("%s:%d", e.OrigIP, e.OrigPort), fmt.Sprintf("%s:%d", e.RespIP, e.RespPort)
		if !fromOrig {
			a, z = z, a
		}
		k := kind + " " + a + " " + z
		m[k] = append(m[k], v)
	}
	for i := range h.tls {
		r := &h.tls[i]
		add("ja3", &r.Endpoints, true, r.JA3)
		add("ja4", &r.Endpoints, true, r.JA4)
		add("ja3s", &r.Endpoints, false, r.JA3S)
		add("sha1", &r.Endpoints, false, r.CertSHA1)
	}
	for i := range h.ssh {
		r := &h.ssh[i]
		add("hassh", &r.Endpoints, true, r.HASSH)
		add("hassh_server", &r.Endpoints, false, r.HASSHServer)
	}
	return m
}

// tally counts answers of a peer that are matched, contradicted and not covered.
type tally struct {
	equal, other int
	uncovered    map[string]int
}

// compare judges one answer of the peer. A side that shows several values (a second hello
// behind a HelloRetryRequest) is matched by any of ours.
func (y *tally) compare(t *testing.T, file string, h *handshakes, m map[string][]string, kind, from, to, want, known string) {
	t.Helper()
	got := m[kind+" "+from+" "+to]
	switch {
	case slices.Contains(got, want):
		y.equal++
	case known != "":
		y.skip(known)
	case h.proto[from+" "+to] == "":
		y.skip("flow inside an encapsulation that is not read")
	case h.proto[from+" "+to] != "tcp":
		y.skip("QUIC, DTLS")
	case len(got) == 0:
		y.other++
		t.Logf("missing: %s %s %s>%s %s", file, kind, from, to, want)
	default:
		y.other++
		t.Logf("differs: %s %s %s>%s got %v, want %s", file, kind, from, to, got, want)
	}
}

func (y *tally) skip(why string) {
	if y.uncovered == nil {
		y.uncovered = map[string]int{}
	}
	y.uncovered[why]++
}

func (y *tally) report(t *testing.T, name string, tolerated int) {
	t.Helper()
	t.Logf("score: %s: %d of %d equal; not covered: %v", name, y.equal, y.equal+y.other, y.uncovered)
	if y.other > tolerated {
		t.Errorf("%s: %d answers are not matched, %d known", name, y.other, tolerated)
	}
}

func endpoint(ip, port string) string { return ip + ":" + port }

// JA4 of the reference implementation in Rust.
func TestConformanceJA4FoxIO(t *testing.T) {
	var y tally
	for _, want := range globbed(t, testkit.Data(t, "fingerprints", "foxio"), "expected/rust/*.yaml") {
		name := strings.TrimSuffix(filepath.Base(want), ".yaml")
		h := readHandshakes(t, testkit.Data(t, "fingerprints", "foxio", "pcap", name))
		m := h.values()
		b, err := os.ReadFile(want)
		if err != nil {
			t.Fatal(err)
		}
		for entry := range strings.SplitSeq(string(b), "\n- stream:") {
			f := map[string]string{}
			for line := range strings.SplitSeq(entry, "\n") {
				if k, v, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
					f[k] = strings.Trim(v, `"'`)
				}
			}
			if f["ja4"] == "" {
				continue
			}
			y.compare(t, name, &h, m, "ja4", endpoint(f["src"], f["src_port"]), endpoint(f["dst"], f["dst_port"]), f["ja4"], known(name))
		}
	}
	y.report(t, "JA4 of FoxIO", 0)
}

func globbed(t *testing.T, dir, pattern string) []string {
	t.Helper()
	out, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(out) == 0 {
		t.Fatalf("%s in %s: nothing found (%v)", pattern, dir, err)
	}
	return out
}

// JA3, JA3S and HASSH of TShark, over every capture there is an answer for.
func TestConformanceTShark(t *testing.T) {
	var y tally
	for _, folder := range []string{"fingerprints", "attacks", "conn"} {
		base := testkit.Data(t, folder)
		lines := map[string][][]string{}
		var files []string
		f, err := os.Open(filepath.Join(base, "peer-tshark", "fingerprints.tsv"))
		if err != nil {
			t.Fatal(err)
		}
		sc := bufio.NewScanner(f)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			if c := strings.Split(sc.Text(), "\t"); len(c) >= 9 && c[0] != "file" {
				if lines[c[0]] == nil {
					files = append(files, c[0])
				}
				lines[c[0]] = append(lines[c[0]], c)
			}
		}
		_ = f.Close()
		for _, file := range files {
			path := filepath.Join(base, file)
			if _, err := os.Stat(path); err != nil {
				y.skip("capture not present")
				continue
			}
			h := readHandshakes(t, path)
			m := h.values()
			seen := map[string]bool{}
			for _, c := range lines[file] {
				from, to := endpoint(c[2], c[3]), endpoint(c[4], c[5])
				k := c[6] + " " + from + " " + to
				why := tsharkKnown(c)
				if seen[k] { // of one side the first value counts, except behind a HelloRetryRequest
					continue
				}
				seen[k] = true
				if !slices.Contains(m[k], c[7]) && slices.ContainsFunc(lines[file], func(o []string) bool {
					return o[6] == c[6] && endpoint(o[2], o[3]) == from && endpoint(o[4], o[5]) == to && slices.Contains(m[k], o[7])
				}) {
					y.equal++ // a later message of the same side
					continue
				}
				y.compare(t, folder+"/"+file, &h, m, c[6], from, to, c[7], why)
			}
		}
	}
	y.report(t, "TShark JA3, JA3S, HASSH", 0)
}

// notRead are captures, by part of their name, whose handshakes cannot be reached, with the
// reason. Where one is matched nevertheless it counts as such.
var notRead = []struct{ file, why string }{
	{"socks-https-example", "TLS inside of SOCKS"},
	{"socks-with-ssl", "TLS inside of SOCKS"},
	{"vmess-websocket", "TLS inside of SOCKS and a websocket"},
	{"ftp-start-tls", "TLS after STARTTLS"},
	{"smtp-starttls", "TLS after STARTTLS"},
	{"ldap-starttls", "TLS after STARTTLS"},
	{"pgsql-upgrade-tls", "TLS after STARTTLS"},
	{"xmpp-dialback-starttls", "TLS after STARTTLS"},
	{"tls_invalid_reads", "a damaged header claims that the SYN-ACK carried 4096 bytes"},
	{"heuristic_tcp_ack_payload", "stray bytes on bare acknowledgements, which nDPI passes over"},
	{"yandex.pcapng", "the capture's clock jumps back by half an hour"},
}

func known(file string) string {
	for _, n := range notRead {
		if strings.Contains(file, n.file) {
			return n.why
		}
	}
	return ""
}

// tsharkKnown is the reason for which an answer of TShark is not expected.
func tsharkKnown(c []string) string {
	if c[6] == "ja3" && strings.Count(c[8], ",") != 4 {
		return "TShark leaves out the empty fields of a hello without extensions"
	}
	return known(c[0])
}

var (
	ndpiFlow  = regexp.MustCompile(`^\s*\d+\s+(TCP|UDP) (\S+):(\d+) (?:<->|->) (\S+):(\d+) `)
	ndpiPrint = regexp.MustCompile(`\[(JA3C|JA3S|JA4|HASSH-C|HASSH-S|Certificate SHA-1): ([^\] ]+)`)
)

// Fingerprints that nDPI prints per flow.
func TestConformanceNDPI(t *testing.T) {
	kinds := map[string]string{"JA3C": "ja3", "JA3S": "ja3s", "JA4": "ja4", "HASSH-C": "hassh", "HASSH-S": "hassh_server", "Certificate SHA-1": "sha1"}
	var y tally
	for _, folder := range []string{"fingerprints", "attacks", "conn"} {
		base := testkit.Data(t, folder, "ndpi")
		for _, out := range globbed(t, base, "result/*.out") {
			b, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if !ndpiPrint.Match(b) {
				continue
			}
			name := strings.TrimSuffix(filepath.Base(out), ".out")
			path := filepath.Join(base, "pcap", name)
			if _, err := os.Stat(path); err != nil {
				y.skip("capture not present")
				continue
			}
			h := readHandshakes(t, path)
			m := h.values()
			for line := range strings.SplitSeq(string(b), "\n") {
				flow := ndpiFlow.FindStringSubmatch(line)
				if flow == nil {
					continue
				}
				a, z := endpoint(strings.Trim(flow[2], "[]"), flow[3]), endpoint(strings.Trim(flow[4], "[]"), flow[5])
				for _, p := range ndpiPrint.FindAllStringSubmatch(line, -1) {
					kind, want := kinds[p[1]], p[2]
					from, to := a, z
					if kind == "ja3s" || kind == "hassh_server" || kind == "sha1" {
						from, to = z, a
					}
					if kind == "sha1" || strings.HasPrefix(kind, "hassh") {
						want = strings.ToLower(strings.ReplaceAll(want, ":", ""))
					}
					if got := m[kind+" "+from+" "+to]; len(got) == 0 && len(m[kind+" "+to+" "+from]) > 0 {
						from, to = to, from // nDPI has the flow the other way round
					}
					y.compare(t, folder+"/"+name, &h, m, kind, from, to, want, ndpiKnown(kind, name, want, flow[1], m[kind+" "+from+" "+to]))
				}
			}
		}
	}
	y.report(t, "nDPI JA3, JA3S, JA4, HASSH, certificates", 0)
}

// ndpiKnown is the reason for which an answer of nDPI is not expected.
func ndpiKnown(kind, name, want, transport string, got []string) string {
	switch {
	case transport == "UDP":
		return "QUIC, DTLS"
	case kind == "ja4" && slices.ContainsFunc(got, func(v string) bool { return ja4Core(v) == ja4Core(want) }):
		return "nDPI writes other ALPN characters, or another sign for the server name, than the specification"
	case kind == "ja3s" && name == "steam.pcapng":
		return "nDPI fingerprints the HelloRetryRequest"
	}
	return known(name)
}

// ja4Core is JA4 without the sign for the server name and the ALPN characters.
func ja4Core(v string) string {
	if len(v) < 10 {
		return v
	}
	return v[:3] + v[4:8] + v[10:]
}

// Cases of suricata-verify whose checks are about TLS or SSH facts.
func TestConformanceSuricata(t *testing.T) {
	base := testkit.Data(t, "fingerprints", "suricata-verify")
	var y tally
	for _, file := range globbed(t, base, "*/test.yaml") {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c struct {
			Requires map[string]any `yaml:"requires"`
			PCAP     string         `yaml:"pcap"`
			Checks   []struct {
				Filter struct {
					Count int            `yaml:"count"`
					Match map[string]any `yaml:"match"`
				} `yaml:"filter"`
			} `yaml:"checks"`
		}
		if err := yaml.Unmarshal(b, &c); err != nil {
			y.skip("test.yaml that is not plain YAML")
			continue
		}
		name := filepath.Base(filepath.Dir(file))
		path := filepath.Join(filepath.Dir(file), filepath.FromSlash(c.PCAP))
		if c.PCAP == "" {
			caps, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*.pcap*"))
			if err != nil || len(caps) != 1 {
				continue
			}
			path = caps[0]
		}
		if _, err := os.Stat(path); err != nil { // the manifest renamed or moved it
			path = filepath.Join(base, filepath.Base(filepath.Dir(path)), filepath.Base(path))
		}
		if _, err := os.Stat(path); err != nil {
			continue
		}
		var h *handshakes
		for _, check := range c.Checks {
			kind, _ := check.Filter.Match["event_type"].(string)
			if kind != "tls" && kind != "ssh" {
				continue
			}
			if _, old := c.Requires["lt-version"]; old {
				y.skip("behaviour of an older Suricata")
				continue
			}
			if h == nil {
				got := readHandshakes(t, path)
				h = &got
			}
			n, used := 0, 0
			if kind == "tls" {
				for i := range h.tls {
					if ok, k := matches(eveTLS(&h.tls[i]), check.Filter.Match); ok {
						n++
						used = k
					} else {
						used = max(used, k)
					}
				}
			} else {
				for i := range h.ssh {
					if ok, k := matches(eveSSH(&h.ssh[i]), check.Filter.Match); ok {
						n++
						used = k
					} else {
						used = max(used, k)
					}
				}
			}
			switch {
			case n == check.Filter.Count && used > 0:
				y.equal++
			case suricataKnown[name] != "":
				y.skip(suricataKnown[name])
			case used == 0:
				y.skip("fields that TRACER does not have")
			default:
				y.other++
				t.Logf("differs: %s: %d rows match %v, want %d", name, n, check.Filter.Match, check.Filter.Count)
			}
		}
	}
	y.report(t, "suricata-verify TLS and SSH", 0)
}

// suricataKnown are cases that are not met, with the reason.
var suricataKnown = map[string]string{}

// matches reports whether the facts agree with all keys that TRACER has, and how many
// those are.
func matches(facts map[string]string, match map[string]any) (ok bool, used int) {
	ok = true
	for k, v := range match {
		got, have := facts[k]
		if !have {
			continue
		}
		used++
		want := fmt.Sprint(v)
		if k == "tls.serial" {
			want = strings.TrimLeft(strings.ReplaceAll(strings.ToUpper(want), ":", ""), "0")
			got = strings.TrimLeft(got, "0")
		}
		if got != want {
			ok = false
		}
	}
	return ok, used
}

func eveTLS(r *model.TLS) map[string]string {
	version := map[string]string{"TLSv10": "TLSv1", "TLSv11": "TLS 1.1", "TLSv12": "TLS 1.2", "TLSv13": "TLS 1.3", "SSLv3": "SSLv3", "SSLv2": "SSLv2"}
	var sha1 []string
	for i := 0; i+2 <= len(r.CertSHA1); i += 2 {
		sha1 = append(sha1, r.CertSHA1[i:i+2])
	}
	at := func(v model.Time) string {
		if v == 0 {
			return ""
		}
		return v.Time().Format(time.RFC3339)[:19]
	}
	return map[string]string{
		"src_ip": r.OrigIP.String(), "dest_ip": r.RespIP.String(), "src_port": strconv.Itoa(int(r.OrigPort)), "dest_port": strconv.Itoa(int(r.RespPort)),
		"tls.sni": r.SNI, "tls.ja4": r.JA4, "tls.ja3.hash": r.JA3, "tls.ja3s.hash": r.JA3S, "tls.version": version[r.Version],
		"tls.fingerprint": strings.Join(sha1, ":"), "tls.serial": r.CertSerial, "tls.subject": forwards(r.CertSubject), "tls.issuerdn": forwards(r.CertIssuer),
		"tls.notbefore": at(r.CertNotBefore), "tls.notafter": at(r.CertNotAfter),
		"tls.client_handshake.ciphers": fmt.Sprint(r.ClientCiphers), "tls.client_handshake.exts": fmt.Sprint(r.ClientExtensions),
		"tls.client_handshake.sig_algs": fmt.Sprint(r.ClientSigAlgs), "tls.server_handshake.cipher": strconv.Itoa(int(r.ServerCipher)),
		"tls.server_handshake.exts": fmt.Sprint(r.ServerExtensions),
	}
}

// forwards turns a name of RFC 4514 into the order and form that Suricata prints.
func forwards(name string) string {
	if name == "" {
		return ""
	}
	parts := strings.Split(strings.ReplaceAll(name, `\,`, "\x00"), ",")
	slices.Reverse(parts)
	return strings.ReplaceAll(strings.Join(parts, ", "), "\x00", ",")
}

func eveSSH(r *model.SSH) map[string]string {
	cut := func(ident string) (proto, software string) {
		p := strings.SplitN(ident, "-", 3)
		if len(p) < 3 {
			return "", ""
		}
		software, _, _ = strings.Cut(p[2], " ")
		return p[1], software
	}
	cp, cs := cut(r.Client)
	sp, ss := cut(r.Server)
	return map[string]string{
		"ssh.client.hassh.hash": r.HASSH, "ssh.server.hassh.hash": r.HASSHServer,
		"ssh.client.proto_version": cp, "ssh.client.software_version": cs, "ssh.server.proto_version": sp, "ssh.server.software_version": ss,
	}
}
