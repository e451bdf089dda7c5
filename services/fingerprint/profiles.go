package fingerprint

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tracer-framework/tracer/services/fingerprint/internal/profile"
)

//go:embed profiles/*.yaml
var shipped embed.FS

// Profile is one threat profile as its file describes it, compiled.
type Profile = profile.Compiled

// ProfileSet is the profiles in force together, and the digest of their content.
type ProfileSet = profile.Set

// ProfileBucket is the KV bucket profiles are put into while the system runs: key = id,
// value = YAML.
const ProfileBucket = "profiles"

// ProfileParser reads profiles for one site.
type ProfileParser struct {
	engine *profile.Engine
}

// NewProfileParser makes a parser for which the given networks are internal.
func NewProfileParser(internal []netip.Prefix) (*ProfileParser, error) {
	engine, err := profile.NewEngine(func(ip netip.Addr) bool {
		return slices.ContainsFunc(internal, func(p netip.Prefix) bool { return p.Contains(ip) })
	})
	if err != nil {
		return nil, err
	}
	return &ProfileParser{engine: engine}, nil
}

// Parse reads one profile. name is what errors call it; they carry line and column.
func (p *ProfileParser) Parse(name string, src []byte) (*Profile, error) {
	return p.engine.Parse(name, src, nil)
}

// Load reads the shipped profiles and then those of dir, which may replace shipped ones by
// their id. An empty dir means the shipped ones alone. Every fault in dir is reported.
func (p *ProfileParser) Load(dir string) (*ProfileSet, error) {
	sub, err := fs.Sub(shipped, "profiles")
	if err != nil {
		return nil, fmt.Errorf("open shipped profiles: %w", err)
	}
	all, err := p.folder(sub)
	if err != nil {
		return nil, err
	}
	if dir != "" {
		own, err := p.folder(os.DirFS(dir))
		if err != nil {
			return nil, fmt.Errorf("load profiles of %s: %w", dir, err)
		}
		all = append(all, own...)
	}
	return profile.NewSet(all...), nil
}

func (p *ProfileParser) folder(files fs.FS) ([]*Profile, error) {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list profiles: %w", err)
	}
	if _, err := fs.Stat(files, "."); err != nil {
		return nil, fmt.Errorf("open profiles folder: %w", err)
	}
	var out []*Profile
	var faults []error
	for _, name := range names {
		src, err := fs.ReadFile(files, name)
		if err != nil {
			faults = append(faults, fmt.Errorf("read profile: %w", err))
			continue
		}
		c, err := p.engine.Parse(name, src, files)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if want := strings.TrimSuffix(path.Base(name), ".yaml"); c.ID != want {
			faults = append(faults, fmt.Errorf("profile %s: id is %q, expected the file's name", name, c.ID))
			continue
		}
		out = append(out, c)
	}
	return out, errors.Join(faults...)
}

// ProfileRow is what became of one row of a profile test.
type ProfileRow struct {
	Line      int    `json:"line"`
	Match     bool   `json:"match"`
	Indicator string `json:"indicator,omitempty"`
}

// TestProfile matches JSON lines, each one row of the kind the profile looks at (the fields
// of the record, and its flow under "flow"), and says which of them match.
func TestProfile(p *Profile, rows io.Reader) ([]ProfileRow, error) {
	var out []ProfileRow
	sc := bufio.NewScanner(rows)
	sc.Buffer(nil, 1<<20)
	for line := 1; sc.Scan(); line++ {
		if len(bytes.TrimSpace(sc.Bytes())) == 0 {
			continue
		}
		rec, err := profile.DecodeRow(p.On, sc.Bytes())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		indicator, ok, err := p.Match(rec)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		out = append(out, ProfileRow{Line: line, Match: ok, Indicator: indicator})
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	return out, nil
}

// PutProfile checks a profile and puts it into force wherever the bucket is watched.
func (p *ProfileParser) PutProfile(ctx context.Context, kv jetstream.KeyValue, name string, src []byte) (*Profile, error) {
	c, err := p.Parse(name, src)
	if err != nil {
		return nil, err
	}
	if _, err := kv.Put(ctx, c.ID, src); err != nil {
		return nil, fmt.Errorf("put profile %s: %w", c.ID, err)
	}
	return c, nil
}

// DeleteProfile takes a profile out of force; a shipped profile of that id holds again.
func DeleteProfile(ctx context.Context, kv jetstream.KeyValue, id string) error {
	if _, err := kv.Get(ctx, id); err != nil {
		return fmt.Errorf("delete profile %s: %w", id, err)
	}
	if err := kv.Delete(ctx, id); err != nil {
		return fmt.Errorf("delete profile %s: %w", id, err)
	}
	return nil
}

// WithBucket adds the profiles of the bucket to base. Those that are at fault are left out
// and told in the error; the set is usable all the same.
func (p *ProfileParser) WithBucket(ctx context.Context, base *ProfileSet, kv jetstream.KeyValue) (*ProfileSet, error) {
	keys, err := kv.ListKeys(ctx)
	if err != nil {
		return base, fmt.Errorf("list profiles of the bucket: %w", err)
	}
	own := map[string]*Profile{}
	var faults []error
	for key := range keys.Keys() {
		entry, err := kv.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return base, fmt.Errorf("read profile %s: %w", key, err)
		}
		c, err := p.parseEntry(entry)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		own[key] = c
	}
	return overlay(base, own), errors.Join(faults...)
}

func (p *ProfileParser) parseEntry(e jetstream.KeyValueEntry) (*Profile, error) {
	c, err := p.Parse(e.Key(), e.Value())
	if err != nil {
		return nil, err
	}
	if c.ID != e.Key() {
		return nil, fmt.Errorf("profile %s: id is %q, expected the key", e.Key(), c.ID)
	}
	return c, nil
}

// overlay is base with the profiles of own in place of those with the same id.
func overlay(base *ProfileSet, own map[string]*Profile) *ProfileSet {
	all := slices.Clone(base.Profiles)
	for _, id := range slices.Sorted(maps.Keys(own)) {
		all = append(all, own[id])
	}
	return profile.NewSet(all...)
}
