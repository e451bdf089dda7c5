package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/services/report"
)

// child runs a command of this binary and measures it; partial results are fine.
func child(ctx context.Context, self string, stderr io.Writer, args ...string) (usage, error) {
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = stderr
	start := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != service.ExitPartial) {
		return usage{}, fmt.Errorf("tracer %s: %w", args[0], err)
	}
	st := cmd.ProcessState
	u := usage{Wall: time.Since(start), CPU: st.UserTime() + st.SystemTime()}
	if ru, ok := st.SysUsage().(*syscall.Rusage); ok {
		u.Peak = ru.Maxrss << 10
	}
	return u, nil
}

func readSummary(dir string) (report.Summary, error) {
	var s report.Summary
	b, err := os.ReadFile(filepath.Join(dir, report.FileSummary))
	if err != nil {
		return s, fmt.Errorf("read the summary: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("read the summary: %w", err)
	}
	return s, nil
}

// readProblems gives what the report says could not be read of the inputs, one sentence each.
func readProblems(dir string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(dir, report.FileJSON))
	if err != nil {
		return nil, fmt.Errorf("read the report: %w", err)
	}
	var r struct {
		Inputs []struct {
			Problems []string `json:"problems"`
		} `json:"inputs"`
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("read the report: %w", err)
	}
	var out []string
	for _, in := range r.Inputs {
		out = append(out, in.Problems...)
	}
	return out, nil
}

// printSummary tells a person what was found and where to read on.
func (a *app) printSummary(s report.Summary, out string, took time.Duration) error {
	w := &strings.Builder{}
	fmt.Fprintf(w, "%s\n%d packets, %d flows in %.1f s\n", s.Title, s.Packets, s.Flows, took.Seconds())
	if s.Detections == 0 {
		fmt.Fprintln(w, "no detections")
	} else {
		fmt.Fprintf(w, "%d detections (", s.Detections)
		sep := ""
		for _, sev := range []string{model.SeverityCritical, model.SeverityHigh, model.SeverityMedium, model.SeverityLow, model.SeverityInformational} {
			if n := s.Severities[sev]; n > 0 {
				fmt.Fprintf(w, "%s%d %s", sep, n, sev)
				sep = ", "
			}
		}
		fmt.Fprintf(w, "), %d traces\n", s.Traces)
	}
	problems, err := readProblems(out)
	if err != nil {
		return err
	}
	for _, p := range problems {
		fmt.Fprintln(w, "partly read:", p)
	}
	fmt.Fprintf(w, "report: %s\n", filepath.Join(out, report.FileHTML))
	return a.printf("%s", w.String())
}
