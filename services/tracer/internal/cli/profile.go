package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/services/fingerprint"
)

func (a *app) profile() *cobra.Command {
	cmd := &cobra.Command{Use: "profile", Short: "Threat profiles: list, test, put, delete"}
	parser := func() (*fingerprint.ProfileParser, error) {
		return fingerprint.NewProfileParser(a.config.Fingerprint.Networks())
	}
	list := &cobra.Command{
		Use: "list", Short: "List the shipped profiles and those of the configured folder", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			p, err := parser()
			if err != nil {
				return err
			}
			set, err := p.Load(a.config.Fingerprint.Profiles)
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tON\tSEVERITY\tPHASE\tTECHNIQUE\tTITLE")
			for _, x := range set.Profiles {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", x.ID, x.On, x.Severity, x.Phase, x.Technique, x.Title)
			}
			return w.Flush()
		},
	}
	test := &cobra.Command{
		Use: "test PROFILE.yaml ROWS.jsonl", Short: "Check a profile and match it against rows of JSON", Args: cobra.RangeArgs(1, 2),
		Long: "Checks the profile; with rows (one JSON object a line, as tracer query --format JSONEachRow\nprints them) says which of them match. Exit status 1: none of the rows matches.",
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := parser()
			if err != nil {
				return err
			}
			src, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			prof, err := p.Parse(filepath.Base(args[0]), src)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return a.printf("profile %s is good\n", prof.ID)
			}
			f, err := os.Open(args[1])
			if err != nil {
				return err
			}
			rows, err := fingerprint.TestProfile(prof, f)
			if cerr := f.Close(); err == nil {
				err = cerr
			}
			if err != nil {
				return fmt.Errorf("%s: %w", args[1], err)
			}
			hits := 0
			for _, r := range rows {
				if r.Match {
					hits++
					if err := a.printf("line %d matches %s\n", r.Line, r.Indicator); err != nil {
						return err
					}
				}
			}
			if err := a.printf("%d of %d rows match\n", hits, len(rows)); err != nil {
				return err
			}
			if hits == 0 {
				return exitError{service.ExitFound}
			}
			return nil
		},
	}
	var url string
	put := &cobra.Command{
		Use: "put PROFILE.yaml...", Short: "Put profiles in force on the running system", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := parser()
			if err != nil {
				return err
			}
			return a.withBus(cmd.Context(), url, func(ctx context.Context, b *bus.Bus) error {
				kv, err := b.KV(ctx, fingerprint.ProfileBucket)
				if err != nil {
					return err
				}
				for _, name := range args {
					src, err := os.ReadFile(name)
					if err != nil {
						return err
					}
					prof, err := p.PutProfile(ctx, kv, filepath.Base(name), src)
					if err != nil {
						return err
					}
					if err := a.printf("profile %s is in force\n", prof.ID); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	del := &cobra.Command{
		Use: "delete ID...", Short: "Withdraw profiles that were put", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withBus(cmd.Context(), url, func(ctx context.Context, b *bus.Bus) error {
				kv, err := b.KV(ctx, fingerprint.ProfileBucket)
				if err != nil {
					return err
				}
				for _, id := range args {
					if err := fingerprint.DeleteProfile(ctx, kv, id); err != nil {
						return err
					}
					if err := a.printf("profile %s is withdrawn\n", id); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	externalFlags(put, &url, nil)
	externalFlags(del, &url, nil)
	cmd.AddCommand(list, test, put, del)
	return cmd
}
