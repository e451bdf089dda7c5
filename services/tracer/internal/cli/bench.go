package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/spf13/cobra"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/lab"
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/services/fingerprint"
	"github.com/tracer-framework/tracer/services/ingest"
	"github.com/tracer-framework/tracer/services/tracer"
)

// usage is what a stretch of work cost this process.
type usage struct {
	Wall time.Duration `json:"wall_ns"`
	CPU  time.Duration `json:"cpu_ns"`
	Peak int64         `json:"peak"` // bytes of resident memory, the most so far
}

func measure(work func() error) (usage, error) {
	var before, after syscall.Rusage
	runtime.GC()
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		return usage{}, err
	}
	start := time.Now()
	err := work()
	wall := time.Since(start)
	if gerr := syscall.Getrusage(syscall.RUSAGE_SELF, &after); gerr != nil {
		return usage{}, errors.Join(err, gerr)
	}
	cpu := func(r syscall.Rusage) time.Duration {
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	return usage{Wall: wall, CPU: cpu(after) - cpu(before), Peak: after.Maxrss << 10}, err
}

// result is one row of a benchmark: what was done and what each run of it cost.
type result struct {
	Stage   string  `json:"stage"`
	Packets uint64  `json:"packets"`
	Flows   uint64  `json:"flows"`
	Rows    uint64  `json:"rows"`
	Bytes   uint64  `json:"bytes"`
	Runs    []usage `json:"runs"`
}

func (r *result) median(pick func(usage) float64) float64 {
	var v []float64
	for _, u := range r.Runs {
		v = append(v, pick(u))
	}
	slices.Sort(v)
	return v[len(v)/2]
}

func (a *app) table(results []result) error {
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "stage\twall s\tCPU s\tpackets/s\tflows/s\trows/s\tMB/s\tpeak MiB\t")
	for _, r := range results {
		wall := r.median(func(u usage) float64 { return u.Wall.Seconds() })
		per := func(n uint64) string {
			if n == 0 {
				return "-"
			}
			return strconv.FormatFloat(float64(n)/wall, 'f', 0, 64)
		}
		fmt.Fprintf(w, "%s\t%.3f\t%.3f\t%s\t%s\t%s\t%.1f\t%.0f\t\n", r.Stage, wall, r.median(func(u usage) float64 { return u.CPU.Seconds() }),
			per(r.Packets), per(r.Flows), per(r.Rows), float64(r.Bytes)/wall/1e6, r.median(func(u usage) float64 { return float64(u.Peak) })/(1<<20))
	}
	return w.Flush()
}

func (a *app) bench() *cobra.Command {
	var runs int
	var asJSON bool
	cmd := &cobra.Command{
		Use: "bench", Short: "The project's own measurements: medians of wall time, CPU and memory",
		Long: "Figures depend on the machine: compare ratios of the same run, not absolute times of two machines.",
	}
	cmd.PersistentFlags().IntVar(&runs, "runs", 5, "runs of each stage; the median is shown")
	cmd.PersistentFlags().BoolVar(&asJSON, "json", false, "print a line of JSON a stage, with every run")
	show := func(results ...result) error {
		if !asJSON {
			return a.table(results)
		}
		enc := json.NewEncoder(a.out)
		for _, r := range results {
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	of := func(use, short string, stage func(context.Context, string, int) (result, error)) *cobra.Command {
		return &cobra.Command{Use: use + " CAPTURE", Short: short, Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			a.quiet()
			r, err := stage(cmd.Context(), args[0], runs)
			if err != nil {
				return err
			}
			return show(r)
		}}
	}
	cmd.AddCommand(
		of("ingest", "Packets to recognised batches, encoded; without bus and store", a.benchIngest),
		of("store", "Recognised batches into ClickHouse", a.benchStore),
		of("end-to-end", "A whole investigation, report included", a.benchEndToEnd),
		&cobra.Command{Use: "bus", Short: "256 KiB messages through JetStream: published and consumed", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			a.quiet()
			r, err := a.benchBus(cmd.Context(), runs)
			if err != nil {
				return err
			}
			return show(r...)
		}},
		&cobra.Command{Use: "all", Short: "Every stage over captures of lab traffic", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			a.quiet()
			r, err := a.benchAll(cmd.Context(), runs)
			if err != nil {
				return err
			}
			return show(r...)
		}},
	)
	return cmd
}

// benchIngest reads a capture to encoded, recognised batches.
func (a *app) benchIngest(ctx context.Context, path string, runs int) (result, error) {
	r := result{Stage: "ingest + fingerprint " + filepath.Base(path)}
	st, err := os.Stat(path)
	if err != nil {
		return r, err
	}
	r.Bytes = uint64(st.Size())
	for range runs {
		debug.FreeOSMemory()
		var rows atomic.Uint64
		var ev model.Evidence
		u, err := measure(func() (err error) {
			ev, err = ingest.Read(ctx, path, a.config.Ingest, func(_, _ int, b *record.Batch) error {
				fingerprint.Fill(b)
				rows.Add(uint64(b.Rows()))
				_, err := b.Encode(nil)
				return err
			})
			return err
		})
		if err != nil {
			return r, err
		}
		r.Packets, r.Flows, r.Rows = ev.Packets, ev.Flows, rows.Load()
		r.Runs = append(r.Runs, u)
	}
	return r, nil
}

