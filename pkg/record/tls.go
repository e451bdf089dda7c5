package record

import "github.com/tracer-framework/tracer/pkg/model"

// TLSs are rows of table tls.
type TLSs struct {
	Endpoints
	Transport          Word
	Version            Word
	Cipher             Word
	Curve              Word
	SNI                Word
	ALPN               Word
	Resumed            Bool
	Established        Bool
	LastAlert          Word
	ClientHello        Bool
	ClientVersion      Uint[uint16]
	ClientCiphers      Uints[uint16]
	ClientExtensions   Uints[uint16]
	ClientGroups       Uints[uint16]
	ClientPointFormats Uints[uint16]
	ClientSigAlgs      Uints[uint16]
	ClientVersions     Uints[uint16]
	ClientALPN         Words
	ServerHello        Bool
	ServerVersion      Uint[uint16]
	ServerCipher       Uint[uint16]
	ServerExtensions   Uints[uint16]
	JA3                Word
	JA3Raw             Word
	JA3S               Word
	JA3SRaw            Word
	JA4                Word
	JA4O               Word
	JA4R               Word
	JA4RO              Word
	CertChain          Words
	CertSHA1           Word
	CertSubject        Word
	CertIssuer         Word
	CertSerial         Word
	CertNotBefore      Time
	CertNotAfter       Time
	CertSANs           Words
	CertKeyType        Word
	CertKeyBits        Uint[uint16]
	CertSigAlg         Word
	CertSelfSigned     Bool

	table []named
}

func (c *TLSs) columns() []named {
	if c.table == nil {
		c.ClientCiphers.bind()
		c.ClientExtensions.bind()
		c.ClientGroups.bind()
		c.ClientPointFormats.bind()
		c.ClientSigAlgs.bind()
		c.ClientVersions.bind()
		c.ClientALPN.bind()
		c.ServerExtensions.bind()
		c.CertChain.bind()
		c.CertSANs.bind()
		c.table = append(c.Endpoints.columns(), []named{
			{"transport", &c.Transport},
			{"version", &c.Version},
			{"cipher", &c.Cipher},
			{"curve", &c.Curve},
			{"sni", &c.SNI},
			{"alpn", &c.ALPN},
			{"resumed", &c.Resumed},
			{"established", &c.Established},
			{"last_alert", &c.LastAlert},
			{"client_hello", &c.ClientHello},
			{"client_version", &c.ClientVersion},
			{"client_ciphers", &c.ClientCiphers},
			{"client_extensions", &c.ClientExtensions},
			{"client_groups", &c.ClientGroups},
			{"client_point_formats", &c.ClientPointFormats},
			{"client_sig_algs", &c.ClientSigAlgs},
			{"client_versions", &c.ClientVersions},
			{"client_alpn", &c.ClientALPN},
			{"server_hello", &c.ServerHello},
			{"server_version", &c.ServerVersion},
			{"server_cipher", &c.ServerCipher},
			{"server_extensions", &c.ServerExtensions},
			{"ja3", &c.JA3},
			{"ja3_raw", &c.JA3Raw},
			{"ja3s", &c.JA3S},
			{"ja3s_raw", &c.JA3SRaw},
			{"ja4", &c.JA4},
			{"ja4_o", &c.JA4O},
			{"ja4_r", &c.JA4R},
			{"ja4_ro", &c.JA4RO},
			{"cert_chain", &c.CertChain},
			{"cert_sha1", &c.CertSHA1},
			{"cert_subject", &c.CertSubject},
			{"cert_issuer", &c.CertIssuer},
			{"cert_serial", &c.CertSerial},
			{"cert_not_before", &c.CertNotBefore},
			{"cert_not_after", &c.CertNotAfter},
			{"cert_sans", &c.CertSANs},
			{"cert_key_type", &c.CertKeyType},
			{"cert_key_bits", &c.CertKeyBits},
			{"cert_sig_alg", &c.CertSigAlg},
			{"cert_self_signed", &c.CertSelfSigned},
		}...)
	}
	return c.table
}

