package analyze

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"sync"

	"github.com/tracer-framework/tracer/pkg/model"
)

// sshTCP is the Secure Shell transport up to its key exchange (RFC 4253).
var sshTCP = Protocol{Name: "ssh", Transport: 6, Match: matchSSH, New: guarded(newSSH)}

// Limits per direction.
const (
	sshMaxLine    = 1024    // of one line before and with the identification
	sshMaxLines   = 64      // lines a server may send before its identification
	sshMaxPacket  = 1 << 16 // of the packet that holds the algorithms
	sshMaxPackets = 8       // packets looked through for it
	sshMaxNames   = 512     // names of one list
)

// Message numbers (RFC 4250 section 4.1.2).
const (
	sshKexInit = 20
	sshNewKeys = 21
)

func matchSSH(_ bool, first []byte) Verdict {
	const mark = "SSH-"
	n := min(len(first), len(mark))
	if string(first[:n]) != mark[:n] {
		return No
	}
	if len(first) < len(mark)+2 {
		return NeedMore
	}
	if (first[4] != '1' && first[4] != '2') || first[5] != '.' {
		return No
	}
	return Yes
}

type sshAnalyzer struct {
	c   *Conn
	s   Sink
	ts  model.Time
	dir [2]sshStream
	row model.SSH
}

// sshStream is one direction.
type sshStream struct {
	ident string // identification string
	buf   []byte // an unfinished line or packet
	lines int
	count int // packets seen
	kex   sshLists
	done  bool // nothing more is wanted of this direction
}

// sshLists are the name lists of one KEXINIT in wire order (RFC 4253 section 7.1): key
// exchange, host key, encryption, MAC and compression, the latter three for each way.
type sshLists struct {
	seen bool
	list [8][]string
}

const (
	sshListKex = iota
	sshListHostKey
	sshListEncCS // client to server
	sshListEncSC
	sshListMACCS
	sshListMACSC
	sshListCompCS
	sshListCompSC
)

var sshPool = sync.Pool{New: func() any { return new(sshAnalyzer) }}

func newSSH(c *Conn, s Sink) Analyzer {
	a := sshPool.Get().(*sshAnalyzer)
	a.c, a.s = c, s
	c.addService("ssh")
	return a
}

func (a *sshAnalyzer) Data(ts model.Time, fromOrig bool, data []byte) bool {
	if a.ts == 0 {
		a.ts = ts
	}
	d := &a.dir[side(fromOrig)]
	for len(data) > 0 && !d.done {
		if d.ident == "" {
			data = a.line(d, data)
		} else {
			data = a.packet(d, data)
		}
	}
	return !a.dir[0].done || !a.dir[1].done
}

// line takes bytes up to the identification, "SSH-protoversion-softwareversion comments"
// (RFC 4253 section 4.2), passing over the lines a server may send before it.
func (a *sshAnalyzer) line(d *sshStream, data []byte) (rest []byte) {
	before, after, ok := bytes.Cut(data, []byte{'\n'})
	if !ok {
		d.buf, _ = appendCapped(d.buf, data, sshMaxLine)
		return nil
	}
	line := before
	if len(d.buf) > 0 {
		d.buf, _ = appendCapped(d.buf, line, sshMaxLine)
		line = d.buf
	}
	line = bytes.TrimSuffix(line[:min(len(line), sshMaxLine)], []byte("\r"))
	if bytes.HasPrefix(line, []byte("SSH-")) {
		d.ident = printable(line)
		if !strings.HasPrefix(d.ident, "SSH-2.") && !strings.HasPrefix(d.ident, "SSH-1.99") {
			d.done = true // the packets of SSH 1 tell nothing
		}
	} else if d.lines++; d.lines > sshMaxLines {
		d.done = true
	}
	d.buf = d.buf[:0]
	return after
}

// packet takes bytes of binary packets (RFC 4253 section 6): length, padding length,
// payload, padding.
func (a *sshAnalyzer) packet(d *sshStream, data []byte) (rest []byte) {
	if len(d.buf) < 4 {
		n := min(4-len(d.buf), len(data))
		if len(d.buf) == 0 && len(data) >= 4 {
			size := int(binary.BigEndian.Uint32(data))
			if size >= 2 && size <= sshMaxPacket && len(data) >= 4+size { // whole in one piece
				a.payload(d, data[4:4+size])
				return data[4+size:]
			}
		}
		d.buf = append(d.buf, data[:n]...)
		data = data[n:]
		if len(d.buf) < 4 {
			return data
		}
	}
	size := int(binary.BigEndian.Uint32(d.buf))
	if size < 2 || size > sshMaxPacket {
		a.c.count(SSHMalformed)
		d.done = true
		return nil
	}
	n := min(4+size-len(d.buf), len(data))
	d.buf = append(d.buf, data[:n]...)
	if len(d.buf) == 4+size {
		a.payload(d, d.buf[4:])
		d.buf = d.buf[:0]
	}
	return data[n:]
}

