// Package embedded runs a NATS server with JetStream inside the process. Only the
// all-in-one binary and the test kit link it.
package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tracer-framework/tracer/pkg/lock"
)

// Config says where the server keeps its data and whether others may connect.
type Config struct {
	StoreDir   string   // folder of the streams; locked against a second server
	Listen     string   // host:port for clients; empty: this process only; port 0: any free port
	MaxStore   int64    // bytes of disk JetStream may reserve; 0: no limit, a full disk makes publishers wait
	SyncAlways bool     // fsync before each acknowledgement: survives a power cut, costs about two thirds of the rate
	MaxPayload int32    // largest message in bytes; 0: 1 MiB
	Cluster    *Cluster // nil: a server on its own
	Token      string   // what clients must present, those of this process too; empty: nothing
	MinFree    int64    // bytes that must be free on the disk before a full one is tried again; 0: 64 MiB
	Log        *slog.Logger
}

// Cluster makes the server a member of a JetStream cluster.
type Cluster struct {
	Name   string   // the same for all members
	Node   string   // unique name of this member
	Listen string   // host:port for the other members
	Routes []string // nats://host:port of the other members
}

const (
	defaultPayload = 1 << 20
	defaultMinFree = 64 << 20
	startTimeout   = 20 * time.Second
)

// Server is a running server.
type Server struct {
	cfg  Config
	log  *slog.Logger
	lock *os.File

	frozen chan struct{} // one place: a stream met a write error
	stop   chan struct{}
	healer sync.WaitGroup
	once   sync.Once

	mu sync.RWMutex
	s  *server.Server
}

// Start starts a server and waits until it takes connections.
//
// A server that cannot write a stream, because the disk is full, takes no more messages for
// it until it is started again. Server does that by itself once there is room, behind the
// same address; clients reconnect.
func Start(cfg Config) (*Server, error) {
	if cfg.StoreDir == "" {
		return nil, errors.New("start embedded bus: no folder for its data")
	}
	if cfg.MinFree <= 0 {
		cfg.MinFree = defaultMinFree
	}
	e := &Server{cfg: cfg, log: cfg.Log, frozen: make(chan struct{}, 1), stop: make(chan struct{})}
	if e.log == nil {
		e.log = slog.Default()
	}
	var err error
	// Two servers of one folder would destroy each other's streams.
	if err := os.MkdirAll(cfg.StoreDir, 0o750); err != nil {
		return nil, fmt.Errorf("start embedded bus: %w", err)
	}
	if e.lock, err = lock.Take(filepath.Join(cfg.StoreDir, "lock")); err != nil {
		return nil, fmt.Errorf("start embedded bus: %w", err)
	}
	if e.s, err = e.start(); err != nil {
		_ = e.lock.Close()
		return nil, fmt.Errorf("start embedded bus: %w", err)
	}
	if cfg.Listen != "" {
		e.cfg.Listen = e.s.Addr().String() // the port that was found free stays
	}
	e.healer.Go(e.heal)
	return e, nil
}