// Append adds a row.
func (c *TLSs) Append(v *model.TLS) {
	c.appendEndpoints(&v.Endpoints)
	c.Transport.Append(v.Transport)
	c.Version.Append(v.Version)
	c.Cipher.Append(v.Cipher)
	c.Curve.Append(v.Curve)
	c.SNI.Append(v.SNI)
	c.ALPN.Append(v.ALPN)
	c.Resumed.Append(v.Resumed)
	c.Established.Append(v.Established)
	c.LastAlert.Append(v.LastAlert)
	c.ClientHello.Append(v.ClientHello)
	c.ClientVersion.Append(v.ClientVersion)
	c.ClientCiphers.Append(v.ClientCiphers)
	c.ClientExtensions.Append(v.ClientExtensions)
	c.ClientGroups.Append(v.ClientGroups)
	c.ClientPointFormats.Append(v.ClientPointFormats)
	c.ClientSigAlgs.Append(v.ClientSigAlgs)
	c.ClientVersions.Append(v.ClientVersions)
	c.ClientALPN.Append(v.ClientALPN)
	c.ServerHello.Append(v.ServerHello)
	c.ServerVersion.Append(v.ServerVersion)
	c.ServerCipher.Append(v.ServerCipher)
	c.ServerExtensions.Append(v.ServerExtensions)
	c.JA3.Append(v.JA3)
	c.JA3Raw.Append(v.JA3Raw)
	c.JA3S.Append(v.JA3S)
	c.JA3SRaw.Append(v.JA3SRaw)
	c.JA4.Append(v.JA4)
	c.JA4O.Append(v.JA4O)
	c.JA4R.Append(v.JA4R)
	c.JA4RO.Append(v.JA4RO)
	c.CertChain.Append(v.CertChain)
	c.CertSHA1.Append(v.CertSHA1)
	c.CertSubject.Append(v.CertSubject)
	c.CertIssuer.Append(v.CertIssuer)
	c.CertSerial.Append(v.CertSerial)
	c.CertNotBefore.Append(v.CertNotBefore)
	c.CertNotAfter.Append(v.CertNotAfter)
	c.CertSANs.Append(v.CertSANs)
	c.CertKeyType.Append(v.CertKeyType)
	c.CertKeyBits.Append(v.CertKeyBits)
	c.CertSigAlg.Append(v.CertSigAlg)
	c.CertSelfSigned.Append(v.CertSelfSigned)
}

// Row writes row i to v.
func (c *TLSs) Row(i int, v *model.TLS) {
	c.rowEndpoints(i, &v.Endpoints)
	v.Transport = c.Transport.Row(i)
	v.Version = c.Version.Row(i)
	v.Cipher = c.Cipher.Row(i)
	v.Curve = c.Curve.Row(i)
	v.SNI = c.SNI.Row(i)
	v.ALPN = c.ALPN.Row(i)
	v.Resumed = c.Resumed.Row(i)
	v.Established = c.Established.Row(i)
	v.LastAlert = c.LastAlert.Row(i)
	v.ClientHello = c.ClientHello.Row(i)
	v.ClientVersion = c.ClientVersion.Row(i)
	v.ClientCiphers = c.ClientCiphers.Row(i)
	v.ClientExtensions = c.ClientExtensions.Row(i)
	v.ClientGroups = c.ClientGroups.Row(i)
	v.ClientPointFormats = c.ClientPointFormats.Row(i)
	v.ClientSigAlgs = c.ClientSigAlgs.Row(i)
	v.ClientVersions = c.ClientVersions.Row(i)
	v.ClientALPN = c.ClientALPN.Row(i)
	v.ServerHello = c.ServerHello.Row(i)
	v.ServerVersion = c.ServerVersion.Row(i)
	v.ServerCipher = c.ServerCipher.Row(i)
	v.ServerExtensions = c.ServerExtensions.Row(i)
	v.JA3 = c.JA3.Row(i)
	v.JA3Raw = c.JA3Raw.Row(i)
	v.JA3S = c.JA3S.Row(i)
	v.JA3SRaw = c.JA3SRaw.Row(i)
	v.JA4 = c.JA4.Row(i)
	v.JA4O = c.JA4O.Row(i)
	v.JA4R = c.JA4R.Row(i)
	v.JA4RO = c.JA4RO.Row(i)
	v.CertChain = c.CertChain.Row(i)
	v.CertSHA1 = c.CertSHA1.Row(i)
	v.CertSubject = c.CertSubject.Row(i)
	v.CertIssuer = c.CertIssuer.Row(i)
	v.CertSerial = c.CertSerial.Row(i)
	v.CertNotBefore = c.CertNotBefore.Row(i)
	v.CertNotAfter = c.CertNotAfter.Row(i)
	v.CertSANs = c.CertSANs.Row(i)
	v.CertKeyType = c.CertKeyType.Row(i)
	v.CertKeyBits = c.CertKeyBits.Row(i)
	v.CertSigAlg = c.CertSigAlg.Row(i)
	v.CertSelfSigned = c.CertSelfSigned.Row(i)
}

// Rows is the number of rows.
func (c *TLSs) Rows() int { return c.FlowID.Rows() }

// Reset drops all rows and keeps the memory.
func (c *TLSs) Reset() { reset(c.columns()) }
