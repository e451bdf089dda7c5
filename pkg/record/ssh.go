package record

import "github.com/tracer-framework/tracer/pkg/model"

// SSHs are rows of table ssh.
type SSHs struct {
	Endpoints
	Client         Word
	Server         Word
	ClientKex      Words
	ClientHostKey  Words
	ClientEnc      Words
	ClientMAC      Words
	ClientComp     Words
	ServerKex      Words
	ServerHostKey  Words
	ServerEnc      Words
	ServerMAC      Words
	ServerComp     Words
	KexAlg         Word
	HostKeyAlg     Word
	CipherAlg      Word
	MACAlg         Word
	CompressionAlg Word
	HASSH          Word
	HASSHRaw       Word
	HASSHServer    Word
	HASSHServerRaw Word

	table []named
}

func (c *SSHs) columns() []named {
	if c.table == nil {
		c.ClientKex.bind()
		c.ClientHostKey.bind()
		c.ClientEnc.bind()
		c.ClientMAC.bind()
		c.ClientComp.bind()
		c.ServerKex.bind()
		c.ServerHostKey.bind()
		c.ServerEnc.bind()
		c.ServerMAC.bind()
		c.ServerComp.bind()
		c.table = append(c.Endpoints.columns(), []named{
			{"client", &c.Client},
			{"server", &c.Server},
			{"client_kex", &c.ClientKex},
			{"client_host_key", &c.ClientHostKey},
			{"client_enc", &c.ClientEnc},
			{"client_mac", &c.ClientMAC},
			{"client_comp", &c.ClientComp},
			{"server_kex", &c.ServerKex},
			{"server_host_key", &c.ServerHostKey},
			{"server_enc", &c.ServerEnc},
			{"server_mac", &c.ServerMAC},
			{"server_comp", &c.ServerComp},
			{"kex_alg", &c.KexAlg},
			{"host_key_alg", &c.HostKeyAlg},
			{"cipher_alg", &c.CipherAlg},
			{"mac_alg", &c.MACAlg},
			{"compression_alg", &c.CompressionAlg},
			{"hassh", &c.HASSH},
			{"hassh_raw", &c.HASSHRaw},
			{"hassh_server", &c.HASSHServer},
			{"hassh_server_raw", &c.HASSHServerRaw},
		}...)
	}
	return c.table
}

// Append adds a row.
func (c *SSHs) Append(v *model.SSH) {
	c.appendEndpoints(&v.Endpoints)
	c.Client.Append(v.Client)
	c.Server.Append(v.Server)
	c.ClientKex.Append(v.ClientKex)
	c.ClientHostKey.Append(v.ClientHostKey)
	c.ClientEnc.Append(v.ClientEnc)
	c.ClientMAC.Append(v.ClientMAC)
	c.ClientComp.Append(v.ClientComp)
	c.ServerKex.Append(v.ServerKex)
	c.ServerHostKey.Append(v.ServerHostKey)
	c.ServerEnc.Append(v.ServerEnc)
	c.ServerMAC.Append(v.ServerMAC)
	c.ServerComp.Append(v.ServerComp)
	c.KexAlg.Append(v.KexAlg)
	c.HostKeyAlg.Append(v.HostKeyAlg)
	c.CipherAlg.Append(v.CipherAlg)
	c.MACAlg.Append(v.MACAlg)
	c.CompressionAlg.Append(v.CompressionAlg)
	c.HASSH.Append(v.HASSH)
	c.HASSHRaw.Append(v.HASSHRaw)
	c.HASSHServer.Append(v.HASSHServer)
	c.HASSHServerRaw.Append(v.HASSHServerRaw)
}

// Row writes row i to v.
func (c *SSHs) Row(i int, v *model.SSH) {
	c.rowEndpoints(i, &v.Endpoints)
	v.Client = c.Client.Row(i)
	v.Server = c.Server.Row(i)
	v.ClientKex = c.ClientKex.Row(i)
	v.ClientHostKey = c.ClientHostKey.Row(i)
	v.ClientEnc = c.ClientEnc.Row(i)
	v.ClientMAC = c.ClientMAC.Row(i)
	v.ClientComp = c.ClientComp.Row(i)
	v.ServerKex = c.ServerKex.Row(i)
	v.ServerHostKey = c.ServerHostKey.Row(i)
	v.ServerEnc = c.ServerEnc.Row(i)
	v.ServerMAC = c.ServerMAC.Row(i)
	v.ServerComp = c.ServerComp.Row(i)
	v.KexAlg = c.KexAlg.Row(i)
	v.HostKeyAlg = c.HostKeyAlg.Row(i)
	v.CipherAlg = c.CipherAlg.Row(i)
	v.MACAlg = c.MACAlg.Row(i)
	v.CompressionAlg = c.CompressionAlg.Row(i)
	v.HASSH = c.HASSH.Row(i)
	v.HASSHRaw = c.HASSHRaw.Row(i)
	v.HASSHServer = c.HASSHServer.Row(i)
	v.HASSHServerRaw = c.HASSHServerRaw.Row(i)
}

// Rows is the number of rows.
func (c *SSHs) Rows() int { return c.FlowID.Rows() }

// Reset drops all rows and keeps the memory.
func (c *SSHs) Reset() { reset(c.columns()) }
