package store

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// exceptionTagHeader announces the random tag that marks an error in the middle of a
// result.
const exceptionTagHeader = "X-ClickHouse-Exception-Tag"

// result is the body of a response. When the server breaks off, it appends the error in a
// frame marked with the tag of the response: Read gives the rows before it, then the error.
type result struct {
	body   io.ReadCloser
	marker []byte // begins the frame; nil: the server does not mark errors
	buf    []byte // read, not yet given
	err    error  // given when buf is used up
	free   int    // bytes of buf that cannot be part of a frame
}

// maxFrame bounds the frame of an error.
const maxFrame = 64 << 10

func newResult(resp *http.Response) *result {
	r := &result{body: resp.Body}
	if tag := resp.Header.Get(exceptionTagHeader); tag != "" {
		r.marker = []byte("\r\n__exception__\r\n" + tag + "\r\n")
	}
	return r
}

func (r *result) Read(p []byte) (int, error) {
	if r.marker == nil {
		return r.body.Read(p)
	}
	for r.free == 0 && r.err == nil {
		r.fill()
	}
	if r.free == 0 {
		return 0, r.err
	}
	n := copy(p, r.buf[:r.free])
	r.buf, r.free = r.buf[n:], r.free-n
	return n, nil
}

// fill reads on until some bytes are known to be rows, or the end.
func (r *result) fill() {
	piece := make([]byte, 32<<10)
	n, err := r.body.Read(piece)
	r.buf = append(r.buf, piece[:n]...)
	if at := bytes.Index(r.buf, r.marker); at >= 0 {
		frame := bytes.Clone(r.buf[at:])
		rest, _ := io.ReadAll(io.LimitReader(r.body, maxFrame))
		r.buf, r.free, r.err = r.buf[:at], at, streamException(append(frame, rest...))
		return
	}
	r.free = max(0, len(r.buf)-len(r.marker)+1)
	if err != nil {
		r.free, r.err = len(r.buf), err
	}
}

// Close ends the request.
func (r *result) Close() error { return r.body.Close() }

// exceptionPattern takes the text of a server's error apart.
var exceptionPattern = regexp.MustCompile(`(?s)Code: (\d+)\. (?:DB::Exception: )?(.*)`)

// streamException makes the error of a frame: "__exception__" lines around a tag and the
// text, behind which its length stands.
func streamException(frame []byte) error {
	m := exceptionPattern.FindStringSubmatch(string(frame))
	if m == nil {
		return errors.New("the server broke off the result")
	}
	text, _, _ := strings.Cut(m[2], "\r\n__exception__")
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[:i]
	}
	return exception(m[1], text)
}

func exception(code, text string) *clickhouse.Exception {
	n, err := strconv.ParseInt(code, 10, 32)
	if err != nil {
		n = 1002 // UNKNOWN_EXCEPTION
	}
	return &clickhouse.Exception{Code: int32(n), Name: "DB::Exception", Message: text}
}

// readException makes the error of a response that is not 200: a *clickhouse.Exception in
// a *clickhouse.HTTPError, as the client makes them.
func readException(resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxFrame))
	if err != nil {
		return &clickhouse.HTTPError{StatusCode: resp.StatusCode, Err: err}
	}
	text := strings.TrimSpace(string(b))
	code := resp.Header.Get("X-ClickHouse-Exception-Code")
	if m := exceptionPattern.FindStringSubmatch(text); m != nil {
		code, text = m[1], m[2]
	}
	if code == "" {
		return &clickhouse.HTTPError{StatusCode: resp.StatusCode, Err: errors.New(strconv.Quote(text))}
	}
	return &clickhouse.HTTPError{StatusCode: resp.StatusCode, Err: exception(code, text)}
}
