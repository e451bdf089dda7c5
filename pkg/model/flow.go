package model

import "net/netip"

// Flow is one bidirectional conversation, stage "observed" when ingest wrote it and
// "recognized" once the fingerprint columns are filled. Stored in table flow.
//
// A flow that lives long is recorded more than once: every record carries the
// counters from the flow's start, Seq rises by one, and Open says that more may
// follow. The record with the highest Seq holds.
type Flow struct {
	FlowID      FlowID `json:"flow_id"`
	CommunityID string `json:"community_id"` // Community ID v1, seed 0
	Seq         uint16 `json:"seq"`          // number of this record of the flow, from 0
	Open        bool   `json:"open"`         // interim record: the flow had not ended

	Start Time `json:"start"` // first packet
	End   Time `json:"end"`   // last packet so far

	Sensor      string `json:"sensor"`       // name of the sensor or, for a file, "file"
	Source      string `json:"source"`       // kind of input: pcap, zeek, eve, netflow, ipfix, sflow
	EvidenceID  string `json:"evidence_id"`  // SHA-256 (hex) of the input
	FirstPacket uint64 `json:"first_packet"` // number of the flow's first packet in the input, from 1

	OrigIP   netip.Addr `json:"orig_ip"`
	OrigPort uint16     `json:"orig_port"` // ICMP: type
	RespIP   netip.Addr `json:"resp_ip"`
	RespPort uint16     `json:"resp_port"` // ICMP: code
	Proto    string     `json:"proto"`     // tcp udp icmp icmp6 sctp, else the decimal IP protocol number
	Service  string     `json:"service"`   // protocols recognised by content, comma separated: dns http tls ssh

	ConnState string `json:"conn_state"` // Zeek's states: S0 S1 SF REJ S2 S3 RSTO RSTR RSTOS0 RSTRH SH SHR OTH
	History   string `json:"history"`    // Zeek's history letters

	OrigBytes     uint64 `json:"orig_bytes"` // payload bytes
	RespBytes     uint64 `json:"resp_bytes"`
	OrigPkts      uint64 `json:"orig_pkts"`
	RespPkts      uint64 `json:"resp_pkts"`
	OrigIPBytes   uint64 `json:"orig_ip_bytes"` // IP total length, headers included
	RespIPBytes   uint64 `json:"resp_ip_bytes"`
	MissedBytes   uint64 `json:"missed_bytes"`    // payload bytes known to be lost in gaps
	OrigDataStart Time   `json:"orig_data_start"` // first payload byte of the originator, zero if none
	RespDataStart Time   `json:"resp_data_start"`

	Vlan       uint16     `json:"vlan"`         // outer VLAN id, 0 if none
	InnerVlan  uint16     `json:"inner_vlan"`   // inner VLAN id of QinQ
	OrigL2Addr string     `json:"orig_l2_addr"` // MAC address seen on the originator's packets
	RespL2Addr string     `json:"resp_l2_addr"`
	Tunnel     string     `json:"tunnel"` // encapsulations outside this flow, outermost first: "gre" "vxlan:100,gre"
	InIf       uint32     `json:"in_if"`  // interface indices of flow exports
	OutIf      uint32     `json:"out_if"`
	Exporter   netip.Addr `json:"exporter"` // address of the flow exporter

	TLSVersion    string   `json:"tls_version"` // negotiated: TLSv10 TLSv11 TLSv12 TLSv13 SSLv3
	TLSSNI        string   `json:"tls_sni"`
	TLSALPN       string   `json:"tls_alpn"` // protocol the server chose, else the client's first
	JA3           string   `json:"ja3"`
	JA3S          string   `json:"ja3s"`
	JA4           string   `json:"ja4"`
	HASSH         string   `json:"hassh"`
	HASSHServer   string   `json:"hassh_server"`
	HTTPHost      string   `json:"http_host"` // of the first request
	HTTPUserAgent string   `json:"http_user_agent"`
	DNSQuery      string   `json:"dns_query"` // of the first query
	Tags          []string `json:"tags"`      // notes on the flow, sorted: "midstream" "gap" "truncated" ...
}

