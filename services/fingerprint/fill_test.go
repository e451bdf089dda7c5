package fingerprint_test

import (
	"bytes"
	"testing"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/services/fingerprint"
)

// handshakes is a batch of two recognised flows, one that brings its own fingerprint and
// one of another protocol.
func handshakes() *record.Batch {
	b := record.NewBatch()
	for id := model.FlowID(1); id <= 4; id++ {
		f := model.Flow{FlowID: id, Proto: "tcp"}
		if id == 3 {
			f.JA3 = "brought"
		}
		b.Flow.Append(&f)
	}
	t := model.TLS{
		Transport: "tcp", ClientHello: true, ClientVersion: 769, ClientCiphers: []uint16{4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99},
		ServerHello: true, ServerVersion: 769, ServerCipher: 47,
	}
	t.FlowID = 2
	b.TLS.Append(&t)
	t = model.TLS{Transport: "tcp", JA3: "brought"}
	t.FlowID = 3
	b.TLS.Append(&t)
	s := model.SSH{ClientKex: []string{"a", "b"}, ClientEnc: []string{"c"}, ClientMAC: []string{"d"}, ClientComp: []string{"none"}}
	s.FlowID = 1
	b.SSH.Append(&s)
	return b
}

func TestFill(t *testing.T) {
	b := handshakes()
	fingerprint.Fill(b)
	var row model.TLS
	b.TLS.Row(0, &row)
	if row.JA3 != "de350869b8c85de67a350c8d186f11e6" || row.JA3SRaw != "769,47," || row.JA4[:10] != "t10i110000" || row.JA4R == "" || row.JA4RO == "" || row.JA4O == "" {
		t.Errorf("tls row %+v", row)
	}
	b.TLS.Row(1, &row)
	if row.JA3 != "brought" || row.JA4 != "" {
		t.Errorf("tls row without hello: ja3 %q ja4 %q", row.JA3, row.JA4)
	}
	var ssh model.SSH
	b.SSH.Row(0, &ssh)
	if ssh.HASSHRaw != "a,b;c;d;none" || len(ssh.HASSH) != 32 || ssh.HASSHServer != "" {
		t.Errorf("ssh row %+v", ssh)
	}
	want := []struct{ ja3, hassh string }{{"", ssh.HASSH}, {"de350869b8c85de67a350c8d186f11e6", ""}, {"brought", ""}, {"", ""}}
	for i, w := range want {
		var f model.Flow
		b.Flow.Row(i, &f)
		if f.JA3 != w.ja3 || f.HASSH != w.hassh {
			t.Errorf("flow %d: ja3 %q hassh %q, want %+v", i, f.JA3, f.HASSH, w)
		}
	}
}

// Filling again changes nothing, and the same batch gives the same bytes.
func TestFillTwice(t *testing.T) {
	var bytesOf [3][]byte
	for i := range bytesOf {
		b := handshakes()
		for range i/2 + 1 {
			fingerprint.Fill(b)
		}
		var err error
		if bytesOf[i], err = b.Encode(nil); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(bytesOf[0], bytesOf[1]) || !bytes.Equal(bytesOf[0], bytesOf[2]) {
		t.Error("bytes differ")
	}
}
