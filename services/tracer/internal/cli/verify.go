package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tracer-framework/tracer/pkg/evidence/verify"
	"github.com/tracer-framework/tracer/pkg/service"
)

func (a *app) verify() *cobra.Command {
	var asJSON bool
	var key, data string
	var strict bool
	var captures []string
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Check hashes, ledger proofs and signatures offline",
		Long: `Checks a report folder or a data folder without network and without the code that wrote it:
every document, sealed batch and capture against its hash, every hash against the ledger, the
ledger against its signed checkpoint. Each difference is named.

Exit status: 0 everything holds, 1 something was altered or is missing.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			rep, err := verify.Dir(cmd.Context(), args[0], verify.Options{Key: key, Strict: strict, Captures: captures, Data: data})
			if err != nil {
				return err
			}
			if asJSON {
				if err := json.NewEncoder(a.out).Encode(rep); err != nil {
					return err
				}
			} else if err := a.printVerified(rep); err != nil {
				return err
			}
			if len(rep.Problems) > 0 {
				return exitError{service.ExitFound}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as one line of JSON")
	f := cmd.Flags()
	f.StringVar(&key, "key", "", "the ledger's public `key`, learned by another way than from the folder")
	f.StringVar(&data, "ledger", "", "data `folder` whose ledger must hold what a report folder proves")
	f.StringSliceVar(&captures, "captures", nil, "`folders` to look for captures that are not where they were")
	f.BoolVar(&strict, "strict", false, "what is absent counts as a problem")
	return cmd
}

func (a *app) printVerified(rep *verify.Report) error {
	w := &strings.Builder{}
	c := rep.Checked
	fmt.Fprintf(w, "%s %s, ledger %s\nchecked: %d leaves, %d proofs, %d objects, %d captures, %d documents (%d MB)\n",
		rep.Kind, rep.Dir, rep.Origin, c.Leaves, c.Proofs, c.Objects, c.Captures, c.Documents, c.Bytes/1e6)
	for _, s := range rep.Notes {
		fmt.Fprintln(w, "note:", s)
	}
	for _, s := range rep.NotPresent {
		fmt.Fprintln(w, "not present:", s)
	}
	for _, s := range rep.Problems {
		fmt.Fprintln(w, "PROBLEM:", s)
	}
	if len(rep.Problems) == 0 {
		fmt.Fprintln(w, "everything holds")
	}
	return a.printf("%s", w.String())
}
