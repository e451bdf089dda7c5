package ingest_test

import (
	"bufio"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/testkit"
	"github.com/tracer-framework/tracer/services/ingest/internal/source"
)

// protocolDiffers holds cases whose protocol logs are not compared, with the reason.
var protocolDiffers = map[string]string{
	"core.nflog":                               "link type NFLOG is not read",
	"core.tunnels.gre":                         "tunnel is not entered: GRE",
	"core.tunnels.gre-over-udp":                "tunnel is not entered: GRE",
	"core.tunnels.gre-pptp":                    "tunnel is not entered: GRE",
	"core.tunnels.gtp.outer_ip_frag":           "tunnel is not entered: GTP",
	"core.vlan-mpls":                           "encapsulation is not entered: MPLS",
	"scripts.base.protocols.http.curl-http-09": "HTTP/0.9 is not recognised",
	"scripts.base.protocols.http.http-09":      "HTTP/0.9 is not recognised",
	"scripts.base.protocols.http.http-09-content-length-confusion": "HTTP/0.9 is not recognised",
	"scripts.base.protocols.irc.starttls":                          "TLS after STARTTLS is not recognised",
	"scripts.base.protocols.smtp.starttls":                         "TLS after STARTTLS is not recognised",
	"scripts.base.protocols.xmpp.server-dialback-dpd":              "TLS after STARTTLS is not recognised",
	"scripts.base.protocols.websocket.wstunnel-https":              "TLS inside of a websocket is not recognised",
	"scripts.base.protocols.websocket.wstunnel-http":               "HTTP inside of a websocket is not recognised",
	"scripts.policy.protocols.ssl.decryption":                      "Zeek is given the keys of the connection",
}

// logRow is one row of a log of Zeek, or of ours in its words. Fields that are missing
// are not compared.
type logRow map[string]string

