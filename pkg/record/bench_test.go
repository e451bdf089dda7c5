package record_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
)

const benchRows = 8192

// benchFlows are flows as a busy office network has them.
func benchFlows() []model.Flow {
	flows := make([]model.Flow, benchRows)
	services := []string{"dns", "tls", "http", "", "ssh"}
	for i := range flows {
		x := uint64(i) * 0x9e3779b97f4a7c15
		var peer [16]byte
		binary.BigEndian.PutUint64(peer[:], x)
		flows[i] = model.Flow{
			FlowID: model.FlowID(x), CommunityID: fmt.Sprintf("1:%026x=", x),
			Start: model.Time(1_700_000_000_000_000 + i*1000), End: model.Time(1_700_000_000_500_000 + i*1000),
			Sensor: "file", Source: "pcap", EvidenceID: fmt.Sprintf("%064x", 7), FirstPacket: uint64(i * 9),
			OrigIP: netip.AddrFrom4([4]byte{10, 0, byte(i % 16), byte(i % 250)}), OrigPort: uint16(x),
			RespIP: netip.AddrFrom4([4]byte{93, byte(x >> 8), byte(x >> 16), 1}), RespPort: 443,
			Proto: "tcp", Service: services[i%len(services)], ConnState: "SF", History: "ShADadFf",
			OrigBytes: x % 5000, RespBytes: x % 900000, OrigPkts: x % 50, RespPkts: x % 700,
			OrigIPBytes: x % 6000, RespIPBytes: x % 950000,
			OrigL2Addr: "02:00:00:00:00:01", RespL2Addr: "02:00:00:00:00:02",
			TLSVersion: "TLSv13", TLSSNI: fmt.Sprintf("host%d.example.com", i%300), TLSALPN: "h2",
			JA3: "e7d705a3286e19ea42f587b344ee6865", JA4: "t13d1516h2_8daaf6152771_e5627efa2ab1",
		}
	}
	return flows
}

func BenchmarkAppend(b *testing.B) {
	flows := benchFlows()
	batch := record.NewBatch()
	b.ReportAllocs()
	for b.Loop() {
		batch.Reset()
		for i := range flows {
			batch.Flow.Append(&flows[i])
		}
	}
	perRow(b)
}

func BenchmarkEncode(b *testing.B) {
	batch := record.NewBatch()
	flows := benchFlows()
	for i := range flows {
		batch.Flow.Append(&flows[i])
	}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = batch.Encode(dst[:0]); err != nil {
			b.Fatal(err)
		}
	}
	perRow(b)
	b.ReportMetric(float64(len(dst))/benchRows, "bytes/row")
}

func BenchmarkDecode(b *testing.B) {
	batch := record.NewBatch()
	flows := benchFlows()
	for i := range flows {
		batch.Flow.Append(&flows[i])
	}
	data, err := batch.Encode(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := batch.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
	perRow(b)
}

func BenchmarkRow(b *testing.B) {
	batch := record.NewBatch()
	flows := benchFlows()
	for i := range flows {
		batch.Flow.Append(&flows[i])
	}
	b.ReportAllocs()
	for b.Loop() {
		var f model.Flow
		for i := range batch.Flow.Rows() {
			batch.Flow.Row(i, &f)
		}
	}
	perRow(b)
}

func perRow(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRows, "ns/row")
}
