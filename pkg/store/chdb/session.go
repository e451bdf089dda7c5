package chdb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// param is one value for a {name:Type} placeholder.
type param struct{ name, value string }

// session is one connection to the engine. It runs one statement at a time; the pool sees
// to that.
type session struct {
	eng  *Engine
	tag  string         // its log_comment, by which KILL QUERY finds what it runs
	conn unsafe.Pointer // what chdb_connect returned
	h    unsafe.Pointer // the connection itself

	database string            // what USE was told last
	settings map[string]string // what SET was told, without those at default

	// mu fences KILL: it is held while a KILL runs, and a statement begins and ends under
	// it, so that a KILL meant for one statement cannot hit the next.
	mu      sync.Mutex
	running uint64 // number of the statement being run, 0 for none
	count   uint64
}

func (e *Engine) newSession(tag string, args ...string) (*session, error) {
	conn, err := e.api.connection(append(append(slices.Clone(e.args), args...), "--log_comment="+tag))
	if err != nil {
		return nil, err
	}
	return &session{eng: e, tag: tag, conn: conn, h: *(*unsafe.Pointer)(conn), settings: map[string]string{}}, nil
}

func (s *session) close() { s.eng.api.closeConn(s.conn) }

// begin marks a statement as running and arranges its cancellation with ctx. The returned
// function ends it; it returns ctx's error if ctx was done by then, whatever the engine
// said: a killed statement may look like an empty result.
func (s *session) begin(ctx context.Context) func() error {
	s.mu.Lock()
	s.count++
	id := s.count
	s.running = id
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { s.kill(id) })
	return func() error {
		stop()
		s.mu.Lock()
		s.running = 0
		s.mu.Unlock()
		return ctx.Err()
	}
}

// kill repeats KILL QUERY until statement id has ended: one KILL is lost when it comes
// before the engine has registered the statement.
func (s *session) kill(id uint64) {
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		s.mu.Lock()
		if s.running != id {
			s.mu.Unlock()
			return
		}
		s.eng.control.kill(s.tag)
		s.mu.Unlock()
		time.Sleep(wait)
	}
}

// control is the session that KILL runs on.
type control struct {
	mu sync.Mutex
	s  *session
}

func (c *control) kill(tag string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// An error means that nothing was killed; the caller tries again.
	_, _ = c.s.call("KILL QUERY WHERE Settings['log_comment'] = '"+tag+"' ASYNC", "Null", nil)
}

// call runs a statement and returns its whole result. It must not be an INSERT with data:
// the engine would read that from the process's standard input.
func (s *session) call(sql, format string, list []param) ([]byte, error) {
	p := newParams(list)
	defer p.pin.Unpin()
	q, f := p.text(sql), p.text(format)
	return s.eng.api.result(s.eng.api.query(s.h, q, uintptr(len(sql)), f, uintptr(len(format)),
		p.namesP, p.lensP, p.valuesP, p.vlensP, uintptr(len(list))))
}

// exec is call with cancellation.
func (s *session) exec(ctx context.Context, sql, format string, list []param) ([]byte, error) {
	end := s.begin(ctx)
	out, err := s.call(sql, format, list)
	if ctxErr := end(); ctxErr != nil {
		return nil, ctxErr
	}
	return out, err
}

