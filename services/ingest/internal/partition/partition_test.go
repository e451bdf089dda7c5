package partition_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/services/ingest/internal/decode"
	"github.com/tracer-framework/tracer/services/ingest/internal/flowtable"
	"github.com/tracer-framework/tracer/services/ingest/internal/partition"
)

const second = model.Time(1e6)

// trace is the packets of a capture as they are made, in order.
type trace struct{ packets []decode.Packet }

func (tr *trace) add(p decode.Packet, from, to byte, payload string) {
	p.V4, p.Num = true, uint64(len(tr.packets)+1)
	p.TS = 1000*second + model.Time(p.Num)*1000
	p.Src, p.Dst = decode.Addr{Lo: 0xffff_0a00_0000 | uint64(from)}, decode.Addr{Lo: 0xffff_0a00_0000 | uint64(to)}
	p.Payload, p.Length, p.IPLen = []byte(payload), uint32(len(payload)), 40+uint32(len(payload))
	key, _ := p.FlowKey()
	p.Hash = key.Hash(7)
	tr.packets = append(tr.packets, p)
}

func (tr *trace) udp(from, to byte, sport, dport uint16, payload string) {
	tr.add(decode.Packet{Proto: decode.ProtoUDP, SrcPort: sport, DstPort: dport}, from, to, payload)
}

// tcp is a whole connection: handshake, a request and a response in pieces, both ends.
func (tr *trace) tcp(from, to byte, sport, dport uint16, request, response []string) {
	seq, ack := uint32(100), uint32(500)
	there := func(flags uint8, data string) {
		tr.add(decode.Packet{Proto: decode.ProtoTCP, SrcPort: sport, DstPort: dport, Flags: flags, Seq: seq, Ack: ack, Window: 64}, from, to, data)
		seq += uint32(len(data))
	}
	back := func(flags uint8, data string) {
		tr.add(decode.Packet{Proto: decode.ProtoTCP, SrcPort: dport, DstPort: sport, Flags: flags, Seq: ack, Ack: seq, Window: 64}, to, from, data)
		ack += uint32(len(data))
	}
	there(decode.SYN, "")
	seq++
	back(decode.SYN|decode.ACK, "")
	ack++
	there(decode.ACK, "")
	for _, data := range request {
		there(decode.ACK, data)
	}
	for _, data := range response {
		back(decode.ACK, data)
	}
	there(decode.FIN|decode.ACK, "")
	seq++
	back(decode.FIN|decode.ACK, "")
	ack++
	there(decode.ACK, "")
}

