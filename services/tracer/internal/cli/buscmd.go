package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/services/tracer"
)

// withBus connects to the bus: the external one, the one a running process offers, else
// the embedded one of the data folder.
func (a *app) withBus(ctx context.Context, url string, use func(context.Context, *bus.Bus) error) (err error) {
	a.external(url, "")
	if a.config.Bus.URL == "" {
		if _, err := os.Stat(filepath.Join(a.config.Data, "bus")); err != nil {
			return fmt.Errorf("no bus in %s: name the data folder of an investigation with --data, or a NATS server with --bus", a.config.Data)
		}
	}
	b, stop, err := tracer.StartBus(ctx, a.log, &a.config)
	if err != nil {
		return err
	}
	return errors.Join(use(ctx, b), stop(ctx))
}

func (a *app) busCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "bus", Short: "Prepare or watch the message bus"}
	var url string
	initCmd := &cobra.Command{
		Use: "init", Short: "Create or update streams, consumers and buckets; may be run again at any time", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withBus(cmd.Context(), url, func(ctx context.Context, b *bus.Bus) error {
				if err := bus.Provision(ctx, b, bus.ProvisionOptions{Replicas: a.config.Bus.Replicas}); err != nil {
					return err
				}
				return a.printf("bus is ready\n")
			})
		},
	}
	externalFlags(initCmd, &url, nil)
	lag := &cobra.Command{
		Use: "lag", Short: "How many messages wait for each consumer", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withBus(cmd.Context(), url, func(ctx context.Context, b *bus.Bus) error {
				lags, err := b.Lag(ctx)
				if err != nil {
					return err
				}
				w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
				fmt.Fprintln(w, "CONSUMER\tPENDING\tIN FLIGHT")
				for _, l := range lags {
					fmt.Fprintf(w, "%s\t%d\t%d\n", l.Durable, l.Pending, l.AckPending)
				}
				return w.Flush()
			})
		},
	}
	externalFlags(lag, &url, nil)
	cmd.AddCommand(initCmd, lag)
	return cmd
}

func (a *app) dlq() *cobra.Command {
	cmd := &cobra.Command{Use: "dlq", Short: "Messages that could not be processed: list, show, retry"}
	var url string
	seq := func(s string) (uint64, error) {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%q: expected the number that tracer dlq list shows", s)
		}
		return n, nil
	}
	list := &cobra.Command{
		Use: "list", Short: "List the messages put aside, with the reason", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withBus(cmd.Context(), url, func(ctx context.Context, b *bus.Bus) error {
				letters, err := b.ListDLQ(ctx)
				if err != nil {
					return err
				}
				w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
				fmt.Fprintln(w, "NUMBER\tCONSUMER\tTYPE\tID\tTRIES\tREASON")
				for _, l := range letters {
					fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\n", l.Seq, l.Durable, l.Type, l.ID, l.Deliveries, l.Reason)
				}
				return w.Flush()
			})
		},
	}
	show := &cobra.Command{
		Use: "show NUMBER", Short: "Show one message put aside as JSON", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := seq(args[0])
			if err != nil {
				return err
			}
			return a.withBus(cmd.Context(), url, func(ctx context.Context, b *bus.Bus) error {
				l, err := b.ShowDLQ(ctx, n)
				if errors.Is(err, jetstream.ErrMsgNotFound) {
					return fmt.Errorf("there is no message %d: see tracer dlq list", n)
				}
				if err != nil {
					return err
				}
				enc := json.NewEncoder(a.out)
				enc.SetIndent("", "  ")
				return enc.Encode(l)
			})
		},
	}
	retry := &cobra.Command{
		Use: "retry NUMBER", Short: "Put one message back where it came from", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := seq(args[0])
			if err != nil {
				return err
			}
			return a.withBus(cmd.Context(), url, func(ctx context.Context, b *bus.Bus) error {
				if err := b.RetryDLQ(ctx, n); err != nil {
					return err
				}
				return a.printf("message %d is on its way again\n", n)
			})
		},
	}
	for _, c := range []*cobra.Command{list, show, retry} {
		externalFlags(c, &url, nil)
		cmd.AddCommand(c)
	}
	return cmd
}
