package decode_test

import (
	"encoding/binary"
	"math"
	"net/netip"
	"os"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/testkit"
	"github.com/tracer-framework/tracer/services/ingest/internal/decode"
	"github.com/tracer-framework/tracer/services/ingest/internal/source"
)

func hex(s string) []byte {
	var b []byte
	n, half := byte(0), false
	for _, c := range s {
		var v byte
		switch {
		case c >= '0' && c <= '9':
			v = byte(c - '0')
		case c >= 'a' && c <= 'f':
			v = byte(c-'a') + 10
		default:
			continue
		}
		if n = n<<4 | v; half {
			b = append(b, n)
		}
		half = !half
	}
	return b
}

const (
	macs = "02 00 00 00 00 02 02 00 00 00 00 01 "
	ip4  = "45 00 00 20 00 00 00 00 40 11 00 00 0a 00 00 01 0a 00 00 02 " // 32 bytes long, UDP
	udp  = "04 00 00 35 00 0c 00 00 61 62 63 64"
	ip6  = "60 00 00 00 00 0c 11 40 20010db8000000000000000000000001 20010db8000000000000000000000002 "
)

func TestLinks(t *testing.T) {
	for _, c := range []struct {
		name        string
		link        uint32
		data        string
		ok          bool
		vlan, inner uint16
	}{
		{"ethernet", source.LinkEthernet, macs + "0800" + ip4 + udp, true, 0, 0},
		{"ethernet with padding", source.LinkEthernet, macs + "0800" + ip4 + udp + "000000000000", true, 0, 0},
		{"vlan", source.LinkEthernet, macs + "8100 0064 0800" + ip4 + udp, true, 100, 0},
		{"qinq", source.LinkEthernet, macs + "88a8 0064 8100 00c8 0800" + ip4 + udp, true, 100, 200},
		{"four tags", source.LinkEthernet, macs + "88a8 0064 8100 00c8 8100 0001 8100 0002 0800" + ip4 + udp, true, 100, 200},
		{"five tags", source.LinkEthernet, macs + "88a8 0064 8100 00c8 8100 0001 8100 0002 8100 0003 0800" + ip4 + udp, false, 100, 200},
		{"snap", source.LinkEthernet, macs + "0028 aaaa03 000000 0800" + ip4 + udp, true, 0, 0},
		{"arp", source.LinkEthernet, macs + "0806 0001", false, 0, 0},
		{"short", source.LinkEthernet, macs, false, 0, 0},
		{"raw", source.LinkRaw, ip4 + udp, true, 0, 0},
		{"raw 6", source.LinkRaw, ip6 + udp, true, 0, 0},
		{"null little endian", source.LinkNull, "02000000" + ip4 + udp, true, 0, 0},
		{"null big endian", source.LinkNull, "00000002" + ip4 + udp, true, 0, 0},
		{"loop", source.LinkLoop, "00000018" + ip6 + udp, true, 0, 0},
		{"sll", source.LinkSLL, "0000 0001 0006 020000000001 0000 0800" + ip4 + udp, true, 0, 0},
		{"sll2", source.LinkSLL2, "0800 0000 00000001 0001 00 06 020000000001 0000" + ip4 + udp, true, 0, 0},
		{"other link", 127, ip4 + udp, false, 0, 0},
		{"ip version 5", source.LinkRaw, "55" + ip4[2:] + udp, false, 0, 0},
		{"ip header too long", source.LinkRaw, "4f" + ip4[2:] + udp, false, 0, 0},
		{"hop-by-hop", source.LinkRaw, "60 00 00 00 00 14 00 40" + ip6[24:] + "11 00 00 00 00 00 00 00" + udp, true, 0, 0},
		{"atomic fragment", source.LinkRaw, "60 00 00 00 00 14 2c 40" + ip6[24:] + "11 00 0000 00000007" + udp, true, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d decode.Decoder
			var p decode.Packet
			ok := d.Decode(&source.Packet{Link: c.link, Data: hex(c.data)}, &p)
			if ok != c.ok || p.Vlan != c.vlan || p.InnerVlan != c.inner {
				t.Fatalf("ok %v, vlan %d, inner %d: want %v, %d, %d; counters %+v", ok, p.Vlan, p.InnerVlan, c.ok, c.vlan, c.inner, d.Counters)
			}
			if ok && (p.Proto != 17 || p.SrcPort != 1024 || p.DstPort != 53 || p.Length != 4 || string(p.Payload) != "abcd") {
				t.Errorf("%+v", p)
			}
		})
	}
}