// Established reports whether data could be exchanged: the handshake was completed
// (TCP), or both sides sent packets (other protocols).
func (f *Flow) Established() bool {
	switch f.ConnState {
	case "S1", "SF", "S2", "S3", "RSTO", "RSTR":
		return true
	case "OTH":
		return f.OrigBytes > 0 && f.RespBytes > 0
	}
	return false
}

// Endpoints repeats on each protocol record who talked to whom, so that a record
// can be read without a join.
type Endpoints struct {
	FlowID     FlowID     `json:"flow_id"`
	EvidenceID string     `json:"evidence_id"`
	TS         Time       `json:"ts"` // when the message that opened the record was seen
	N          uint32     `json:"n"`  // number of the record within its flow and kind, from 0
	OrigIP     netip.Addr `json:"orig_ip"`
	OrigPort   uint16     `json:"orig_port"`
	RespIP     netip.Addr `json:"resp_ip"`
	RespPort   uint16     `json:"resp_port"`
	Proto      string     `json:"proto"`
}

// DNS is one query with its answer (RFC 1035), table dns. A response without a seen
// query has Queried false; a query without a seen response has Answered false.
type DNS struct {
	Endpoints
	TransID       uint16   `json:"trans_id"`
	RTTMicros     uint32   `json:"rtt_us"` // query to response, 0 if either is missing
	Query         string   `json:"query"`  // lower case, no final dot; bytes outside printable ASCII as \xHH
	QClass        uint16   `json:"qclass"`
	QType         uint16   `json:"qtype"`
	QTypeName     string   `json:"qtype_name"` // A, AAAA, TXT ... or TYPE65280 (RFC 3597)
	RCode         uint16   `json:"rcode"`
	RCodeName     string   `json:"rcode_name"` // NOERROR, NXDOMAIN ...
	Queried       bool     `json:"queried"`
	Answered      bool     `json:"answered"`
	AA            bool     `json:"aa"`
	TC            bool     `json:"tc"`
	RD            bool     `json:"rd"`
	RA            bool     `json:"ra"`
	Answers       []string `json:"answers"` // record data in presentation form
	TTLs          []uint32 `json:"ttls"`    // seconds, one per answer
	RequestBytes  uint32   `json:"request_bytes"`
	ResponseBytes uint32   `json:"response_bytes"`
}

// HTTP is one HTTP/1.x request with its response (RFC 9112), table http. Passwords and
// tokens are never kept.
type HTTP struct {
	Endpoints
	Method          string   `json:"method"`
	Host            string   `json:"host"` // Host field, lower case, with port if given
	URI             string   `json:"uri"`
	Referrer        string   `json:"referrer"`
	Version         string   `json:"version"` // 1.0 or 1.1
	UserAgent       string   `json:"user_agent"`
	Username        string   `json:"username"` // of Basic authentication
	RequestBodyLen  uint64   `json:"request_body_len"`
	ResponseBodyLen uint64   `json:"response_body_len"`
	StatusCode      uint16   `json:"status_code"` // 0: no response seen
	StatusMsg       string   `json:"status_msg"`
	RequestMIME     string   `json:"request_mime"`  // declared Content-Type without parameters
	ResponseMIME    string   `json:"response_mime"` // declared Content-Type without parameters
	ResponseMagic   string   `json:"response_magic"`
	ResponseFile    string   `json:"response_file"`    // file name of Content-Disposition
	RequestHeaders  []string `json:"request_headers"`  // field names in wire order and case
	ResponseHeaders []string `json:"response_headers"` // field names in wire order and case
	Location        string   `json:"location"`         // redirect target
	Answered        bool     `json:"answered"`
}

