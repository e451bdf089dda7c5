package lab_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/tracer-framework/tracer/pkg/lab"
)

func TestBench(t *testing.T) {
	for _, c := range []struct {
		kind      string
		low, high float64 // bytes per packet
		flows     float64 // at least, per MB
	}{
		{"mix", 530, 650, 10},
		{"small", 70, 100, 3000},
	} {
		t.Run(c.kind, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), c.kind+".pcap")
			const size = 8_000_000
			f, err := lab.Bench(c.kind, size, path)
			if err != nil {
				t.Fatal(err)
			}
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if st.Size() > size || st.Size() < size-2000 || uint64(st.Size()) != f.Size {
				t.Errorf("size = %d (%d said), want just below %d", st.Size(), f.Size, size)
			}
			again, err := lab.Bench(c.kind, size, path)
			if err != nil {
				t.Fatal(err)
			}
			if again != f {
				t.Errorf("second time differs: %+v, %+v", again, f)
			}
			flows := map[gopacket.Flow]map[gopacket.Flow]bool{}
			n, count, last := 0, 0, time.Time{}
			packets(t, path, func(at time.Time, data []byte) {
				if at.Before(last) {
					t.Fatalf("time runs backwards at %s", at)
				}
				n, last = n+1, at
				p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true, Lazy: true})
				hosts, ports := p.NetworkLayer().NetworkFlow(), p.TransportLayer().TransportFlow()
				if ports.Src().FastHash() > ports.Dst().FastHash() {
					hosts, ports = hosts.Reverse(), ports.Reverse()
				}
				if flows[hosts] == nil {
					flows[hosts] = map[gopacket.Flow]bool{}
				}
				if !flows[hosts][ports] {
					flows[hosts][ports] = true
					count++
				}
			})
			if uint64(n) != f.Packets {
				t.Errorf("%d packets, said %d", n, f.Packets)
			}
			mean, rate := float64(f.Bytes)/float64(n), float64(count)/(size/1e6)
			t.Logf("%.0f bytes per packet, %.0f flows per MB", mean, rate)
			if mean < c.low || mean > c.high {
				t.Errorf("%.0f bytes per packet, want %.0f to %.0f", mean, c.low, c.high)
			}
			if rate < c.flows {
				t.Errorf("%.0f flows per MB, want %.0f", rate, c.flows)
			}
		})
	}
	if _, err := lab.Bench("huge", 1<<20, filepath.Join(t.TempDir(), "x.pcap")); err == nil {
		t.Error("an unknown kind was accepted")
	}
}

func BenchmarkBench(b *testing.B) {
	for _, kind := range []string{"mix", "small"} {
		b.Run(kind, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), kind+".pcap")
			const size = 100_000_000
			b.SetBytes(size)
			for b.Loop() {
				if _, err := lab.Bench(kind, size, path); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