// TestFragments puts one datagram of "aaaaaaaabbbbbbbbcc" together in several ways.
func TestFragments(t *testing.T) {
	frag := func(offset int, more bool, data string) []byte {
		b := hex(ip4)
		binary.BigEndian.PutUint16(b[2:], uint16(20+len(data)))
		b[4], b[5], b[9] = 1, 2, 253 // a protocol without a header of its own
		f := uint16(offset / 8)
		if more {
			f |= 0x2000
		}
		binary.BigEndian.PutUint16(b[6:], f)
		return append(b, data...)
	}
	type part struct {
		offset int
		more   bool
		data   string
	}
	a, b, c := part{0, true, "aaaaaaaa"}, part{8, true, "bbbbbbbb"}, part{16, false, "cc"}
	for _, tc := range []struct {
		name  string
		parts []part
		want  string
	}{
		{"in order", []part{a, b, c}, "aaaaaaaabbbbbbbbcc"},
		{"reversed", []part{c, b, a}, "aaaaaaaabbbbbbbbcc"},
		{"twice", []part{a, a, b, c}, "aaaaaaaabbbbbbbbcc"},
		{"first holds", []part{a, {0, true, "XXXXXXXXYYYYYYYY"}, c}, "aaaaaaaaYYYYYYYYcc"},
		{"first holds between", []part{b, {0, true, "aaaaaaaaXXXXXXXX"}, c}, "aaaaaaaabbbbbbbbcc"},
		{"hole", []part{a, c}, ""},
		{"behind the end", []part{{8, false, "b"}, c, a}, "aaaaaaaab"},
		{"odd length with more to come", []part{{0, true, "abc"}, c}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var d decode.Decoder
			var p decode.Packet
			got := ""
			for _, q := range tc.parts {
				if d.Decode(&source.Packet{Link: source.LinkRaw, Data: frag(q.offset, q.more, q.data)}, &p) {
					got = string(p.Payload)
				}
			}
			if got != tc.want {
				t.Errorf("%q, want %q; counters %+v", got, tc.want, d.Counters)
			}
		})
	}
	t.Run("bounded", func(t *testing.T) {
		var d decode.Decoder
		var p decode.Packet
		for i := range 100_000 {
			f := frag(0, true, "aaaaaaaa")
			binary.BigEndian.PutUint16(f[4:], uint16(i))
			f[12] = byte(i >> 16)
			d.Decode(&source.Packet{Link: source.LinkRaw, TS: model.Time(i), Data: f}, &p)
		}
		if d.FragmentsEvicted == 0 {
			t.Error("nothing was given up")
		}
	})
}

// FuzzDecode compares the common path with gopacket: where both find TCP or UDP directly
// inside of IP, they agree on addresses, ports, flags and payload.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{macs + "0800" + ip4 + udp, macs + "8100 0064 86dd" + ip6 + udp, macs + "0806 0001"} {
		f.Add(hex(s))
	}
	for _, b := range seeds(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) { compare(t, data) })
}

// TestLikeGopacket does the same over the frames of real captures.
func TestLikeGopacket(t *testing.T) {
	found, _, err := source.Expand([]string{testkit.Data(t, "conn"), testkit.Data(t, "attacks"), testkit.Data(t, "fingerprints")})
	if err != nil {
		t.Fatal(err)
	}
	frames, both := 0, 0
	for _, path := range found {
		r, err := source.Open(path, math.MaxInt64)
		if err != nil {
			continue
		}
		var f source.Packet
		for n := 0; n < 200 && r.Next(&f); n++ {
			if f.Link == source.LinkEthernet {
				frames++
				if compare(t, f.Data) {
					both++
				}
			}
		}
		if _, err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.Fatal(path)
		}
	}
	t.Logf("%d frames, %d with TCP or UDP alike", frames, both)
}

