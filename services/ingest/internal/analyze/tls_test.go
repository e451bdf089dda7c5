package analyze_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/ingest/internal/analyze"
)

// wiretap records what both ends of a connection write, in one order.
type wiretap struct {
	net.Conn
	mu    *sync.Mutex
	steps *[]step
	orig  bool
}

func (w *wiretap) Write(b []byte) (int, error) {
	w.mu.Lock()
	*w.steps = append(*w.steps, step{fromOrig: w.orig, data: slices.Clone(b)})
	w.mu.Unlock()
	return w.Conn.Write(b)
}

// converse lets a real client and server speak over a recorded connection.
func converse(t testing.TB, client, server *tls.Config) []step {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{a, b} {
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	var steps []step
	var mu sync.Mutex
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := tls.Server(&wiretap{b, &mu, &steps, false}, server)
		defer b.Close()
		buf := make([]byte, 4)
		if _, err := io.ReadFull(s, buf); err == nil {
			_, _ = s.Write([]byte("pong"))
		}
	}()
	c := tls.Client(&wiretap{a, &mu, &steps, true}, client)
	if _, err := c.Write([]byte("ping")); err == nil {
		_, _ = io.ReadFull(c, make([]byte, 4))
	}
	_ = a.Close()
	<-done
	return steps
}

func certificate(t testing.TB, key any, public any) tls.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(0x0abcdef), Subject: pkix.Name{CommonName: "srv, \"x\"\x00.example", Organization: []string{"Ex+Ample"}, Country: []string{"DE"}},
		NotBefore: time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2051, 1, 2, 3, 4, 5, 0, time.UTC),
		DNSNames: []string{"srv.example", "*.srv.example"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func handshake(t testing.TB, steps []step, size int) (model.TLS, *analyze.Conn) {
	t.Helper()
	var got rows
	var counters analyze.Counters
	c := newConn(&counters)
	p := analyze.All[slices.IndexFunc(analyze.All, func(p analyze.Protocol) bool { return p.Name == "tls" })]
	a := p.New(c, &got)
	more := true
	for _, s := range steps {
		b := s.data
		for len(b) > 0 && more {
			n := len(b)
			if size > 0 {
				n = min(size, n)
			}
			more = a.Data(1, s.fromOrig, b[:n])
			b = b[n:]
		}
	}
	a.End(2)
	if len(got.TLSs) != 1 {
		t.Fatalf("%d rows", len(got.TLSs))
	}
	if counters != (analyze.Counters{}) {
		t.Errorf("counted %v", counters)
	}
	return got.TLSs[0], c
}

// Real handshakes of every version, whole and byte by byte.
func TestTLSHandshakes(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecCert, rsaCert := certificate(t, ec, ec.Public()), certificate(t, rs, rs.Public())
	for _, v := range []struct {
		name    string
		version uint16
		cert    tls.Certificate
		suite   uint16
		curve   tls.CurveID
		key     string
		bits    uint16
	}{
		{"TLSv10", tls.VersionTLS10, rsaCert, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.CurveP256, "rsa", 2048},
		{"TLSv11", tls.VersionTLS11, rsaCert, tls.TLS_RSA_WITH_AES_128_CBC_SHA, 0, "rsa", 2048},
		{"TLSv12", tls.VersionTLS12, ecCert, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.X25519, "ecdsa", 256},
		{"TLSv13", tls.VersionTLS13, ecCert, 0, tls.CurveP384, "", 0},
	} {
		t.Run(v.name, func(t *testing.T) {
			server := &tls.Config{
				Certificates: []tls.Certificate{v.cert}, MinVersion: tls.VersionTLS10, NextProtos: []string{"h2", "http/1.1"},
				CurvePreferences: []tls.CurveID{tls.CurveP384, tls.CurveP256, tls.X25519},
			}
			client := &tls.Config{
				InsecureSkipVerify: true, ServerName: "SRV.Example", MinVersion: v.version, MaxVersion: v.version,
				NextProtos: []string{"http/1.1", "h2"}, ClientSessionCache: tls.NewLRUClientSessionCache(1),
			}
			if v.suite != 0 {
				client.CipherSuites = []uint16{v.suite}
				server.CipherSuites = client.CipherSuites
			}
			if v.curve != 0 && v.version != tls.VersionTLS13 {
				client.CurvePreferences = []tls.CurveID{v.curve}
			}
			if v.version == tls.VersionTLS13 { // the share sent first is not the one the server wants
				client.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP384}
				server.CurvePreferences = []tls.CurveID{tls.CurveP384}
			}
			for _, resumed := range []bool{false, true} {
				steps := converse(t, client, server)
				for _, size := range []int{0, 1, 1000} {
					r, c := handshake(t, steps, size)
					if r.Version != v.name || c.TLSVersion != v.name || r.Resumed != resumed || !r.Established || r.SNI != "srv.example" {
						t.Errorf("size %d: version %q resumed %v established %v sni %q", size, r.Version, r.Resumed, r.Established, r.SNI)
					}
					if v.suite != 0 && r.Cipher != tls.CipherSuiteName(v.suite) {
						t.Errorf("cipher %s", r.Cipher)
					}
					if c.TLSALPN != map[bool]string{true: "http/1.1", false: "h2"}[v.version == tls.VersionTLS13] {
						t.Errorf("alpn %q of %v", c.TLSALPN, r.ClientALPN)
					}
					if v.version == tls.VersionTLS13 || resumed {
						if len(r.CertChain) > 0 {
							t.Errorf("a chain out of nothing")
						}
						continue
					}
					if want := map[tls.CurveID]string{0: "", tls.CurveP256: "secp256r1", tls.X25519: "x25519"}[v.curve]; r.Curve != want {
						t.Errorf("curve %q, want %q", r.Curve, want)
					}
					sum := sha256.Sum256(v.cert.Certificate[0])
					if len(r.CertChain) != 1 || r.CertChain[0] != hex.EncodeToString(sum[:]) || len(r.CertSHA1) != 40 {
						t.Errorf("chain %v %s", r.CertChain, r.CertSHA1)
					}
					if want := `CN=srv\, \"x\"\00.example,O=Ex\+Ample,C=DE`; r.CertSubject != want || r.CertIssuer != want || !r.CertSelfSigned {
						t.Errorf("subject %s issuer %s", r.CertSubject, r.CertIssuer)
					}
					if r.CertSerial != "ABCDEF" || r.CertKeyType != v.key || r.CertKeyBits != v.bits {
						t.Errorf("serial %s key %s %d", r.CertSerial, r.CertKeyType, r.CertKeyBits)
					}
					if r.CertNotBefore.String() != "1969-12-31T00:00:00.000000Z" || r.CertNotAfter.String() != "2051-01-02T03:04:05.000000Z" {
						t.Errorf("valid from %s to %s", r.CertNotBefore, r.CertNotAfter)
					}
					if !slices.Equal(r.CertSANs, []string{"srv.example", "*.srv.example", "192.0.2.1"}) {
						t.Errorf("names %v", r.CertSANs)
					}
				}
			}
		})
	}
}

