package lab_test

import (
	"compress/gzip"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/tracer-framework/tracer/pkg/lab"
)

// small is enough to see every kind of traffic.
const small = 0.05

func generate(t *testing.T, scenario string, seed int64) (*lab.Truth, string) {
	t.Helper()
	dir := t.TempDir()
	truth, err := lab.Generate(scenario, lab.Options{Seed: seed, Scale: small}, dir)
	if err != nil {
		t.Fatal(err)
	}
	return truth, dir
}

func digests(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.Sum256(b)
		out[filepath.Base(name)] = hex.EncodeToString(h[:])
	}
	return out
}

func TestSameSeedSameBytes(t *testing.T) {
	truth, dir := generate(t, "intrusion", 7)
	_, again := generate(t, "intrusion", 7)
	_, other := generate(t, "intrusion", 8)
	a, b, c := digests(t, dir), digests(t, again), digests(t, other)
	if len(a) != 4 {
		t.Fatalf("files = %v, want three captures and %s", a, lab.TruthFile)
	}
	for name, sum := range a {
		if b[name] != sum {
			t.Errorf("%s differs between two runs with one seed", name)
		}
		if c[name] == sum {
			t.Errorf("%s is the same with another seed", name)
		}
	}
	for _, f := range truth.Files {
		if a[f.Name] != f.SHA256 {
			t.Errorf("%s: truth says %s, the file has %s", f.Name, f.SHA256, a[f.Name])
		}
	}
	read, err := lab.ReadTruth(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lab.ReadTruth(filepath.Join(dir, lab.TruthFile)); err != nil {
		t.Error(err)
	}
	if len(read.Steps) != len(truth.Steps) || len(read.Hosts) != len(truth.Hosts) || read.Steps[0].From != truth.Steps[0].From {
		t.Errorf("truth.json does not hold what Generate returned")
	}
}

// packets calls f with every packet of a capture.
func packets(t *testing.T, path string, f func(at time.Time, data []byte)) int {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var in io.Reader = file
	if strings.HasSuffix(path, ".gz") {
		if in, err = gzip.NewReader(file); err != nil {
			t.Fatal(err)
		}
	}
	var src gopacket.PacketDataSource
	if strings.Contains(path, ".pcapng") {
		src, err = pcapgo.NewNgReader(in, pcapgo.DefaultNgReaderOptions)
	} else {
		src, err = pcapgo.NewReader(in)
	}
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		data, info, err := src.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatalf("%s, packet %d: %v", filepath.Base(path), n+1, err)
		}
		f(info.Timestamp, data)
	}
}

func TestIntrusion(t *testing.T) {
	truth, dir := generate(t, "intrusion", 3)
	t.Run("captures", func(t *testing.T) { parseBack(t, truth, dir) })
	t.Run("truth", func(t *testing.T) { truthOfIntrusion(t, truth) })
	t.Run("certificate", func(t *testing.T) { certificates(t, filepath.Join(dir, "edge.pcap")) })
}

