package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	wall, cpu time.Duration
	peak      int64 // bytes of resident memory, the most so far
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
	return usage{wall: wall, cpu: cpu(after) - cpu(before), peak: after.Maxrss << 10}, err
}

// result is one row of a benchmark: medians over the runs.
type result struct {
	stage                string
	packets, flows, rows uint64
	bytes                uint64
	runs                 []usage
}

func (r *result) median(pick func(usage) float64) float64 {
	var v []float64
	for _, u := range r.runs {
		v = append(v, pick(u))
	}
	slices.Sort(v)
	return v[len(v)/2]
}

func (a *app) table(results []result) error {
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "stage\twall s\tCPU s\tpackets/s\tflows/s\trows/s\tMB/s\tpeak MiB\t")
	for _, r := range results {
		wall := r.median(func(u usage) float64 { return u.wall.Seconds() })
		per := func(n uint64) string {
			if n == 0 {
				return "-"
			}
			return strconv.FormatFloat(float64(n)/wall, 'f', 0, 64)
		}
		fmt.Fprintf(w, "%s\t%.3f\t%.3f\t%s\t%s\t%s\t%.1f\t%.0f\t\n", r.stage, wall, r.median(func(u usage) float64 { return u.cpu.Seconds() }),
			per(r.packets), per(r.flows), per(r.rows), float64(r.bytes)/wall/1e6, r.median(func(u usage) float64 { return float64(u.peak) })/(1<<20))
	}
	return w.Flush()
}

func (a *app) bench() *cobra.Command {
	var runs int
	cmd := &cobra.Command{
		Use: "bench", Short: "The project's own measurements: medians of wall time, CPU and memory",
		Long: "Figures depend on the machine: compare ratios of the same run, not absolute times of two machines.",
	}
	cmd.PersistentFlags().IntVar(&runs, "runs", 5, "runs of each stage; the median is shown")
	cmd.AddCommand(&cobra.Command{
		Use: "ingest CAPTURE", Short: "Packets to recognised batches, encoded; without bus and store", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.benchIngest(cmd.Context(), args[0], runs)
			if err != nil {
				return err
			}
			return a.table([]result{r})
		},
	}, &cobra.Command{
		Use: "bus", Short: "256 KiB messages through JetStream: published and consumed", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := a.benchBus(cmd.Context(), runs)
			if err != nil {
				return err
			}
			return a.table(r)
		},
	}, &cobra.Command{
		Use: "store CAPTURE", Short: "Recognised batches into ClickHouse", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.benchStore(cmd.Context(), args[0], runs)
			if err != nil {
				return err
			}
			return a.table([]result{r})
		},
	}, &cobra.Command{
		Use: "end-to-end CAPTURE", Short: "A whole investigation, report included", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.benchEndToEnd(cmd.Context(), args[0], runs)
			if err != nil {
				return err
			}
			return a.table([]result{r})
		},
	}, &cobra.Command{
		Use: "all", Short: "Every stage over captures of lab traffic", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.benchAll(cmd.Context(), runs) },
	})
	return cmd
}

// benchIngest reads a capture to encoded, recognised batches.
func (a *app) benchIngest(ctx context.Context, path string, runs int) (result, error) {
	r := result{stage: "ingest + fingerprint " + filepath.Base(path)}
	st, err := os.Stat(path)
	if err != nil {
		return r, err
	}
	r.bytes = uint64(st.Size())
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
		r.packets, r.flows, r.rows = ev.Packets, ev.Flows, rows.Load()
		r.runs = append(r.runs, u)
	}
	return r, nil
}

// benchBus publishes and consumes bulk messages on an embedded server.
func (a *app) benchBus(ctx context.Context, runs int) ([]result, error) {
	const messages, size = 1000, 256 << 10
	publish := result{stage: "bus publish 256 KiB", rows: messages, bytes: messages * size}
	consume := result{stage: "bus consume 256 KiB", rows: messages, bytes: messages * size}
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
				publish.runs = append(publish.runs, u)
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
				consume.runs = append(consume.runs, u)
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
	r := result{stage: "store " + filepath.Base(path)}
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
			r.rows += uint64(x.Rows)
			r.bytes += uint64(len(x.Native))
			if x.Table == "flow" {
				r.flows += uint64(x.Rows)
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
			r.runs = append(r.runs, u)
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
	r := result{stage: "end to end " + filepath.Base(path)}
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	st, err := os.Stat(path)
	if err != nil {
		return r, err
	}
	r.bytes = uint64(st.Size())
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
			r.packets, r.flows = sum.Packets, sum.Flows
			r.runs = append(r.runs, u)
			return nil
		})
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// benchAll measures every stage on two captures of lab traffic: mixed and many small flows.
func (a *app) benchAll(ctx context.Context, runs int) error {
	return a.scratch(func(dir string) error {
		var all []result
		for _, c := range []struct {
			kind string
			size int64
		}{{"mix", 200e6}, {"small", 50e6}} {
			path := filepath.Join(dir, c.kind+".pcap")
			if _, err := lab.Bench(c.kind, c.size, path); err != nil {
				return err
			}
			for _, stage := range []func(context.Context, string, int) (result, error){a.benchIngest, a.benchStore, a.benchEndToEnd} {
				r, err := stage(ctx, path, runs)
				if err != nil {
					return err
				}
				all = append(all, r)
			}
		}
		b, err := a.benchBus(ctx, runs)
		if err != nil {
			return err
		}
		return a.table(append(all, b...))
	})
}

// scratch gives work a folder that is removed afterwards.
func (a *app) scratch(work func(dir string) error) error {
	dir, err := os.MkdirTemp("", "tracer-bench-")
	if err != nil {
		return err
	}
	return errors.Join(work(dir), os.RemoveAll(dir))
}
