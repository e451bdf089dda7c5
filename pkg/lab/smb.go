package lab

import (
	"encoding/binary"
	"time"
	"unicode/utf16"
)

// SMB2 commands ([MS-SMB2] 2.2.1).
const (
	smbNegotiate    = 0
	smbSessionSetup = 1
	smbLogoff       = 2
	smbTreeConnect  = 3
	smbCreate       = 5
	smbClose        = 6
	smbRead         = 8
	smbWrite        = 9
	smbIoctl        = 11
)

// smbSession is an SMB2 session on port 445.
type smbSession struct {
	c       *conversation
	message uint64
	tree    uint32
	id      uint64
	file    []byte
}

func le16(b []byte, v ...uint16) []byte {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint16(b, x)
	}
	return b
}

func le32(b []byte, v ...uint32) []byte {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

func le64(b []byte, v ...uint64) []byte {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return b
}

func wide(s string) []byte { return le16(nil, utf16.Encode([]rune(s))...) }

// fileTime is a moment as Windows counts it.
func fileTime(t int64) uint64 { return uint64(t/100) + 116444736000000000 }

// frame writes one message with its transport header.
func (s *smbSession) frame(dir int, command uint16, status uint32, body []byte) []byte {
	b := []byte{0, 0, 0, 0, 0xfe, 'S', 'M', 'B'}
	b = le16(b, 64, 1)
	b = le32(b, status)
	b = le16(b, command, 33)
	b = le32(b, uint32(dir), 0)
	b = le64(b, s.message)
	b = le32(b, 0xfeff, s.tree)
	b = le64(b, s.id)
	b = append(b, make([]byte, 16)...)
	b = append(b, body...)
	n := len(b) - 4
	b[1], b[2], b[3] = byte(n>>16), byte(n>>8), byte(n)
	return b
}

// call sends a request and its successful response.
func (s *smbSession) call(command uint16, request, response []byte) {
	c := s.c
	c.send(orig, s.frame(orig, command, 0, request))
	c.pause(c.r.think(450*time.Microsecond, 0.7))
	c.send(resp, s.frame(resp, command, 0, response))
	s.message++
}

// smb opens a session: negotiation and NTLM authentication as user.
func (w *world) smb(t int64, r *random, a, b *host, user string, step *Step) *smbSession {
	c := w.tcp(t, r, a, b, 445, step)
	s := &smbSession{c: c}
	req := le16(nil, 36, 4, 1, 0)
	req = r.append(le32(req, 0x7f), 16)
	req = le16(le64(req, 0), 0x0202, 0x0210, 0x0300, 0x0302)
	oid := []byte{0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 2, 10}
	spnego := der(0x60, der(6, []byte{0x2b, 6, 1, 5, 5, 2}), der(0xa0, der(0x30, der(0xa0, der(0x30, der(6, oid))))))
	ans := le16(nil, 65, 1, 0x0302, 0)
	ans = r.append(ans, 16)
	ans = le32(ans, 0x7f, 8388608, 8388608, 8388608)
	ans = le64(ans, fileTime(c.t), 0)
	ans = append(le32(le16(ans, 128, uint16(len(spnego))), 0), spnego...)
	s.call(smbNegotiate, req, ans)

	setup := func(token []byte) []byte {
		b := le16(nil, 25)
		b = le32(append(b, 0, 1), 1, 0)
		b = le64(le16(b, 88, uint16(len(token))), 0)
		return append(b, token...)
	}
	accept := func(token []byte) []byte { return append(le16(nil, 9, 0, 72, uint16(len(token))), token...) }
	const flags = 0xe2888215
	hello := append([]byte("NTLMSSP\x00"), 1, 0, 0, 0)
	hello = le32(hello, flags, 0, 0, 0, 0)
	hello = append(hello, 10, 0, 0x61, 0x4a, 0, 0, 0, 15)
	domain, machine := wide("NORTHGATE"), wide("SERVER")
	info := append(append(le16(nil, 2, uint16(len(domain))), domain...), 0, 0, 0, 0)
	challenge := append([]byte("NTLMSSP\x00"), 2, 0, 0, 0)
	challenge = le32(le16(challenge, uint16(len(domain)), uint16(len(domain))), 56, flags)
	challenge = append(r.append(challenge, 8), make([]byte, 8)...)
	challenge = le32(le16(challenge, uint16(len(info)), uint16(len(info))), uint32(56+len(domain)))
	challenge = append(challenge, 10, 0, 0x7c, 0x4f, 0, 0, 0, 15)
	challenge = append(append(challenge, domain...), info...)
	id := uint64(r.u32())<<20 | 0x400000000009
	s.id = 0
	c.send(orig, s.frame(orig, smbSessionSetup, 0, setup(hello)))
	s.id = id
	c.pause(r.think(400*time.Microsecond, 0.5))
	c.send(resp, s.frame(resp, smbSessionSetup, 0xc0000016, accept(challenge)))
	s.message++

	name := wide(user)
	proof := r.append(nil, 16)
	proof = le64(append(proof, 1, 1, 0, 0, 0, 0, 0, 0), fileTime(c.t))
	proof = append(r.append(proof, 8), 0, 0, 0, 0)
	proof = append(append(proof, info...), 0, 0, 0, 0)
	auth := append([]byte("NTLMSSP\x00"), 3, 0, 0, 0)
	at := uint32(88)
	var payload []byte
	for _, part := range [][]byte{make([]byte, 24), proof, domain, name, machine, r.bytes(16)} {
		auth = le32(le16(auth, uint16(len(part)), uint16(len(part))), at)
		at += uint32(len(part))
		payload = append(payload, part...)
	}
	auth = append(le32(auth, flags), 10, 0, 0x61, 0x4a, 0, 0, 0, 15)
	auth = append(r.append(auth, 16), payload...)
	s.call(smbSessionSetup, setup(auth), accept(nil))
	return s
}

// connect opens a share such as IPC$ or ADMIN$.
func (s *smbSession) connect(share string) {
	path := wide(`\\` + s.c.p[resp].ip.String() + `\` + share)
	kind := byte(1)
	if share == "IPC$" {
		kind = 2
	}
	s.tree = 0
	req := append(le16(nil, 9, 0, 72, uint16(len(path))), path...)
	ans := le32(append(le16(nil, 16), kind, 0), 0x30, 0, 0x001f01ff)
	c := s.c
	c.send(orig, s.frame(orig, smbTreeConnect, 0, req))
	s.tree = uint32(c.r.span(1, 9))
	c.pause(c.r.think(400*time.Microsecond, 0.5))
	c.send(resp, s.frame(resp, smbTreeConnect, 0, ans))
	s.message++
}

// open creates or opens a file or pipe of the share.
func (s *smbSession) open(name string, access, disposition uint32, size int) {
	path := wide(name)
	req := append(le16(nil, 57), 0, 0)
	req = le64(le32(req, 2), 0, 0)
	req = le32(req, access, 0x80, 7, disposition, 0x40)
	req = append(le32(le16(req, 120, uint16(len(path))), 0, 0), path...)
	s.file = s.c.r.bytes(16)
	now := fileTime(s.c.t)
	ans := le32(append(le16(nil, 89), 0, 0), 1)
	ans = le64(ans, now, now, now, now, uint64(size), uint64(size))
	ans = append(le32(ans, 0x20, 0), s.file...)
	s.call(smbCreate, req, le32(ans, 0, 0))
}

// write puts n opaque bytes, beginning with data, into the open file.
func (s *smbSession) write(data []byte, n int) {
	for off := 0; off < n; {
		part := min(n-off, 65536)
		req := le32(le16(nil, 49, 112), uint32(part))
		req = append(le64(req, uint64(off)), s.file...)
		req = le32(le16(le32(req, 0), 0, 0), 0)
		at := len(req)
		req = s.c.r.append(req, part)
		if off == 0 {
			copy(req[at:], data)
		}
		s.call(smbWrite, req, le16(le32(le16(nil, 17, 0), uint32(part), 0), 0, 0))
		off += part
	}
}

// read gets n opaque bytes of the open file.
func (s *smbSession) read(n int) {
	for off := 0; off < n; {
		part := min(n-off, 65536)
		req := le32(append(le16(nil, 49), 80, 0), uint32(part))
		req = append(le64(req, uint64(off)), s.file...)
		req = append(le16(le32(req, 0, 0), 0, 0), 0)
		ans := le32(append(le16(nil, 17), 80, 0), uint32(part), 0, 0)
		s.call(smbRead, req, s.c.r.append(ans, part))
		off += part
	}
}

// close gives the file back.
func (s *smbSession) close() {
	req := append(le32(le16(nil, 24, 0), 0), s.file...)
	s.call(smbClose, req, append(le16(nil, 60), make([]byte, 58)...))
}

// rpc sends a remote procedure call over the open pipe and its answer.
func (s *smbSession) rpc(request, response []byte) {
	const transceive = 0x0011c017
	req := append(le32(le16(nil, 57, 0), transceive), s.file...)
	req = le32(req, 120, uint32(len(request)), 0, 120, 0, 4280, 1, 0)
	ans := append(le32(le16(nil, 49, 0), transceive), s.file...)
	ans = le32(ans, 112, 0, 112, uint32(len(response)), 0, 0)
	s.call(smbIoctl, append(req, request...), append(ans, response...))
}

// end logs off and closes the connection.
func (s *smbSession) end() {
	s.tree = 0
	s.call(smbLogoff, le16(nil, 4, 0), le16(nil, 4, 0))
	s.c.reset()
}

// Interfaces of remote procedure calls, in wire form with their version.
var (
	rpcServices    = []byte{0x81, 0xbb, 0x7a, 0x36, 0x44, 0x98, 0xf1, 0x35, 0xad, 0x32, 0x98, 0xf0, 0x38, 0x00, 0x10, 0x03, 2, 0, 0, 0}
	rpcReplication = []byte{0x35, 0x42, 0x51, 0xe3, 0x06, 0x4b, 0xd1, 0x11, 0xab, 0x04, 0x00, 0xc0, 0x4f, 0xc2, 0xdc, 0xd2, 4, 0, 0, 0}
	rpcMapper      = []byte{0x08, 0x83, 0xaf, 0xe1, 0x1f, 0x5d, 0xc9, 0x11, 0x91, 0xa4, 0x08, 0x00, 0x2b, 0x14, 0xa0, 0xfa, 3, 0, 0, 0}
	rpcNDR         = []byte{0x04, 0x5d, 0x88, 0x8a, 0xeb, 0x1c, 0xc9, 0x11, 0x9f, 0xe8, 0x08, 0x00, 0x2b, 0x10, 0x48, 0x60, 2, 0, 0, 0}
)

// rpcPacket frames a DCE/RPC packet (C706 chapter 12).
func rpcPacket(kind byte, call uint32, body []byte, auth int) []byte {
	b := []byte{5, 0, kind, 3, 0x10, 0, 0, 0}
	b = le32(le16(b, uint16(16+len(body)), uint16(auth)), call)
	return append(b, body...)
}

func rpcBind(uuid []byte) []byte {
	b := le32(le16(nil, 4280, 4280), 0)
	b = le16(append(b, 1, 0, 0, 0), 0, 1)
	return rpcPacket(11, 1, append(append(b, uuid...), rpcNDR...), 0)
}

func rpcBound(address string) []byte {
	b := le32(le16(nil, 4280, 4280), 0x5a11)
	b = append(append(le16(b, uint16(len(address)+1)), address...), 0)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return rpcPacket(12, 1, append(le16(append(b, 1, 0, 0, 0), 0, 0), rpcNDR...), 0)
}

// rpcSealed is a request (kind 0) or response (kind 2) whose arguments are encrypted by
// NTLM: only the operation number of a request is readable.
func rpcSealed(r *random, kind byte, call uint32, operation uint16, n int) []byte {
	n = n &^ 15
	b := le32(nil, uint32(n))
	if kind == 0 {
		b = le16(b, 0, operation)
	} else {
		b = append(le16(b, 0), 0, 0)
	}
	b = r.append(b, n)
	b = le32(append(b, 10, 6, 0, 0), 0)
	b = append(le32(b, 1), r.bytes(12)...)
	return rpcPacket(kind, call, b, 16)
}
