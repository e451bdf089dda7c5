package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tracer-framework/tracer/pkg/lab"
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/service"
)

func (a *app) lab() *cobra.Command {
	cmd := &cobra.Command{Use: "lab", Short: "Reproducible intrusions with ground truth"}
	var out string
	var opt lab.Options
	gen := &cobra.Command{
		Use: "generate SCENARIO", Short: "Write the captures of a scenario and truth.json", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			start := time.Now()
			t, err := lab.Generate(args[0], opt, out)
			if err != nil {
				return err
			}
			var packets uint64
			for _, f := range t.Files {
				packets += f.Packets
			}
			return a.printf("%s: %d files, %d packets, %d steps of the intruder in %s (%.1f s)\n", t.Scenario, len(t.Files), packets, len(t.Steps), out, time.Since(start).Seconds())
		},
	}
	gen.Flags().StringVar(&out, "out", "lab", "`folder` for the captures")
	gen.Flags().Int64Var(&opt.Seed, "seed", 1, "seed: the same seed gives the same bytes")
	gen.Flags().Float64Var(&opt.Scale, "scale", 1, "factor on the ordinary traffic")
	list := &cobra.Command{
		Use: "list", Short: "List the scenarios", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			for _, s := range lab.Scenarios {
				if err := a.printf("%-12s %s\n", s.Name, s.Title); err != nil {
					return err
				}
			}
			return nil
		},
	}
	score := &cobra.Command{
		Use: "score LAB REPORT", Short: "Compare the findings of a report folder with the ground truth", Args: cobra.ExactArgs(2),
		Long: "Compares detections.jsonl and traces.json of the folder REPORT with truth.json of the folder\nLAB. Exit status 1: a step of the intruder was missed, or benign traffic was accused with medium\nseverity or more.",
		RunE: func(_ *cobra.Command, args []string) error {
			t, err := lab.ReadTruth(args[0])
			if err != nil {
				return err
			}
			dets, traces, err := readFindings(args[1])
			if err != nil {
				return err
			}
			s := lab.Score(t, dets, traces)
			if err := a.printf("%s", s.String()); err != nil {
				return err
			}
			if s.Found < s.Expected || s.Grave > 0 {
				return exitError{service.ExitFound}
			}
			return nil
		},
	}
	cmd.AddCommand(gen, list, score)
	return cmd
}

// readFindings reads what an investigation wrote.
func readFindings(dir string) (dets []model.Detection, traces []model.Trace, err error) {
	f, err := os.Open(filepath.Join(dir, "detections.jsonl"))
	if err != nil {
		return nil, nil, err
	}
	dec := json.NewDecoder(bufio.NewReader(f))
	for {
		var d model.Detection
		if derr := dec.Decode(&d); errors.Is(derr, io.EOF) {
			break
		} else if derr != nil {
			return nil, nil, errors.Join(fmt.Errorf("read %s: %w", f.Name(), derr), f.Close())
		}
		dets = append(dets, d)
	}
	if err := f.Close(); err != nil {
		return nil, nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, "traces.json"))
	if err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(b, &traces); err != nil {
		return nil, nil, fmt.Errorf("read traces.json of %s: %w", dir, err)
	}
	return dets, traces, nil
}