// benchBus publishes and consumes bulk messages on an embedded server.
func (a *app) benchBus(ctx context.Context, runs int) ([]result, error) {
	const messages, size = 1000, 256 << 10
	publish := result{Stage: "bus publish 256 KiB", Rows: messages, Bytes: messages * size}
	consume := result{Stage: "bus consume 256 KiB", Rows: messages, Bytes: messages * size}
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(i * 2654435761 >> 13)
	}
	for range runs {
		err := a.scratch(func(dir string) error {
			conf := tracer.DefaultConfig()
			conf.Data = dir
			b, stop, err := tracer.StartBus(ctx, a.log, &conf)
			if err != nil {
				return err
			}
			work := func() error {
				u, err := measure(func() error {
					for i := range messages {
						ev, err := event.NewBulk(event.FlowObserved, "bench-"+strconv.Itoa(i), "//tracer/bench", "bench", i%8, body)
						if err != nil {
							return err
						}
						if err := b.PublishAsync(ctx, ev); err != nil {
							return err
						}
					}
					return b.Flush(ctx)
				})
				if err != nil {
					return err
				}
				publish.Runs = append(publish.Runs, u)
				u, err = measure(func() error {
					cctx, cancel := context.WithCancel(ctx)
					defer cancel()
					var n atomic.Int64
					return b.Consume(cctx, "fingerprint", func(context.Context, cloudevents.Event) error {
						if n.Add(1) == messages {
							cancel()
						}
						return nil
					}, bus.ConsumeOptions{Workers: 4})
				})
				consume.Runs = append(consume.Runs, u)
				return err
			}
			return errors.Join(work(), stop(ctx))
		})
		if err != nil {
			return nil, err
		}
	}
	return []result{publish, consume}, nil
}

// benchStore inserts the batches of a capture into one embedded engine, each run into
// tables emptied before.
func (a *app) benchStore(ctx context.Context, path string, runs int) (result, error) {
	r := result{Stage: "store " + filepath.Base(path)}
	var blocks [][]record.Block
	_, err := ingest.Read(ctx, path, a.config.Ingest, func(_, _ int, b *record.Batch) error {
		data, err := b.Encode(nil)
		if err != nil {
			return err
		}
		list, err := record.Blocks(data)
		if err != nil {
			return err
		}
		for _, x := range list {
			r.Rows += uint64(x.Rows)
			r.Bytes += uint64(len(x.Native))
			if x.Table == "flow" {
				r.Flows += uint64(x.Rows)
			}
		}
		blocks = append(blocks, list)
		return nil
	})
	if err != nil {
		return r, err
	}
	return r, a.scratch(func(dir string) error {
		conf := tracer.DefaultConfig()
		conf.Data = dir
		env, err := tracer.Start(ctx, a.log, &conf)
		if err != nil {
			return err
		}
		for run := range runs {
			u, err := measure(func() error { return insertAll(ctx, env.Store, run, blocks) })
			if err != nil {
				return errors.Join(err, env.Close(ctx))
			}
			r.Runs = append(r.Runs, u)
		}
		return env.Close(ctx)
	})
}

func insertAll(ctx context.Context, st *store.Store, run int, blocks [][]record.Block) error {
	for i, list := range blocks {
		for _, b := range list {
			if err := st.InsertNative(ctx, b.Table, fmt.Sprintf("bench-%d-%d-%s", run, i, b.Table), b.Native); err != nil {
				return err
			}
		}
	}
	return nil
}

// benchEndToEnd investigates the capture as a process of its own, in a fresh data folder.
func (a *app) benchEndToEnd(ctx context.Context, path string, runs int) (result, error) {
	r := result{Stage: "end to end " + filepath.Base(path)}
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	st, err := os.Stat(path)
	if err != nil {
		return r, err
	}
	r.Bytes = uint64(st.Size())
	for range runs {
		err := a.scratch(func(dir string) error {
			u, err := child(ctx, self, a.err, "investigate", "--data", filepath.Join(dir, "data"), "--out", filepath.Join(dir, "out"), path)
			if err != nil {
				return err
			}
			sum, err := readSummary(filepath.Join(dir, "out"))
			if err != nil {
				return err
			}
			r.Packets, r.Flows = sum.Packets, sum.Flows
			r.Runs = append(r.Runs, u)
			return nil
		})
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// benchAll measures every stage on two captures of lab traffic, mixed and many small flows,
// each stage in a process of its own so that memory is that stage's alone.
func (a *app) benchAll(ctx context.Context, runs int) ([]result, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var all []result
	stage := func(args ...string) error {
		cmd := exec.CommandContext(ctx, self, append([]string{"bench", "--json", "--runs", strconv.Itoa(runs)}, args...)...)
		cmd.Stderr = a.err
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("tracer bench %s: %w", args[0], err)
		}
		for dec := json.NewDecoder(bytes.NewReader(out)); ; {
			var r result
			if err := dec.Decode(&r); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return fmt.Errorf("tracer bench %s: %w", args[0], err)
			}
			all = append(all, r)
		}
	}
	err = a.scratch(func(dir string) error {
		for _, c := range []struct {
			kind string
			size int64
		}{{"mix", 200e6}, {"small", 50e6}} {
			path := filepath.Join(dir, c.kind+".pcap")
			if _, err := lab.Bench(c.kind, c.size, path); err != nil {
				return err
			}
			for _, name := range []string{"ingest", "store", "end-to-end"} {
				if err := stage(name, path); err != nil {
					return err
				}
			}
		}
		return stage("bus")
	})
	return all, err
}

// scratch gives work a folder that is removed afterwards.
func (a *app) scratch(work func(dir string) error) error {
	dir, err := os.MkdirTemp("", "tracer-bench-")
	if err != nil {
		return err
	}
	return errors.Join(work(dir), os.RemoveAll(dir))
}
