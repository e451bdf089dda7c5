package partition

import (
	"slices"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/ingest/internal/analyze"
	"github.com/tracer-framework/tracer/services/ingest/internal/decode"
	"github.com/tracer-framework/tracer/services/ingest/internal/flowtable"
)

// Bounds of recognition and of what is held per flow.
const (
	maxFirst    = 4096 // bytes of a direction shown to the protocols before a stream is given up
	maxTries    = 3    // datagrams of a direction shown to the protocols
	maxHeldRows = 16   // TLS and SSH records of one flow
)

// protocols are those of analyze.All by transport.
var tcpProtocols, udpProtocols = func() (t, u []*analyze.Protocol) {
	for i := range analyze.All {
		switch p := &analyze.All[i]; p.Transport {
		case decode.ProtoTCP:
			t = append(t, p)
		case decode.ProtoUDP:
			u = append(u, p)
		}
	}
	return t, u
}()

// piece is a run of bytes, or a gap, seen before the protocol was recognised.
type piece struct {
	ts       model.Time
	fromOrig bool
	data     bool
	n        int
}

// ext is what a flow with payload has beside its record.
type ext struct {
	conn   analyze.Conn
	an     analyze.Analyzer
	first  [2][]byte // bytes of each direction so far, originator's first
	ruled  [2]uint32 // protocols that said no to a direction
	tries  [2]uint8
	pieces []piece
	tls    []model.TLS
	ssh    []model.SSH
}

func (e *ext) clear() {
	e.conn = analyze.Conn{}
	e.an = nil
	for i := range e.first {
		e.first[i] = e.first[i][:0]
	}
	e.ruled, e.tries = [2]uint32{}, [2]uint8{}
	e.pieces = e.pieces[:0]
	clear(e.tls)
	clear(e.ssh)
	e.tls, e.ssh = e.tls[:0], e.ssh[:0]
}

// attach gives a flow its ext.
func (p *Partition) attach(f *flowtable.Flow) *ext {
	if n := len(p.freeExt); n > 0 {
		f.Ext, p.freeExt = p.freeExt[n-1], p.freeExt[:n-1]
	} else {
		p.exts = append(p.exts, new(ext))
		f.Ext = uint32(len(p.exts) - 1)
	}
	e := p.exts[f.Ext]
	orig, op, resp, rp := f.Ends()
	v4 := f.Key.Kind&1 != 0
	e.conn.Endpoints = model.Endpoints{
		FlowID: p.flowID(f), EvidenceID: p.evidence,
		OrigIP: orig.Netip(v4), OrigPort: op, RespIP: resp.Netip(v4), RespPort: rp, Proto: protoNames[f.Key.Proto],
	}
	e.conn.Counters = &p.counters
	return e
}

func (p *Partition) release(f *flowtable.Flow) {
	e := p.exts[f.Ext]
	e.clear()
	p.freeExt = append(p.freeExt, f.Ext)
	f.Ext = 0
}

// giveUp marks a flow of which no protocol wants anything.
func (p *Partition) giveUp(f *flowtable.Flow) {
	f.NoData = true
	p.release(f)
}

// Data implements flowtable.Handler.
func (p *Partition) Data(f *flowtable.Flow, fromOrig bool, ts model.Time, data []byte) {
	if !p.cfg.Analyzes {
		f.NoData = true
		return
	}
	e := p.exts[f.Ext]
	if e == nil {
		e = p.attach(f)
	}
	switch {
	case e.an != nil:
		p.feed(f, e, fromOrig, ts, data)
	case f.Key.Proto == decode.ProtoTCP:
		p.recognizeStream(f, e, fromOrig, ts, data)
	default:
		p.recognizeDatagram(f, e, fromOrig, ts, data)
	}
}

// Gap implements flowtable.Handler.
func (p *Partition) Gap(f *flowtable.Flow, fromOrig bool, ts model.Time, n int64) {
	e := p.exts[f.Ext]
	if e == nil {
		return
	}
	if e.an == nil {
		// Recognition goes on with what follows the gap.
		d := direction(fromOrig)
		e.first[d], e.ruled[d] = e.first[d][:0], 0
		e.pieces = slices.DeleteFunc(e.pieces, func(q piece) bool { return q.fromOrig == fromOrig })
		return
	}
	p.current = e
	e.an.Gap(ts, fromOrig, n)
}

func direction(fromOrig bool) int {
	if fromOrig {
		return 0
	}
	return 1
}

func (p *Partition) recognizeDatagram(f *flowtable.Flow, e *ext, fromOrig bool, ts model.Time, data []byte) {
	d := direction(fromOrig)
	for _, proto := range udpProtocols {
		if p.match(proto, fromOrig, data) == analyze.Yes {
			p.start(f, e, proto)
			p.feed(f, e, fromOrig, ts, data)
			return
		}
	}
	if e.tries[d]++; e.tries[d] >= maxTries {
		p.giveUp(f)
	}
}

func (p *Partition) recognizeStream(f *flowtable.Flow, e *ext, fromOrig bool, ts model.Time, data []byte) {
	d := direction(fromOrig)
	first := data
	if len(e.first[d]) > 0 {
		e.first[d] = append(e.first[d], data...)
		first = e.first[d]
	}
	open := false
	for i, proto := range tcpProtocols {
		if e.ruled[d]&(1<<i) != 0 {
			continue
		}
		switch p.match(proto, fromOrig, first) {
		case analyze.Yes:
			p.start(f, e, proto)
			p.replay(f, e)
			if e := p.exts[f.Ext]; e != nil && e.an != nil {
				p.feed(f, e, fromOrig, ts, data)
			}
			return
		case analyze.NeedMore:
			open = true
		default:
			e.ruled[d] |= 1 << i
		}
	}
	none := uint32(1)<<len(tcpProtocols) - 1
	if !open && e.ruled[1-d] == none || len(first) > maxFirst {
		p.giveUp(f)
		return
	}
	if len(e.first[d]) == 0 {
		e.first[d] = append(e.first[d], data...)
	}
	e.pieces = append(e.pieces, piece{ts, fromOrig, true, len(data)})
}

