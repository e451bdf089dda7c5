package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/pkg/store/chdb"
)

var queryFormats = []string{"JSONEachRow", "CSV", "Pretty"}

func (a *app) query() *cobra.Command {
	var format, dsn string
	cmd := &cobra.Command{
		Use:   `query "SQL"`,
		Short: "Run read-only SQL over the store",
		Example: `  tracer query "SELECT orig_ip, resp_ip, count() FROM flow GROUP BY ALL ORDER BY 3 DESC LIMIT 10"
  tracer query --format CSV "SELECT * FROM detection"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a.quiet()
			if format == "" {
				format = "JSONEachRow"
				if f, ok := a.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
					format = "Pretty"
				}
			}
			if !slices.Contains(queryFormats, format) {
				return fmt.Errorf("--format %s: expected one of %v", format, queryFormats)
			}
			a.external("", dsn)
			return a.withStore(cmd.Context(), func(ctx context.Context, st *store.Store) error {
				rows, err := st.QueryReadOnly(ctx, args[0], format)
				if err != nil {
					return err
				}
				_, err = io.Copy(a.out, rows)
				return errors.Join(err, rows.Close())
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "JSONEachRow, CSV or Pretty (default: Pretty on a terminal)")
	cmd.Flags().StringVar(&dsn, "store", "", "ClickHouse `DSN` (default: the store of the data folder)")
	return cmd
}

// withStore opens the store for reading: the external or served one, else the data folder's.
func (a *app) withStore(ctx context.Context, use func(context.Context, *store.Store) error) (err error) {
	conf := store.Config{DSN: a.config.Store.DSN.Reveal(), Cluster: a.config.Store.Cluster, Log: a.log}
	if conf.DSN == "" {
		path := filepath.Join(a.config.Data, "store")
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("no store in %s: name the data folder of an investigation with --data", a.config.Data)
		}
		engine, err := chdb.Open(chdb.Config{Path: path, MaxMemory: a.config.Store.Memory})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, engine.Close(context.WithoutCancel(ctx))) }()
		conf.Transport = engine.Transport()
	}
	st, err := store.Open(ctx, conf)
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	return use(ctx, st)
}
