package store_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
	"testing"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/testkit"
)

// BenchmarkInsert stores blocks of flows as archive does, as they come off the bus.
func BenchmarkInsert(b *testing.B) {
	for _, rows := range []int{8192, 65536} {
		b.Run(fmt.Sprint(rows), func(b *testing.B) {
			s := testkit.Store(b)
			batch := record.NewBatch()
			n := uint64(0)
			before := cpu(b)
			for b.Loop() {
				b.StopTimer()
				batch.Reset()
				for range rows {
					n++
					x := n * 0x9e3779b97f4a7c15
					var peer [16]byte
					binary.BigEndian.PutUint64(peer[8:], x%50000)
					peer[0] = 0x20
					batch.Flow.Append(&model.Flow{
						FlowID: model.FlowID(x), CommunityID: fmt.Sprintf("1:%026x=", x),
						Start: model.Time(1_700_000_000_000_000 + n*1000), End: model.Time(1_700_000_000_500_000 + n*1000),
						Sensor: "file", Source: "pcap", EvidenceID: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", FirstPacket: n * 9,
						OrigIP: netip.AddrFrom4([4]byte{10, 0, byte(x % 20), byte(x >> 20)}), OrigPort: uint16(x),
						RespIP: netip.AddrFrom16(peer), RespPort: 443,
						Proto: "tcp", Service: "tls", ConnState: "SF", History: "ShADadFf",
						OrigBytes: x % 5000, RespBytes: x % 900000, OrigPkts: x % 50, RespPkts: x % 700,
						TLSVersion: "TLSv13", TLSSNI: fmt.Sprintf("host%d.example.com", x%3000), JA4: "t13d1516h2_8daaf6152771_e5627efa2ab1",
					})
				}
				blocks, err := batch.Native()
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if err := s.InsertNative(b.Context(), "flow", fmt.Sprint(b.Name(), n), blocks[0].Native); err != nil {
					b.Fatal(err)
				}
			}
			stored := float64(rows) * float64(b.N)
			b.ReportMetric(stored/b.Elapsed().Seconds(), "rows/s")
			// Of the whole process, merges in the background and the making of the rows included.
			b.ReportMetric((cpu(b)-before)/stored*1e6, "cpu-s/1M-rows")
		})
	}
}

// cpu is the processor time the process has used, in seconds.
func cpu(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