func (p *Partition) start(f *flowtable.Flow, e *ext, proto *analyze.Protocol) {
	p.current = e
	e.an = proto.New(&e.conn, p)
	switch proto.Name {
	case "dns":
		f.Service = flowtable.ServiceDNS
	case "ssh":
		f.Service = flowtable.ServiceSSH
	}
}

// replay gives the analyzer what came before it was there.
func (p *Partition) replay(f *flowtable.Flow, e *ext) {
	var at [2]int
	for _, q := range e.pieces {
		d := direction(q.fromOrig)
		from := at[d]
		at[d] += q.n
		if e.an != nil && !f.NoData {
			p.feed(f, e, q.fromOrig, q.ts, e.first[d][from:at[d]])
		}
	}
	e.pieces = e.pieces[:0]
	for i := range e.first {
		e.first[i] = e.first[i][:0]
	}
}

// feed gives the analyzer bytes. A failure of its parser stays within the analyzer, which
// then wants nothing more.
func (p *Partition) feed(f *flowtable.Flow, e *ext, fromOrig bool, ts model.Time, data []byte) {
	p.current = e
	if !e.an.Data(ts, fromOrig, data) {
		f.NoData = true
		p.endAnalyzer(e, ts)
	}
}

func (p *Partition) endAnalyzer(e *ext, ts model.Time) {
	p.current = e
	e.an.End(ts)
	e.an = nil
}

// match asks a protocol; one whose parser fails says no.
func (p *Partition) match(proto *analyze.Protocol, fromOrig bool, first []byte) (v analyze.Verdict) {
	defer func() {
		if r := recover(); r != nil {
			p.counters[analyze.AnalyzerPanics]++
			v = analyze.No
		}
	}()
	return proto.Match(fromOrig, first)
}

// DNS implements analyze.Sink.
func (p *Partition) DNS(r *model.DNS) {
	weight := 48 + len(r.Query)
	for _, a := range r.Answers {
		weight += len(a) + 4
	}
	p.room(weight, 0, 1, 0, 0, 0)
	p.batch.DNS.Append(r)
}

// HTTP implements analyze.Sink.
func (p *Partition) HTTP(r *model.HTTP) {
	weight := 96 + len(r.Host) + len(r.URI) + len(r.Referrer) + len(r.UserAgent) + len(r.Location) + len(r.ResponseFile) + len(r.StatusMsg)
	for _, h := range [2][]string{r.RequestHeaders, r.ResponseHeaders} {
		for _, n := range h {
			weight += len(n)
		}
	}
	p.room(weight, 0, 0, 1, 0, 0)
	p.batch.HTTP.Append(r)
}

// TLS implements analyze.Sink. The record waits for that of its flow, because fingerprints
// go into both.
func (p *Partition) TLS(r *model.TLS) {
	e := p.current
	if len(e.tls) == maxHeldRows {
		p.heldRows++
		return
	}
	c := *r
	c.ClientCiphers, c.ClientExtensions, c.ClientGroups = slices.Clone(r.ClientCiphers), slices.Clone(r.ClientExtensions), slices.Clone(r.ClientGroups)
	c.ClientPointFormats, c.ClientSigAlgs, c.ClientVersions = slices.Clone(r.ClientPointFormats), slices.Clone(r.ClientSigAlgs), slices.Clone(r.ClientVersions)
	c.ClientALPN, c.ServerExtensions = slices.Clone(r.ClientALPN), slices.Clone(r.ServerExtensions)
	c.CertChain, c.CertSANs = slices.Clone(r.CertChain), slices.Clone(r.CertSANs)
	e.tls = append(e.tls, c)
}

// SSH implements analyze.Sink; the record waits as TLS records do.
func (p *Partition) SSH(r *model.SSH) {
	e := p.current
	if len(e.ssh) == maxHeldRows {
		p.heldRows++
		return
	}
	c := *r
	for _, l := range []*[]string{
		&c.ClientKex, &c.ClientHostKey, &c.ClientEnc, &c.ClientMAC, &c.ClientComp,
		&c.ServerKex, &c.ServerHostKey, &c.ServerEnc, &c.ServerMAC, &c.ServerComp,
	} {
		*l = slices.Clone(*l)
	}
	e.ssh = append(e.ssh, c)
}

func tlsWeight(r *model.TLS) int {
	n := 200 + len(r.SNI) + len(r.CertSubject) + len(r.CertIssuer) + len(r.CertSerial) + 32*len(r.CertChain)
	n += 2 * (len(r.ClientCiphers) + len(r.ClientExtensions) + len(r.ClientGroups) + len(r.ClientSigAlgs) + len(r.ClientVersions) + len(r.ServerExtensions))
	for _, l := range [2][]string{r.CertSANs, r.ClientALPN} {
		for _, s := range l {
			n += len(s)
		}
	}
	return n
}

func sshWeight(r *model.SSH) int {
	n := 200 + len(r.Client) + len(r.Server)
	for _, l := range [...][]string{
		r.ClientKex, r.ClientHostKey, r.ClientEnc, r.ClientMAC, r.ClientComp,
		r.ServerKex, r.ServerHostKey, r.ServerEnc, r.ServerMAC, r.ServerComp,
	} {
		for _, s := range l {
			n += len(s)
		}
	}
	return n
}
