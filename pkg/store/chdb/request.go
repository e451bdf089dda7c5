package chdb

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/ch-go/proto"
)

// transport answers requests of the ClickHouse HTTP protocol.
type transport struct{ e *Engine }

// maxQuery bounds the text of a statement.
const maxQuery = 16 << 20

// request is one HTTP request taken apart.
type request struct {
	sql      string
	database string
	format   string
	revision int // client_protocol_version
	readOnly bool
	params   []param
	settings map[string]string
	body     io.Reader // rows of an INSERT; nil without
}

// RoundTrip runs the statement of req. Errors of the engine are responses, as of a server.
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	r, err := parseRequest(req)
	if err != nil {
		return failure(req, err), nil
	}
	if r.sql == helloSQL {
		return success(req, t.e.hello.block(r.revision), r.format), nil
	}
	if r.readOnly {
		return t.readOnly(req, r)
	}
	s, err := t.e.acquire(req.Context())
	if err != nil {
		return nil, err
	}
	release := func() { t.e.pool <- s }
	return t.run(req, r, s, release)
}

// readOnly runs the statement in a session of its own with readonly=1: no writes, no
// files, no addresses, no settings in the statement.
func (t transport) readOnly(req *http.Request, r *request) (*http.Response, error) {
	if why := refuseReadOnly(r.sql); why != "" {
		return failure(req, &exception{164, "Code: 164. DB::Exception: Cannot execute query in readonly mode: " + why + ". (READONLY)"}), nil
	}
	s, err := t.e.acquireReadOnly(req.Context())
	if err != nil {
		return nil, err
	}
	release := func() {
		s.close()
		<-t.e.readers
	}
	a, err := s.classify(r.sql)
	if err == nil && a.statements == 1 && a.class != classReadOnly {
		err = &exception{164, "Code: 164. DB::Exception: Cannot execute query in readonly mode: only statements that read are allowed. (READONLY)"}
	}
	if err != nil {
		release()
		return answer(req, err)
	}
	return t.run(req, r, s, release)
}

// run executes the statement on s and calls release when s is free again, which for a
// streamed SELECT is when the body is closed.
func (t transport) run(req *http.Request, r *request, s *session, release func()) (*http.Response, error) {
	ctx := req.Context()
	streaming := false
	defer func() {
		if !streaming {
			release()
		}
	}()
	if err := s.prepare(r.database, r.settings); err != nil {
		return answer(req, err)
	}
	if r.readOnly {
		if _, err := s.call("SET readonly = 1", "Null", nil); err != nil {
			return answer(req, err)
		}
	}
	switch st := parseStatement(r.sql); {
	case st.kind == setsSession:
		return failure(req, badRequest("SET and USE do not outlast a request: pass settings and database as URL parameters")), nil
	case st.kind == insertData:
		if err := t.insert(ctx, r, s, st); err != nil {
			return answer(req, err)
		}
		return success(req, nil, r.format), nil
	case st.kind == selects && concatenates(cmp.Or(st.format, r.format)):
		body, err := openBody(ctx, s, r, release)
		if err != nil {
			return answer(req, err)
		}
		if body == nil {
			return success(req, nil, r.format), nil
		}
		streaming = true
		resp := success(req, nil, r.format)
		resp.ContentLength = -1
		resp.Header.Set("X-ClickHouse-Exception-Tag", body.tag)
		resp.Body = body
		return resp, nil
	}
	if r.body != nil {
		return failure(req, badRequest("only INSERT takes data in the body")), nil
	}
	a, err := s.classify(r.sql)
	if err != nil {
		return answer(req, err)
	}
	if a.statements > 1 {
		return failure(req, &exception{62, "Code: 62. DB::Exception: Syntax error: Multi-statements are not allowed. (SYNTAX_ERROR)"}), nil
	}
	if a.class == classUnknown {
		// The stream call parses the whole text before it runs anything; here it serves
		// for its error message.
		st, err := s.query(ctx, r.sql, r.format, r.params)
		if err == nil {
			err = badRequest("the statement is not understood")
			_ = st.close(false)
		}
		return answer(req, err)
	}
	out, err := s.exec(ctx, r.sql, r.format, r.params)
	if err != nil {
		return answer(req, err)
	}
	return success(req, out, r.format), nil
}

// insert feeds the body to an insert stream.
func (t transport) insert(ctx context.Context, r *request, s *session, st statement) error {
	if st.inline {
		return badRequest("INSERT with rows in the statement is not supported: send the statement as URL parameter query and the rows as body, or use INSERT ... SELECT")
	}
	if r.body == nil {
		return badRequest("INSERT without rows: send them as body")
	}
	format := st.format
	if format == "" {
		format = r.format
	}
	return s.insert(ctx, st.head, format, r.params, pieces(r.body))
}

