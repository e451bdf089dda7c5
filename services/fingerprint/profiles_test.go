package fingerprint_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tracer-framework/tracer/services/fingerprint"
)

func parser(t *testing.T) *fingerprint.ProfileParser {
	t.Helper()
	p, err := fingerprint.NewProfileParser(fingerprint.DefaultConfig().Networks())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestShippedProfiles walks the shipped profiles and testdata together: each profile has
// rows it must match and rows it must not, and no rows lie about without their profile.
func TestShippedProfiles(t *testing.T) {
	set, err := parser(t).Load("")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, p := range set.Profiles {
		known[p.ID] = true
		for name, want := range map[string]bool{"match.jsonl": true, "nomatch.jsonl": false} {
			rows, err := os.ReadFile(filepath.Join("testdata", p.ID, name))
			if err != nil {
				t.Errorf("profile %s has no rows to show that it works: %v", p.ID, err)
				continue
			}
			got, err := fingerprint.TestProfile(p, bytes.NewReader(rows))
			if err != nil {
				t.Errorf("testdata/%s/%s: %v", p.ID, name, err)
			}
			if len(got) == 0 {
				t.Errorf("testdata/%s/%s is empty", p.ID, name)
			}
			for _, r := range got {
				if r.Match != want {
					t.Errorf("testdata/%s/%s line %d: match %v, want %v", p.ID, name, r.Line, r.Match, want)
				}
			}
		}
	}
	folders, err := filepath.Glob("testdata/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if !known[filepath.Base(f)] {
			t.Errorf("%s belongs to no shipped profile", f)
		}
	}
}

const valid = `id: my-host
title: A host of interest
severity: low
confidence: 50
phase: c2
technique: T1071.001
on: dns
indicators:
  domain: ["*.evil.example"]
`

func TestParseRefusals(t *testing.T) {
	for name, c := range map[string]struct{ src, want string }{
		"unknown key":       {strings.Replace(valid, "title:", "titel: x\ntitle:", 1), "line 2, column 1"},
		"no yaml":           {"id: [", "line 1"},
		"bad id":            {strings.Replace(valid, "my-host", "My Host", 1), `id "My Host"`},
		"bad severity":      {strings.Replace(valid, "severity: low", "severity: huge", 1), `severity "huge"`},
		"confidence":        {strings.Replace(valid, "confidence: 50", "confidence: 200", 1), "confidence"},
		"bad technique":     {strings.Replace(valid, "T1071.001", "T71", 1), `technique "T71"`},
		"unknown kind":      {strings.Replace(valid, "on: dns", "on: smtp", 1), `on "smtp"`},
		"matches nothing":   {strings.Split(valid, "indicators:")[0], "can match nothing"},
		"wrong indicator":   {strings.Replace(valid, "domain:", "ja3:", 1), "nothing to compare ja3 with"},
		"bad cidr":          {strings.Replace(valid, `domain: ["*.evil.example"]`, `cidr: ["10.0.0.0/64"]`, 1), "cidr number 1"},
		"expression syntax": {valid + "when: 'query =='\n", "when: line 1"},
		"expression field":  {valid + "when: 'qery == \"x\"'\n", "undeclared reference to 'qery'"},
		"expression type":   {valid + "when: 'query'\n", "expected bool"},
		"unknown show":      {valid + "show: [nothing]\n", `no field "nothing"`},
		"indicators file":   {valid + "indicators_file: list.txt\n", "only possible for a profile in a folder"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parser(t).Parse("p.yaml", []byte(c.src))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q does not say %q on one line", err, c.want)
			}
		})
	}
	if _, err := parser(t).Parse("p.yaml", []byte(valid)); err != nil {
		t.Errorf("valid profile: %v", err)
	}
}

func TestIndicators(t *testing.T) {
	src := `id: lists
title: Lists
severity: high
confidence: 90
phase: c2
on: http
indicators:
  ip: ["2001:db8::1"]
  cidr: [198.51.100.0/24, 198.51.0.0/16]
  domain: [bad.example, "*.evil.example"]
  url: [/gate.php]
  user_agent: [Modzilla]
`
	p, err := parser(t).Parse("lists", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	for row, want := range map[string]string{
		`{"resp_ip":"2001:db8::1"}`:                   "ip 2001:db8::1",
		`{"resp_ip":"198.51.100.9"}`:                  "cidr 198.51.100.0/24",
		`{"resp_ip":"198.51.7.9"}`:                    "cidr 198.51.0.0/16",
		`{"host":"BAD.example:8080"}`:                 "domain bad.example",
		`{"host":"www.bad.example"}`:                  "",
		`{"host":"a.b.evil.example"}`:                 "domain *.evil.example",
		`{"host":"evil.example"}`:                     "domain *.evil.example",
		`{"host":"notevil.example"}`:                  "",
		`{"host":"x.example","uri":"/GATE.php?id=1"}`: "url /gate.php",
		`{"user_agent":"modzilla/0.0001"}`:            "user_agent modzilla",
		`{"user_agent":"Mozilla/5.0"}`:                "",
	} {
		got, err := fingerprint.TestProfile(p, strings.NewReader(row))
		if err != nil {
			t.Fatal(err)
		}
		if got[0].Indicator != want || got[0].Match != (want != "") {
			t.Errorf("%s: %+v, want %q", row, got[0], want)
		}
	}
}

func TestLoadFolder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	base, err := parser(t).Load("")
	if err != nil {
		t.Fatal(err)
	}
	write("my-host.yaml", valid+"indicators_file: list.txt\n")
	write("list.txt", "# a feed\ndomain worse.example  # comment\ndomain *.worst.example\n")
	set, err := parser(t).Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Profiles) != len(base.Profiles)+1 || set.Digest == base.Digest {
		t.Errorf("%d profiles, digest %s; base %d, %s", len(set.Profiles), set.Digest, len(base.Profiles), base.Digest)
	}
	// The digest speaks of the content: order of indicators and spelling do not matter.
	write("my-host.yaml", strings.Replace(valid, `["*.evil.example"]`, `["*.worst.example", worse.example, "*.evil.example"]`, 1)+"# nothing\n")
	again, err := parser(t).Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again.Digest != set.Digest {
		t.Error("same content, other digest")
	}
	write("list.txt", "domain\n")
	write("my-host.yaml", valid+"indicators_file: list.txt\n")
	if _, err := parser(t).Load(dir); err == nil || !strings.Contains(err.Error(), "list.txt: line 1") {
		t.Errorf("error %v does not name file and line", err)
	}
	if _, err := parser(t).Load(filepath.Join(dir, "none")); err == nil {
		t.Error("missing folder accepted")
	}
}

func FuzzParseProfile(f *testing.F) {
	f.Add([]byte(valid))
	f.Add([]byte("id: a\non: http\nwhen: 'uri.matches(\"(\")'"))
	p, err := fingerprint.NewProfileParser(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, src []byte) {
		_, _ = p.Parse("fuzz", src)
	})
}
