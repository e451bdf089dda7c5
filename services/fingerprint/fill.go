package fingerprint

import (
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/services/fingerprint/internal/print"
)

// flowPrints are the fingerprints that a flow row repeats from its tls and ssh rows.
type flowPrints struct{ ja3, ja3s, ja4, hassh, hasshServer string }

// Fill computes the fingerprints of a batch in place: the columns ja3 to ja4_ro of its tls
// rows, hassh to hassh_server_raw of its ssh rows, and from these the columns of the same
// names of its flow rows. Where a flow has several tls rows, the first of them counts.
// What a row cannot give a fingerprint for keeps the value it came with.
func Fill(b *record.Batch) {
	prints := make(map[model.FlowID]flowPrints)
	fillTLS(b.TLS, prints)
	fillSSH(b.SSH, prints)
	if len(prints) > 0 {
		fillFlows(b.Flow, prints)
	}
}

func fillTLS(c *record.TLSs, prints map[model.FlowID]flowPrints) {
	n := c.Rows()
	out := make([]model.TLS, n)
	for i := range out {
		t := &out[i]
		c.Row(i, t)
		if t.ClientHello {
			t.JA3, t.JA3Raw = print.JA3(t)
			ja4 := print.JA4(t)
			t.JA4, t.JA4O, t.JA4R, t.JA4RO = ja4.JA4, ja4.Original, ja4.Raw, ja4.RawOrig
		}
		if t.ServerHello {
			t.JA3S, t.JA3SRaw = print.JA3S(t)
		}
		p := prints[t.FlowID]
		p.ja3, p.ja3s, p.ja4 = first(p.ja3, t.JA3), first(p.ja3s, t.JA3S), first(p.ja4, t.JA4)
		prints[t.FlowID] = p
	}
	rewrite(&c.JA3, out, func(t *model.TLS) string { return t.JA3 })
	rewrite(&c.JA3Raw, out, func(t *model.TLS) string { return t.JA3Raw })
	rewrite(&c.JA3S, out, func(t *model.TLS) string { return t.JA3S })
	rewrite(&c.JA3SRaw, out, func(t *model.TLS) string { return t.JA3SRaw })
	rewrite(&c.JA4, out, func(t *model.TLS) string { return t.JA4 })
	rewrite(&c.JA4O, out, func(t *model.TLS) string { return t.JA4O })
	rewrite(&c.JA4R, out, func(t *model.TLS) string { return t.JA4R })
	rewrite(&c.JA4RO, out, func(t *model.TLS) string { return t.JA4RO })
}

func fillSSH(c *record.SSHs, prints map[model.FlowID]flowPrints) {
	n := c.Rows()
	out := make([]model.SSH, n)
	for i := range out {
		s := &out[i]
		c.Row(i, s)
		if hash, raw := print.HASSH(s); hash != "" {
			s.HASSH, s.HASSHRaw = hash, raw
		}
		if hash, raw := print.HASSHServer(s); hash != "" {
			s.HASSHServer, s.HASSHServerRaw = hash, raw
		}
		p := prints[s.FlowID]
		p.hassh, p.hasshServer = first(p.hassh, s.HASSH), first(p.hasshServer, s.HASSHServer)
		prints[s.FlowID] = p
	}
	rewrite(&c.HASSH, out, func(s *model.SSH) string { return s.HASSH })
	rewrite(&c.HASSHRaw, out, func(s *model.SSH) string { return s.HASSHRaw })
	rewrite(&c.HASSHServer, out, func(s *model.SSH) string { return s.HASSHServer })
	rewrite(&c.HASSHServerRaw, out, func(s *model.SSH) string { return s.HASSHServerRaw })
}

func fillFlows(c *record.Flows, prints map[model.FlowID]flowPrints) {
	n := c.Rows()
	out := make([]flowPrints, n)
	for i := range out {
		p := prints[c.FlowID.Row(i)]
		out[i] = flowPrints{
			ja3: first(p.ja3, c.JA3.Row(i)), ja3s: first(p.ja3s, c.JA3S.Row(i)), ja4: first(p.ja4, c.JA4.Row(i)),
			hassh: first(p.hassh, c.HASSH.Row(i)), hasshServer: first(p.hasshServer, c.HASSHServer.Row(i)),
		}
	}
	rewrite(&c.JA3, out, func(p *flowPrints) string { return p.ja3 })
	rewrite(&c.JA3S, out, func(p *flowPrints) string { return p.ja3s })
	rewrite(&c.JA4, out, func(p *flowPrints) string { return p.ja4 })
	rewrite(&c.HASSH, out, func(p *flowPrints) string { return p.hassh })
	rewrite(&c.HASSHServer, out, func(p *flowPrints) string { return p.hasshServer })
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// rewrite puts one value per row into a column, replacing what it held.
func rewrite[T any](c *record.Word, rows []T, value func(*T) string) {
	c.Reset()
	for i := range rows {
		c.Append(value(&rows[i]))
	}
}
