package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/services/ingest"
)

func (a *app) caseCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "case", Short: "Cases of a running system: open, list"}
	var busURL, dsn, title string
	var wait bool
	open := &cobra.Command{
		Use: "open INPUT...", Short: "Open a case on a running system", Args: cobra.MinimumNArgs(1),
		Long: "Hands captures to a running system (tracer up, or services started by tracer run). The ingest\nservice must see the files under the same paths.",
		RunE: func(cmd *cobra.Command, args []string) error {
			a.quiet()
			ctx := cmd.Context()
			a.external(busURL, dsn)
			if a.config.Bus.URL == "" {
				return fmt.Errorf("no running system offers its bus in %s: start one with tracer up --data %[1]s, or name a NATS server with --bus", a.config.Data)
			}
			cs, skipped, err := ingest.OpenCase(ctx, args, title)
			if err != nil {
				return err
			}
			partial := a.saySkipped(skipped)
			env, err := service.Connect(ctx, a.log, "tracer-case", a.config.Common)
			if err != nil {
				return err
			}
			work := func() error {
				if err := openCase(ctx, env, cs); err != nil {
					return err
				}
				if err := a.printf("%s\n", cs.CaseID); err != nil {
					return err
				}
				if !wait {
					return nil
				}
				if env.Store == nil {
					return errors.New("--wait needs the store: name it with --store")
				}
				return a.awaitSplit(ctx, env, cs)
			}
			if err := errors.Join(work(), env.Close(ctx)); err != nil {
				return err
			}
			if partial {
				return exitError{service.ExitPartial}
			}
			return nil
		},
	}
	externalFlags(open, &busURL, &dsn)
	open.Flags().StringVar(&title, "title", "", "title of the case (default: made from the inputs)")
	open.Flags().BoolVar(&wait, "wait", false, "wait until the report is issued and sealed, then print its folder")

	list := &cobra.Command{
		Use: "list", Short: "List the cases with their stage", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.quiet()
			a.external("", dsn)
			return a.withStore(cmd.Context(), func(ctx context.Context, st *store.Store) error {
				cases, err := st.Cases(ctx)
				if err != nil {
					return err
				}
				w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
				fmt.Fprintln(w, "CASE\tSTAGE\tINPUTS\tDETECTIONS\tTRACES\tUPDATED\tTITLE")
				for _, c := range cases {
					fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%s\n", c.CaseID, c.Stage, len(c.Inputs), c.Detections, c.Traces, c.Updated, c.Title)
				}
				return w.Flush()
			})
		},
	}
	list.Flags().StringVar(&dsn, "store", "", "ClickHouse `DSN` (default: the store of the data folder)")
	cmd.AddCommand(open, list)
	return cmd
}

// awaitSplit waits for the case's report and prints the folder of its documents.
func (a *app) awaitSplit(ctx context.Context, env *service.Env, cs model.Case) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		now, err := env.Store.Case(ctx, cs.CaseID, cs.Run)
		if errors.Is(err, store.ErrNotFound) || store.Passing(err) {
			continue
		}
		if err != nil {
			return err
		}
		if now.Stage != model.StageReported {
			continue
		}
		docs, err := env.Store.EvidenceChildren(ctx, cs.CaseID)
		if store.Passing(err) {
			continue
		}
		if err != nil {
			return err
		}
		for _, d := range docs {
			if d.Kind == "report" && d.Name == "report.json" {
				return a.printf("%s\n", filepath.Dir(d.URI))
			}
		}
	}
}
