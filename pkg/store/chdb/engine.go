// Package chdb runs ClickHouse inside the process: it binds libchdb with purego (no cgo)
// and answers the ClickHouse HTTP protocol from it, either to an http.Client in the
// process (Transport) or on a listener for other processes (Serve).
//
// The library starts once per process and one process at a time may use a data folder.
package chdb

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/tracer-framework/tracer/pkg/lock"
)

// Config says which library runs over which folder.
type Config struct {
	Lib             string // path of libchdb.so; empty: Library looks for it
	SHA256          string // expected hash; empty: TRACER_LIBCHDB_SHA256, else KnownSHA256
	AllowUnknownLib bool   // take any library that has the functions

	Path      string // folder of the data; empty: in memory
	Sessions  int    // statements that run at the same time, an open result included; 0: 8
	ReadOnly  int    // read-only statements that run at the same time, besides Sessions; 0: 2
	MaxMemory uint64 // bytes the engine may use in all; 0: half of what the machine has
	BackupDir string // absolute folder that BACKUP may write to; empty: none
}

// Engine is the running library.
type Engine struct {
	api     *api
	args    []string
	control control
	pool    chan *session
	readers chan struct{} // a slot per read-only statement

	hello hello
	lock  *os.File

	closed chan struct{} // closed by Close
	once   sync.Once
	serial atomic.Uint64
}

// ErrClosed tells that the engine was closed.
var ErrClosed = errors.New("store engine is closed")

// started guards the one start per process that the library allows.
var started atomic.Bool

// Open starts the engine. A process can do so once.
func Open(cfg Config) (*Engine, error) {
	if cfg.Sessions == 0 {
		cfg.Sessions = 8
	}
	if cfg.ReadOnly == 0 {
		cfg.ReadOnly = 2
	}
	if cfg.MaxMemory == 0 {
		cfg.MaxMemory = memory() / 2
	}
	var err error
	if cfg.Lib == "" {
		if cfg.Lib, err = Library(); err != nil {
			return nil, err
		}
	}
	if cfg.SHA256 == "" {
		cfg.SHA256 = os.Getenv("TRACER_LIBCHDB_SHA256")
	}
	if cfg.SHA256 == "" {
		cfg.SHA256 = KnownSHA256
	}
	if !cfg.AllowUnknownLib {
		if err := verify(cfg.Lib, strings.ToLower(cfg.SHA256)); err != nil {
			return nil, err
		}
	}
	e := &Engine{closed: make(chan struct{})}
	if cfg.Path != "" {
		if cfg.Path, err = filepath.Abs(cfg.Path); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
		if err := os.MkdirAll(cfg.Path, 0o750); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
		// The lock stands beside the data: the library would only write to standard error
		// that another process has them open. That one can be asked over HTTP, see Serve.
		if e.lock, err = lock.Take(cfg.Path + ".lock"); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	if !started.CompareAndSwap(false, true) {
		e.unlock()
		return nil, errors.New("open store: the engine was already started in this process and starts once only")
	}
	if err := e.start(cfg); err != nil {
		e.unlock()
		return nil, fmt.Errorf("open store %s: %w", cfg.Path, err)
	}
	return e, nil
}

func (e *Engine) start(cfg Config) error {
	var err error
	if e.api, err = load(cfg.Lib); err != nil {
		return err
	}
	e.api.setSignalHandlers(0) // signals stay Go's
	if cfg.Path != "" {
		e.args = append(e.args, "--path="+cfg.Path)
	}
	if cfg.BackupDir != "" {
		e.args = append(e.args, "--backups.allowed_path="+cfg.BackupDir)
	}
	e.args = append(e.args,
		"--async_insert=0", // the engine's default is to answer before rows are stored
		"--max_server_memory_usage="+strconv.FormatUint(cfg.MaxMemory, 10),
		"--max_memory_usage="+strconv.FormatUint(cfg.MaxMemory, 10),
		"--mark_cache_size="+strconv.Itoa(256<<20), // the engine's default is 5 GiB
	)
	// The control session is opened first and closed last: the library must never be
	// without a connection.
	s, err := e.newSession("tracer-control")
	if err != nil {
		return err
	}
	e.control.s = s
	e.pool = make(chan *session, cfg.Sessions)
	for i := range cfg.Sessions {
		s, err := e.newSession("tracer-" + strconv.Itoa(i))
		if err != nil {
			return err
		}
		e.pool <- s
	}
	e.readers = make(chan struct{}, cfg.ReadOnly)
	return e.hello.learn(e.control.s)
}

// Transport answers requests of the ClickHouse HTTP protocol in the process. Scheme, host
// and credentials of the requests do not matter.
func (e *Engine) Transport() http.RoundTripper { return transport{e} }

// acquire takes a session from the pool.
func (e *Engine) acquire(ctx context.Context) (*session, error) {
	select {
	case <-e.closed:
		return nil, ErrClosed
	default:
	}
	select {
	case s := <-e.pool:
		return s, nil
	case <-e.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// acquireReadOnly opens a session for one statement: once read-only, a session takes no
// other settings, so it cannot be used twice.
func (e *Engine) acquireReadOnly(ctx context.Context) (*session, error) {
	select {
	case <-e.closed:
		return nil, ErrClosed
	default:
	}
	select {
	case e.readers <- struct{}{}:
	case <-e.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s, err := e.newSession(fmt.Sprintf("tracer-read-%d", e.serial.Add(1)))
	if err != nil {
		<-e.readers
		return nil, err
	}
	return s, nil
}

// Close waits for running statements until ctx is done, then ends the engine. A second
// call does nothing. Sessions still in use when ctx is done stay open, and the folder stays
// locked, until the process exits.
func (e *Engine) Close(ctx context.Context) error {
	var err error
	e.once.Do(func() {
		close(e.closed)
		for range cap(e.pool) {
			select {
			case s := <-e.pool:
				s.close()
			case <-ctx.Done():
				err = fmt.Errorf("close store: statements are still running: %w", ctx.Err())
				return
			}
		}
		for range cap(e.readers) {
			select {
			case e.readers <- struct{}{}:
			case <-ctx.Done():
				err = fmt.Errorf("close store: statements are still running: %w", ctx.Err())
				return
			}
		}
		e.control.mu.Lock()
		defer e.control.mu.Unlock()
		e.control.s.close()
		_ = e.api.shutdown() // reports a thread that outlived it after any real work; harmless
		e.unlock()
	})
	return err
}

func (e *Engine) unlock() {
	if e.lock != nil {
		e.lock.Close() // releases the lock
		e.lock = nil
	}
}

// memory is what this process may use in bytes: of the machine, or of its control group.
func memory() uint64 {
	total := uint64(4 << 30)
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) == nil {
		total = info.Totalram * uint64(info.Unit)
	}
	if b, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 {
			total = min(total, n)
		}
	}
	return total
}
