package service

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Secret is a string that is never printed: logs, errors and `tracer config show` give ***.
type Secret string

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// GoString hides the secret.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML hides the secret.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// Reveal gives the secret itself, for the one place that needs it.
func (s Secret) Reveal() string { return string(s) }

// Common is what every process needs, whatever services it runs.
type Common struct {
	// Data is the folder for everything TRACER keeps on this machine.
	Data string `yaml:"data"`
	// Bus is the message bus.
	Bus BusConfig `yaml:"bus"`
	// Store is the database.
	Store StoreConfig `yaml:"store"`
	// Admin is the address of /healthz, /readyz and /metrics; empty: none.
	Admin string `yaml:"admin"`
	// LogLevel is debug, info, warn or error.
	LogLevel string `yaml:"log_level"`
}

// BusConfig says where NATS is.
type BusConfig struct {
	// URL of an external NATS server or cluster (comma separated); empty: embedded.
	URL string `yaml:"url"`
	// Listen is the address at which the embedded server accepts others; empty: none.
	Listen string `yaml:"listen"`
	// Token authenticates at the server; the embedded server demands it when it listens.
	Token Secret `yaml:"token"`
	// Credentials is the path of a NATS .creds file.
	Credentials string `yaml:"credentials"`
	// Replicas of each stream on an external cluster.
	Replicas int `yaml:"replicas"`
}

// StoreConfig says where ClickHouse is.
type StoreConfig struct {
	// DSN of an external ClickHouse over HTTP, http(s)://user:password@host:8123/database;
	// empty: embedded. It may hold a password, so it is a secret.
	DSN Secret `yaml:"dsn"`
	// Cluster is the name of the ClickHouse cluster for replicated tables; empty: one server.
	Cluster string `yaml:"cluster"`
	// Listen is the loopback address at which the embedded engine serves other processes.
	Listen string `yaml:"listen"`
	// Token authenticates processes at Listen; empty: one is made.
	Token Secret `yaml:"token"`
	// Memory bounds the embedded engine in bytes; 0: half of the machine's memory.
	Memory uint64 `yaml:"memory"`
}

// DefaultCommon runs everything on one machine, in ./tracer-data.
func DefaultCommon() Common {
	return Common{Data: "./tracer-data", Bus: BusConfig{Replicas: 1}, LogLevel: "info"}
}

// Validate reports every rule the values break.
func (c *Common) Validate() error {
	var errs []error
	if c.Data == "" {
		errs = append(errs, errors.New("data: expected a folder"))
	}
	if c.Bus.Replicas < 1 || c.Bus.Replicas > 5 {
		errs = append(errs, fmt.Errorf("bus.replicas: %d, expected 1 to 5", c.Bus.Replicas))
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		errs = append(errs, fmt.Errorf("log_level: %q, expected debug, info, warn or error", c.LogLevel))
	}
	if d := c.Store.DSN.Reveal(); d != "" && !strings.HasPrefix(d, "http://") && !strings.HasPrefix(d, "https://") {
		errs = append(errs, errors.New("store.dsn: expected http(s)://user:password@host:port/database"))
	}
	return errors.Join(errs...)
}

// Sections are the names of the service sections a configuration file may hold. A process
// reads the sections of the services it runs and leaves the others alone.
var Sections = []string{"ingest", "fingerprint", "archive", "tracemap", "report"}

// LoadConfig reads the YAML file into common and into the given sections, strictly: an
// unknown key is an error that names the line. An empty path reads nothing. Environment
// variables then override secrets and addresses: TRACER_DATA, TRACER_BUS_URL,
// TRACER_BUS_TOKEN, TRACER_STORE_DSN, TRACER_STORE_TOKEN, TRACER_ADMIN; a section with a
// method Environment reads its own.
func LoadConfig(path string, common *Common, sections map[string]any) error {
	if path != "" {
		src, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read configuration: %w", err)
		}
		if err := decodeConfig(src, common, sections); err != nil {
			return fmt.Errorf("configuration %s: %w", path, err)
		}
	}
	for name, set := range map[string]func(string){
		"TRACER_DATA":        func(v string) { common.Data = v },
		"TRACER_BUS_URL":     func(v string) { common.Bus.URL = v },
		"TRACER_BUS_TOKEN":   func(v string) { common.Bus.Token = Secret(v) },
		"TRACER_STORE_DSN":   func(v string) { common.Store.DSN = Secret(v) },
		"TRACER_STORE_TOKEN": func(v string) { common.Store.Token = Secret(v) },
		"TRACER_ADMIN":       func(v string) { common.Admin = v },
	} {
		if v, ok := os.LookupEnv(name); ok {
			set(v)
		}
	}
	for _, section := range sections {
		if s, ok := section.(interface {
			Environment(lookup func(string) (string, bool))
		}); ok {
			s.Environment(os.LookupEnv)
		}
	}
	return nil
}

