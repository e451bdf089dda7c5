package print

import (
	"crypto/md5" //nolint:gosec // the method is defined by it
	"encoding/hex"
	"strconv"

	"github.com/tracer-framework/tracer/pkg/model"
)

// JA3 of the client: MD5 over version, ciphers, extensions, groups and point formats of
// the ClientHello, in decimal (github.com/salesforce/ja3). Both results are empty without
// a ClientHello.
func JA3(t *model.TLS) (hash, raw string) {
	if !t.ClientHello {
		return "", ""
	}
	b := make([]byte, 0, 512)
	b = strconv.AppendUint(b, uint64(t.ClientVersion), 10)
	for _, list := range [...][]uint16{t.ClientCiphers, t.ClientExtensions, t.ClientGroups, t.ClientPointFormats} {
		b = append(b, ',')
		b = appendDecimals(b, list)
	}
	return md5Hex(b), string(b)
}

// JA3S of the server: MD5 over version, cipher and extensions of the ServerHello. Both
// results are empty without a ServerHello.
func JA3S(t *model.TLS) (hash, raw string) {
	if !t.ServerHello {
		return "", ""
	}
	b := make([]byte, 0, 128)
	b = strconv.AppendUint(b, uint64(t.ServerVersion), 10)
	b = append(b, ',')
	b = strconv.AppendUint(b, uint64(t.ServerCipher), 10)
	b = append(b, ',')
	b = appendDecimals(b, t.ServerExtensions)
	return md5Hex(b), string(b)
}

func md5Hex(b []byte) string {
	sum := md5.Sum(b) //nolint:gosec // see import
	return hex.EncodeToString(sum[:])
}
