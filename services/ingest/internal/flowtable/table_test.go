package flowtable_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/ingest/internal/decode"
	"github.com/tracer-framework/tracer/services/ingest/internal/flowtable"
)

const second = model.Time(1e6)

// recorder writes down what becomes of flows.
type recorder struct {
	lines []string
	data  strings.Builder
	ended int
}

func (r *recorder) Data(_ *flowtable.Flow, fromOrig bool, _ model.Time, data []byte) {
	if fromOrig {
		r.data.WriteString(">")
	} else {
		r.data.WriteString("<")
	}
	r.data.Write(data)
}

func (r *recorder) Gap(_ *flowtable.Flow, _ bool, _ model.Time, n int64) {
	fmt.Fprintf(&r.data, "[%d]", n)
}

func (r *recorder) Interim(f *flowtable.Flow) { r.note(f, "open") }

func (r *recorder) End(f *flowtable.Flow) {
	r.ended++
	r.note(f, "end")
}

func (r *recorder) note(f *flowtable.Flow, what string) {
	orig, op, _, rp := f.Ends()
	r.lines = append(r.lines, fmt.Sprintf("%s %d %s:%d>%d %s %s %d/%d %d+%d",
		what, f.Num, orig.Netip(true), op, rp, f.ConnState(), f.History(), f.Size(f.Orig), f.Size(1-f.Orig), f.O().Pkts, f.R().Pkts))
}

// send is one packet; hosts and ports are small numbers, flags letters.
type send struct {
	at        model.Time
	from, to  uint16 // ports; the host's last byte is the port as well
	flags     string
	seq, ack  uint32
	data      string
	udp       bool
	truncated uint32
}

func (s send) packet(n uint64) *decode.Packet {
	p := &decode.Packet{
		TS: 1000*second + s.at, Num: n, V4: true, Proto: decode.ProtoTCP, Window: 100,
		Src: decode.Addr{Lo: 0xffff<<32 | uint64(s.from)}, Dst: decode.Addr{Lo: 0xffff<<32 | uint64(s.to)},
		SrcPort: s.from, DstPort: s.to, Seq: s.seq, Ack: s.ack,
		Payload: []byte(s.data), Length: uint32(len(s.data)) + s.truncated, IPLen: 40 + uint32(len(s.data)),
	}
	if s.udp {
		p.Proto = decode.ProtoUDP
	}
	for i, c := range "FSRPA" {
		if strings.ContainsRune(s.flags, c) {
			p.Flags |= 1 << i
		}
	}
	key, _ := p.FlowKey()
	p.Hash = key.Hash(7)
	return p
}

func play(cfg flowtable.Config, sends []send) *recorder {
	r := &recorder{}
	t := flowtable.New(cfg, r)
	for i, s := range sends {
		t.Packet(s.packet(uint64(i + 1)))
	}
	t.Finish()
	return r
}

var roomy = flowtable.Config{MaxFlows: 1000, MaxBuffered: 1 << 20, Interim: 3600 * second}

func TestConnections(t *testing.T) {
	handshake := []send{
		{0, 9000, 80, "S", 99, 0, "", false, 0},
		{1, 80, 9000, "SA", 499, 100, "", false, 0},
		{2, 9000, 80, "A", 100, 500, "", false, 0},
	}
	with := func(more ...send) []send { return append(append([]send{}, handshake...), more...) }
	for _, c := range []struct {
		name  string
		sends []send
		want  string
		data  string
	}{
		{
			"whole", with(
				send{3, 9000, 80, "A", 100, 500, "hello", false, 0}, send{4, 80, 9000, "A", 500, 105, "world", false, 0},
				send{5, 9000, 80, "FA", 105, 505, "", false, 0}, send{6, 80, 9000, "FA", 505, 106, "", false, 0}, send{7, 9000, 80, "A", 106, 506, "", false, 0},
			),
			"end 1 0.0.35.40:9000>80 SF ShADdFf 5/5 5+3", ">hello<world",
		},
		{
			"out of order", with(send{3, 9000, 80, "A", 103, 500, "lo", false, 0}, send{4, 9000, 80, "A", 100, 500, "hel", false, 0}),
			"end 1 0.0.35.40:9000>80 S1 ShADT 5/0 4+1", ">hel>lo",
		},
		{
			"gap", with(send{3, 9000, 80, "A", 103, 500, "lo", false, 0}, send{4, 80, 9000, "A", 500, 105, "", false, 0}),
			"end 1 0.0.35.40:9000>80 S1 ShADaG 5/0 3+2", "[3]>lo",
		},
		{
			"captured in part", with(send{3, 9000, 80, "A", 100, 500, "hel", false, 2}, send{4, 80, 9000, "A", 500, 105, "", false, 0}),
			"end 1 0.0.35.40:9000>80 S1 ShADa 5/0 3+2", ">hel[2]",
		},
		{"attempt", []send{{0, 9000, 80, "S", 99, 0, "", false, 0}}, "end 1 0.0.35.40:9000>80 S0 S 0/0 1+0", ""},
		{
			"attempt again after six seconds",
			[]send{{0, 9000, 80, "S", 99, 0, "", false, 0}, {6 * second, 9000, 80, "S", 99, 0, "", false, 0}},
			"end 1 0.0.35.40:9000>80 S0 S 0/0 1+0|end 2 0.0.35.40:9000>80 S0 S 0/0 1+0", "",
		},
		{
			"rejected",
			[]send{{0, 9000, 80, "S", 99, 0, "", false, 0}, {1, 80, 9000, "RA", 0, 100, "", false, 0}},
			"end 1 0.0.35.40:9000>80 REJ Sr 0/0 1+1", "",
		},
		{
			"reset by originator", with(send{3, 9000, 80, "R", 100, 0, "", false, 0}),
			"end 1 0.0.35.40:9000>80 RSTO ShAR 0/0 3+1", "",
		},
		{
			"joined in the middle, from the server",
			[]send{{0, 80, 9000, "A", 500, 100, "world", false, 0}, {1, 9000, 80, "A", 100, 505, "", false, 0}},
			"end 1 0.0.35.40:9000>80 OTH ^dA 0/5 1+1", "<world",
		},
		{
			"sequence numbers wrap around",
			[]send{
				{0, 9000, 80, "S", 0xfffffffd, 0, "", false, 0},
				{1, 80, 9000, "SA", 10, 0xfffffffe, "", false, 0},
				{2, 9000, 80, "A", 0xfffffffe, 11, "", false, 0},
				{3, 9000, 80, "A", 0xfffffffe, 11, "hello", false, 0},
				{4, 80, 9000, "A", 11, 3, "", false, 0},
				{5, 9000, 80, "A", 3, 11, "there", false, 0},
			},
			"end 1 0.0.35.40:9000>80 S1 ShADa 10/0 4+2", ">hello>there",
		},
		{
			"ports used again", append(with(send{3, 9000, 80, "FA", 100, 500, "", false, 0}, send{4, 80, 9000, "FA", 500, 101, "", false, 0}, send{5, 9000, 80, "A", 101, 501, "", false, 0}),
				send{6, 9000, 80, "S", 7000, 0, "", false, 0}),
			"end 1 0.0.35.40:9000>80 SF ShAFf 0/0 4+2|end 7 0.0.35.40:9000>80 S0 S 0/0 1+0", "",
		},
		{
			"silence",
			[]send{{0, 9000, 53, "", 0, 0, "q", true, 0}, {61 * second, 9000, 53, "", 0, 0, "q", true, 0}},
			"end 1 0.0.35.40:9000>53 S0 D 1/0 1+0|end 2 0.0.35.40:9000>53 S0 D 1/0 1+0", ">q>q",
		},
		{
			"answer first",
			[]send{{0, 53, 9000, "", 0, 0, "a", true, 0}, {1, 9000, 53, "", 0, 0, "q", true, 0}},
			"end 1 0.0.35.40:9000>53 SF ^dD 1/1 1+1", "<a>q",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := play(roomy, c.sends)
			if got := strings.Join(r.lines, "|"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if r.data.String() != c.data {
				t.Errorf("data %q, want %q", r.data.String(), c.data)
			}
		})
	}
}

