// Package profile holds threat profiles: what they say (YAML), how they are compiled, and
// how rows of the store are matched against them.
package profile

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Limits of one profile: it may come from anyone who can write to the bus.
const (
	MaxSource     = 1 << 20 // bytes of YAML
	maxExpression = 8 << 10 // bytes of the when expression
	maxIndicators = 1 << 20
)

// Profile describes one threat by what its traffic looks like.
type Profile struct {
	ID             string   `yaml:"id" json:"id"` // lower-case words joined by hyphens; also its key on the bus
	Title          string   `yaml:"title" json:"title"`
	Description    string   `yaml:"description" json:"description"`
	Severity       string   `yaml:"severity" json:"severity"`
	Confidence     uint8    `yaml:"confidence" json:"confidence"` // 0 to 100
	Phase          string   `yaml:"phase" json:"phase"`
	Technique      string   `yaml:"technique" json:"technique"`               // MITRE ATT&CK v19 id
	Legacy         string   `yaml:"technique_legacy" json:"technique_legacy"` // id in v18 and older; the same if left out
	TechniqueName  string   `yaml:"technique_name" json:"technique_name"`
	Tactic         string   `yaml:"tactic" json:"tactic"`
	FalsePositives []string `yaml:"false_positives" json:"false_positives"`
	References     []string `yaml:"references" json:"references"`
	Disabled       bool     `yaml:"disabled" json:"disabled"` // switches a shipped profile off

	On   string   `yaml:"on" json:"on"`     // rows it looks at: flow (the default), dns, http, tls, ssh
	When string   `yaml:"when" json:"when"` // CEL expression over the row
	Show []string `yaml:"show" json:"show"` // fields quoted in the detection's sentence

	// Indicators: a row matches if any of them does; with When, both must hold.
	Indicators     Indicators `yaml:"indicators" json:"indicators"`
	IndicatorsFile string     `yaml:"indicators_file" json:"-"` // more of them: "kind value" a line, # begins a comment
}

// Indicators are lists of single facts.
type Indicators struct {
	IP         []string `yaml:"ip" json:"ip,omitempty"`
	CIDR       []string `yaml:"cidr" json:"cidr,omitempty"`
	Domain     []string `yaml:"domain" json:"domain,omitempty"` // evil.example, or *.evil.example: it and all below it
	URL        []string `yaml:"url" json:"url,omitempty"`       // part of host and URI, any case
	JA3        []string `yaml:"ja3" json:"ja3,omitempty"`
	JA3S       []string `yaml:"ja3s" json:"ja3s,omitempty"`
	JA4        []string `yaml:"ja4" json:"ja4,omitempty"`
	HASSH      []string `yaml:"hassh" json:"hassh,omitempty"`             // of client or server
	CertSHA256 []string `yaml:"cert_sha256" json:"cert_sha256,omitempty"` // of any certificate of the chain
	CertSHA1   []string `yaml:"cert_sha1" json:"cert_sha1,omitempty"`     // of the server's own certificate
	UserAgent  []string `yaml:"user_agent" json:"user_agent,omitempty"`   // part of it, any case
}

// lists names the lists in a fixed order.
func (in *Indicators) lists() []struct {
	kind   string
	values *[]string
} {
	return []struct {
		kind   string
		values *[]string
	}{
		{"ip", &in.IP},
		{"cidr", &in.CIDR},
		{"domain", &in.Domain},
		{"url", &in.URL},
		{"ja3", &in.JA3},
		{"ja3s", &in.JA3S},
		{"ja4", &in.JA4},
		{"hassh", &in.HASSH},
		{"cert_sha256", &in.CertSHA256},
		{"cert_sha1", &in.CertSHA1},
		{"user_agent", &in.UserAgent},
	}
}

// Len counts them.
func (in *Indicators) Len() int {
	n := 0
	for _, l := range in.lists() {
		n += len(*l.values)
	}
	return n
}

// Kinds a profile may look at.
var Kinds = []string{"flow", "dns", "http", "tls", "ssh"}

var (
	idPattern        = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	techniquePattern = regexp.MustCompile(`^T[0-9]{4}(\.[0-9]{3})?$`)
	severities       = []string{model.SeverityInformational, model.SeverityLow, model.SeverityMedium, model.SeverityHigh, model.SeverityCritical}
	phases           = []string{
		model.PhaseRecon, model.PhaseExploit, model.PhaseC2, model.PhaseDiscovery, model.PhaseCredential,
		model.PhaseTraversal, model.PhaseCollection, model.PhaseExfil, model.PhaseUnknown,
	}
)

