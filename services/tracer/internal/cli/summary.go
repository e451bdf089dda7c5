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
	u := usage{wall: time.Since(start), cpu: st.UserTime() + st.SystemTime()}
	if ru, ok := st.SysUsage().(*syscall.Rusage); ok {
		u.peak = ru.Maxrss << 10
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
	for _, in := range s.Inputs {
		if in.Problems > 0 {
			fmt.Fprintf(w, "partly read: %s (see the report)\n", strings.Join(in.Names, ", "))
		}
	}
	fmt.Fprintf(w, "report: %s\n", filepath.Join(out, report.FileHTML))
	return a.printf("%s", w.String())
}