// TestInterim lets a flow live for two and a half hours.
func TestInterim(t *testing.T) {
	var sends []send
	for at := model.Time(0); at <= 9000*second; at += 30 * second {
		sends = append(sends, send{at, 9000, 53, "", 0, 0, "x", true, 0})
	}
	r := play(roomy, sends)
	want := "open 1 0.0.35.40:9000>53 S0 D 120/0 120+0|open 1 0.0.35.40:9000>53 S0 D 240/0 240+0|end 1 0.0.35.40:9000>53 S0 D 301/0 301+0"
	if got := strings.Join(r.lines, "|"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestMany opens far more flows than the table may hold.
func TestMany(t *testing.T) {
	r := &recorder{}
	table := flowtable.New(flowtable.Config{MaxFlows: 500, MaxBuffered: 1 << 20, Interim: 3600 * second}, r)
	n := uint64(0)
	for round := range 3 {
		for port := range uint16(5000) {
			n++
			table.Packet(send{at: model.Time(round)*second + model.Time(port), from: port + 1, to: 80, flags: "S", seq: 1}.packet(n))
			if table.Live() > 500 {
				t.Fatalf("%d flows", table.Live())
			}
		}
	}
	table.Finish()
	if uint64(r.ended) != table.Flows || table.Live() != 0 || table.Evicted == 0 {
		t.Errorf("%d flows, %d ended, %d live, %d evicted", table.Flows, r.ended, table.Live(), table.Evicted)
	}
}

// FuzzTable plays packets of few endpoints with any flags, numbers and times: every flow
// ends once, and every packet is in one flow.
func FuzzTable(f *testing.F) {
	f.Add([]byte("\x00\x02\x00\x01\x00\x05\x01\x12\x00\x09\x02\x05\x00\x10\x00\x02\x02\x05"))
	f.Fuzz(func(t *testing.T, ops []byte) {
		r := &counter{}
		table := flowtable.New(flowtable.Config{MaxFlows: 8, MaxBuffered: 4096, Interim: 60 * second}, r)
		n := uint64(0)
		at := model.Time(0)
		for ; len(ops) >= 8; ops = ops[8:] {
			at += model.Time(int8(ops[2])) * second
			p := send{
				at: at, from: uint16(ops[0]%5) + 78, to: uint16(ops[0]/5%5) + 78, data: strings.Repeat("x", int(ops[3])), udp: ops[1]&0x20 != 0,
				seq: uint32(binary.LittleEndian.Uint16(ops[4:])) << (ops[1] & 0x10), ack: uint32(binary.LittleEndian.Uint16(ops[6:])) << (ops[1] & 0x10),
			}.packet(n + 1)
			p.Flags = ops[1] & 0x1f
			n++
			table.Packet(p)
		}
		table.Finish()
		if table.Live() != 0 || uint64(r.ended) != table.Flows || r.packets != n || table.Streams().Held() != 0 {
			t.Fatalf("%d flows, %d ended, %d live; %d packets, %d in flows; %d bytes held", table.Flows, r.ended, table.Live(), n, r.packets, table.Streams().Held())
		}
	})
}

type counter struct {
	recorder
	packets uint64
}

func (c *counter) End(f *flowtable.Flow) {
	c.ended++
	c.packets += f.O().Pkts + f.R().Pkts
	_ = f.ConnState()
}
