package print_test

import (
	"bufio"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/testkit"
	"github.com/tracer-framework/tracer/services/fingerprint/internal/print"
)

// hexes reads "1301,1302" as numbers.
func hexes(t testing.TB, s string) []uint16 {
	t.Helper()
	return numbers(t, s, ",", 16)
}

func numbers(t testing.TB, s, sep string, base int) []uint16 {
	t.Helper()
	if s == "" {
		return nil
	}
	var out []uint16
	for f := range strings.SplitSeq(s, sep) {
		v, err := strconv.ParseUint(f, base, 16)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, uint16(v))
	}
	return out
}

// chrome is the hello that FoxIO's specification works through, with GREASE put back.
func chrome(t testing.TB) *model.TLS {
	return &model.TLS{
		Transport: "tcp", ClientHello: true, ClientVersion: 0x0303,
		ClientCiphers:    hexes(t, "2a2a,1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"),
		ClientExtensions: hexes(t, "dada,001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015,8a8a"),
		ClientSigAlgs:    hexes(t, "0403,0804,0401,0503,0805,0501,0806,0601"),
		ClientVersions:   hexes(t, "1a1a,0304,0303"),
		ClientALPN:       []string{"h2", "http/1.1"},
	}
}

func TestJA4Specification(t *testing.T) {
	got := print.JA4(chrome(t))
	want := print.JA4Set{
		JA4: "t13d1516h2_8daaf6152771_e5627efa2ab1",
		Raw: "t13d1516h2_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_" +
			"0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01_0403,0804,0401,0503,0805,0501,0806,0601",
		RawOrig: "t13d1516h2_1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035_" +
			"001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015_0403,0804,0401,0503,0805,0501,0806,0601",
		Original: "t13d1516h2_acb858a92679_18f69afefd3d",
	}
	if got.JA4 != want.JA4 || got.Raw != want.Raw || got.RawOrig != want.RawOrig {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got.Original != want.Original {
		t.Errorf("ja4_o %s", got.Original)
	}
}

func TestJA4Parts(t *testing.T) {
	many := make([]uint16, 150)
	for i := range many {
		many[i] = uint16(0x1000 + i)
	}
	for _, c := range []struct {
		name string
		tls  model.TLS
		want string
	}{
		{"nothing offered", model.TLS{}, "t00i000000_000000000000_000000000000"},
		{"ssl 2 hello", model.TLS{ClientVersion: 2, ClientCiphers: []uint16{4, 5}}, "ts2i020000_"},
		{"ssl 3", model.TLS{ClientVersion: 0x0300}, "ts3i0000"},
		{"dtls 1.2", model.TLS{Transport: "dtls", ClientVersion: 0xfefd}, "dd2i0000"},
		{"dtls 1.3", model.TLS{Transport: "dtls", ClientVersion: 0xfefd, ClientVersions: []uint16{0xfefc, 0xfefd}}, "dd3i0000"},
		{"quic", model.TLS{Transport: "quic", ClientVersion: 0x0303, ClientVersions: []uint16{0x0304}}, "q13i0000"},
		{"capped counts", model.TLS{ClientVersion: 0x0303, ClientCiphers: many, ClientExtensions: many}, "t12i999900_"},
		{"only grease", model.TLS{ClientVersion: 0x0303, ClientCiphers: []uint16{0x1a1a}, ClientExtensions: []uint16{0xfafa}, ClientVersions: []uint16{0x2a2a}}, "t12i000000_000000000000_000000000000"},
		{"only name and alpn", model.TLS{ClientVersion: 0x0303, ClientExtensions: []uint16{0, 16}, ClientALPN: []string{"x"}}, "t12d0002xx_000000000000_000000000000"},
		{"binary alpn", model.TLS{ClientVersion: 0x0303, ClientALPN: []string{"\xab\xcd"}}, "t12i0000ad_"},
		{"alpn that ends in a sign", model.TLS{ClientVersion: 0x0303, ClientALPN: []string{"http/"}}, "t12i00006f_"},
		{"single sign alpn", model.TLS{ClientVersion: 0x0303, ClientALPN: []string{"\x0a"}}, "t12i00000a_"},
		{"empty alpn", model.TLS{ClientVersion: 0x0303, ClientALPN: []string{""}}, "t12i000000_"},
	} {
		c.tls.ClientHello = true
		if got := print.JA4(&c.tls).JA4; !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s, want %s…", c.name, got, c.want)
		}
	}
	if got := print.JA4(&model.TLS{ClientVersion: 0x0303}); got != (print.JA4Set{}) {
		t.Errorf("without a hello: %+v", got)
	}
}

func ja3Facts(t testing.TB, raw string) *model.TLS {
	t.Helper()
	f := strings.Split(raw, ",")
	if len(f) != 5 {
		t.Fatalf("ja3 string %q", raw)
	}
	return &model.TLS{
		ClientHello: true, ClientVersion: numbers(t, f[0], "-", 10)[0], ClientCiphers: numbers(t, f[1], "-", 10),
		ClientExtensions: numbers(t, f[2], "-", 10), ClientGroups: numbers(t, f[3], "-", 10), ClientPointFormats: numbers(t, f[4], "-", 10),
	}
}

