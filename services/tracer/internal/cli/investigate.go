package cli

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/evidence"
	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/services/ingest"
	"github.com/tracer-framework/tracer/services/report"
	"github.com/tracer-framework/tracer/services/tracer"
)

type investigateOptions struct {
	out    string
	title  string
	export []string
	json   bool
}

func (a *app) investigate() *cobra.Command {
	var opt investigateOptions
	cmd := &cobra.Command{
		Use:   "investigate INPUT...",
		Short: "Read captures and write detections, traces, sealed evidence and a report",
		Long: `Reads packet captures (pcap, pcapng, plain or compressed with gzip or zstd; folders; - for
standard input), finds what is suspicious and why, follows it from host to host, seals the
evidence and writes a report.

OUT receives report.html, report.md, report.json, summary.json, detections.jsonl,
findings.jsonl, traces.json, attack-navigator.json and evidence.json (proofs for
"tracer verify OUT"); with --export flows also flows.jsonl.

Exit status 3: some input was damaged, or named and no capture; what was read is in the report,
and so is what was not.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a.quiet()
			return a.runInvestigate(cmd.Context(), opt, args)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opt.out, "out", "tracer-report", "`folder` for the documents")
	f.StringVar(&opt.title, "title", "", "title of the case (default: made from the inputs)")
	f.StringSliceVar(&opt.export, "export", nil, "more files to write: flows")
	f.BoolVar(&opt.json, "json", false, "print the summary as one line of JSON")
	return cmd
}

func (a *app) runInvestigate(ctx context.Context, opt investigateOptions, args []string) (err error) {
	for _, e := range opt.export {
		if e != "flows" {
			return fmt.Errorf("--export %s: expected flows", e)
		}
	}
	start := time.Now()
	paths, err := a.spoolStdin(args)
	if err != nil {
		return err
	}
	cs, skipped, err := ingest.OpenCase(ctx, paths, opt.title)
	if err != nil {
		return err
	}
	partial := a.saySkipped(skipped)
	if err := os.MkdirAll(opt.out, 0o750); err != nil {
		return fmt.Errorf("make the output folder: %w", err)
	}
	env, err := tracer.Start(ctx, a.log, &a.config)
	if err != nil {
		return err
	}
	var done ingest.Progress
	services, err := tracer.All(env, &a.config, &done)
	if err != nil {
		return errors.Join(err, env.Close(ctx))
	}
	runCtx, stop := context.WithCancel(ctx)
	defer stop()
	stopped := make(chan error, 1)
	go func() { stopped <- service.Serve(runCtx, env, a.config.Common, "investigate", services) }()

	docs := a.config.Report.Folder(env.Data, cs.CaseID)
	bar := showProgress(a.err, a.interactive(), cs.Inputs, &done)
	err = openCase(ctx, env, cs)
	if err == nil {
		err = a.await(ctx, env, cs, docs, bar, stopped)
	}
	if err == nil && slices.Contains(opt.export, "flows") {
		err = exportFlows(ctx, env, cs, filepath.Join(opt.out, "flows.jsonl"))
	}
	bar.finish()
	stop()
	if serr := <-stopped; !errors.Is(serr, errServicesStopped) {
		err = errors.Join(err, serr)
	}
	if err != nil {
		return err
	}
	if err := copyDocuments(docs, opt.out); err != nil {
		return err
	}
	if err := a.exportProofs(ctx, env.Data, cs, opt.out); err != nil {
		return err
	}
	return a.sayResult(opt, time.Since(start), partial)
}

// saySkipped names the inputs that are no captures: with the reason those that were named,
// or look damaged; the others of folders together. partial says that there are named ones.
func (a *app) saySkipped(skipped []ingest.Skipped) (partial bool) {
	var others []string
	for _, s := range skipped {
		if !s.Named && !s.Damage {
			others = append(others, filepath.Base(s.Path))
			continue
		}
		partial = partial || s.Named
		fmt.Fprintf(a.err, "skipped: %s: %s\n", s.Path, s.Reason)
	}
	switch n := len(others); {
	case n > 3:
		fmt.Fprintf(a.err, "skipped: %d files in folders that are no captures (%s, …)\n", n, strings.Join(others[:3], ", "))
	case n > 0:
		fmt.Fprintf(a.err, "skipped: no capture: %s\n", strings.Join(others, ", "))
	}
	return partial
}

// openCase tells the services of the case. Sent again with the same run it changes nothing.
func openCase(ctx context.Context, env *service.Env, cs model.Case) error {
	ev, err := event.New(event.CaseOpened, model.DeriveID("evt", cs.CaseID, cs.Run, cs.Stage), "//tracer/investigate", cs.CaseID, cs)
	if err != nil {
		return err
	}
	if err := env.Bus.Publish(ctx, ev); err != nil {
		return fmt.Errorf("open the case: %w", err)
	}
	return nil
}

var errServicesStopped = errors.New("the services stopped before the report was issued")

// await waits until the report of the case's run is issued and sealed.
func (a *app) await(ctx context.Context, env *service.Env, cs model.Case, docs string, bar *progress, stopped chan error) error {
	before, err := env.Bus.ListDLQ(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for stage := ""; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-stopped:
			stopped <- errServicesStopped
			return errors.Join(errServicesStopped, err)
		case <-tick.C:
		}
		letters, err := env.Bus.ListDLQ(ctx)
		if err != nil {
			return err
		}
		if len(letters) > len(before) {
			last := letters[len(letters)-1]
			return fmt.Errorf("%s could not process a message: %s; see tracer dlq list --data %s", last.Durable, last.Reason, env.Data)
		}
		now, err := env.Store.Case(ctx, cs.CaseID, cs.Run)
		if errors.Is(err, store.ErrNotFound) || store.Passing(err) {
			continue
		}
		if err != nil {
			return err
		}
		if now.Stage != stage {
			stage = now.Stage
			bar.stage(stage)
		}
		if stage != model.StageReported {
			continue
		}
		if sealed(docs, cs) {
			return nil
		}
	}
}

// proof tells the files that prove the documents from the documents.
func proof(name string) bool {
	return name == evidence.BundleFile || name == evidence.SignatureFile
}

// sealed reports whether the proofs beside the documents are those of this run: the archive
// writes them once the ledger holds every document.
func sealed(docs string, cs model.Case) bool {
	b, err := evidence.ReadBundle(docs)
	return err == nil && b.Holds(evidence.KindReport, evidence.ReportID(cs.CaseID, cs.Run, report.FileJSON))
}

func exportFlows(ctx context.Context, env *service.Env, cs model.Case, path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("export the flows: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := env.Store.ExportFlows(ctx, cs.EvidenceIDs(), f); err != nil {
		return fmt.Errorf("export the flows: %w", err)
	}
	return nil
}

// copyDocuments copies the issued documents to the output folder, each replaced whole.
func copyDocuments(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("read the report: %w", err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || proof(e.Name()) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			return fmt.Errorf("read the report: %w", err)
		}
		tmp := filepath.Join(to, "."+e.Name()+".new")
		if err := os.WriteFile(tmp, b, 0o640); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		if err := os.Rename(tmp, filepath.Join(to, e.Name())); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	return nil
}

// exportProofs writes evidence.json: every input, batch and document of the case with the
// proof that the ledger holds it.
func (a *app) exportProofs(ctx context.Context, data string, cs model.Case, out string) (err error) {
	l, err := evidence.Open(filepath.Join(data, "ledger"), evidence.Options{Key: a.config.Archive.Key})
	if err != nil {
		return fmt.Errorf("open the ledger: %w", err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	sources := map[string]string{}
	for _, in := range cs.Inputs {
		sources[in.EvidenceID] = in.URI
	}
	_, err = l.Export(ctx, out, evidence.Selection{Pick: evidence.OfCase(cs.CaseID, cs.Run, cs.EvidenceIDs()), Sources: sources})
	return err
}

func (a *app) sayResult(opt investigateOptions, took time.Duration, partial bool) error {
	sum, err := readSummary(opt.out)
	if err != nil {
		return err
	}
	if opt.json {
		err = json.NewEncoder(a.out).Encode(sum)
	} else {
		err = a.printSummary(sum, opt.out, took)
	}
	if err != nil {
		return err
	}
	for _, in := range sum.Inputs {
		partial = partial || in.Problems > 0
	}
	if partial {
		return exitError{service.ExitPartial}
	}
	return nil
}

// spoolStdin replaces - by a file in the data folder: evidence has to be kept.
func (a *app) spoolStdin(args []string) ([]string, error) {
	paths := slices.Clone(args)
	i := slices.Index(paths, "-")
	if i < 0 {
		return paths, nil
	}
	if slices.Contains(paths[i+1:], "-") {
		return nil, errors.New("standard input (-) is named twice")
	}
	dir := filepath.Join(a.config.Data, "spool")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("spool standard input: %w", err)
	}
	f, err := os.CreateTemp(dir, "stdin-*.part")
	if err != nil {
		return nil, fmt.Errorf("spool standard input: %w", err)
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), bufio.NewReaderSize(os.Stdin, 1<<20))
	if err == nil && n == 0 {
		err = errors.New("it is empty, expected a pcap or pcapng header")
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("standard input: %w", err), os.Remove(f.Name()))
	}
	name := filepath.Join(dir, "stdin-"+hex.EncodeToString(h.Sum(nil))[:16])
	if err := os.Rename(f.Name(), name); err != nil {
		return nil, fmt.Errorf("spool standard input: %w", err)
	}
	paths[i] = name
	return paths, nil
}
