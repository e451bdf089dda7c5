package print

import (
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
)

// HASSH of the client: MD5 over its key exchange, encryption, MAC and compression names,
// those from client to server (github.com/salesforce/hassh). Both results are empty if the
// client's KEXINIT was not seen.
func HASSH(s *model.SSH) (hash, raw string) {
	return hassh(s.ClientKex, s.ClientEnc, s.ClientMAC, s.ClientComp)
}

// HASSHServer is the same of the server, over the names from server to client.
func HASSHServer(s *model.SSH) (hash, raw string) {
	return hassh(s.ServerKex, s.ServerEnc, s.ServerMAC, s.ServerComp)
}

func hassh(kex, enc, mac, comp []string) (hash, raw string) {
	if len(kex) == 0 && len(enc) == 0 && len(mac) == 0 && len(comp) == 0 {
		return "", ""
	}
	raw = strings.Join(kex, ",") + ";" + strings.Join(enc, ",") + ";" + strings.Join(mac, ",") + ";" + strings.Join(comp, ",")
	return md5Hex([]byte(raw)), raw
}
