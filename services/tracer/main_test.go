package tracer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tracer-framework/tracer/pkg/lab"
	"github.com/tracer-framework/tracer/pkg/store/chdb"
	"github.com/tracer-framework/tracer/pkg/testkit"
	"github.com/tracer-framework/tracer/services/tracer/internal/cli"
)

// asTracer makes the test binary behave as the tracer command, so that tests start and kill
// real processes without building a second binary.
const asTracer = "TRACER_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asTracer) != "" {
		os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	code := m.Run()
	if labDir != "" {
		if err := os.RemoveAll(labDir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

// needLibrary skips where libchdb is not installed.
func needLibrary(t testing.TB) {
	t.Helper()
	if _, err := chdb.Library(); err != nil {
		t.Skipf("the embedded store is not installed: %v", err)
	}
}

// process is a running tracer.
type process struct {
	*exec.Cmd
	stderr *testkit.Output
	done   chan struct{}
}

// command is the tracer command with arguments, in the folder of the test's choice.
func command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), append(env, asTracer+"=1")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// tracer runs the command to its end and gives exit status, stdout and stderr.
func tracer(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return tracerEnv(t, nil, args...)
}

func tracerEnv(t testing.TB, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := command(ctx, env, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("tracer %s: %v", strings.Join(args, " "), err)
	}
	if ctx.Err() != nil {
		t.Fatalf("tracer %s did not end in time; stderr:\n%s", strings.Join(args, " "), errOut.String())
	}
	return cmd.ProcessState.ExitCode(), out.String(), errOut.String()
}

// mustTracer fails the test unless the command ends with the wanted status.
func mustTracer(t testing.TB, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	code, stdout, stderr := tracer(t, args...)
	if code != want {
		t.Fatalf("tracer %s: exit status %d, want %d\nstdout:\n%s\nstderr:\n%s", strings.Join(args, " "), code, want, stdout, stderr)
	}
	return stdout, stderr
}

// start starts the command and lets it run; the test's end kills it.
func start(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: command(context.Background(), env, args...), stderr: &testkit.Output{}, done: make(chan struct{})}
	p.Stderr = p.stderr
	p.Stdout = p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.Wait() // killed on purpose, mostly
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("tracer %s:\n%s", strings.Join(args, " "), tail(p.stderr.String(), 4000))
		}
	})
	return p
}

// kill is kill -9, waited for.
func (p *process) kill() {
	_ = p.Process.Kill() // it may have ended by itself
	<-p.done
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// freePort gives a TCP port of the loopback that nobody uses at the moment.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

var (
	labOnce sync.Once
	labDir  string
	labErr  error
)

// intrusion gives the folder of a small lab intrusion, made once for all tests.
func intrusion(t testing.TB) string {
	t.Helper()
	labOnce.Do(func() {
		if labDir, labErr = os.MkdirTemp("", "tracer-lab-"); labErr == nil {
			_, labErr = lab.Generate("intrusion", lab.Options{Seed: 7, Scale: 0.05}, labDir)
		}
	})
	if labErr != nil {
		t.Fatal(labErr)
	}
	return labDir
}

// deterministic are the documents that must be the same, byte for byte, however the work was done.
var deterministic = []string{"detections.jsonl", "traces.json", "report.json"}

// sameDocuments compares the deterministic documents of two folders.
func sameDocuments(t testing.TB, what, want, got string) {
	t.Helper()
	for _, name := range deterministic {
		a, err := os.ReadFile(filepath.Join(want, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(got, name))
		if err != nil {
			t.Fatal(err)
		}
		if len(a) == 0 {
			t.Errorf("%s: %s is empty", what, name)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s: %s differs: %s", what, name, firstDifference(a, b))
		}
	}
}

func firstDifference(a, b []byte) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			from := max(0, i-120)
			return fmt.Sprintf("at byte %d\n want …%s…\n got  …%s…", i, a[from:min(len(a), i+120)], b[from:min(len(b), i+120)])
		}
	}
	return fmt.Sprintf("lengths %d and %d", len(a), len(b))
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(dst, src); err != nil {
		t.Fatal(err)
	}
	if err := dst.Close(); err != nil {
		t.Fatal(err)
	}
}