// The vectors of the README of JA3.
func TestJA3(t *testing.T) {
	for raw, want := range map[string]string{
		"769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0": "ada70206e40642a3e4461f35503241d5",
		"769,4-5-10-9-100-98-3-6-19-18-99,,,":                                  "de350869b8c85de67a350c8d186f11e6",
	} {
		if hash, got := print.JA3(ja3Facts(t, raw)); hash != want || got != raw {
			t.Errorf("%s of %s, want %s of %s", hash, got, want, raw)
		}
	}
	grease := &model.TLS{ClientHello: true, ClientVersion: 771, ClientCiphers: []uint16{0x0a0a, 4865}, ClientExtensions: []uint16{0xfafa}, ClientGroups: []uint16{0x3a3a, 29}}
	if _, raw := print.JA3(grease); raw != "771,4865,,29," {
		t.Errorf("with grease: %s", raw)
	}
	if _, raw := print.JA3S(&model.TLS{ServerHello: true, ServerVersion: 769, ServerCipher: 47, ServerExtensions: []uint16{65281, 0, 11, 35, 5, 16}}); raw != "769,47,65281-0-11-35-5-16" {
		t.Errorf("ja3s of %s", raw)
	}
	if _, raw := print.JA3S(&model.TLS{ServerHello: true, ServerVersion: 769, ServerCipher: 47}); raw != "769,47," {
		t.Errorf("ja3s of %s", raw)
	}
}

// Every full string that TShark printed has to give the value it printed.
func TestConformancePeerStrings(t *testing.T) {
	right, all, short := 0, 0, 0
	for _, folder := range []string{"fingerprints", "attacks", "conn"} {
		f, err := os.Open(testkit.Data(t, folder, "peer-tshark", "fingerprints.tsv"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		sc := bufio.NewScanner(f)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			col := strings.Split(sc.Text(), "\t")
			if len(col) < 9 || col[6] == "kind" || col[8] == "" {
				continue
			}
			var got string
			switch raw := col[8]; col[6] {
			case "ja3":
				if strings.Count(raw, ",") != 4 { // TShark leaves out the fields of a hello without extensions; JA3 keeps them, empty
					short++
					continue
				}
				got, _ = print.JA3(ja3Facts(t, raw))
			case "ja3s":
				p := strings.Split(raw, ",")
				got, _ = print.JA3S(&model.TLS{ServerHello: true, ServerVersion: numbers(t, p[0], "-", 10)[0], ServerCipher: numbers(t, p[1], "-", 10)[0], ServerExtensions: numbers(t, p[2], "-", 10)})
			case "hassh", "hassh_server":
				p := strings.Split(raw, ";")
				if len(p) != 4 {
					continue
				}
				got, _ = print.HASSH(sshFacts(p))
			default:
				continue
			}
			all++
			if got == col[7] {
				right++
			} else {
				t.Errorf("%s frame %s: %s %s, want %s", col[0], col[1], col[6], got, col[7])
			}
		}
		if err := sc.Err(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("score: tshark fingerprint strings: %d of %d (%d hellos without extensions not comparable)", right, all, short)
}

func sshFacts(p []string) *model.SSH {
	split := func(s string) []string {
		if s == "" {
			return nil
		}
		return strings.Split(s, ",")
	}
	return &model.SSH{ClientKex: split(p[0]), ClientEnc: split(p[1]), ClientMAC: split(p[2]), ClientComp: split(p[3])}
}

func TestConformanceHASSH(t *testing.T) {
	f, err := os.Open(testkit.Data(t, "fingerprints", "hassh", "hassh_fingerprints.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	right, all := 0, 0
	for dec := json.NewDecoder(f); dec.More(); {
		var v struct {
			HASSH string `json:"hassh"`
			Raw   string `json:"hasshAlgorithms"`
		}
		if err := dec.Decode(&v); err != nil {
			t.Fatal(err)
		}
		p := strings.Split(v.Raw, ";")
		if len(p) != 4 {
			continue
		}
		all++
		if hash, raw := print.HASSH(sshFacts(p)); hash == v.HASSH && raw == v.Raw {
			right++
		} else {
			t.Errorf("%s of %s, want %s", hash, raw, v.HASSH)
		}
	}
	t.Logf("score: hassh vectors: %d of %d", right, all)
}

func BenchmarkJA4(b *testing.B) {
	hello := chrome(b)
	b.ReportAllocs()
	for b.Loop() {
		print.JA4(hello)
	}
}

func BenchmarkJA3(b *testing.B) {
	hello := chrome(b)
	b.ReportAllocs()
	for b.Loop() {
		print.JA3(hello)
	}
}
