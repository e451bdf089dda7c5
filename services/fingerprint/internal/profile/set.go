package profile

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
)

// Set is the profiles in force, sorted by id. It never changes; a new one takes its place.
type Set struct {
	Profiles []*Compiled
	Digest   string // SHA-256 (hex) over the content of the profiles, whatever their order and spelling
}

// NewSet makes a set of profiles; of two with one id the later holds.
func NewSet(profiles ...*Compiled) *Set {
	byID := map[string]*Compiled{}
	for _, p := range profiles {
		byID[p.ID] = p
	}
	s := &Set{}
	h := sha256.New()
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		p := byID[id]
		s.Profiles = append(s.Profiles, p)
		h.Write(p.canonical())
		h.Write([]byte{'\n'})
	}
	s.Digest = hex.EncodeToString(h.Sum(nil))
	return s
}

// On returns the profiles that look at rows of the kind, without those switched off.
func (s *Set) On(kind string) []*Compiled {
	var out []*Compiled
	for _, p := range s.Profiles {
		if p.On == kind && !p.Disabled {
			out = append(out, p)
		}
	}
	return out
}

// Columns lists what profiles of the kind read: columns of the kind's own table, and
// columns of table flow for records that are looked at together with their flow. Both
// are sorted; of kind "flow" all are its own.
func (s *Set) Columns(kind string) (own, flow []string) {
	need := map[string]bool{}
	for _, p := range s.On(kind) {
		for _, n := range p.needs {
			need[n] = true
		}
	}
	for _, n := range slices.Sorted(maps.Keys(need)) {
		if f, ok := strings.CutPrefix(n, "flow."); ok && kind != "flow" {
			flow = append(flow, f)
		} else if ok {
			own = append(own, f)
		} else {
			own = append(own, n)
		}
	}
	slices.Sort(own)
	return slices.Compact(own), flow
}