// prepare brings database and settings of the session to what a request asks for. It takes
// no context: cut off half-way, the session's state would not be known.
func (s *session) prepare(database string, settings map[string]string) error {
	if database != "" && database != s.database {
		if _, err := s.call("USE "+quoteName(database), "Null", nil); err != nil {
			return err
		}
		s.database = database
	}
	if maps.Equal(settings, s.settings) {
		return nil
	}
	var set []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if v, ok := s.settings[name]; !ok || v != settings[name] {
			set = append(set, name+" = "+quoteText(settings[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.settings)) {
		if _, ok := settings[name]; !ok {
			set = append(set, name+" = DEFAULT")
		}
	}
	if _, err := s.call("SET "+strings.Join(set, ", "), "Null", nil); err != nil {
		return err
	}
	s.settings = maps.Clone(settings)
	return nil
}

// classify tells the number of statements in sql and what they do.
func (s *session) classify(sql string) (analysis, error) {
	p := newParams(nil)
	defer p.pin.Unpin()
	out := &analysis{structSize: uint32(unsafe.Sizeof(analysis{}))}
	p.pin.Pin(out)
	if s.eng.api.classify(s.h, p.text(sql), uintptr(len(sql)), nil, 0, unsafe.Pointer(out)) != 0 {
		return analysis{}, errors.New("libchdb could not classify the statement")
	}
	return *out, nil
}

// stream is a running SELECT.
type stream struct {
	s   *session
	h   unsafe.Pointer
	end func() error
}

// query starts a SELECT whose result is fetched piece by piece.
func (s *session) query(ctx context.Context, sql, format string, list []param) (*stream, error) {
	p := newParams(list)
	defer p.pin.Unpin()
	q, f := p.text(sql), p.text(format)
	end := s.begin(ctx)
	h := s.eng.api.streamQuery(s.h, q, uintptr(len(sql)), f, uintptr(len(format)),
		p.namesP, p.lensP, p.valuesP, p.vlensP, uintptr(len(list)))
	var err error
	if h == nil {
		err = errors.New("libchdb returned no stream")
	} else if msg := cText(s.eng.api.resultError(h)); msg != "" {
		s.eng.api.destroyResult(h)
		err = newException(msg)
	}
	if err != nil {
		if ctxErr := end(); ctxErr != nil {
			return nil, ctxErr
		}
		return nil, err
	}
	return &stream{s, h, end}, nil
}

// next returns the next piece, empty at the end.
func (st *stream) next(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b, err := st.s.eng.api.result(st.s.eng.api.fetch(st.s.h, st.h))
	if ctxErr := ctx.Err(); ctxErr != nil {
		return nil, ctxErr
	}
	return b, err
}

// close ends the SELECT, cancelling what is left of it unless finished.
func (st *stream) close(finished bool) error {
	if !finished {
		st.s.eng.api.cancelQuery(st.s.h, st.h)
	}
	st.s.eng.api.destroyResult(st.h)
	return st.end()
}

// insert runs INSERT sql (without FORMAT and data) over the data that next returns piece
// by piece, nil at the end. Nothing is stored unless it returns nil.
func (s *session) insert(ctx context.Context, sql, format string, list []param, next func() ([]byte, error)) error {
	end := s.begin(ctx)
	err := s.feed(ctx, sql, format, list, next)
	if ctxErr := end(); ctxErr != nil {
		return ctxErr
	}
	return err
}

func (s *session) feed(ctx context.Context, sql, format string, list []param, next func() ([]byte, error)) error {
	p := newParams(list)
	defer p.pin.Unpin()
	q, f := p.text(sql), p.text(format)
	a := s.eng.api
	h := a.streamInsert(s.h, q, uintptr(len(sql)), f, uintptr(len(format)),
		p.namesP, p.lensP, p.valuesP, p.vlensP, uintptr(len(list)))
	if h == nil {
		return errors.New("libchdb returned no insert stream")
	}
	defer a.destroyInsert(h)
	if msg := cText(a.insertError(h)); msg != "" {
		return newException(msg)
	}
	for {
		if err := ctx.Err(); err != nil {
			a.cancelInsert(h)
			return err
		}
		b, err := next()
		if err != nil {
			a.cancelInsert(h)
			return fmt.Errorf("read rows to insert: %w", err)
		}
		if b == nil {
			break
		}
		if len(b) == 0 {
			continue
		}
		if a.appendData(h, unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b))) != 0 {
			break // done tells why
		}
	}
	_, err := a.result(a.done(h))
	return err
}

// quoteName quotes an identifier, quoteText a text literal.
func quoteName(s string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(s) + "`"
}

func quoteText(s string) string {
	return "'" + strings.NewReplacer("\\", "\\\\", "'", "\\'").Replace(s) + "'"
}
