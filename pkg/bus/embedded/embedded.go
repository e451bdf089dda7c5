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
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Config says where the server keeps its data and whether others may connect.
type Config struct {
	StoreDir   string   // folder of the streams; locked against a second server
	Listen     string   // host:port for clients; empty: this process only; port 0: any free port
	MaxStore   int64    // bytes of disk JetStream may reserve; 0: no limit, a full disk makes publishers wait
	SyncAlways bool     // fsync before each acknowledgement: survives a power cut, costs about two thirds of the rate
	MaxPayload int32    // largest message in bytes; 0: 1 MiB
	Cluster    *Cluster // nil: a server on its own
	Token      string   // what clients must present over Listen; empty: nothing
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
	startTimeout   = 20 * time.Second
)

// Server is a running server.
type Server struct {
	s    *server.Server
	lock *os.File
}

// Start starts a server and waits until it takes connections.
func Start(cfg Config) (*Server, error) {
	if cfg.StoreDir == "" {
		return nil, errors.New("start embedded bus: no folder for its data")
	}
	o := &server.Options{
		StoreDir:          cfg.StoreDir,
		JetStream:         true,
		JetStreamMaxStore: cfg.MaxStore,
		SyncAlways:        cfg.SyncAlways,
		MaxPayload:        cfg.MaxPayload,
		NoSigs:            true,
		DontListen:        cfg.Listen == "",
		ServerName:        "tracer",
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
			return nil, fmt.Errorf("start embedded bus: listen address: %w", err)
		}
		o.Authorization = cfg.Token
	}
	if c := cfg.Cluster; c != nil {
		o.ServerName, o.Cluster.Name = c.Node, c.Name
		if o.Cluster.Host, o.Cluster.Port, err = hostPort(c.Listen); err != nil {
			return nil, fmt.Errorf("start embedded bus: cluster address: %w", err)
		}
		for _, r := range c.Routes {
			u, err := url.Parse(r)
			if err != nil {
				return nil, fmt.Errorf("start embedded bus: route: %w", err)
			}
			o.Routes = append(o.Routes, u)
		}
	}
	lock, err := lockDir(cfg.StoreDir)
	if err != nil {
		return nil, fmt.Errorf("start embedded bus: %w", err)
	}
	s, err := server.NewServer(o)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("start embedded bus: %w", err)
	}
	log := cfg.Log
	if log == nil {
		log = slog.Default()
	}
	s.SetLoggerV2(logger{log.With("component", "nats-server")}, false, false, false)
	s.Start()
	e := &Server{s: s, lock: lock}
	if !s.ReadyForConnections(startTimeout) {
		e.Stop()
		return nil, fmt.Errorf("start embedded bus: not ready after %s; is %s in use or its disk full?", startTimeout, cfg.Listen)
	}
	return e, nil
}

// InProcessConn connects without a socket; it makes a Server an argument of
// nats.InProcessServer.
func (e *Server) InProcessConn() (net.Conn, error) { return e.s.InProcessConn() }

// ClientURL is where clients connect, empty when the server does not listen.
func (e *Server) ClientURL() string {
	if e.s.Addr() == nil {
		return ""
	}
	return e.s.ClientURL()
}

// Stop stops the server and waits until its data is on disk.
func (e *Server) Stop() {
	e.s.Shutdown()
	e.s.WaitForShutdown()
	_ = e.lock.Close()
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

// lockDir makes sure that one server uses the folder: two would destroy each other's streams.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s is in use by another process", dir)
	}
	return f, nil
}

// logger hands the server's log on; its notices are details to us.
type logger struct{ log *slog.Logger }

func (l logger) Noticef(format string, v ...any) {
	l.log.Debug("server notice", "text", fmt.Sprintf(format, v...))
}
func (l logger) Warnf(format string, v ...any) {
	l.log.Warn("server warning", "text", fmt.Sprintf(format, v...))
}
func (l logger) Errorf(format string, v ...any) {
	l.log.Error("server error", "text", fmt.Sprintf(format, v...))
}
func (l logger) Fatalf(format string, v ...any) {
	l.log.Error("server failed", "text", fmt.Sprintf(format, v...))
}
func (l logger) Debugf(format string, v ...any) {}
func (l logger) Tracef(format string, v ...any) {}