func decodeConfig(src []byte, common *Common, sections map[string]any) error {
	file, err := parser.ParseBytes(src, 0)
	if err != nil {
		return yamlError(err)
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return nil
	}
	if len(file.Docs) > 1 {
		return errors.New("expected one YAML document")
	}
	var values []*ast.MappingValueNode
	switch body := file.Docs[0].Body.(type) {
	case *ast.MappingNode:
		values = body.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{body}
	case *ast.CommentGroupNode, *ast.NullNode:
		return nil
	default:
		return fmt.Errorf("line %d: expected key: value pairs", body.GetToken().Position.Line)
	}
	for _, kv := range values {
		key := kv.Key.GetToken().Value
		if into, ok := sections[key]; ok {
			if err := yaml.NodeToValue(kv.Value, into, yaml.Strict()); err != nil {
				return yamlError(err)
			}
			continue
		}
		if slices.Contains(Sections, key) {
			continue
		}
		target, ok := commonField(common, key)
		if !ok {
			return fmt.Errorf("line %d: unknown key %q", kv.Key.GetToken().Position.Line, key)
		}
		if err := yaml.NodeToValue(kv.Value, target, yaml.Strict()); err != nil {
			return yamlError(err)
		}
	}
	return nil
}

// yamlError is a fault of a YAML text in one line, with its place.
func yamlError(err error) error {
	e, ok := errors.AsType[yaml.Error](err)
	if !ok || e.GetToken() == nil {
		return errors.New(yaml.FormatError(err, false, false))
	}
	at := e.GetToken().Position
	return fmt.Errorf("line %d, column %d: %s", at.Line, at.Column, e.GetMessage())
}

// commonField finds the field of Common with the given YAML name.
func commonField(c *Common, key string) (any, bool) {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") == key {
			return v.Field(i).Addr().Interface(), true
		}
	}
	return nil, false
}

// ShowConfig renders the effective configuration as YAML, secrets hidden. With diff only
// keys that differ from the defaults are kept; an empty result means all defaults.
func ShowConfig(effective, defaults any, diff bool) (string, error) {
	e, err := yamlTree(effective)
	if err != nil {
		return "", err
	}
	if diff {
		d, err := yamlTree(defaults)
		if err != nil {
			return "", err
		}
		e = difference(e, d)
		if len(e) == 0 {
			return "", nil
		}
	}
	out, err := yaml.Marshal(e)
	return string(out), err
}

func yamlTree(v any) (yaml.MapSlice, error) {
	b, err := yaml.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("render configuration: %w", err)
	}
	var m yaml.MapSlice
	dec := yaml.NewDecoder(bytes.NewReader(b), yaml.UseOrderedMap())
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("render configuration: %w", err)
	}
	return m, nil
}

func difference(e, d yaml.MapSlice) yaml.MapSlice {
	var out yaml.MapSlice
	for _, item := range e {
		var base any
		for _, b := range d {
			if b.Key == item.Key {
				base = b.Value
			}
		}
		if sub, ok := item.Value.(yaml.MapSlice); ok {
			baseMap, _ := base.(yaml.MapSlice)
			if rest := difference(sub, baseMap); len(rest) > 0 {
				out = append(out, yaml.MapItem{Key: item.Key, Value: rest})
			}
			continue
		}
		if !reflect.DeepEqual(item.Value, base) {
			out = append(out, item)
		}
	}
	return out
}
