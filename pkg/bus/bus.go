// Package bus carries events between the services over NATS JetStream: it provisions
// streams and consumers, publishes until the server has stored a message once, hands
// messages to handlers with acknowledgement, retry and backoff, and puts what cannot be
// handled where people find it.
//
// Delivery is at least once: handlers must be idempotent. Publishing is exactly once
// within the streams' deduplication window, because the event's id is the message's id.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Config says which server to use and who is asking.
type Config struct {
	URL  string // nats://host:4222, several comma separated; empty with nats.InProcessServer
	Name string // name of the connection as the server shows it, usually the service

	Credentials string // file with user JWT and nkey seed; empty: none
	NKeySeed    string // file with an nkey seed; empty: none
	CA          string // PEM file with the certificate authorities to trust; empty: the system's
	Cert, Key   string // PEM files of the client certificate; empty: none
	InboxPrefix string // prefix of reply subjects, for servers that permit only one; empty: _INBOX

	Log *slog.Logger // nil: slog.Default
}

// Bus is a connection to the bus. It is safe for concurrent use.
type Bus struct {
	cfg Config
	log *slog.Logger
	nc  *nats.Conn
	js  jetstream.JetStream
	tel telemetry

	slots chan struct{} // one per message of PublishAsync in flight
	async sync.WaitGroup

	mu       sync.Mutex
	asyncErr []error              // of PublishAsync since the last Flush
	said     map[string]time.Time // when a repeated message was last logged
	turns    map[string]chan struct{}
}

const (
	maxPending  = 64                     // messages PublishAsync keeps in flight
	ackTimeout  = 2 * time.Second        // wait for a publish acknowledgement before asking again
	probe       = 20 * time.Millisecond  // first wait between questions to a server that stores nothing
	maxProbe    = 500 * time.Millisecond // longest such wait
	sayEvery    = 30 * time.Second
	connectWait = 2 * time.Second
)

// Connect connects to the server and waits for it, saying so, until ctx is done. It returns
// at once when the server refuses the credentials or the configuration is wrong. Options
// are applied last; nats.InProcessServer(s) connects to an embedded server.
func Connect(ctx context.Context, cfg Config, opts ...nats.Option) (*Bus, error) {
	b := &Bus{cfg: cfg, log: cfg.Log, slots: make(chan struct{}, maxPending), said: map[string]time.Time{}, turns: map[string]chan struct{}{}}
	if b.log == nil {
		b.log = slog.Default()
	}
	var err error
	if b.tel, err = newTelemetry(); err != nil {
		return nil, fmt.Errorf("bus telemetry: %w", err)
	}
	all := []nats.Option{
		nats.Name(cfg.Name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		// Publishing while disconnected fails at once instead of filling a buffer: the
		// loop in Publish knows what to do, and says why it waits.
		nats.ReconnectBufSize(-1),
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.Timeout(connectWait),
		nats.ErrorHandler(b.onError),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				b.say("disconnected from the bus, reconnecting", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			b.log.Info("connected to the bus again", "server", nc.ConnectedServerName())
		}),
	}
	if cfg.Credentials != "" {
		all = append(all, nats.UserCredentials(cfg.Credentials))
	}
	if cfg.NKeySeed != "" {
		o, err := nats.NkeyOptionFromSeed(cfg.NKeySeed)
		if err != nil {
			return nil, fmt.Errorf("read nkey seed %s: %w", cfg.NKeySeed, err)
		}
		all = append(all, o)
	}
	if cfg.CA != "" {
		all = append(all, nats.RootCAs(cfg.CA))
	}
	if cfg.Cert != "" || cfg.Key != "" {
		all = append(all, nats.ClientCert(cfg.Cert, cfg.Key))
	}
	if cfg.InboxPrefix != "" {
		all = append(all, nats.CustomInboxPrefix(cfg.InboxPrefix))
	}
	all = append(all, opts...)
	for wait := backoff(0); ; {
		if b.nc, err = nats.Connect(cfg.URL, all...); err == nil {
			break
		}
		if !away(err) {
			return nil, fmt.Errorf("connect to the bus at %s: %w", b.where(), err)
		}
		b.say("the bus is not reachable, waiting for it", "server", b.where(), "error", err)
		if err := sleep(ctx, wait.next()); err != nil {
			return nil, fmt.Errorf("connect to the bus at %s: %w", b.where(), err)
		}
	}
	b.js, err = jetstream.New(b.nc,
		jetstream.WithPublishAsyncMaxPending(2*maxPending),
		jetstream.WithPublishAsyncTimeout(ackTimeout))
	if err != nil {
		b.nc.Close()
		return nil, fmt.Errorf("bus: %w", err)
	}
	return b, nil
}

// Close waits shortly for what is being sent and closes the connection.
func (b *Bus) Close() {
	if !b.nc.IsClosed() {
		if b.nc.IsConnected() {
			_ = b.nc.FlushTimeout(2 * time.Second) // best effort: what was not sent is sent again after a restart
		}
		b.nc.Close()
	}
}

// Ready reports whether the bus can be used now: an error says what is missing.
func (b *Bus) Ready(ctx context.Context) error {
	if !b.nc.IsConnected() {
		return fmt.Errorf("not connected to the bus at %s", b.where())
	}
	if _, err := b.js.AccountInfo(ctx); err != nil {
		return fmt.Errorf("bus: %w", err)
	}
	return nil
}

// KV opens a key-value bucket: ingest, profiles or config.
func (b *Bus) KV(ctx context.Context, bucket string) (jetstream.KeyValue, error) {
	kv, err := b.js.KeyValue(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("key-value bucket %s: %w", bucket, err)
	}
	return kv, nil
}

func (b *Bus) where() string {
	if b.cfg.URL == "" {
		return "this process"
	}
	return b.cfg.URL
}

// onError takes what the server says outside of any request. A publish that the server
// does not permit is told only here: its sender sees a timeout.
func (b *Bus) onError(_ *nats.Conn, sub *nats.Subscription, err error) {
	b.tel.errors.Add(context.Background(), 1)
	attrs := []any{"error", err}
	if sub != nil {
		attrs = append(attrs, "subject", sub.Subject)
	}
	b.say("the bus reports an error", attrs...)
}

// say logs a warning, the same message (of the same durable) not more often than every
// half minute.
func (b *Bus) say(msg string, attrs ...any) {
	key := msg
	if len(attrs) > 1 && attrs[0] == "durable" {
		key = fmt.Sprint(msg, attrs[1])
	}
	b.mu.Lock()
	last, seen := b.said[key]
	now := time.Now()
	if seen && now.Sub(last) < sayEvery {
		b.mu.Unlock()
		return
	}
	if len(b.said) > 1000 {
		clear(b.said)
	}
	b.said[key] = now
	b.mu.Unlock()
	b.log.Warn(msg, attrs...)
}

// away reports whether a connection error means that the server may come back.
func away(err error) bool {
	if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) || errors.Is(err, nats.ErrAccountAuthExpired) {
		return false
	}
	if errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) {
		return true
	}
	s := err.Error() // net errors carry no common type
	return strings.Contains(s, "connection refused") || strings.Contains(s, "i/o timeout") || strings.Contains(s, "no such host") ||
		strings.Contains(s, "EOF") || strings.Contains(s, "reset by peer") || strings.Contains(s, "unreachable")
}

// backoff is the number of waits so far; its schedule grows to a cap.
type backoff int

func (n *backoff) next() time.Duration {
	d := 50 * time.Millisecond << min(int(*n), 6)
	*n++
	return min(d, 2*time.Second)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
