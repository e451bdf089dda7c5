package tracer

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/bus/embedded"
	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/pkg/store/chdb"
)

// Endpoints tells other processes of this machine how to reach what this one serves. It
// stands in the data folder, readable by its owner only, while the process runs.
type Endpoints struct {
	BusURL   string `json:"bus_url,omitempty"`
	BusToken string `json:"bus_token,omitempty"`
	StoreDSN string `json:"store_dsn,omitempty"`
}

const endpointsFile = "endpoints.json"

// ReadEndpoints reads what a running process offers for the data folder; ok is false if none
// does, or if the one that did ended without taking its offer back.
func ReadEndpoints(data string) (e Endpoints, ok bool, err error) {
	b, err := os.ReadFile(filepath.Join(data, endpointsFile))
	if errors.Is(err, os.ErrNotExist) {
		return e, false, nil
	}
	if err != nil {
		return e, false, fmt.Errorf("read the endpoints of the running process: %w", err)
	}
	if err := json.Unmarshal(b, &e); err != nil {
		return e, false, fmt.Errorf("read %s: %w", filepath.Join(data, endpointsFile), err)
	}
	if e.BusURL != "" && !answers(e.BusURL) {
		e.BusURL, e.BusToken = "", ""
	}
	if e.StoreDSN != "" && !answers(e.StoreDSN) {
		e.StoreDSN = ""
	}
	return e, e != Endpoints{}, nil
}

// answers reports whether somebody listens at the address of a URL.
func answers(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	c, err := net.DialTimeout("tcp", u.Host, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close() // opened only to see whether it can be
	return true
}

// StartBus gives the bus alone: the embedded one of the data folder, or the external one that
// the configuration names, which is left as it is.
func StartBus(ctx context.Context, log *slog.Logger, c *Config) (*bus.Bus, func(context.Context) error, error) {
	data, err := filepath.Abs(c.Data)
	if err != nil {
		return nil, nil, fmt.Errorf("data folder %s: %w", c.Data, err)
	}
	b, _, _, stop, err := startBus(ctx, log, c, data, false)
	return b, stop, err
}

// startBus also prepares an external bus when provision is set, and gives the address and token at which an embedded bus listens, if it does.
func startBus(ctx context.Context, log *slog.Logger, c *Config, data string, provision bool) (b *bus.Bus, url, token string, stop func(context.Context) error, err error) {
	conf, stopServer := c.Bus, func() {}
	var opts []nats.Option
	if conf.URL == "" {
		if conf.Listen != "" && conf.Token == "" {
			conf.Token = service.Secret(rand.Text())
		}
		srv, err := embedded.Start(embedded.Config{StoreDir: filepath.Join(data, "bus"), Listen: conf.Listen, Token: conf.Token.Reveal(), Log: log})
		if err != nil {
			return nil, "", "", nil, fmt.Errorf("start the bus: %w", err)
		}
		stopServer = srv.Stop
		opts = append(opts, nats.InProcessServer(srv))
		if conf.Listen != "" {
			url, token = srv.ClientURL(), conf.Token.Reveal()
		}
	}
	if b, err = conf.Connect(ctx, log, "tracer", opts...); err != nil {
		stopServer()
		return nil, "", "", nil, err
	}
	stop = func(context.Context) error { b.Close(); stopServer(); return nil }
	if c.Bus.URL == "" || provision {
		if err := bus.Provision(ctx, b, bus.ProvisionOptions{Replicas: conf.Replicas}); err != nil {
			return nil, "", "", nil, errors.Join(fmt.Errorf("prepare the bus: %w", err), stop(ctx))
		}
	}
	return b, url, token, stop, nil
}

// Start builds the environment on this machine: what the configuration does not place
// elsewhere is embedded. It provisions the bus and migrates the store.
func Start(ctx context.Context, log *slog.Logger, c *Config) (env *service.Env, err error) {
	data, err := filepath.Abs(c.Data)
	if err != nil {
		return nil, fmt.Errorf("data folder %s: %w", c.Data, err)
	}
	if err := os.MkdirAll(data, 0o750); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	var closers []func(context.Context) error
	closeAll := func(ctx context.Context) error {
		var errs []error
		for _, c := range slices.Backward(closers) {
			errs = append(errs, c(ctx))
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll(context.WithoutCancel(ctx)))
		}
	}()

	var ends Endpoints
	// The store first: its lock says whether another process owns the data folder.
	storeConf := store.Config{DSN: c.Store.DSN.Reveal(), Cluster: c.Store.Cluster, Log: log}
	if storeConf.DSN == "" {
		engine, err := chdb.Open(chdb.Config{Path: filepath.Join(data, "store"), MaxMemory: c.Store.Memory})
		if err != nil {
			return nil, err
		}
		closers = append(closers, engine.Close)
		storeConf.Transport = engine.Transport()
		if c.Store.Listen != "" {
			token := c.Store.Token.Reveal()
			if token == "" {
				token = rand.Text()
			}
			l, err := net.Listen("tcp", c.Store.Listen)
			if err != nil {
				return nil, fmt.Errorf("serve the store at %s: %w", c.Store.Listen, err)
			}
			sctx, stop := context.WithCancel(context.WithoutCancel(ctx))
			served := make(chan error, 1)
			go func() { served <- engine.Serve(sctx, l, token) }()
			closers = append(closers, func(context.Context) error { stop(); return <-served })
			ends.StoreDSN = fmt.Sprintf("http://default:%s@%s/tracer", token, l.Addr())
		}
	}
	st, err := store.Open(ctx, storeConf)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	closers = append(closers, func(context.Context) error { return st.Close() })
	if err := st.Migrate(ctx); err != nil {
		return nil, fmt.Errorf("prepare the store: %w", err)
	}

	b, url, token, stopBus, err := startBus(ctx, log, c, data, true)
	if err != nil {
		return nil, err
	}
	closers = append(closers, stopBus)
	ends.BusURL, ends.BusToken = url, token

	if ends != (Endpoints{}) {
		path := filepath.Join(data, endpointsFile)
		body, err := json.MarshalIndent(ends, "", "  ")
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, body, 0o600); err != nil {
			return nil, fmt.Errorf("publish the endpoints: %w", err)
		}
		closers = append(closers, func(context.Context) error { return os.Remove(path) })
	}
	return &service.Env{Log: log, Bus: b, Store: st, Data: data, Close: closeAll}, nil
}