// pieces reads body in large pieces. A body that ends early is an error, so that nothing
// of it is stored.
func pieces(body io.Reader) func() ([]byte, error) {
	buf := make([]byte, 1<<20)
	var end error
	return func() ([]byte, error) {
		n := 0
		for end == nil && n < len(buf) {
			var m int
			m, end = body.Read(buf[n:])
			n += m
		}
		if end != nil && !errors.Is(end, io.EOF) {
			return nil, end
		}
		if n == 0 {
			return nil, nil
		}
		return buf[:n], nil
	}
}

// ignored are URL parameters that are no settings.
var ignored = []string{
	"query", "database", "default_format", "client_protocol_version", "readonly",
	"user", "password", "quota_key", "query_id", "log_comment", "setsSessionid", "setsSessioncheck",
	"setsSessiontimeout", "wait_end_of_query", "buffer_size", "enable_http_compression",
	"compress", "decompress", "send_progress_in_http_headers",
}

func parseRequest(req *http.Request) (*request, error) {
	q := req.URL.Query()
	r := &request{
		database: q.Get("database"), format: q.Get("default_format"),
		settings: map[string]string{},
	}
	if h := req.Header.Get("X-ClickHouse-Database"); r.database == "" {
		r.database = h
	}
	if r.format == "" {
		r.format = "TabSeparated"
	}
	if v := q.Get("client_protocol_version"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return nil, badRequest("client_protocol_version is no number")
		}
		r.revision = n
	}
	if q.Get("compress") == "1" || q.Get("decompress") == "1" {
		return nil, badRequest("compression is not supported by the embedded engine: use none")
	}
	if strings.HasPrefix(req.Header.Get("Content-Type"), "multipart/") {
		return nil, badRequest("external tables are not supported by the embedded engine")
	}
	switch v := q.Get("readonly"); v {
	case "", "0":
	case "1":
		r.readOnly = true
	default:
		return nil, badRequest("readonly must be 0 or 1")
	}
	for name, values := range q {
		value := values[len(values)-1]
		if p, ok := strings.CutPrefix(name, "param_"); ok {
			r.params = append(r.params, param{p, value})
			continue
		}
		if slices.Contains(ignored, name) {
			continue
		}
		if !settingName.MatchString(name) {
			return nil, badRequest("URL parameter " + strconv.Quote(name) + " is no setting")
		}
		r.settings[name] = value
	}
	slices.SortFunc(r.params, func(a, b param) int { return strings.Compare(a.name, b.name) })
	return r, r.readBody(req, q)
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// readBody finds the statement: in the URL, with rows as body, or as body.
func (r *request) readBody(req *http.Request, q url.Values) error {
	var body io.Reader = http.NoBody
	if req.Body != nil {
		body = req.Body
	}
	if r.sql = strings.TrimSpace(q.Get("query")); r.sql != "" {
		rows := bufio.NewReader(body)
		if _, err := rows.Peek(1); !errors.Is(err, io.EOF) {
			r.body = rows
		}
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(body, maxQuery+1))
	if err != nil {
		return badRequest("read query: " + err.Error())
	}
	if len(b) > maxQuery {
		return badRequest("query is too long")
	}
	r.sql = strings.TrimSpace(string(b))
	if r.sql == "" {
		return badRequest("empty query")
	}
	return nil
}

// concatenates reports whether results in the format can be made piece by piece. The
// others have a frame around the whole and are made in one piece.
func concatenates(format string) bool {
	switch format {
	case "Native", "JSONEachRow", "JSONLines", "NDJSON", "CSV", "TabSeparated", "TSV", "RowBinary", "Null":
		return true
	}
	return false
}

// body is the result of a SELECT as it comes.
type body struct {
	ctx     context.Context
	stream  *stream
	release func()
	tag     string
	buf     []byte
	err     error // what Read returns when buf is empty
	closed  bool
}

// openBody starts the SELECT and fetches the first piece, so that most errors come before
// the response's head. A SELECT without rows gives nil.
func openBody(ctx context.Context, s *session, r *request, release func()) (*body, error) {
	st, err := s.query(ctx, r.sql, r.format, r.params)
	if err != nil {
		return nil, err
	}
	first, err := st.next(ctx)
	if err != nil || len(first) == 0 {
		if endErr := st.close(err == nil); endErr != nil {
			return nil, endErr
		}
		return nil, err
	}
	var tag [8]byte
	_, _ = rand.Read(tag[:])
	return &body{ctx: ctx, stream: st, release: release, tag: fmt.Sprintf("%x", tag), buf: first}, nil
}

