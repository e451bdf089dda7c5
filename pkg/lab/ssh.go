package lab

import "time"

// sshStack is an SSH implementation as its greeting shows it (RFC 4253).
type sshStack struct {
	banner                           string
	kex, hostKey, cipher, mac, compr string
}

var (
	opensshClient = &sshStack{
		banner:  "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u5",
		kex:     "sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,diffie-hellman-group-exchange-sha256,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,diffie-hellman-group14-sha256,ext-info-c,kex-strict-c-v00@openssh.com",
		hostKey: "ssh-ed25519-cert-v01@openssh.com,ecdsa-sha2-nistp256-cert-v01@openssh.com,ecdsa-sha2-nistp384-cert-v01@openssh.com,ecdsa-sha2-nistp521-cert-v01@openssh.com,ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256",
		cipher:  "chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com",
		mac:     "umac-64-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha1-etm@openssh.com,umac-64@openssh.com,umac-128@openssh.com,hmac-sha2-256,hmac-sha2-512,hmac-sha1",
		compr:   "none,zlib@openssh.com,zlib",
	}
	opensshServer = &sshStack{
		banner:  "SSH-2.0-OpenSSH_8.4p1 Debian-5+deb11u3",
		kex:     "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,diffie-hellman-group-exchange-sha256,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,diffie-hellman-group14-sha256,kex-strict-s-v00@openssh.com",
		hostKey: "rsa-sha2-512,rsa-sha2-256,ssh-rsa,ecdsa-sha2-nistp256,ssh-ed25519",
		cipher:  opensshClient.cipher,
		mac:     opensshClient.mac,
		compr:   "none,zlib@openssh.com",
	}
	// paramikoClient is the SSH library the intruder's tool uses.
	paramikoClient = &sshStack{
		banner:  "SSH-2.0-paramiko_2.12.0",
		kex:     "curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,diffie-hellman-group16-sha512,diffie-hellman-group-exchange-sha256,diffie-hellman-group14-sha256,diffie-hellman-group-exchange-sha1,diffie-hellman-group14-sha1,diffie-hellman-group1-sha1",
		hostKey: "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256,ssh-rsa,ssh-dss",
		cipher:  "aes128-ctr,aes192-ctr,aes256-ctr,aes128-cbc,aes192-cbc,aes256-cbc,3des-cbc",
		mac:     "hmac-sha2-256,hmac-sha2-512,hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha1,hmac-md5,hmac-sha1-96,hmac-md5-96",
		compr:   "none",
	}
)

// sshPacket frames one clear SSH binary packet.
func sshPacket(r *random, payload []byte) []byte {
	padding := 8 - (5+len(payload))%8
	if padding < 4 {
		padding += 8
	}
	b := appendVector(nil, 4, make([]byte, 1+len(payload)+padding))[:4]
	b = append(append(b, byte(padding)), payload...)
	return r.append(b, padding)
}

// kexinit writes the list of algorithms.
func (s *sshStack) kexinit(r *random) []byte {
	b := r.append([]byte{20}, 16)
	for _, list := range []string{s.kex, s.hostKey, s.cipher, s.cipher, s.mac, s.mac, s.compr, s.compr, "", ""} {
		b = appendVector(b, 4, []byte(list))
	}
	return sshPacket(r, append(b, 0, 0, 0, 0, 0))
}

// ssh performs banner, key exchange and authentication on an established conversation.
func (c *conversation) ssh(client, server *sshStack) {
	r := c.r
	c.send(orig, []byte(client.banner+"\r\n"))
	c.pause(r.think(8*time.Millisecond, 0.4))
	c.send(resp, []byte(server.banner+"\r\n"))
	c.send(orig, client.kexinit(r))
	c.send(resp, server.kexinit(r))
	c.send(orig, sshPacket(r, appendVector([]byte{30}, 4, r.bytes(32))))
	c.pause(r.think(3*time.Millisecond, 0.4))
	hostKey := appendVector(appendVector(nil, 4, []byte("ssh-ed25519")), 4, r.bytes(32))
	sig := appendVector(appendVector(nil, 4, []byte("ssh-ed25519")), 4, r.bytes(64))
	reply := appendVector([]byte{31}, 4, hostKey)
	reply = appendVector(appendVector(reply, 4, r.bytes(32)), 4, sig)
	c.send(resp, append(sshPacket(r, reply), sshPacket(r, []byte{21})...))
	c.send(orig, sshPacket(r, []byte{21}))
	for _, n := range []int{44, 60, 116} { // service request and authentication, encrypted
		c.send(orig, r.bytes(n))
		c.pause(r.think(12*time.Millisecond, 0.5))
		c.send(resp, r.bytes(max(44, n-24)))
	}
}

// typing is an interactive session: keys, echoes and output, for about the given time.
func (c *conversation) typing(length int64) {
	r := c.r
	for end := c.t + length; c.t < end; {
		for range r.span(3, 18) { // a command
			c.send(orig, r.bytes(36))
			c.send(resp, r.bytes(36))
			c.pause(r.think(130*time.Millisecond, 0.5))
		}
		c.pause(r.think(60*time.Millisecond, 0.9))
		c.send(resp, r.bytes(r.size(400, 1.1, 52)&^3))
		c.pause(r.think(9*time.Second, 1))
	}
}