func (a *sshAnalyzer) payload(d *sshStream, p []byte) {
	d.count++
	pad := int(p[0])
	if pad+2 > len(p) {
		a.c.count(SSHMalformed)
		d.done = true
		return
	}
	p = p[1 : len(p)-pad]
	switch {
	case p[0] == sshKexInit:
		if !d.kex.parse(p[1:]) {
			a.c.count(SSHMalformed)
		}
		d.done = true
	case p[0] == sshNewKeys || d.count >= sshMaxPackets:
		d.done = true
	}
}

func (l *sshLists) parse(p []byte) bool {
	if len(p) < 16 { // cookie
		return false
	}
	p = p[16:]
	for i := range l.list {
		if len(p) < 4 {
			return false
		}
		n := binary.BigEndian.Uint32(p)
		if p = p[4:]; uint64(n) > uint64(len(p)) {
			return false
		}
		l.list[i] = splitNames(p[:n])
		p = p[n:]
	}
	l.seen = true
	return true
}

func splitNames(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	s := printable(b)
	if strings.Count(s, ",") >= sshMaxNames {
		return strings.SplitN(s, ",", sshMaxNames+1)[:sshMaxNames]
	}
	return strings.Split(s, ",")
}

// Gap ends a direction: the packet boundaries are lost.
func (a *sshAnalyzer) Gap(_ model.Time, fromOrig bool, _ int64) { a.dir[side(fromOrig)].done = true }

func (a *sshAnalyzer) End(model.Time) {
	client, server := &a.dir[0], &a.dir[1]
	if sshFlipped(client, server) {
		client, server = server, client
	}
	if client.ident != "" || server.ident != "" {
		r := &a.row
		r.Endpoints = a.c.endpoints(kindSSH, a.ts)
		r.Client, r.Server = client.ident, server.ident
		c, s := &client.kex.list, &server.kex.list
		r.ClientKex, r.ClientHostKey = c[sshListKex], c[sshListHostKey]
		r.ClientEnc, r.ClientMAC, r.ClientComp = c[sshListEncCS], c[sshListMACCS], c[sshListCompCS]
		r.ServerKex, r.ServerHostKey = s[sshListKex], s[sshListHostKey]
		r.ServerEnc, r.ServerMAC, r.ServerComp = s[sshListEncSC], s[sshListMACSC], s[sshListCompSC]
		if client.kex.seen && server.kex.seen {
			r.KexAlg = sshNegotiate(c[sshListKex], s[sshListKex])
			r.HostKeyAlg = sshNegotiate(c[sshListHostKey], s[sshListHostKey])
			r.CipherAlg = sshNegotiate(c[sshListEncCS], s[sshListEncCS])
			r.MACAlg = sshNegotiate(c[sshListMACCS], s[sshListMACCS])
			r.CompressionAlg = sshNegotiate(c[sshListCompCS], s[sshListCompCS])
		}
		a.s.SSH(r)
	}
	b0, b1 := client.buf[:0], server.buf[:0]
	*a = sshAnalyzer{}
	a.dir[0].buf, a.dir[1].buf = b0, b1
	sshPool.Put(a)
}

// sshFlipped reports that the flow's originator is the server, told by names that only one
// side may send (RFC 8308 section 2.1 and OpenSSH's strict key exchange).
func sshFlipped(orig, resp *sshStream) bool {
	serverish := func(d *sshStream) bool {
		k := d.kex.list[sshListKex]
		return slices.Contains(k, "ext-info-s") || slices.Contains(k, "kex-strict-s-v00@openssh.com")
	}
	clientish := func(d *sshStream) bool {
		k := d.kex.list[sshListKex]
		return slices.Contains(k, "ext-info-c") || slices.Contains(k, "kex-strict-c-v00@openssh.com")
	}
	return (serverish(orig) || clientish(resp)) && !clientish(orig) && !serverish(resp)
}

// sshNegotiate is the first algorithm of the client that the server has too (RFC 4253
// section 7.1). Markers of extensions in the list of key exchanges are no algorithms.
func sshNegotiate(client, server []string) string {
	for _, name := range client {
		if strings.HasPrefix(name, "ext-info-") || strings.HasPrefix(name, "kex-strict-") {
			continue
		}
		if slices.Contains(server, name) {
			return name
		}
	}
	return ""
}