func (b *body) Read(p []byte) (int, error) {
	for len(b.buf) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		piece, err := b.stream.next(b.ctx)
		var ex *exception
		switch {
		case errors.As(err, &ex):
			// The head is gone: the error follows the rows in a frame of its own.
			b.buf = fmt.Appendf(nil, "\r\n__exception__\r\n%s\r\n%s\n%d %s\r\n__exception__\r\n", b.tag, ex.text, len(ex.text)+1, b.tag)
			b.err = io.EOF
		case err != nil:
			b.err = err
		case len(piece) == 0:
			b.err = io.EOF
		default:
			b.buf = piece
		}
	}
	n := copy(p, b.buf)
	b.buf = b.buf[n:]
	return n, nil
}

// Close ends the SELECT and gives the session back.
func (b *body) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	_ = b.stream.close(errors.Is(b.err, io.EOF))
	b.buf, b.err = nil, errors.New("read from a closed result")
	b.release()
	return nil
}

// exception is an error of the engine.
type exception struct {
	code int
	text string // begins with "Code: N."
}

func (e *exception) Error() string { return e.text }

var codePattern = regexp.MustCompile(`Code: (\d+)\.`)

func newException(text string) error {
	text = strings.TrimSpace(text)
	if m := codePattern.FindStringSubmatchIndex(text); m != nil {
		code, err := strconv.Atoi(text[m[2]:m[3]])
		if err == nil {
			return &exception{code, text[m[0]:]}
		}
	}
	return &exception{1002, "Code: 1002. DB::Exception: " + text} // UNKNOWN_EXCEPTION
}

// badRequest is an error found before the engine was asked; 36 is BAD_ARGUMENTS.
func badRequest(text string) *exception {
	return &exception{36, "Code: 36. DB::Exception: " + text + ". (BAD_ARGUMENTS)"}
}

// answer turns an error of the engine into a response and returns any other as it is.
func answer(req *http.Request, err error) (*http.Response, error) {
	if ex, ok := errors.AsType[*exception](err); ok {
		return failure(req, ex), nil
	}
	return nil, err
}

func failure(req *http.Request, err error) *http.Response {
	ex := &exception{1002, err.Error()}
	errors.As(err, &ex)
	status := http.StatusInternalServerError
	if ex.code == 60 || ex.code == 81 { // unknown table, unknown database
		status = http.StatusNotFound
	}
	resp := response(req, status, []byte(ex.text+"\n"))
	resp.Header.Set("X-ClickHouse-Exception-Code", strconv.Itoa(ex.code))
	resp.Header.Set("Content-Type", "text/plain; charset=UTF-8")
	return resp
}

func success(req *http.Request, data []byte, format string) *http.Response {
	resp := response(req, http.StatusOK, data)
	resp.Header.Set("X-ClickHouse-Format", format)
	resp.Header.Set("Content-Type", "application/octet-stream")
	return resp
}

func response(req *http.Request, status int, data []byte) *http.Response {
	return &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Request: req,
		Body: io.NopCloser(bytes.NewReader(data)), ContentLength: int64(len(data)),
	}
}

// helloSQL is the first thing clickhouse-go asks of a connection.
const helloSQL = "SELECT displayName(), version(), revision(), timezone()"

// hello answers helloSQL. The revision it states is 0, so that the client reads all later
// blocks as the library writes them.
type hello struct{ name, version, timezone string }

func (h *hello) learn(s *session) error {
	out, err := s.call("SELECT version(), timezone()", "TabSeparated", nil)
	if err != nil {
		return fmt.Errorf("ask for the version: %w", err)
	}
	version, zone, ok := strings.Cut(strings.TrimSpace(string(out)), "\t")
	if !ok {
		return fmt.Errorf("ask for the version: answer %q", out)
	}
	h.name, h.version, h.timezone = "tracer", version, zone
	return nil
}

func (h *hello) block(revision int) []byte {
	var name, version, zone proto.ColStr
	var rev proto.ColUInt32
	name.Append(h.name)
	version.Append(h.version)
	rev.Append(0)
	zone.Append(h.timezone)
	var buf proto.Buffer
	// Encoding plain columns of one row each cannot fail.
	_ = proto.Block{Columns: 4, Rows: 1}.EncodeBlock(&buf, revision, proto.Input{
		{Name: "displayName()", Data: name},
		{Name: "version()", Data: version},
		{Name: "revision()", Data: rev},
		{Name: "timezone()", Data: zone},
	})
	return buf.Buf
}
