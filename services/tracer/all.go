// Package tracer is the all-in-one: every service of TRACER side by side in one process,
// with an embedded bus and store, and the command line over them. It is the only package
// that imports the services.
package tracer

import (
	"errors"
	"fmt"

	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/services/archive"
	"github.com/tracer-framework/tracer/services/fingerprint"
	"github.com/tracer-framework/tracer/services/ingest"
	"github.com/tracer-framework/tracer/services/report"
	"github.com/tracer-framework/tracer/services/tracemap"
)

// Config is the whole configuration: one file, one section a service.
type Config struct {
	service.Common `yaml:",inline"`
	Ingest         ingest.Config      `yaml:"ingest"`
	Fingerprint    fingerprint.Config `yaml:"fingerprint"`
	Archive        archive.Config     `yaml:"archive"`
	Tracemap       tracemap.Config    `yaml:"tracemap"`
	Report         report.Config      `yaml:"report"`
}

// DefaultConfig runs everything on one machine, in ./tracer-data.
func DefaultConfig() Config {
	return Config{
		Common: service.DefaultCommon(), Ingest: ingest.DefaultConfig(), Fingerprint: fingerprint.DefaultConfig(),
		Archive: archive.DefaultConfig(), Tracemap: tracemap.DefaultConfig(), Report: report.DefaultConfig(),
	}
}

// Load reads the configuration file (none for an empty path) and the environment over the defaults.
func (c *Config) Load(path string) error {
	return service.LoadConfig(path, &c.Common, map[string]any{
		"ingest": &c.Ingest, "fingerprint": &c.Fingerprint, "archive": &c.Archive, "tracemap": &c.Tracemap, "report": &c.Report,
	})
}

// Validate reports every rule the values break, each with its section.
func (c *Config) Validate() error {
	section := func(name string, err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	return errors.Join(c.Common.Validate(), section("ingest", c.Ingest.Validate()), section("fingerprint", c.Fingerprint.Validate()),
		section("archive", c.Archive.Validate()), section("tracemap", c.Tracemap.Validate()), section("report", c.Report.Validate()))
}

// Names are the services in data order, the order in which they stop.
var Names = []string{"ingest", "fingerprint", "archive", "tracemap", "report"}

// Build makes one service by name. The split deployment runs each alone; the all-in-one
// runs them side by side. Nothing else differs.
func Build(name string, env *service.Env, c *Config, progress *ingest.Progress) (service.Service, error) {
	switch name {
	case "ingest":
		return ingest.New(c.Ingest, ingest.Deps{Log: env.Log, Bus: env.Bus, Progress: progress})
	case "fingerprint":
		return fingerprint.New(c.Fingerprint, fingerprint.Deps{Log: env.Log, Bus: env.Bus, Store: env.Store})
	case "archive":
		return archive.Open(c.Archive, env)
	case "tracemap":
		return tracemap.New(c.Tracemap, tracemap.Deps{Log: env.Log, Bus: env.Bus, Store: env.Store})
	case "report":
		return report.New(c.Report, report.Deps{Log: env.Log, Bus: env.Bus, Store: env.Store, Data: env.Data})
	}
	return nil, fmt.Errorf("no service %q: expected one of %v", name, Names)
}

// All makes the named services in data order; no names means every service.
func All(env *service.Env, c *Config, progress *ingest.Progress, names ...string) ([]service.Service, error) {
	if len(names) == 0 {
		names = Names
	}
	var out []service.Service
	for _, want := range Names {
		for _, name := range names {
			if name != want {
				continue
			}
			s, err := Build(name, env, c, progress)
			if err != nil {
				return nil, err
			}
			out = append(out, s)
		}
	}
	return out, nil
}
