package print

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Extensions that JA4 looks at.
const (
	extServerName = 0x0000
	extALPN       = 0x0010
)

// JA4Set is JA4 of the client in its four forms: hashed and raw, sorted and in the
// client's own order.
type JA4Set struct {
	JA4      string // sorted, hashed: the fingerprint proper
	Original string // ja4_o: original order, hashed
	Raw      string // ja4_r: sorted, raw
	RawOrig  string // ja4_ro: original order, raw
}

// JA4 computes the client fingerprint by FoxIO's specification (technical_details/JA4.md,
// BSD 3-clause). All forms are empty without a ClientHello.
func JA4(t *model.TLS) JA4Set {
	if !t.ClientHello {
		return JA4Set{}
	}
	ciphers := without(t.ClientCiphers)
	exts := without(t.ClientExtensions)
	a := ja4a(t, len(ciphers), exts)

	orderC, orderE := hexList(ciphers), hexList(exts)
	slices.Sort(ciphers)
	exts = slices.DeleteFunc(exts, func(v uint16) bool { return v == extServerName || v == extALPN })
	slices.Sort(exts)
	sortC, sortE := hexList(ciphers), hexList(exts)
	if sigs := hexList(without(t.ClientSigAlgs)); len(sigs) > 0 {
		orderE = append(append(orderE, '_'), sigs...)
		sortE = append(append(sortE, '_'), sigs...)
	}
	return JA4Set{
		JA4:      a + "_" + hash12(sortC) + "_" + hash12(sortE),
		Original: a + "_" + hash12(orderC) + "_" + hash12(orderE),
		Raw:      a + "_" + string(sortC) + "_" + string(sortE),
		RawOrig:  a + "_" + string(orderC) + "_" + string(orderE),
	}
}

// ja4a is the readable first part; exts are the extensions without GREASE.
func ja4a(t *model.TLS, ciphers int, exts []uint16) string {
	a := make([]byte, 0, 10)
	switch t.Transport {
	case "quic":
		a = append(a, 'q')
	case "dtls":
		a = append(a, 'd')
	default:
		a = append(a, 't')
	}
	version := t.ClientVersion
	if supported := without(t.ClientVersions); len(supported) > 0 {
		version = slices.Max(supported)
		if t.Transport == "dtls" {
			version = slices.Min(supported) // DTLS counts downwards
		}
	}
	a = append(a, ja4Version(version)...)
	if slices.Contains(exts, extServerName) {
		a = append(a, 'd')
	} else {
		a = append(a, 'i')
	}
	a = appendCount(a, ciphers)
	a = appendCount(a, len(exts))
	return string(appendALPN(a, t.ClientALPN))
}

func ja4Version(v uint16) string {
	switch v {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	case 0x0002:
		return "s2"
	case 0xfeff:
		return "d1"
	case 0xfefd:
		return "d2"
	case 0xfefc:
		return "d3"
	}
	return "00"
}

// appendCount appends n in two digits, 99 at most.
func appendCount(dst []byte, n int) []byte {
	n = min(n, 99)
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}

// appendALPN appends the first and last character of the first protocol name; where one of
// them is no letter or digit, the first and last digit of the name in hexadecimal.
func appendALPN(dst []byte, names []string) []byte {
	if len(names) == 0 || names[0] == "" {
		return append(dst, '0', '0')
	}
	first, last := names[0][0], names[0][len(names[0])-1]
	if alphanumeric(first) && alphanumeric(last) {
		return append(dst, first, last)
	}
	return append(dst, digits[first>>4], digits[last&15])
}

func alphanumeric(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

// without copies the values without GREASE.
func without(values []uint16) []uint16 {
	out := make([]uint16, 0, len(values))
	for _, v := range values {
		if !grease(v) {
			out = append(out, v)
		}
	}
	return out
}

const digits = "0123456789abcdef"

// hexList is the values in four hexadecimal digits each, joined by commas.
func hexList(values []uint16) []byte {
	dst := make([]byte, 0, 5*len(values)+8)
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, digits[v>>12], digits[v>>8&15], digits[v>>4&15], digits[v&15])
	}
	return dst
}

// hash12 is the first twelve hexadecimal digits of SHA-256, and of nothing twelve zeroes.
func hash12(b []byte) string {
	if len(b) == 0 {
		return "000000000000"
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}
