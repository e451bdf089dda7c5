package lab

// client is the TLS stack of a program as its ClientHello shows it, and what it calls
// itself in HTTP.
type client struct {
	name       string
	agent      string   // HTTP User-Agent
	versions   []uint16 // supported_versions, none for a TLS 1.2 stack
	ciphers    []uint16
	extensions []uint16
	groups     []uint16
	shares     []uint16 // groups with a key share
	signatures []uint16
	alpn       []string
	permute    bool // sends its extensions in a random order
	session    bool // sends a session id of 32 bytes (RFC 8446 appendix D.4)
}

// grease stands for a value of RFC 8701, chosen anew for each hello.
const grease = 0x0a0a

const (
	groupHybrid = 0x11ec // X25519MLKEM768
	groupX25519 = 29
)

// The stacks. Cipher, extension and group lists are as these programs are known to send
// them; "implant" and "implantGo" belong to the intruder and to nobody else.
var (
	chrome = &client{
		name:     "chrome",
		agent:    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/133.0.0.0 Safari/537.36",
		versions: []uint16{grease, 0x0304, 0x0303},
		ciphers: []uint16{
			grease, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014,
			0x009c, 0x009d, 0x002f, 0x0035,
		},
		extensions: []uint16{grease, 0, 23, 65281, 10, 11, 35, 16, 5, 13, 18, 51, 45, 43, 27, 17613, 65037, grease},
		groups:     []uint16{grease, groupHybrid, groupX25519, 23, 24},
		shares:     []uint16{grease, groupHybrid, groupX25519},
		signatures: []uint16{0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601},
		alpn:       []string{"h2", "http/1.1"},
		permute:    true, session: true,
	}
	edgeBrowser = &client{
		name:     "edge",
		agent:    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/133.0.0.0 Safari/537.36 Edg/133.0.0.0",
		versions: chrome.versions, ciphers: chrome.ciphers, extensions: chrome.extensions, groups: chrome.groups, shares: chrome.shares,
		signatures: chrome.signatures, alpn: chrome.alpn, permute: true, session: true,
	}
	firefox = &client{
		name:     "firefox",
		agent:    "Mozilla/5.0 (X11; Linux x86_64; rv:135.0) Gecko/20100101 Firefox/135.0",
		versions: []uint16{0x0304, 0x0303},
		ciphers: []uint16{
			0x1301, 0x1303, 0x1302, 0xc02b, 0xc02f, 0xcca9, 0xcca8, 0xc02c, 0xc030, 0xc00a, 0xc009, 0xc013,
			0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
		},
		extensions: []uint16{0, 23, 65281, 10, 11, 35, 16, 5, 34, 18, 51, 43, 13, 45, 28, 27, 65037},
		groups:     []uint16{groupHybrid, groupX25519, 23, 24, 25, 256, 257},
		shares:     []uint16{groupHybrid, groupX25519, 23},
		signatures: []uint16{0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201},
		alpn:       []string{"h2", "http/1.1"},
		session:    true,
	}
	safari = &client{
		name:     "safari",
		agent:    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 Safari/605.1.15",
		versions: []uint16{grease, 0x0304, 0x0303, 0x0302, 0x0301},
		ciphers: []uint16{
			grease, 0x1301, 0x1302, 0x1303, 0xc02c, 0xc02b, 0xcca9, 0xc030, 0xc02f, 0xcca8, 0xc00a, 0xc009,
			0xc014, 0xc013, 0x009d, 0x009c, 0x0035, 0x002f, 0xc008, 0xc012, 0x000a,
		},
		extensions: []uint16{grease, 0, 23, 65281, 10, 11, 16, 5, 13, 18, 51, 45, 43, 27, grease, 21},
		groups:     []uint16{grease, groupX25519, 23, 24, 25},
		shares:     []uint16{grease, groupX25519},
		signatures: []uint16{0x0403, 0x0804, 0x0401, 0x0503, 0x0203, 0x0805, 0x0805, 0x0501, 0x0806, 0x0601, 0x0201},
		alpn:       []string{"h2", "http/1.1"},
		session:    true,
	}
	safariService = &client{
		name:     "cfnetwork",
		agent:    "com.apple.trustd/3.0",
		versions: safari.versions, ciphers: safari.ciphers, extensions: []uint16{grease, 0, 23, 65281, 10, 11, 16, 5, 13, 18, 51, 45, 43, grease, 21},
		groups: safari.groups, shares: safari.shares, signatures: safari.signatures, alpn: safari.alpn, session: true,
	}
	schannel = &client{
		name:  "schannel",
		agent: "Microsoft-CryptoAPI/10.0",
		ciphers: []uint16{
			0xc02c, 0xc02b, 0xc030, 0xc02f, 0xc024, 0xc023, 0xc028, 0xc027, 0xc00a, 0xc009, 0xc014, 0xc013,
			0x009d, 0x009c, 0x003d, 0x003c, 0x0035, 0x002f, 0x000a,
		},
		extensions: []uint16{0, 5, 10, 11, 13, 35, 16, 23, 65281},
		groups:     []uint16{groupX25519, 23, 24},
		signatures: []uint16{0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0201, 0x0403, 0x0503, 0x0203, 0x0202, 0x0601, 0x0603},
		alpn:       []string{"h2", "http/1.1"},
	}
	openssl = &client{
		name:     "openssl",
		agent:    "curl/7.88.1",
		versions: []uint16{0x0304, 0x0303},
		ciphers: []uint16{
			0x1302, 0x1303, 0x1301, 0xc02c, 0xc030, 0x009f, 0xcca9, 0xcca8, 0xccaa, 0xc02b, 0xc02f, 0x009e,
			0xc024, 0xc028, 0x006b, 0xc023, 0xc027, 0x0067, 0xc00a, 0xc014, 0x0039, 0xc009, 0xc013, 0x0033, 0x009d, 0x009c,
			0x003d, 0x003c, 0x0035, 0x002f, 0x00ff,
		},
		extensions: []uint16{0, 11, 10, 16, 22, 23, 49, 13, 43, 45, 51, 21},
		groups:     []uint16{groupX25519, 23, 30, 25, 24, 256, 257, 258, 259, 260},
		shares:     []uint16{groupX25519},
		signatures: []uint16{
			0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0809, 0x080a, 0x080b, 0x0804, 0x0805, 0x0806, 0x0401,
			0x0501, 0x0601, 0x0303, 0x0301, 0x0302, 0x0402, 0x0502, 0x0602,
		},
		alpn:    []string{"h2", "http/1.1"},
		session: true,
	}
	golang = &client{
		name:     "go",
		agent:    "Go-http-client/2.0",
		versions: []uint16{0x0304, 0x0303},
		ciphers: []uint16{
			0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc009, 0xc013, 0xc00a, 0xc014, 0x1301, 0x1302,
			0x1303,
		},
		extensions: []uint16{0, 11, 65281, 23, 18, 5, 10, 13, 16, 43, 51},
		groups:     []uint16{groupHybrid, groupX25519, 23, 24, 25},
		shares:     []uint16{groupHybrid, groupX25519},
		signatures: []uint16{0x0804, 0x0403, 0x0807, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0503, 0x0603, 0x0201, 0x0203},
		alpn:       []string{"h2", "http/1.1"},
		session:    true,
	}
	// rdpClient is Windows' remote desktop: schannel without protocol negotiation.
	rdpClient = &client{
		name: "mstsc", ciphers: schannel.ciphers, extensions: []uint16{0, 5, 10, 11, 13, 35, 23, 65281},
		groups: schannel.groups, signatures: schannel.signatures,
	}
	// implant is the intruder's tool on Linux: a small old TLS 1.2 stack.
	implant = &client{
		name:       "implant",
		agent:      "Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; Trident/5.0)",
		ciphers:    []uint16{0xc030, 0xc02f, 0x009f, 0xc028, 0xc014, 0x009d, 0x003d, 0x0035, 0x000a, 0x00ff},
		extensions: []uint16{0, 11, 10, 35, 13, 15},
		groups:     []uint16{23, 25, 24},
		signatures: []uint16{0x0601, 0x0501, 0x0401, 0x0301, 0x0201},
	}
	// implantGo is the intruder's tool on Windows: Go's TLS 1.3 with one cipher order forced
	// and no protocol negotiation.
	implantGo = &client{
		name:       "implant-go",
		agent:      "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/104.0.0.0 Safari/537.36",
		versions:   []uint16{0x0304, 0x0303},
		ciphers:    []uint16{0xc02f, 0xc030, 0xc013, 0xc014, 0x1301, 0x1303},
		extensions: []uint16{0, 11, 65281, 23, 10, 13, 43, 51},
		groups:     []uint16{groupX25519, 23},
		shares:     []uint16{groupX25519},
		signatures: []uint16{0x0804, 0x0403, 0x0401, 0x0201},
		session:    true,
	}
)
