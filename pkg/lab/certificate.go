package lab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"time"
)

// issuer makes certificate chains. Keys come from the seed and signatures follow RFC 6979,
// so the same seed gives the same bytes.
type issuer struct {
	seed  int64
	r     *random // of the certificate in work: each name has its own
	now   time.Time
	root  *x509.Certificate
	inter *x509.Certificate
	key   repeatable // of inter
	made  map[string][][]byte
	err   error // the first failure
}

// repeatable signs without randomness: ECDSA as in RFC 6979, RSA as in PKCS #1 v1.5.
type repeatable struct{ crypto.Signer }

// Sign ignores the source of randomness.
func (k repeatable) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.Signer.Sign(nil, digest, opts)
}

func newIssuer(seed int64, start int64) *issuer {
	i := &issuer{seed: seed, r: newRandom(seed, "certificates"), now: time.Unix(0, start).UTC(), made: map[string][][]byte{}}
	rootKey := i.newKey()
	i.root = &x509.Certificate{
		SerialNumber: i.serial(), Subject: pkix.Name{Country: []string{"XX"}, Organization: []string{"Meridian Trust Services"}, CommonName: "Meridian Root X1"},
		NotBefore: i.now.AddDate(-6, 0, 0), NotAfter: i.now.AddDate(14, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	i.key = i.newKey()
	i.inter = &x509.Certificate{
		SerialNumber: i.serial(), Subject: pkix.Name{Country: []string{"XX"}, Organization: []string{"Meridian Trust Services"}, CommonName: "Meridian E5"},
		NotBefore: i.now.AddDate(-2, 0, 0), NotAfter: i.now.AddDate(3, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		OCSPServer: []string{"http://ocsp.certstatus.example"},
	}
	i.made[""] = [][]byte{i.sign(i.inter, i.root, i.key, rootKey)}
	return i
}

func (i *issuer) newKey() repeatable {
	for {
		k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), i.r.bytes(32))
		if err == nil { // fails for a number outside the group's order, about once in 2^32
			return repeatable{k}
		}
	}
}

// newRSAKey makes a 2048-bit key, as the tools of intruders like to.
func (i *issuer) newRSAKey() repeatable {
	one := big.NewInt(1)
	e := big.NewInt(65537)
	prime := func() *big.Int {
		for {
			b := i.r.bytes(128)
			b[0] |= 0xc0
			b[127] |= 1
			p := new(big.Int).SetBytes(b)
			for range 256 {
				if new(big.Int).GCD(nil, nil, new(big.Int).Sub(p, one), e).Cmp(one) == 0 && p.ProbablyPrime(4) {
					return p
				}
				p.Add(p, big.NewInt(2))
			}
		}
	}
	p, q := prime(), prime()
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537}, D: new(big.Int).ModInverse(e, phi), Primes: []*big.Int{p, q}}
	key.Precompute()
	return repeatable{key}
}

func (i *issuer) serial() *big.Int {
	b := i.r.bytes(16)
	b[0] = b[0]&0x3f | 0x40
	return new(big.Int).SetBytes(b)
}

func (i *issuer) sign(cert, parent *x509.Certificate, key, by repeatable) []byte {
	der, err := x509.CreateCertificate(nil, cert, parent, key.Public(), by)
	if err != nil && i.err == nil {
		i.err = fmt.Errorf("make certificate of %s: %w", cert.Subject.CommonName, err)
	}
	return der
}

// chain returns the certificates of a public site: leaf and intermediate.
func (i *issuer) chain(domain string) [][]byte {
	if c := i.made[domain]; c != nil {
		return c
	}
	i.r = newRandom(i.seed, "certificate "+domain)
	begin := i.now.Add(-time.Duration(i.r.between(5*24*time.Hour, 70*24*time.Hour)))
	leaf := &x509.Certificate{
		SerialNumber: i.serial(), Subject: pkix.Name{CommonName: domain}, DNSNames: []string{domain, "*." + domain},
		NotBefore: begin, NotAfter: begin.AddDate(0, 0, 90), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		OCSPServer: []string{"http://ocsp.certstatus.example"}, IssuingCertificateURL: []string{"http://certstatus.example/e5.crt"},
	}
	c := [][]byte{i.sign(leaf, i.inter, i.newKey(), i.key), i.made[""][0]}
	i.made[domain] = c
	return c
}

// selfSigned returns a certificate with an RSA key that only vouches for itself.
func (i *issuer) selfSigned(name string, years int) [][]byte {
	if c := i.made["self "+name]; c != nil {
		return c
	}
	i.r = newRandom(i.seed, "certificate self "+name)
	key := i.newRSAKey()
	cert := &x509.Certificate{
		SerialNumber: i.serial(), Subject: pkix.Name{Country: []string{"US"}, Organization: []string{"Internet Widgits Pty Ltd"}, CommonName: name},
		NotBefore: i.now.AddDate(0, 0, -3), NotAfter: i.now.AddDate(years, 0, -3), KeyUsage: x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	c := [][]byte{i.sign(cert, cert, key, key)}
	i.made["self "+name] = c
	return c
}
