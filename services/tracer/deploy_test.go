package tracer_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/pkg/testkit"
	all "github.com/tracer-framework/tracer/services/tracer"
)

// The configuration that is shipped loads strictly and says nothing but the defaults.
func TestShippedConfig(t *testing.T) {
	c := all.DefaultConfig()
	if err := c.Load(filepath.Join(testkit.Root(t), "deploy", "tracer.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	diff, err := service.ShowConfig(c, all.DefaultConfig(), true)
	if err != nil {
		t.Fatal(err)
	}
	if diff != "" {
		t.Errorf("the shipped file differs from the defaults:\n%s", diff)
	}
}

// Each service of the compose file is built from a command that exists, and every command of
// a service is deployed.
func TestCompose(t *testing.T) {
	root := testkit.Root(t)
	src, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Build struct {
				Dockerfile string
				Args       map[string]string
			}
			Volumes []string
		}
	}
	if err := yaml.Unmarshal(src, &compose); err != nil {
		t.Fatal(err)
	}
	built := map[string]bool{}
	for name, s := range compose.Services {
		for _, v := range s.Volumes {
			if file, _, ok := strings.Cut(v, ":"); ok && strings.HasPrefix(file, "./deploy/") {
				if _, err := os.Stat(filepath.Join(root, file)); err != nil {
					t.Errorf("service %s mounts %s: %v", name, file, err)
				}
			}
		}
		svc := s.Build.Args["SERVICE"]
		if svc == "" {
			continue
		}
		built[svc] = true
		for _, f := range []string{s.Build.Dockerfile, filepath.Join("services", svc, "cmd", svc, "main.go")} {
			if _, err := os.Stat(filepath.Join(root, f)); err != nil {
				t.Errorf("service %s: %v", name, err)
			}
		}
	}
	for _, name := range all.Names {
		if !built[name] {
			t.Errorf("service %s is not in the compose file", name)
		}
	}
	docker, err := os.ReadFile(filepath.Join(root, "deploy", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	mods, err := filepath.Glob(filepath.Join(root, "services", "*", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mods {
		if dir := "services/" + filepath.Base(filepath.Dir(m)) + "/"; !strings.Contains(string(docker), "COPY "+dir+"go.* "+dir) {
			t.Errorf("the Dockerfile does not copy the module files of %s before it downloads modules", dir)
		}
	}
}
