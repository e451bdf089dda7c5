package profile

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/tracer-framework/tracer/pkg/store"
)

// indicatorFields says for each kind of row which fields each kind of indicator is looked
// up in. A kind of indicator without fields cannot be used on such rows.
var indicatorFields = map[string]map[string][]string{
	"flow": {
		"ip": {"orig_ip", "resp_ip"}, "cidr": {"orig_ip", "resp_ip"}, "domain": {"tls_sni", "http_host", "dns_query"},
		"ja3": {"ja3"}, "ja3s": {"ja3s"}, "ja4": {"ja4"}, "hassh": {"hassh", "hassh_server"}, "user_agent": {"http_user_agent"},
	},
	"dns": {"ip": {"orig_ip", "resp_ip", "answers"}, "cidr": {"orig_ip", "resp_ip", "answers"}, "domain": {"query", "answers"}},
	"http": {
		"ip": {"orig_ip", "resp_ip"}, "cidr": {"orig_ip", "resp_ip"}, "domain": {"host"}, "url": {"host", "uri"}, "user_agent": {"user_agent"},
	},
	"tls": {
		"ip": {"orig_ip", "resp_ip"}, "cidr": {"orig_ip", "resp_ip"}, "domain": {"sni", "cert_sans"}, "ja3": {"ja3"}, "ja3s": {"ja3s"}, "ja4": {"ja4"},
		"cert_sha256": {"cert_chain"}, "cert_sha1": {"cert_sha1"},
	},
	"ssh": {"ip": {"orig_ip", "resp_ip"}, "cidr": {"orig_ip", "resp_ip"}, "hassh": {"hassh", "hassh_server"}},
}

// index prepares the indicators for look-up and notes the fields they need.
func (c *Compiled) index(needs map[string]bool) error {
	c.ip, c.cidr = map[netip.Addr]string{}, map[netip.Prefix]string{}
	c.exact, c.wildcard = map[string]string{}, map[string]string{}
	bits := map[int]bool{}
	for _, l := range c.Indicators.lists() {
		if len(*l.values) == 0 {
			continue
		}
		names := indicatorFields[c.On][l.kind]
		if len(names) == 0 {
			return fmt.Errorf("indicators: rows of kind %s have nothing to compare %s with", c.On, l.kind)
		}
		for _, n := range names {
			needs[n] = true
		}
		for i, v := range *l.values {
			if v = strings.TrimSpace(v); v == "" {
				return fmt.Errorf("indicators: %s number %d is empty", l.kind, i+1)
			}
			low := strings.ToLower(v)
			switch l.kind {
			case "ip":
				a, err := netip.ParseAddr(v)
				if err != nil {
					return fmt.Errorf("indicators: ip number %d: %w", i+1, err)
				}
				c.ip[a.Unmap()] = "ip " + v
			case "cidr":
				p, err := netip.ParsePrefix(v)
				if err != nil {
					return fmt.Errorf("indicators: cidr number %d: %w", i+1, err)
				}
				c.cidr[p.Masked()] = "cidr " + v
				bits[p.Bits()] = true
			case "domain":
				if d, ok := strings.CutPrefix(low, "*."); ok {
					c.wildcard[strings.Trim(d, ".")] = "domain " + v
				} else {
					c.exact["domain "+strings.Trim(low, ".")] = "domain " + v
				}
			case "url", "user_agent":
				c.parts = append(c.parts, part{kind: l.kind, text: low})
			default: // fingerprints and hashes
				c.exact[l.kind+" "+low] = l.kind + " " + v
			}
		}
	}
	c.bits = slices.Sorted(maps.Keys(bits))
	slices.SortFunc(c.parts, func(a, b part) int { return strings.Compare(a.kind+a.text, b.kind+b.text) })
	return nil
}

// Needs lists the fields of the row the profile reads, sorted: those of the flow a record
// belongs to begin with "flow.".
func (c *Compiled) Needs() []string { return slices.Clone(c.needs) }

// Match reports whether the row matches and, where an indicator did, which one.
func (c *Compiled) Match(rec *store.Record) (indicator string, ok bool, err error) {
	if c.Disabled {
		return "", false, nil
	}
	a := row{rec: rec, table: fields()[c.On]}
	if c.Indicators.Len() > 0 {
		if indicator = c.indicator(a); indicator == "" {
			return "", false, nil
		}
	}
	if c.program == nil {
		return indicator, indicator != "", nil
	}
	v, _, err := c.program.Eval(a)
	if err != nil {
		return "", false, fmt.Errorf("profile %s: %w", c.ID, err)
	}
	yes, _ := v.Value().(bool)
	return indicator, yes, nil
}

func (c *Compiled) indicator(a row) string {
	for _, l := range c.Indicators.lists() {
		if len(*l.values) == 0 {
			continue
		}
		names := indicatorFields[c.On][l.kind]
		if l.kind == "url" || l.kind == "user_agent" {
			var text strings.Builder
			for _, n := range names {
				v, _ := a.ResolveName(n)
				s, _ := v.(string)
				text.WriteString(strings.ToLower(s))
			}
			for _, p := range c.parts {
				if p.kind == l.kind && strings.Contains(text.String(), p.text) {
					return p.kind + " " + p.text
				}
			}
			continue
		}
		for _, n := range names {
			v, _ := a.ResolveName(n)
			switch v := v.(type) {
			case string:
				if hit := c.lookup(l.kind, v); hit != "" {
					return hit
				}
			case []string:
				for _, s := range v {
					if hit := c.lookup(l.kind, s); hit != "" {
						return hit
					}
				}
			}
		}
	}
	return ""
}

func (c *Compiled) lookup(kind, v string) string {
	if v == "" {
		return ""
	}
	switch kind {
	case "ip", "cidr":
		ip, err := netip.ParseAddr(v)
		if err != nil {
			return ""
		}
		ip = ip.Unmap()
		if kind == "ip" {
			return c.ip[ip]
		}
		for _, b := range slices.Backward(c.bits) {
			if p, err := ip.Prefix(b); err == nil {
				if hit := c.cidr[p]; hit != "" {
					return hit
				}
			}
		}
		return ""
	case "domain":
		name := hostname(v)
		if hit := c.exact["domain "+name]; hit != "" {
			return hit
		}
		for name != "" {
			if hit := c.wildcard[name]; hit != "" {
				return hit
			}
			_, rest, ok := strings.Cut(name, ".")
			if !ok {
				return ""
			}
			name = rest
		}
		return ""
	}
	return c.exact[kind+" "+strings.ToLower(v)]
}

// Values reads the fields named in Show, as text.
func (c *Compiled) values(rec *store.Record) []string {
	a := row{rec: rec, table: fields()[c.On]}
	out := make([]string, 0, len(c.Show))
	for _, n := range c.Show {
		v, _ := a.ResolveName(n)
		if s := plain(fmt.Sprint(v)); s != "" && s != "0" {
			out = append(out, n+" "+s)
		}
	}
	return out
}

// plain is s fit for a sentence: no control characters, at most 160 characters.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '.'
		}
		return r
	}, strings.ToValidUTF8(s, "."))
	if r := []rune(s); len(r) > 160 {
		return string(r[:160]) + "..."
	}
	return s
}
