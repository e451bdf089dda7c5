package ingest_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/services/ingest"
	"github.com/tracer-framework/tracer/services/ingest/internal/decode"
	"github.com/tracer-framework/tracer/services/ingest/internal/flowtable"
	"github.com/tracer-framework/tracer/services/ingest/internal/partition"
	"github.com/tracer-framework/tracer/services/ingest/internal/source"
)

// benchCapture is $TRACER_BENCH_PCAP, or a generated capture of 200 000 packets: short TCP
// connections that carry HTTP, DNS queries with answers, and attempts without an answer.
func benchCapture(tb testing.TB) string {
	tb.Helper()
	if p := os.Getenv("TRACER_BENCH_PCAP"); p != "" {
		return p
	}
	path := filepath.Join(tb.TempDir(), "bench.pcap")
	if err := os.WriteFile(path, generate(200_000), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// generate writes a capture of about n packets.
func generate(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	head := make([]byte, 24)
	binary.LittleEndian.PutUint32(head, 0xa1b2c3d4)
	binary.LittleEndian.PutUint32(head[16:], 65535)
	binary.LittleEndian.PutUint32(head[20:], 1)
	b.Write(head)
	now := uint64(1_700_000_000_000_000)
	count := 0
	frame := func(src, dst uint32, proto byte, l4 []byte) {
		now += 20
		p := make([]byte, 16+14+20, 16+34+len(l4))
		p = append(p, l4...)
		binary.LittleEndian.PutUint32(p, uint32(now/1e6))
		binary.LittleEndian.PutUint32(p[4:], uint32(now%1e6))
		binary.LittleEndian.PutUint32(p[8:], uint32(len(p)-16))
		binary.LittleEndian.PutUint32(p[12:], uint32(len(p)-16))
		e := p[16:]
		e[5], e[11], e[12] = 1, 2, 8
		e[14] = 0x45
		binary.BigEndian.PutUint16(e[16:], uint16(20+len(l4)))
		e[22], e[23] = 64, proto
		binary.BigEndian.PutUint32(e[26:], src)
		binary.BigEndian.PutUint32(e[30:], dst)
		b.Write(p)
		count++
	}
	tcp := func(src, dst uint32, sp, dp uint16, seq, ack uint32, flags byte, data []byte) {
		h := make([]byte, 20, 20+len(data))
		binary.BigEndian.PutUint16(h, sp)
		binary.BigEndian.PutUint16(h[2:], dp)
		binary.BigEndian.PutUint32(h[4:], seq)
		binary.BigEndian.PutUint32(h[8:], ack)
		h[12], h[13], h[14] = 0x50, flags, 0xff
		frame(src, dst, 6, append(h, data...))
	}
	udp := func(src, dst uint32, sp, dp uint16, data []byte) {
		h := make([]byte, 8, 8+len(data))
		binary.BigEndian.PutUint16(h, sp)
		binary.BigEndian.PutUint16(h[2:], dp)
		binary.BigEndian.PutUint16(h[4:], uint16(8+len(data)))
		frame(src, dst, 17, append(h, data...))
	}
	body := bytes.Repeat([]byte("0123456789abcdef"), 85)
	for count < n {
		c, s, port := 0x0a000000|r.Uint32N(1<<16), 0xc0a80000|r.Uint32N(256), uint16(1024+r.Uint32N(60000))
		switch r.Uint32N(4) {
		case 0:
			tcp(c, s, port, 80, 99, 0, 2, nil)
			tcp(s, c, 80, port, 499, 100, 18, nil)
			tcp(c, s, port, 80, 100, 500, 16, nil)
			req := []byte("GET /index.html HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: bench\r\n\r\n")
			tcp(c, s, port, 80, 100, 500, 24, req)
			ack := 100 + uint32(len(req))
			res := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13600\r\n\r\n")
			tcp(s, c, 80, port, 500, ack, 24, res)
			seq := 500 + uint32(len(res))
			for range 10 {
				tcp(s, c, 80, port, seq, ack, 16, body)
				seq += uint32(len(body))
				tcp(c, s, port, 80, ack, seq, 16, nil)
			}
			tcp(c, s, port, 80, ack, seq, 17, nil)
			tcp(s, c, 80, port, seq, ack+1, 17, nil)
			tcp(c, s, port, 80, ack+1, seq+1, 16, nil)
		case 1, 2:
			q := []byte{byte(port), 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 'w', 'w', 'w', 7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 3, 'c', 'o', 'm', 0, 0, 1, 0, 1}
			udp(c, s, port, 53, q)
			a := append(bytes.Clone(q), 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 1, 2, 3, 4)
			a[2], a[3], a[7] = 0x81, 0x80, 1
			udp(s, c, 53, port, a)
		default:
			tcp(c, s, port, uint16(r.Uint32N(1024)), 7, 0, 2, nil)
		}
	}
	return b.Bytes()
}

// perPacket reports packets per second and the processor time of each, which a busy machine
// does not change much.
func perPacket(b *testing.B, packets uint64, cpu time.Duration) {
	b.ReportMetric(float64(packets)/b.Elapsed().Seconds()/1e6, "Mpkt/s")
	b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/float64(packets), "cpu-ns/pkt")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkReader(b *testing.B) { benchPackets(b, func(*source.Packet) {}, func() {}) }

func BenchmarkDecode(b *testing.B) {
	var d decode.Decoder
	var p decode.Packet
	benchPackets(b, func(f *source.Packet) {
		if d.Decode(f, &p) {
			key, _ := p.FlowKey()
			p.Hash = key.Hash(1)
		}
	}, func() {})
}

// BenchmarkFlows adds the flow table and TCP sequence tracking.
func BenchmarkFlows(b *testing.B) { benchPartition(b, false, false) }

// BenchmarkAnalyzers adds reassembly and the protocol analyzers.
func BenchmarkAnalyzers(b *testing.B) { benchPartition(b, true, false) }

// BenchmarkEncode adds the encoding of the batches.
func BenchmarkEncode(b *testing.B) { benchPartition(b, true, true) }

// BenchmarkRead1 reads with one worker, BenchmarkRead with as many as there are processors.
func BenchmarkRead1(b *testing.B) { benchRead(b, 1) }

func BenchmarkRead(b *testing.B) { benchRead(b, ingest.DefaultConfig().Workers) }

func benchRead(b *testing.B, workers int) {
	path := benchCapture(b)
	var flows, packets uint64
	b.ReportAllocs()
	cpu := cpuTime(b)
	for b.Loop() {
		ev, err := ingest.Read(context.Background(), path, config(workers), func(_, _ int, batch *record.Batch) error {
			_, err := batch.Encode(nil)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		flows += ev.Flows
		packets += ev.Packets
	}
	perPacket(b, packets, cpu)
	b.ReportMetric(float64(flows)/b.Elapsed().Seconds()/1e6, "Mflow/s")
}

func benchPackets(b *testing.B, each func(*source.Packet), end func()) {
	path := benchCapture(b)
	var n uint64
	b.ReportAllocs()
	cpu := cpuTime(b)
	for b.Loop() {
		r, err := source.Open(path, math.MaxInt64)
		if err != nil {
			b.Fatal(err)
		}
		var f source.Packet
		for r.Next(&f) {
			each(&f)
			n++
		}
		end()
		if _, err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
	perPacket(b, n, cpu)
}

func benchPartition(b *testing.B, analyzes, encodes bool) {
	part := newPartition(analyzes)
	var d decode.Decoder
	var p decode.Packet
	var buf []byte
	num := uint64(0)
	begin := func() {
		num = 0
		d.Reset()
		part.Begin("00", func(_ int, batch *record.Batch) (err error) {
			if encodes {
				buf, err = batch.Encode(buf[:0])
			}
			return err
		})
	}
	begin()
	benchPackets(b, func(f *source.Packet) {
		num++
		if d.Decode(f, &p) {
			key, _ := p.FlowKey()
			p.Hash, p.TS, p.Num = key.Hash(1), f.TS, num
			part.Packet(&p)
		}
	}, func() {
		if _, err := part.Finish(); err != nil {
			b.Fatal(err)
		}
		begin()
	})
}

func newPartition(analyzes bool) *partition.Partition {
	return partition.New(partition.Config{
		Table:    flowtable.Config{MaxFlows: 1 << 22, MaxBuffered: 256 << 20, Interim: 3600 * model.Time(1e6)},
		Rows:     8192,
		Analyzes: analyzes,
	})
}

// TestNoAllocations sends packets of flows that are known already through decoder, flow
// table and a partition: nothing may be allocated.
func TestNoAllocations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.pcap")
	if err := os.WriteFile(path, generate(2000), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := source.Open(path, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	var frames []source.Packet
	var f source.Packet
	for r.Next(&f) {
		// A SYN opens a new flow on the ports of one that was closed.
		if f.Data[23] == 6 && f.Data[47]&7 != 0 {
			continue
		}
		f.Data = bytes.Clone(f.Data)
		frames = append(frames, f)
	}
	if _, err := r.Close(); err != nil {
		t.Fatal(err)
	}
	part := newPartition(false)
	part.Begin("00", func(int, *record.Batch) error { return nil })
	var d decode.Decoder
	var p decode.Packet
	num := uint64(0)
	pass := func() {
		for i := range frames {
			num++
			if d.Decode(&frames[i], &p) {
				key, _ := p.FlowKey()
				p.Hash, p.TS, p.Num = key.Hash(1), frames[i].TS, num
				part.Packet(&p)
			}
		}
	}
	pass()
	if n := testing.AllocsPerRun(10, pass); n > 0 {
		t.Errorf("%.0f allocations for %d packets of known flows", n, len(frames))
	}
}
