package service_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tracer-framework/tracer/pkg/service"
)

type section struct {
	Workers int    `yaml:"workers"`
	Inbox   string `yaml:"inbox"`
}

func TestLoadConfig(t *testing.T) {
	for _, tc := range []struct {
		name, yaml, want string // want: part of the error, empty for none
	}{
		{"empty", "", ""},
		{"only a comment", "# nothing\n", ""},
		{"good", "data: /var/lib/tracer\nbus:\n  url: nats://a:4222\ningest:\n  workers: 3\n", ""},
		{"section of a service that does not run here", "report:\n  anything: goes\n", ""},
		{"unknown key", "data: x\nbuss:\n  url: y\n", `line 2: unknown key "buss"`},
		{"unknown key inside", "bus:\n  address: y\n", `unknown field "address"`},
		{"unknown key in a section", "ingest:\n  worker: 3\n", `unknown field "worker"`},
		{"wrong type", "ingest:\n  workers: many\n", "cannot unmarshal string"},
		{"not a map", "- a\n- b\n", "expected key: value pairs"},
		{"two documents", "data: a\n---\ndata: b\n", "one YAML document"},
		{"broken", "data: [\n", "sequence end token"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tracer.yaml")
			if err := os.WriteFile(path, []byte(tc.yaml), 0o600); err != nil {
				t.Fatal(err)
			}
			c, s := service.DefaultCommon(), section{Workers: 1}
			err := service.LoadConfig(path, &c, map[string]any{"ingest": &s})
			switch {
			case tc.want == "" && err != nil:
				t.Fatal(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Fatalf("got %v, want an error with %q", err, tc.want)
			}
			if tc.name == "good" && (c.Data != "/var/lib/tracer" || c.Bus.URL != "nats://a:4222" || c.Bus.Replicas != 1 || s.Workers != 3) {
				t.Errorf("got %+v %+v", c, s)
			}
		})
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	t.Setenv("TRACER_STORE_DSN", "https://u:hunter2@db:8443/tracer")
	c := service.DefaultCommon()
	if err := service.LoadConfig("", &c, nil); err != nil {
		t.Fatal(err)
	}
	if c.Store.DSN.Reveal() != "https://u:hunter2@db:8443/tracer" {
		t.Fatalf("environment not read: %q", c.Store.DSN.Reveal())
	}
	shown, err := service.ShowConfig(c, service.DefaultCommon(), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{shown, fmt.Sprintf("%v %+v %#v %s", c, c, c, c.Store.DSN)} {
		if strings.Contains(s, "hunter2") {
			t.Errorf("secret shown in %s", s)
		}
	}
	diff, err := service.ShowConfig(c, service.DefaultCommon(), true)
	if err != nil {
		t.Fatal(err)
	}
	if diff != "store:\n  dsn: \"***\"\n" {
		t.Errorf("diff = %q", diff)
	}
}

func TestValidate(t *testing.T) {
	c := service.DefaultCommon()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	c.Data, c.LogLevel, c.Store.DSN, c.Bus.Replicas = "", "loud", "db:9000", 0
	err := c.Validate()
	for _, want := range []string{"data:", "log_level:", "store.dsn:", "bus.replicas:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
}