// start makes and starts one server of this configuration.
func (e *Server) start() (*server.Server, error) {
	cfg := e.cfg
	o := &server.Options{
		StoreDir:          cfg.StoreDir,
		JetStream:         true,
		JetStreamMaxStore: cfg.MaxStore,
		SyncAlways:        cfg.SyncAlways,
		MaxPayload:        cfg.MaxPayload,
		NoSigs:            true,
		DontListen:        cfg.Listen == "",
		ServerName:        "tracer",
		Authorization:     cfg.Token,
	}
	if o.JetStreamMaxStore <= 0 {
		o.JetStreamMaxStore = math.MaxInt64 / 2
	}
	if o.MaxPayload == 0 {
		o.MaxPayload = defaultPayload
	}
	var err error
	if cfg.Listen != "" {
		if o.Host, o.Port, err = hostPort(cfg.Listen); err != nil {
			return nil, fmt.Errorf("listen address: %w", err)
		}
		if o.Port != server.RANDOM_PORT { // the server would only try again, in silence
			l, err := net.Listen("tcp", cfg.Listen)
			if err != nil {
				return nil, err
			}
			if err := l.Close(); err != nil {
				return nil, err
			}
		}
	}
	if c := cfg.Cluster; c != nil {
		o.ServerName, o.Cluster.Name = c.Node, c.Name
		if o.Cluster.Host, o.Cluster.Port, err = hostPort(c.Listen); err != nil {
			return nil, fmt.Errorf("cluster address: %w", err)
		}
		for _, r := range c.Routes {
			u, err := url.Parse(r)
			if err != nil {
				return nil, fmt.Errorf("route: %w", err)
			}
			o.Routes = append(o.Routes, u)
		}
	}
	s, err := server.NewServer(o)
	if err != nil {
		return nil, err
	}
	s.SetLoggerV2(&logger{log: e.log.With("component", "nats-server"), frozen: e.frozen}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(startTimeout) || !s.JetStreamEnabled() {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("not ready after %s: is %s in use, or the disk of %s full?", startTimeout, cfg.Listen, cfg.StoreDir)
	}
	return s, nil
}

// heal waits for write errors and starts the server again when there is room.
func (e *Server) heal() {
	for {
		select {
		case <-e.stop:
			return
		case <-e.frozen:
		}
		free := freeBytes(e.cfg.StoreDir)
		e.log.Error("the bus cannot write to its disk and takes no more messages: waiting for room", "dir", e.cfg.StoreDir, "free_bytes", free, "needed_bytes", e.cfg.MinFree)
		for e.pause(time.Second) {
			if freeBytes(e.cfg.StoreDir) < e.cfg.MinFree {
				continue
			}
			if err := e.restart(); err != nil {
				e.log.Error("the bus does not start again, trying on", "error", err)
				continue
			}
			e.log.Info("there is room on the disk of the bus, it takes messages again", "dir", e.cfg.StoreDir)
			break
		}
	}
}

func (e *Server) restart() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.s.Shutdown()
	e.s.WaitForShutdown()
	select {
	case <-e.frozen: // of the server that is gone
	default:
	}
	s, err := e.start()
	if err == nil {
		e.s = s
	}
	return err
}

// pause waits and reports whether the server is still wanted.
func (e *Server) pause(d time.Duration) bool {
	select {
	case <-e.stop:
		return false
	case <-time.After(d):
		return true
	}
}

// InProcessConn connects without a socket; it makes a Server an argument of
// nats.InProcessServer.
func (e *Server) InProcessConn() (net.Conn, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.s.InProcessConn()
}

// ClientURL is where clients connect, empty when the server does not listen.
func (e *Server) ClientURL() string {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.s.Addr() == nil {
		return ""
	}
	return e.s.ClientURL()
}

// Stop stops the server and waits until its data is on disk. A second call does nothing.
func (e *Server) Stop() {
	e.once.Do(func() {
		close(e.stop)
		e.healer.Wait()
		e.mu.Lock()
		defer e.mu.Unlock()
		e.s.Shutdown()
		e.s.WaitForShutdown()
		_ = e.lock.Close() // releases the lock
	})
}

// freeBytes is the room on the disk of dir that an ordinary user may fill.
func freeBytes(dir string) int64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0
	}
	return int64(st.Bavail) * st.Bsize
}

func hostPort(addr string) (string, int, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%s: port %q is not a number from 0 to 65535", addr, port)
	}
	if n == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(n), nil
}

// logger hands the server's log on; its notices are details to us. The server tells only
// here that a stream is frozen after a write error.
type logger struct {
	log    *slog.Logger
	frozen chan<- struct{}
}

func (l *logger) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Error("server error", "text", text)
	if strings.Contains(text, "ritical write error") {
		select {
		case l.frozen <- struct{}{}:
		default:
		}
	}
}

func (l *logger) Noticef(format string, v ...any) {
	l.log.Debug("server notice", "text", fmt.Sprintf(format, v...))
}

func (l *logger) Warnf(format string, v ...any) {
	l.log.Warn("server warning", "text", fmt.Sprintf(format, v...))
}

func (l *logger) Fatalf(format string, v ...any) {
	l.log.Error("server failed", "text", fmt.Sprintf(format, v...))
}

func (l *logger) Debugf(string, ...any) {}
func (l *logger) Tracef(string, ...any) {}