// Parse reads and compiles one profile. name is used in errors, which carry the line and
// column of the fault. files is where indicators_file is looked up; nil refuses it.
func (e *Engine) Parse(name string, src []byte, files fs.FS) (*Compiled, error) {
	if len(src) > MaxSource {
		return nil, fmt.Errorf("profile %s: %d bytes, at most %d are allowed", name, len(src), MaxSource)
	}
	var p Profile
	if err := yaml.NewDecoder(bytes.NewReader(src), yaml.Strict()).Decode(&p); err != nil {
		return nil, fmt.Errorf("profile %s: %w", name, located(err))
	}
	if p.IndicatorsFile != "" {
		if files == nil {
			return nil, fmt.Errorf("profile %s: indicators_file is only possible for a profile in a folder", name)
		}
		raw, err := fs.ReadFile(files, p.IndicatorsFile)
		if err != nil {
			return nil, fmt.Errorf("profile %s: indicators_file: %w", name, err)
		}
		if err := p.Indicators.read(raw); err != nil {
			return nil, fmt.Errorf("profile %s: %s: %w", name, p.IndicatorsFile, err)
		}
	}
	if err := p.complete(); err != nil {
		return nil, fmt.Errorf("profile %s: %w", name, err)
	}
	c, err := e.compile(p)
	if err != nil {
		return nil, fmt.Errorf("profile %s: %w", name, err)
	}
	return c, nil
}

// located turns the YAML package's error, which prints a picture of the source, into one line.
func located(err error) error {
	var se yaml.Error
	if !errors.As(err, &se) || se.GetToken() == nil || se.GetToken().Position == nil {
		return errors.New(strings.TrimSpace(strings.SplitN(err.Error(), "\n", 2)[0]))
	}
	pos := se.GetToken().Position
	return fmt.Errorf("line %d, column %d: %s", pos.Line, pos.Column, se.GetMessage())
}

// complete checks the fields and fills what may be left out.
func (p *Profile) complete() error {
	if p.On == "" {
		p.On = "flow"
	}
	if p.Legacy == "" {
		p.Legacy = p.Technique
	}
	switch {
	case !idPattern.MatchString(p.ID):
		return fmt.Errorf("id %q: expected lower-case words joined by hyphens", p.ID)
	case p.Title == "":
		return errors.New("title is missing")
	case !slices.Contains(severities, p.Severity):
		return fmt.Errorf("severity %q: expected one of %s", p.Severity, strings.Join(severities, ", "))
	case p.Confidence > 100:
		return fmt.Errorf("confidence %d: expected 0 to 100", p.Confidence)
	case !slices.Contains(phases, p.Phase):
		return fmt.Errorf("phase %q: expected one of %s", p.Phase, strings.Join(phases, ", "))
	case p.Technique != "" && !techniquePattern.MatchString(p.Technique):
		return fmt.Errorf("technique %q: expected a MITRE ATT&CK id such as T1071.001", p.Technique)
	case p.Legacy != "" && !techniquePattern.MatchString(p.Legacy):
		return fmt.Errorf("technique_legacy %q: expected a MITRE ATT&CK id such as T1071.001", p.Legacy)
	case !slices.Contains(Kinds, p.On):
		return fmt.Errorf("on %q: expected one of %s", p.On, strings.Join(Kinds, ", "))
	case strings.TrimSpace(p.When) == "" && p.Indicators.Len() == 0 && !p.Disabled:
		return errors.New("neither when nor indicators is given, so it can match nothing")
	case len(p.When) > maxExpression:
		return fmt.Errorf("when has %d bytes, at most %d are allowed", len(p.When), maxExpression)
	case p.Indicators.Len() > maxIndicators:
		return fmt.Errorf("%d indicators, at most %d are allowed", p.Indicators.Len(), maxIndicators)
	}
	return nil
}

// read adds the indicators of a file: kind and value a line.
func (in *Indicators) read(raw []byte) error {
	lists := in.lists()
	sc := bufio.NewScanner(bytes.NewReader(raw))
	for line := 1; sc.Scan(); line++ {
		text, _, _ := strings.Cut(sc.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		i := slices.IndexFunc(lists, func(l struct {
			kind   string
			values *[]string
		},
		) bool {
			return l.kind == fields[0]
		})
		if i < 0 || len(fields) < 2 {
			return fmt.Errorf("line %d: expected a kind such as ip or domain, and a value", line)
		}
		*lists[i].values = append(*lists[i].values, strings.Join(fields[1:], " "))
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("read indicators: %w", err)
	}
	return nil
}

// canonical is the content of the profile without its spelling: two files that say the
// same give the same bytes.
func (p Profile) canonical() []byte {
	p.When = strings.Join(strings.Fields(p.When), " ")
	for _, l := range p.Indicators.lists() {
		v := slices.Clone(*l.values)
		slices.SortFunc(v, cmp.Compare[string])
		*l.values = slices.Compact(v)
	}
	b, err := json.Marshal(p)
	if err != nil { // strings, numbers and lists of them always marshal
		return nil
	}
	return b
}
