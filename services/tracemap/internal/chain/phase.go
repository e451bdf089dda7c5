package chain

import (
	"net/netip"
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
)

// remote is a service by which a host is worked on from another host.
type remote struct {
	Port      uint16
	Service   string  // name when recognised by content, and the one shown
	Technique string  // MITRE ATT&CK v19
	Weight    float64 // how much its use between two hosts says by itself
	External  bool    // used from outside it is a way in (T1133)
}

// remotes is in order of port. SMB and RPC weigh less because every Windows domain is
// full of them.
var remotes = []remote{
	{22, "ssh", "T1021.004", 2.5, true},
	{23, "telnet", "T1021", 2.5, true},
	{135, "dcerpc", "T1047", 1.5, false},
	{139, "smb", "T1021.002", 2.0, false},
	{445, "smb", "T1021.002", 2.0, true},
	{512, "rexec", "T1021", 2.5, true},
	{513, "rlogin", "T1021", 2.5, true},
	{514, "rsh", "T1021", 2.5, true},
	{3389, "rdp", "T1021.001", 2.5, true},
	{5900, "vnc", "T1021.005", 2.5, true},
	{5985, "winrm", "T1021.006", 2.5, true},
	{5986, "winrm", "T1021.006", 2.5, true},
}

// RemotePorts lists the ports of the services by which hosts are worked on.
func RemotePorts() []uint16 {
	ports := make([]uint16, len(remotes))
	for i, r := range remotes {
		ports[i] = r.Port
	}
	return ports
}

// RemoteServices lists the names of the same services, for when they run on other ports.
func RemoteServices() []string { return []string{"dcerpc", "rdp", "smb", "ssh", "vnc"} }

// remoteOf tells whether an exchange is with such a service. A service recognised by
// content is believed before the port is.
func remoteOf(c store.Exchange) (remote, bool) {
	for name := range strings.SplitSeq(c.Service, ",") {
		for _, r := range remotes {
			if r.Service == name {
				return r, true
			}
		}
	}
	if c.Service != "" || c.Proto != "tcp" {
		return remote{}, false
	}
	for _, r := range remotes {
		if r.Port == c.RespPort {
			return r, true
		}
	}
	return remote{}, false
}

// housekeeping lists ports over which hosts of one network talk all day.
var housekeeping = map[uint16]bool{53: true, 67: true, 68: true, 123: true, 137: true, 138: true, 161: true, 546: true, 547: true, 1900: true, 5353: true, 5355: true}

// serviceOf names the service of an exchange: what was recognised, else what the port is
// known for, else nothing.
func serviceOf(c store.Exchange) string {
	if c.Service != "" {
		return c.Service
	}
	if r, ok := remoteOf(c); ok {
		return r.Service
	}
	return ""
}

// c2Technique is the ATT&CK technique of command and control over a service.
func c2Technique(service string) string {
	switch {
	case strings.Contains(service, "dns"):
		return "T1071.004"
	case strings.Contains(service, "http"), strings.Contains(service, "tls"), strings.Contains(service, "quic"):
		return "T1071.001"
	default:
		return "T1095"
	}
}

// exfilTechnique is the ATT&CK technique of a transfer out over a service.
func exfilTechnique(service string, toC2 bool) string {
	switch {
	case toC2:
		return "T1041"
	case strings.Contains(service, "tls"), strings.Contains(service, "quic"), strings.Contains(service, "ssh"):
		return "T1048.002"
	default:
		return "T1048.003"
	}
}

var carrierNAT = netip.MustParsePrefix("100.64.0.0/10")

// internalBy makes the test for "one of ours": the given networks if there are any, else
// the address ranges that are not routed on the Internet.
func internalBy(nets []netip.Prefix) func(netip.Addr) bool {
	if len(nets) > 0 {
		return func(a netip.Addr) bool {
			for _, n := range nets {
				if n.Contains(a) {
					return true
				}
			}
			return false
		}
	}
	return func(a netip.Addr) bool {
		return a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLoopback() || carrierNAT.Contains(a)
	}
}

// host reports whether an address can be a single machine.
func host(a netip.Addr) bool {
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
		return false
	}
	if a.Is4() {
		b := a.As4()
		return b != [4]byte{255, 255, 255, 255}
	}
	return true
}

// direction of an edge as seen from our network.
func direction(fromInside, toInside bool) string {
	switch {
	case fromInside && toInside:
		return "lateral"
	case fromInside:
		return "outbound"
	case toInside:
		return "inbound"
	default:
		return "external"
	}
}

// probing reports whether a phase only looks and does not yet act upon its target.
func probing(phase string) bool {
	return phase == model.PhaseRecon || phase == model.PhaseDiscovery || phase == model.PhaseCredential
}

// entering reports whether an edge of this phase is a way into its responder.
func entering(phase string) bool {
	return phase == model.PhaseExploit || phase == model.PhaseTraversal
}
