package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/services/tracer"
)

func (a *app) up() *cobra.Command {
	var services, busListen, storeListen, inbox, listen string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the whole system in one process: bus, store, services, API and web page",
		Long: `Runs every service with an embedded bus and store. Captures that are put into the inbox
folder are investigated; the reports stand on the web page.

With --services none only the bus and the store run, for services started by "tracer run".`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := &a.config
			if busListen != "" {
				c.Bus.Listen = busListen
			}
			if storeListen != "" {
				c.Store.Listen = storeListen
			}
			// Other commands of this machine find both, with their tokens, in the data folder.
			if c.Bus.Listen == "" {
				c.Bus.Listen = "127.0.0.1:0"
			}
			if c.Store.Listen == "" {
				c.Store.Listen = "127.0.0.1:0"
			}
			if inbox != "" {
				c.Ingest.Inbox = inbox
			}
			if c.Ingest.Inbox == "" {
				c.Ingest.Inbox = filepath.Join(c.Data, "inbox")
			}
			if cmd.Flags().Changed("listen") || c.Report.Listen == "" {
				c.Report.Listen = listen
			}
			names, err := serviceNames(services)
			if err != nil {
				return err
			}
			return a.runUp(cmd.Context(), names)
		},
	}
	f := cmd.Flags()
	f.StringVar(&services, "services", "all", "all, none or a comma separated `list`")
	f.StringVar(&busListen, "bus-listen", "", "`address` at which other processes reach the bus (default 127.0.0.1, any port)")
	f.StringVar(&storeListen, "store-listen", "", "loopback `address` at which other processes reach the store (default 127.0.0.1, any port)")
	f.StringVar(&inbox, "inbox", "", "`folder` watched for captures (default DATA/inbox)")
	f.StringVar(&listen, "listen", "127.0.0.1:8080", "`address` of the API and the web page")
	return cmd
}

func serviceNames(list string) ([]string, error) {
	switch list {
	case "all":
		return tracer.Names, nil
	case "none":
		return nil, nil
	}
	names := strings.Split(list, ",")
	for _, n := range names {
		if !slices.Contains(tracer.Names, n) {
			return nil, fmt.Errorf("no service %q: expected all, none or some of %s", n, strings.Join(tracer.Names, ","))
		}
	}
	return names, nil
}

// free says in one sentence that an address cannot be listened at.
func free(address, flag string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err
		}
		return fmt.Errorf("%s cannot be listened at: %w; name another address with %s", address, err, flag)
	}
	return l.Close()
}

func (a *app) runUp(ctx context.Context, names []string) error {
	if err := a.config.Validate(); err != nil {
		return err
	}
	if slices.Contains(names, "report") {
		if err := free(a.config.Report.Listen, "--listen"); err != nil {
			return err
		}
	}
	if a.config.Bus.URL == "" {
		if err := free(a.config.Bus.Listen, "--bus-listen"); err != nil {
			return err
		}
	}
	if a.config.Store.DSN == "" {
		if err := free(a.config.Store.Listen, "--store-listen"); err != nil {
			return err
		}
	}
	if slices.Contains(names, "ingest") {
		if err := os.MkdirAll(a.config.Ingest.Inbox, 0o750); err != nil {
			return fmt.Errorf("make the inbox: %w", err)
		}
	}
	env, err := tracer.Start(ctx, a.log, &a.config)
	if err != nil {
		return err
	}
	services, err := tracer.All(env, &a.config, nil, names...)
	if err != nil {
		return errors.Join(err, env.Close(ctx))
	}
	if len(names) == 0 {
		services = nil
	}
	ends, _, err := tracer.ReadEndpoints(env.Data)
	if err != nil {
		return errors.Join(err, env.Close(ctx))
	}
	a.log.Info("tracer is up", "data", env.Data, "bus", ends.BusURL, "inbox", a.config.Ingest.Inbox, "services", strings.Join(names, ","))
	return service.Serve(ctx, env, a.config.Common, "up", services)
}

func (a *app) run() *cobra.Command {
	var busURL, storeDSN, admin, inbox, listen string
	cmd := &cobra.Command{
		Use:       "run SERVICE...",
		Short:     "Run chosen services against an external NATS and ClickHouse",
		Long:      "Runs chosen services: " + strings.Join(tracer.Names, ", ") + ".",
		ValidArgs: tracer.Names,
		Args:      cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range args {
				if !slices.Contains(tracer.Names, name) {
					return fmt.Errorf("no service %q: expected some of %s", name, strings.Join(tracer.Names, ", "))
				}
			}
			c := &a.config
			a.external(busURL, storeDSN)
			if admin != "" {
				c.Admin = admin
			}
			if inbox != "" {
				c.Ingest.Inbox = inbox
			}
			if listen != "" {
				c.Report.Listen = listen
			}
			if c.Store.DSN == "" && !slices.Equal(args, []string{"ingest"}) {
				return errors.New("store.dsn: expected the address of a ClickHouse, as in --store http://user:password@127.0.0.1:8123/tracer")
			}
			if err := c.Validate(); err != nil {
				return err
			}
			ctx := cmd.Context()
			env, err := service.Connect(ctx, a.log, "tracer-"+strings.Join(args, "-"), c.Common)
			if err != nil {
				return err
			}
			services, err := tracer.All(env, c, nil, args...)
			if err != nil {
				return errors.Join(err, env.Close(ctx))
			}
			return service.Serve(ctx, env, c.Common, strings.Join(args, "-"), services)
		},
	}
	f := cmd.Flags()
	externalFlags(cmd, &busURL, &storeDSN)
	f.StringVar(&admin, "admin", "", "`address` of /healthz, /readyz and /metrics")
	f.StringVar(&inbox, "inbox", "", "ingest: `folder` watched for captures")
	f.StringVar(&listen, "listen", "", "report: `address` of the API and the web page")
	return cmd
}

// externalFlags adds the addresses of a bus and a store that run elsewhere.
func externalFlags(cmd *cobra.Command, busURL, storeDSN *string) {
	cmd.Flags().StringVar(busURL, "bus", "", "NATS `URL` (default: what a running tracer offers for the data folder)")
	if storeDSN != nil {
		cmd.Flags().StringVar(storeDSN, "store", "", "ClickHouse `DSN`, http(s)://user:password@host:8123/database")
	}
}

// external sets the addresses from flags, or from the endpoints that a running process
// offers in the data folder.
func (a *app) external(busURL, storeDSN string) {
	c := &a.config
	if busURL != "" {
		c.Bus.URL = busURL
	}
	if storeDSN != "" {
		c.Store.DSN = service.Secret(storeDSN)
	}
	ends, ok, err := tracer.ReadEndpoints(c.Data)
	if err != nil {
		a.log.Warn("endpoints of the data folder not read", "error", err)
	}
	if !ok {
		return
	}
	if c.Bus.URL == "" {
		c.Bus.URL = ends.BusURL
	}
	if c.Bus.Token == "" {
		c.Bus.Token = service.Secret(ends.BusToken)
	}
	if c.Store.DSN == "" {
		c.Store.DSN = service.Secret(ends.StoreDSN)
	}
}