// seeds gives a few frames of real captures, none where there are no captures.
func seeds(f *testing.F) [][]byte {
	dir := os.Getenv("TRACER_TESTDATA")
	if dir == "" {
		return nil
	}
	found, _, err := source.Expand([]string{dir})
	if err != nil {
		f.Fatal(err)
	}
	var out [][]byte
	for i := 0; i < len(found); i += 37 {
		r, err := source.Open(found[i], math.MaxInt64)
		if err != nil {
			continue
		}
		var p source.Packet
		if r.Next(&p) && len(p.Data) < 400 {
			out = append(out, append([]byte(nil), p.Data...))
		}
		if _, err := r.Close(); err != nil {
			f.Fatal(err)
		}
	}
	return out
}

func compare(t *testing.T, data []byte) bool {
	t.Helper()
	var d decode.Decoder
	var p decode.Packet
	ok := d.Decode(&source.Packet{Link: source.LinkEthernet, WireLen: uint32(len(data)), Data: data}, &p)
	var other decode.Packet
	for _, link := range []uint32{source.LinkNull, source.LinkLoop, source.LinkRaw, source.LinkSLL, source.LinkSLL2} {
		d.Decode(&source.Packet{Link: link, Data: data}, &other) // must not fail
	}
	var (
		eth   layers.Ethernet
		tag   layers.Dot1Q
		four  layers.IPv4
		six   layers.IPv6
		tcp   layers.TCP
		udp   layers.UDP
		found []gopacket.LayerType
	)
	parser := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &eth, &tag, &four, &six, &tcp, &udp)
	parser.IgnoreUnsupported = true
	if err := parser.DecodeLayers(data, &found); err != nil || len(found) < 3 {
		return false
	}
	ip, l4 := found[len(found)-2], found[len(found)-1]
	var src, dst netip.Addr
	var payload []byte
	switch ip {
	case layers.LayerTypeIPv4:
		if four.Flags&layers.IPv4MoreFragments != 0 || four.FragOffset != 0 || four.Length == 0 || four.Version != 4 {
			return false
		}
		src, _ = netip.AddrFromSlice(four.SrcIP)
		dst, _ = netip.AddrFromSlice(four.DstIP)
	case layers.LayerTypeIPv6:
		if six.Length == 0 || six.HopByHop != nil || six.Version != 6 {
			return false
		}
		src, _ = netip.AddrFromSlice(six.SrcIP)
		dst, _ = netip.AddrFromSlice(six.DstIP)
	default:
		return false
	}
	for _, l := range found[:len(found)-2] {
		if l != layers.LayerTypeEthernet && l != layers.LayerTypeDot1Q {
			return false // a tunnel
		}
	}
	if eth.EthernetType < 1536 || len(found)-3 > 4 {
		return false
	}
	var sp, dp uint16
	proto := uint8(6)
	switch l4 {
	case layers.LayerTypeTCP:
		sp, dp, payload = uint16(tcp.SrcPort), uint16(tcp.DstPort), tcp.Payload
	case layers.LayerTypeUDP:
		if udp.Length < 8 {
			return false
		}
		sp, dp, payload, proto = uint16(udp.SrcPort), uint16(udp.DstPort), udp.Payload, 17
	default:
		return false
	}
	if !ok {
		t.Errorf("gopacket finds %s/%s, nothing found here: %+v\n%x", ip, l4, d.Counters, data)
		return false
	}
	v4 := ip == layers.LayerTypeIPv4
	if p.Src.Netip(v4) != src || p.Dst.Netip(v4) != dst || p.SrcPort != sp || p.DstPort != dp || p.Proto != proto || p.V4 != v4 {
		t.Errorf("%s:%d %s:%d %d, gopacket has %s:%d %s:%d %d\n%x", p.Src.Netip(v4), p.SrcPort, p.Dst.Netip(v4), p.DstPort, p.Proto, src, sp, dst, dp, proto, data)
		return false
	}
	if proto == 6 && (p.Seq != tcp.Seq || p.Ack != tcp.Ack || p.Flags&decode.SYN != 0 != tcp.SYN || p.Flags&decode.FIN != 0 != tcp.FIN) {
		t.Errorf("seq %d ack %d, gopacket has %d %d\n%x", p.Seq, p.Ack, tcp.Seq, tcp.Ack, data)
		return false
	}
	if string(p.Payload) != string(payload) {
		t.Errorf("payload %x, gopacket has %x\n%x", p.Payload, payload, data)
		return false
	}
	return true
}
