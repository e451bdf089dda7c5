package lab

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/tracer-framework/tracer/pkg/model"
)

// TruthFile is the name of the ground truth beside the captures.
const TruthFile = "truth.json"

// Truth is what really happened in a generated scenario: the yardstick for detections
// and traces. It is stored as truth.json beside the captures.
type Truth struct {
	Scenario string     `json:"scenario"`
	Seed     int64      `json:"seed"`
	Scale    float64    `json:"scale"` // factor on the background traffic
	Start    model.Time `json:"start"` // the captures begin
	End      model.Time `json:"end"`   // the captures end
	Hosts    []Host     `json:"hosts"` // every internal host, and the external hosts of the intrusion; sorted by address
	Steps    []Step     `json:"steps"` // in order of their beginning
	Benign   []Benign   `json:"benign"`
	Files    []File     `json:"files"` // sorted by name
}

// Role of a host in the truth.
const (
	RoleAttacker = "attacker" // outside: scans and exploits
	RoleC2       = "c2"       // outside: commands
	RoleExfil    = "exfil"    // outside: takes the data
	RoleVictim   = "victim"   // inside: compromised
	RoleRelay    = "relay"    // inside: carried the attack without being compromised (a resolver)
	RoleBenign   = "benign"
)

// Host is one machine of the scenario.
type Host struct {
	IP       netip.Addr   `json:"ip"`
	IP6      []netip.Addr `json:"ip6"` // further addresses
	Name     string       `json:"name"`
	Role     string       `json:"role"`
	Kind     string       `json:"kind"` // what the machine is: workstation, file server ...
	Internal bool         `json:"internal"`
}

// Step is one action of the intruder.
type Step struct {
	N           int          `json:"n"` // from 1
	Phase       string       `json:"phase"`
	Technique   string       `json:"technique"` // MITRE ATT&CK v19 id
	From        netip.Addr   `json:"from"`
	To          netip.Addr   `json:"to"`   // invalid if many
	Port        uint16       `json:"port"` // 0 if many
	Proto       string       `json:"proto"`
	Domain      string       `json:"domain"` // name involved, "" if none
	Via         []netip.Addr `json:"via"`    // hosts that passed it on, such as a resolver; also seen as its originator
	Sensor      string       `json:"sensor"` // capture that shows it, the first if several
	First       model.Time   `json:"first"`  // first packet in the captures
	Last        model.Time   `json:"last"`   // last packet in the captures
	Flows       uint64       `json:"flows"`
	Packets     uint64       `json:"packets"`
	Description string       `json:"description"`
	Detector    string       `json:"detector"` // what should find it: a detector's name, "profile:<part of the profile's id>", or "" when only a trace edge is expected
	Edge        bool         `json:"edge"`     // influence passed: a trace should hold the edge From to To
}

// Benign is ordinary traffic that looks like an attack to a poor detector.
type Benign struct {
	From        netip.Addr `json:"from"` // invalid if many
	To          netip.Addr `json:"to"`   // invalid if many
	LooksLike   string     `json:"looks_like"`
	Description string     `json:"description"`
}

// File is one capture.
type File struct {
	Name    string     `json:"name"`
	Sensor  string     `json:"sensor"`
	SHA256  string     `json:"sha256"`
	Size    uint64     `json:"size"`  // of the file
	Bytes   uint64     `json:"bytes"` // of all frames
	Packets uint64     `json:"packets"`
	First   model.Time `json:"first"`
	Last    model.Time `json:"last"`
}

// ReadTruth reads a truth.json, named itself or by its folder.
func ReadTruth(path string) (*Truth, error) {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		path = filepath.Join(path, TruthFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read ground truth: %w", err)
	}
	var t Truth
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, fmt.Errorf("read ground truth %s: %w", path, err)
	}
	return &t, nil
}

// write stores the truth in dir.
func (t *Truth) write(dir string) error {
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return fmt.Errorf("encode ground truth: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, TruthFile), append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write ground truth: %w", err)
	}
	return nil
}
