// Package cli is the command line of TRACER. The commands, their exit statuses and their
// outputs are a contract that scripts rely on: 0 done, 1 a check found something, 2 usage or
// bad input, 3 partial (some input was damaged; what was read is kept).
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/services/tracer"
)

// exitError carries the exit status of a command that has already said what it had to say.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// app is what the commands share.
type app struct {
	config   tracer.Config
	file     string // --config
	data     string // --data
	logLevel string
	out, err io.Writer
	log      *slog.Logger
}

// Main runs the command line and gives the exit status.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	service.LimitMemory()
	a := &app{out: stdout, err: stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var exit exitError
	switch {
	case err == nil:
		return service.ExitDone
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "tracer: interrupted")
		return service.ExitUsage
	}
	fmt.Fprintln(stderr, "tracer:", err)
	return service.ExitUsage
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "tracer",
		Short: "Network-derived intelligence for a cyber incident: from captures to sealed evidence and a report",
		Long: `TRACER reads network evidence and answers what happened: which traffic is suspicious and
why, who talked to whom in which order, and on what each answer rests.

Exit status: 0 done, 1 a check found something, 2 usage or bad input, 3 partial.`,
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.load() },
	}
	f := root.PersistentFlags()
	f.StringVar(&a.file, "config", "", "configuration `file` (YAML)")
	f.StringVar(&a.data, "data", "", "data `folder` (default ./tracer-data)")
	f.StringVar(&a.logLevel, "log-level", "", "debug, info, warn or error")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%s: %w; see %s --help", c.CommandPath(), err, c.CommandPath())
	})
	root.AddCommand(a.investigate(), a.up(), a.run(), a.query(), a.verify(), a.profile(), a.caseCmd(), a.lab(), a.bench(), a.busCmd(), a.dlq(), a.configCmd(), a.version())
	plainUsage(root)
	return root
}

// plainUsage makes every command say in one sentence what it expected, and a group of
// commands refuse a name that it does not have.
func plainUsage(c *cobra.Command) {
	if c.HasSubCommands() && c.RunE == nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			near := ""
			c.SuggestionsMinimumDistance = 2
			if names := c.SuggestionsFor(args[0]); len(names) > 0 {
				near = " (did you mean " + strings.Join(names, " or ") + "?)"
			}
			return fmt.Errorf("%s has no command %q%s; see %s --help", c.CommandPath(), args[0], near, c.CommandPath())
		}
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	} else if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if check(c, args) == nil {
				return nil
			}
			return fmt.Errorf("expected %s, found %d arguments; see %s --help", strings.TrimSuffix(c.UseLine(), " [flags]"), len(args), c.CommandPath())
		}
	}
	for _, sub := range c.Commands() {
		plainUsage(sub)
	}
}

// load reads the configuration; flags come last.
func (a *app) load() error {
	a.config = tracer.DefaultConfig()
	if err := a.config.Load(a.file); err != nil {
		return err
	}
	if a.data != "" {
		a.config.Data = a.data
	}
	if a.logLevel != "" {
		a.config.LogLevel = a.logLevel
	}
	if err := a.config.Validate(); err != nil {
		return err
	}
	a.log = service.Logger(a.config.LogLevel, a.interactive())
	return nil
}

// quiet lowers the log to warnings for one-shot commands, unless a level was asked for.
func (a *app) quiet() {
	if a.logLevel == "" && a.config.LogLevel == "info" {
		a.log = service.Logger("warn", a.interactive())
	}
}

// interactive reports whether a person watches stderr.
func (a *app) interactive() bool {
	f, ok := a.err.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (a *app) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(a.out, format, args...)
	return err
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.printf("tracer %s\n", service.Version) },
	}
}

func (a *app) configCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Check or show the configuration"}
	cmd.AddCommand(&cobra.Command{
		Use: "check", Short: "Say whether the configuration is good", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.printf("configuration is good\n") },
	})
	show := &cobra.Command{Use: "show", Short: "Show the effective configuration, secrets hidden", Args: cobra.NoArgs}
	diff := show.Flags().Bool("diff", false, "only what differs from the defaults")
	show.RunE = func(*cobra.Command, []string) error {
		s, err := service.ShowConfig(a.config, tracer.DefaultConfig(), *diff)
		if err != nil {
			return err
		}
		return a.printf("%s", s)
	}
	cmd.AddCommand(show)
	return cmd
}