func zeekLog(t *testing.T, path string) []logRow {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var fields []string
	var out []logRow
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		cols := strings.Split(sc.Text(), "\t")
		switch {
		case cols[0] == "#fields":
			fields = cols[1:]
		case strings.HasPrefix(cols[0], "#"):
		case len(cols) == len(fields):
			r := logRow{}
			for i, c := range cols {
				if c == "-" || c == "(empty)" {
					c = ""
				}
				r[fields[i]] = c
			}
			out = append(out, r)
		}
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func tupleOf(e *model.Endpoints) string {
	return fmt.Sprintf("%s %d %s %d", e.OrigIP, e.OrigPort, e.RespIP, e.RespPort)
}

func flag(v bool) string {
	if v {
		return "T"
	}
	return "F"
}

func positive(n uint64) string { return strconv.FormatUint(n, 10) }

// ours are our rows of one log in Zeek's words, by flow.
func ours(r *rows, log string) map[string][]logRow {
	m := map[string][]logRow{}
	add := func(e *model.Endpoints, row logRow) { m[tupleOf(e)] = append(m[tupleOf(e)], row) }
	switch log {
	case "dns.log":
		for i := range r.dns {
			d := &r.dns[i]
			row := logRow{"trans_id": positive(uint64(d.TransID)), "query": d.Query}
			if d.Answered {
				row["rcode"], row["rcode_name"] = positive(uint64(d.RCode)), d.RCodeName
				row["AA"], row["RA"] = flag(d.AA), flag(d.RA)
			}
			if d.QTypeName != "" && d.QType != 255 && !strings.HasPrefix(d.QTypeName, "TYPE") {
				row["qclass"], row["qtype"], row["qtype_name"] = positive(uint64(d.QClass)), positive(uint64(d.QType)), d.QTypeName
			}
			if d.Queried {
				row["RD"] = flag(d.RD)
			}
			if d.Queried && d.Answered {
				row["rtt"] = fmt.Sprintf("%d.%06d", d.RTTMicros/1e6, d.RTTMicros%1e6)
			}
			signed := slices.ContainsFunc(d.Answers, func(s string) bool { return strings.Count(s, " ") > 6 }) // RRSIG, which Zeek abridges
			if (d.QType == 1 || d.QType == 28 || d.QType == 5 || d.QType == 12) && !signed {
				row["answers"] = strings.Join(d.Answers, ",")
				var ttls []string
				for _, v := range d.TTLs {
					ttls = append(ttls, fmt.Sprintf("%d.000000", v))
				}
				row["TTLs"] = strings.Join(ttls, ",")
			}
			add(&d.Endpoints, row)
		}
	case "http.log":
		for i := range r.http {
			h := &r.http[i]
			row := logRow{
				"method": h.Method, "host": h.Host, "uri": h.URI, "referrer": h.Referrer, "user_agent": h.UserAgent,
				"request_body_len": positive(h.RequestBodyLen), "response_body_len": positive(h.ResponseBodyLen), "username": h.Username,
				"status_msg": h.StatusMsg, "resp_filenames": h.ResponseFile,
			}
			if uri, err := url.PathUnescape(h.URI); err == nil { // Zeek takes percent-encoding off
				row["uri"] = uri
			}
			if h.Answered {
				row["status_code"] = positive(uint64(h.StatusCode))
			}
			add(&h.Endpoints, row)
		}
	case "ssl.log":
		for i := range r.tls {
			s := &r.tls[i]
			add(&s.Endpoints, logRow{
				"version": s.Version, "cipher": s.Cipher, "curve": s.Curve, "server_name": s.SNI, "resumed": flag(s.Resumed),
				"last_alert": s.LastAlert, "next_protocol": s.ALPN, "established": flag(s.Established), "cert_chain_fps": strings.Join(s.CertChain, ","),
			})
		}
	case "ssh.log":
		for i := range r.ssh {
			s := &r.ssh[i]
			add(&s.Endpoints, logRow{
				"client": s.Client, "server": s.Server, "cipher_alg": s.CipherAlg, "mac_alg": s.MACAlg,
				"compression_alg": s.CompressionAlg, "kex_alg": s.KexAlg, "host_key_alg": s.HostKeyAlg,
			})
		}
	}
	return m
}

// TestConformanceZeekProtocols compares protocol records with the logs that Zeek writes
// for the same captures, field by field where both have the field.
func TestConformanceZeekProtocols(t *testing.T) {
	dir := testkit.Data(t, "conn", "zeek")
	for _, log := range []string{"dns.log", "http.log", "ssl.log", "ssh.log"} {
		found, missing, fields, equal, left := 0, 0, 0, 0, 0
		paths, err := filepath.Glob(filepath.Join(dir, "*", "expected", log))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			folder := filepath.Dir(filepath.Dir(path))
			name := filepath.Base(folder)
			if protocolDiffers[name] != "" || strings.Contains(name, ".quic.") {
				left++
				continue
			}
			captures, _, err := source.Expand([]string{folder})
			if err != nil || len(captures) != 1 {
				left++
				continue
			}
			got := readAll(t, captures[0], config(1))
			mine := ours(&got, log)
			for _, want := range zeekLog(t, path) {
				tuple := want["id.orig_h"] + " " + want["id.orig_p"] + " " + want["id.resp_h"] + " " + want["id.resp_p"]
				best, bestEqual := -1, -1
				for i, row := range mine[tuple] {
					if n := agree(row, want); n > bestEqual {
						best, bestEqual = i, n
					}
				}
				if best < 0 {
					missing++
					t.Logf("missing: %s: %s %s %s%s", name, log, tuple, want["query"], want["uri"])
					continue
				}
				found++
				row := mine[tuple][best]
				mine[tuple] = slices.Delete(mine[tuple], best, best+1)
				for k, v := range row {
					w, ok := want[k]
					if !ok {
						continue
					}
					fields++
					if v == w {
						equal++
					} else {
						t.Logf("differs: %s: %s %s: got %q, Zeek has %q", name, log, k, v, w)
					}
				}
			}
		}
		t.Logf("score: Zeek %s: %d of %d rows found, %d of %d fields equal, %d logs left out", log, found, found+missing, equal, fields, left)
		if found*100 < 90*(found+missing) || equal*100 < 93*fields {
			t.Errorf("%s: fewer rows or fields agree than before", log)
		}
	}
}

func agree(row, want logRow) int {
	n := 0
	for k, v := range row {
		if w, ok := want[k]; ok && v == w {
			n++
		}
	}
	return n
}