// A client that rejects the certificate says why.
func TestTLSAlert(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	steps := converse(t, &tls.Config{ServerName: "other", MaxVersion: tls.VersionTLS12}, &tls.Config{Certificates: []tls.Certificate{certificate(t, ec, ec.Public())}})
	r, _ := handshake(t, steps, 0)
	if r.Established || r.LastAlert != "bad_certificate" {
		t.Errorf("established %v alert %q", r.Established, r.LastAlert)
	}
}

// TLS in a tunnel of an HTTP proxy, with the proxy's answer captured, late and missing.
func TestTLSBehindConnect(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	inner := converse(t, &tls.Config{InsecureSkipVerify: true, ServerName: "inner.example", MaxVersion: tls.VersionTLS12},
		&tls.Config{Certificates: []tls.Certificate{certificate(t, ec, ec.Public())}})
	ask := step{fromOrig: true, data: []byte("CONNECT inner.example:443 HTTP/1.1\r\nHost: inner.example:443\r\n\r\n")}
	grant := step{data: []byte("HTTP/1.1 200 OK\r\n\r\n")}
	eager := append([]step{ask, inner[0], grant}, inner[1:]...)
	for name, steps := range map[string][]step{
		"answered":       append([]step{ask, grant}, inner...),
		"eager":          eager,
		"one side":       {ask, inner[0]},
		"one side, long": {ask, inner[0], {fromOrig: true, data: make([]byte, 40000)}},
	} {
		for _, size := range []int{0, 1} {
			var got rows
			var counters analyze.Counters
			c := newConn(&counters)
			p := analyze.All[slices.IndexFunc(analyze.All, func(p analyze.Protocol) bool { return p.Name == "http" })]
			a := p.New(c, &got)
			for _, s := range steps {
				for b := s.data; len(b) > 0; {
					n := len(b)
					if size > 0 {
						n = size
					}
					a.Data(1, s.fromOrig, b[:n])
					b = b[n:]
				}
			}
			a.End(2)
			if len(got.HTTPs) != 1 || len(got.TLSs) != 1 {
				t.Fatalf("%s: %d http and %d tls rows", name, len(got.HTTPs), len(got.TLSs))
			}
			if r := got.TLSs[0]; r.SNI != "inner.example" || c.Service != "http,tls" || r.Established == strings.HasPrefix(name, "one side") {
				t.Errorf("%s: sni %q service %q established %v", name, r.SNI, c.Service, r.Established)
			}
		}
	}
}