// TLS is what one TLS handshake shows in clear (RFC 8446, RFC 5246), table tls. Lists keep
// wire order and GREASE values, so that new fingerprints can be computed from them later.
type TLS struct {
	Endpoints
	Transport   string `json:"transport"` // tcp, quic or dtls
	Version     string `json:"version"`   // negotiated, see Flow.TLSVersion; empty without a ServerHello
	Cipher      string `json:"cipher"`    // IANA name, or 0xHHHH
	Curve       string `json:"curve"`     // named group of the key exchange, IANA name
	SNI         string `json:"sni"`
	ALPN        string `json:"alpn"` // chosen by the server (TLS 1.2 and older show it)
	Resumed     bool   `json:"resumed"`
	Established bool   `json:"established"` // application data or both Finished seen
	LastAlert   string `json:"last_alert"`

	ClientHello        bool     `json:"client_hello"`
	ClientVersion      uint16   `json:"client_version"` // legacy_version of the hello
	ClientCiphers      []uint16 `json:"client_ciphers"`
	ClientExtensions   []uint16 `json:"client_extensions"`
	ClientGroups       []uint16 `json:"client_groups"`
	ClientPointFormats []uint16 `json:"client_point_formats"`
	ClientSigAlgs      []uint16 `json:"client_sig_algs"`
	ClientVersions     []uint16 `json:"client_versions"` // supported_versions
	ClientALPN         []string `json:"client_alpn"`
	ServerHello        bool     `json:"server_hello"`
	ServerVersion      uint16   `json:"server_version"`
	ServerCipher       uint16   `json:"server_cipher"`
	ServerExtensions   []uint16 `json:"server_extensions"`
	JA3                string   `json:"ja3"` // filled by fingerprint, as all below to JA4RO
	JA3Raw             string   `json:"ja3_raw"`
	JA3S               string   `json:"ja3s"`
	JA3SRaw            string   `json:"ja3s_raw"`
	JA4                string   `json:"ja4"`
	JA4O               string   `json:"ja4_o"`
	JA4R               string   `json:"ja4_r"`
	JA4RO              string   `json:"ja4_ro"`
	CertChain          []string `json:"cert_chain"` // SHA-256 (hex) of each certificate, leaf first
	CertSHA1           string   `json:"cert_sha1"`  // of the leaf
	CertSubject        string   `json:"cert_subject"`
	CertIssuer         string   `json:"cert_issuer"`
	CertSerial         string   `json:"cert_serial"`
	CertNotBefore      Time     `json:"cert_not_before"`
	CertNotAfter       Time     `json:"cert_not_after"`
	CertSANs           []string `json:"cert_sans"`
	CertKeyType        string   `json:"cert_key_type"` // rsa, ecdsa, ed25519
	CertKeyBits        uint16   `json:"cert_key_bits"`
	CertSigAlg         string   `json:"cert_sig_alg"`
	CertSelfSigned     bool     `json:"cert_self_signed"`
}

// SSH is the clear part of one SSH connection (RFC 4253), table ssh.
type SSH struct {
	Endpoints
	Client         string   `json:"client"` // identification string
	Server         string   `json:"server"`
	ClientKex      []string `json:"client_kex"` // KEXINIT name lists in wire order
	ClientHostKey  []string `json:"client_host_key"`
	ClientEnc      []string `json:"client_enc"` // client to server
	ClientMAC      []string `json:"client_mac"`
	ClientComp     []string `json:"client_comp"`
	ServerKex      []string `json:"server_kex"`
	ServerHostKey  []string `json:"server_host_key"`
	ServerEnc      []string `json:"server_enc"` // server to client
	ServerMAC      []string `json:"server_mac"`
	ServerComp     []string `json:"server_comp"`
	KexAlg         string   `json:"kex_alg"` // negotiated by RFC 4253 section 7.1
	HostKeyAlg     string   `json:"host_key_alg"`
	CipherAlg      string   `json:"cipher_alg"` // client to server
	MACAlg         string   `json:"mac_alg"`
	CompressionAlg string   `json:"compression_alg"`
	HASSH          string   `json:"hassh"` // filled by fingerprint, as all below
	HASSHRaw       string   `json:"hassh_raw"`
	HASSHServer    string   `json:"hassh_server"`
	HASSHServerRaw string   `json:"hassh_server_raw"`
}