// parseBack reads the captures with an independent decoder: order of time, structure and
// every checksum.
func parseBack(t *testing.T, truth *lab.Truth, dir string) {
	seen := map[string]bool{}
	for _, file := range truth.Files {
		last := time.Time{}
		bad := 0
		n := packets(t, filepath.Join(dir, file.Name), func(at time.Time, data []byte) {
			if at.Before(last) {
				t.Fatalf("%s: time runs backwards at %s", file.Name, at)
			}
			last = at
			p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
			if p.NetworkLayer() == nil {
				seen["arp"] = seen["arp"] || p.Layer(layers.LayerTypeARP) != nil
				return
			}
			if e := p.ErrorLayer(); e != nil && p.TransportLayer() == nil {
				t.Errorf("%s: %v", file.Name, e.Error())
			}
			for _, l := range p.Layers() {
				if x, ok := l.(interface {
					SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
				}); ok {
					if err := x.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err, wrong := p.VerifyChecksums(); err != nil || len(wrong) > 0 {
				if bad++; bad < 5 {
					t.Errorf("%s at %s: checksums %v %v", file.Name, at, err, wrong)
				}
			}
			for _, l := range p.Layers() {
				seen[l.LayerType().String()] = true
			}
		})
		if uint64(n) != file.Packets {
			t.Errorf("%s holds %d packets, truth says %d", file.Name, n, file.Packets)
		}
		if last.Before(truth.End.Time().Add(-10*time.Minute)) || last.After(truth.End.Time()) {
			t.Errorf("%s ends at %s, the scenario at %s", file.Name, last, truth.End)
		}
	}
	for _, want := range []string{"arp", "Dot1Q", "IPv4", "IPv6", "TCP", "UDP", "ICMPv4", "DNS", "NTP", "DHCPv4"} {
		if !seen[want] {
			t.Errorf("no packet of kind %s in the captures", want)
		}
	}
}

func truthOfIntrusion(t *testing.T, truth *lab.Truth) {
	hosts := map[string]lab.Host{}
	for _, h := range truth.Hosts {
		hosts[h.IP.String()] = h
	}
	detectors := map[string]bool{}
	for i, s := range truth.Steps {
		if s.N != i+1 || i > 0 && s.First < truth.Steps[i-1].First {
			t.Errorf("step %d is out of order", s.N)
		}
		if s.First < truth.Start || s.Last >= truth.End || s.Last < s.First {
			t.Errorf("step %d: times %s to %s outside the captures", s.N, s.First, s.Last)
		}
		if s.Flows == 0 || s.Packets == 0 || s.Description == "" || s.Technique == "" || s.Phase == "" || s.Sensor == "" {
			t.Errorf("step %d is incomplete: %+v", s.N, s)
		}
		if h, ok := hosts[s.From.String()]; !ok || h.Role == lab.RoleBenign {
			t.Errorf("step %d comes from %s, which is %q in the list of hosts", s.N, s.From, h.Role)
		}
		if s.Edge && !s.To.IsValid() {
			t.Errorf("step %d should leave an edge but has no target", s.N)
		}
		detectors[s.Detector] = true
	}
	for _, want := range []string{"horizontal_scan", "vertical_scan", "beacon", "dns_tunnel", "long_connection", "profile:log4shell"} {
		if !detectors[want] {
			t.Errorf("no step for detector %s", want)
		}
	}
	if len(truth.Benign) < 10 {
		t.Errorf("only %d benign lookalikes", len(truth.Benign))
	}
	if truth.Steps[len(truth.Steps)-1].Phase != "exfil" {
		t.Errorf("the story ends with %q", truth.Steps[len(truth.Steps)-1].Description)
	}
}

// certificates looks for the self-signed certificate of the first implant on the wire.
func certificates(t *testing.T, path string) {
	t.Helper()
	found := 0
	packets(t, path, func(_ time.Time, data []byte) {
		const frame, record = 14 + 20 + 32, 5
		if found > 0 || len(data) < frame+record+200 || data[26] != 198 || data[27] != 51 || data[frame] != 22 {
			return
		}
		b := data[frame:]
		if n := record + (int(b[3])<<8 | int(b[4])); n < len(b) { // over the ServerHello
			b = b[n:]
		}
		if len(b) < 20 || b[0] != 22 || b[5] != 11 {
			return
		}
		der := b[15 : 15+(int(b[12])<<16|int(b[13])<<8|int(b[14]))]
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Errorf("certificate on the wire: %v", err)
			return
		}
		if err := cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
			t.Errorf("certificate of %s is not signed by itself: %v", cert.Subject, err)
		}
		found++
	})
	if found == 0 {
		t.Errorf("no certificate of the command server on the wire")
	}
}

func TestOtherScenarios(t *testing.T) {
	truth, _ := generate(t, "benign", 1)
	if len(truth.Steps) != 0 {
		t.Errorf("benign has steps: %+v", truth.Steps)
	}
	for _, h := range truth.Hosts {
		if h.Role != lab.RoleBenign {
			t.Errorf("benign has a host of role %s", h.Role)
		}
	}
	truth, _ = generate(t, "scan-only", 1)
	if len(truth.Steps) != 2 {
		t.Errorf("scan-only has %d steps, want 2", len(truth.Steps))
	}
}

func TestGenerateRefuses(t *testing.T) {
	for _, c := range []struct {
		scenario string
		opt      lab.Options
		want     string
	}{
		{"unknown", lab.Options{}, "choose one of intrusion, benign, scan-only"},
		{"benign", lab.Options{Scale: -1}, "scale -1: must be above 0"},
	} {
		_, err := lab.Generate(c.scenario, c.opt, t.TempDir())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Generate(%s, %+v) = %v, want %q", c.scenario, c.opt, err, c.want)
		}
	}
}
