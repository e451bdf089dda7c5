package flowtable

import "github.com/tracer-framework/tracer/services/ingest/internal/decode"

// Ports on which a server is likely, as Zeek's default scripts name them. They decide only
// which side of a conversation joined in the middle is taken for the responder.
var (
	serverTCP = []uint16{
		21, 22, 25, 53, 79, 80, 81, 88, 135, 139, 143, 389, 443, 445, 465, 502, 514, 563, 585, 587, 614, 631, 636, 989, 990, 992,
		993, 995, 1080, 1434, 1883, 2811, 3128, 3268, 3306, 3389, 5222, 5223, 5269, 5432, 6379, 6666, 6667, 6668, 6669, 8000, 8080, 8888, 20000,
	}
	serverUDP = []uint16{
		53, 67, 88, 123, 137, 161, 162, 389, 443, 514, 1812, 2123, 2152, 3389, 3544, 4011, 4754, 4789, 5060, 5072, 5353, 5355, 6081, 20000,
	}
	serverPorts = [2][65536 / 64]uint64{bitmap(serverTCP), bitmap(serverUDP)}
)

func bitmap(ports []uint16) (m [65536 / 64]uint64) {
	for _, p := range ports {
		m[p/64] |= 1 << (p % 64)
	}
	return m
}

func likelyServer(proto uint8, port uint16) bool {
	n := 0
	if proto == decode.ProtoUDP {
		n = 1
	}
	return serverPorts[n][port/64]&(1<<(port%64)) != 0
}