// dns is a question for an address, or its answer.
func dns(id uint16, name string, answer bool) string {
	b := binary.BigEndian.AppendUint16(nil, id)
	if answer {
		b = append(b, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0)
	} else {
		b = append(b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	}
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	b = append(b, 0, 0, 1, 0, 1)
	if answer {
		b = append(b, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 9)
	}
	return string(b)
}

func config(rows int) partition.Config {
	return partition.Config{
		Table: flowtable.Config{MaxFlows: 1000, MaxBuffered: 1 << 20, Interim: 3600 * second}, Rows: rows, Analyzes: true,
	}
}

// run gives the packets to p and returns the encoded batches.
func run(t *testing.T, p *partition.Partition, evidence string, tr *trace) [][]byte {
	t.Helper()
	var out [][]byte
	p.Begin(evidence, func(n int, b *record.Batch) error {
		if n != len(out) {
			t.Errorf("batch %d follows batch %d", n, len(out)-1)
		}
		data, err := b.Encode(nil)
		out = append(out, data)
		return err
	})
	for i := range tr.packets {
		p.Packet(&tr.packets[i])
	}
	if n, err := p.Finish(); err != nil || n != len(out) {
		t.Fatalf("%d batches, %d emitted, %v", n, len(out), err)
	}
	return out
}

func decoded(t *testing.T, data []byte) *record.Batch {
	t.Helper()
	b := record.NewBatch()
	if err := b.Decode(data); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRecords(t *testing.T) {
	var tr trace
	tr.udp(1, 53, 40000, 53, dns(7, "www.example.com", false))
	tr.udp(53, 1, 53, 40000, dns(7, "www.example.com", true))
	// The protocol is recognised behind the first bytes of either side, and the request goes
	// on over several segments.
	tr.tcp(1, 9, 41000, 8080,
		[]string{"GE", "T /a HTTP/1.1\r\nHo", "st: www.example.com\r\nUser-Agent: t/1\r\n\r\n"},
		[]string{"HTTP/1.1 20", "0 OK\r\nContent-Length: 2\r\n\r\nok"})
	tr.tcp(1, 9, 42000, 22, []string{"SSH-2.0-here\r\n"}, []string{"SSH-2.0-there\r\n"})
	tr.tcp(1, 9, 43000, 9999, []string{"\x00\x01nothing known"}, []string{"\xff\xfe"})
	out := run(t, partition.New(config(100)), "ab12", &tr)
	if len(out) != 1 {
		t.Fatalf("%d batches", len(out))
	}
	b := decoded(t, out[0])

	var flows []string
	ids := map[model.FlowID]string{}
	for i := range b.Flow.Rows() {
		var f model.Flow
		b.Flow.Row(i, &f)
		if f.EvidenceID != "ab12" || f.Open {
			t.Errorf("flow %d: evidence %q, open %v", i, f.EvidenceID, f.Open)
		}
		text := fmt.Sprintf("%d %s %s:%d>%s:%d %s %s %d/%d", f.FirstPacket, f.Proto, f.OrigIP, f.OrigPort, f.RespIP, f.RespPort, f.Service, f.ConnState, f.OrigBytes, f.RespBytes)
		flows = append(flows, text)
		ids[f.FlowID] = text
	}
	slices.Sort(flows)
	want := []string{
		"1 udp 10.0.0.1:40000>10.0.0.53:53 dns SF 33/49",
		"14 tcp 10.0.0.1:42000>10.0.0.9:22 ssh SF 14/15",
		"3 tcp 10.0.0.1:41000>10.0.0.9:8080 http SF 59/40",
		"22 tcp 10.0.0.1:43000>10.0.0.9:9999  SF 15/2",
	}
	slices.Sort(want)
	if !slices.Equal(flows, want) {
		t.Errorf("flows\n%s\nwant\n%s", strings.Join(flows, "\n"), strings.Join(want, "\n"))
	}

	if b.DNS.Rows() != 1 || b.HTTP.Rows() != 1 || b.SSH.Rows() != 1 || b.TLS.Rows() != 0 {
		t.Fatalf("%d dns, %d http, %d ssh, %d tls", b.DNS.Rows(), b.HTTP.Rows(), b.SSH.Rows(), b.TLS.Rows())
	}
	var d model.DNS
	var h model.HTTP
	var s model.SSH
	b.DNS.Row(0, &d)
	b.HTTP.Row(0, &h)
	b.SSH.Row(0, &s)
	if d.Query != "www.example.com" || !slices.Equal(d.Answers, []string{"203.0.113.9"}) {
		t.Errorf("dns: %+v", d)
	}
	if h.Method != "GET" || h.Host != "www.example.com" || h.URI != "/a" || h.StatusCode != 200 {
		t.Errorf("http: %+v", h)
	}
	for what, id := range map[string]model.FlowID{"dns": d.FlowID, "http": h.FlowID, "ssh": s.FlowID} {
		if !strings.Contains(ids[id], " "+what+" ") {
			t.Errorf("the %s record belongs to flow %q", what, ids[id])
		}
	}
}

// A batch holds no more rows of a kind than configured, TLS and SSH rows stay with their
// flow, and the batches of a capture are the same bytes whatever the partition did before.
func TestBatches(t *testing.T) {
	var tr trace
	for i := range uint16(10) {
		tr.tcp(1, 9, 42000+i, 22, []string{"SSH-2.0-here\r\n"}, []string{"SSH-2.0-there\r\n"})
		tr.udp(1, 53, 40000+i, 53, dns(i, "a.example", false))
		tr.udp(53, 1, 53, 40000+i, dns(i, "a.example", true))
	}
	p := partition.New(config(4))
	first := run(t, p, "ab12", &tr)
	flows, lookups := 0, 0
	for n, data := range first {
		b := decoded(t, data)
		if most := max(b.Flow.Rows(), b.DNS.Rows(), b.SSH.Rows()); most > 4 {
			t.Errorf("batch %d has %d rows of a kind", n, most)
		}
		here := map[model.FlowID]bool{}
		for i := range b.Flow.Rows() {
			here[b.Flow.FlowID.Row(i)] = true
		}
		for i := range b.SSH.Rows() {
			if !here[b.SSH.FlowID.Row(i)] {
				t.Errorf("batch %d has an SSH row without its flow", n)
			}
		}
		flows, lookups = flows+b.Flow.Rows(), lookups+b.DNS.Rows()
	}
	if flows != 20 || lookups != 10 || p.Flows() != 20 {
		t.Errorf("%d flow rows, %d dns rows, %d flows counted", flows, lookups, p.Flows())
	}
	var other trace
	other.tcp(3, 4, 1, 80, []string{"GET / HTTP/1.1\r\n"}, nil)
	run(t, p, "cd34", &other)
	if again := run(t, p, "ab12", &tr); !slices.EqualFunc(again, first, slices.Equal) {
		t.Error("another capture in between changed the batches")
	}
	if elsewhere := run(t, partition.New(config(4)), "cd34", &tr); slices.EqualFunc(elsewhere, first, slices.Equal) {
		t.Error("two captures gave the same batches")
	}
}

// After an error of Emit nothing is emitted any more, and the error is what Finish returns.
func TestEmitFails(t *testing.T) {
	var tr trace
	for i := range uint16(20) {
		tr.udp(1, 53, 40000+i, 53, dns(i, "a.example", false))
		tr.udp(53, 1, 53, 40000+i, dns(i, "a.example", true))
	}
	p := partition.New(config(2))
	full := errors.New("bus closed")
	calls := 0
	p.Begin("ab12", func(int, *record.Batch) error {
		calls++
		return full
	})
	for i := range tr.packets {
		p.Packet(&tr.packets[i])
	}
	if _, err := p.Finish(); !errors.Is(err, full) || calls != 1 {
		t.Errorf("%d calls, error %v", calls, err)
	}
	if out := run(t, p, "ab12", &tr); len(out) == 0 {
		t.Error("the next capture gave no batch")
	}
}
