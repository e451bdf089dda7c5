package chdb

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// api is the C interface of libchdb 26.7 (chdb.h). Handles are C pointers; texts are
// passed as pointer and length.
type api struct {
	setSignalHandlers func(enabled int32)
	connect           func(argc int32, argv unsafe.Pointer) unsafe.Pointer
	closeConn         func(conn unsafe.Pointer)
	shutdown          func() int32

	query       func(conn, query unsafe.Pointer, queryLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, count uintptr) unsafe.Pointer
	streamQuery func(conn, query unsafe.Pointer, queryLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, count uintptr) unsafe.Pointer
	fetch       func(conn, stream unsafe.Pointer) unsafe.Pointer
	cancelQuery func(conn, stream unsafe.Pointer)

	streamInsert  func(conn, query unsafe.Pointer, queryLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, count uintptr) unsafe.Pointer
	insertError   func(stream unsafe.Pointer) unsafe.Pointer
	appendData    func(stream, data unsafe.Pointer, n uintptr) int32
	done          func(stream unsafe.Pointer) unsafe.Pointer
	cancelInsert  func(stream unsafe.Pointer)
	destroyInsert func(stream unsafe.Pointer)

	resultError   func(result unsafe.Pointer) unsafe.Pointer
	resultBuffer  func(result unsafe.Pointer) unsafe.Pointer
	resultLength  func(result unsafe.Pointer) uintptr
	destroyResult func(result unsafe.Pointer)

	classify func(conn, sql unsafe.Pointer, sqlLen uintptr, database unsafe.Pointer, databaseLen uintptr, analysis unsafe.Pointer) int32
}

// load binds the functions of the library at path.
func load(path string) (*api, error) {
	lib, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	a := new(api)
	for _, f := range []struct {
		fn   any
		name string
	}{
		{&a.setSignalHandlers, "chdb_set_signal_handlers_enabled"},
		{&a.connect, "chdb_connect"},
		{&a.closeConn, "chdb_close_conn"},
		{&a.shutdown, "chdb_shutdown"},
		{&a.query, "chdb_query_with_params_n"},
		{&a.streamQuery, "chdb_stream_query_with_params_n"},
		{&a.fetch, "chdb_stream_fetch_result"},
		{&a.cancelQuery, "chdb_stream_cancel_query"},
		{&a.streamInsert, "chdb_stream_insert_with_params_n"},
		{&a.insertError, "chdb_stream_insert_error"},
		{&a.appendData, "chdb_stream_append"},
		{&a.done, "chdb_stream_done"},
		{&a.cancelInsert, "chdb_stream_cancel_insert"},
		{&a.destroyInsert, "chdb_destroy_insert_stream"},
		{&a.resultError, "chdb_result_error"},
		{&a.resultBuffer, "chdb_result_buffer"},
		{&a.resultLength, "chdb_result_length"},
		{&a.destroyResult, "chdb_destroy_query_result"},
		{&a.classify, "chdb_classify_query_n"},
	} {
		if _, err := purego.Dlsym(lib, f.name); err != nil {
			return nil, fmt.Errorf("load %s: %s is missing, the library is too old", path, f.name)
		}
		purego.RegisterLibFunc(f.fn, lib, f.name)
	}
	return a, nil
}

// connection opens a connection with arguments in the form --name=value.
func (a *api) connection(args []string) (unsafe.Pointer, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	argv := make([]unsafe.Pointer, 0, len(args)+2)
	for _, s := range append([]string{"tracer"}, args...) {
		b := append([]byte(s), 0)
		pin.Pin(&b[0])
		argv = append(argv, unsafe.Pointer(&b[0]))
	}
	argc := len(argv)
	argv = append(argv, nil)
	pin.Pin(&argv[0])
	conn := a.connect(int32(argc), unsafe.Pointer(&argv[0]))
	if conn == nil {
		return nil, errors.New("libchdb refused to start; it wrote the reason to standard error")
	}
	return conn, nil
}

// params are values for {name:Type} placeholders as C arrays.
type params struct {
	pin                            runtime.Pinner
	names, values                  []unsafe.Pointer
	nameLens, valueLens            []uintptr
	namesP, lensP, valuesP, vlensP unsafe.Pointer
}

// newParams pins the texts; the caller calls pin.Unpin.
func newParams(list []param) *params {
	p := new(params)
	if len(list) == 0 {
		return p
	}
	for _, v := range list {
		p.names = append(p.names, p.text(v.name))
		p.nameLens = append(p.nameLens, uintptr(len(v.name)))
		p.values = append(p.values, p.text(v.value))
		p.valueLens = append(p.valueLens, uintptr(len(v.value)))
	}
	p.pin.Pin(&p.names[0])
	p.pin.Pin(&p.nameLens[0])
	p.pin.Pin(&p.values[0])
	p.pin.Pin(&p.valueLens[0])
	p.namesP, p.lensP = unsafe.Pointer(&p.names[0]), unsafe.Pointer(&p.nameLens[0])
	p.valuesP, p.vlensP = unsafe.Pointer(&p.values[0]), unsafe.Pointer(&p.valueLens[0])
	return p
}

// text copies s, with a NUL behind it, to memory that stays where it is until Unpin.
func (p *params) text(s string) unsafe.Pointer {
	b := append([]byte(s), 0)
	p.pin.Pin(&b[0])
	return unsafe.Pointer(&b[0])
}

// result takes the bytes of a C result and frees it.
func (a *api) result(r unsafe.Pointer) ([]byte, error) {
	if r == nil {
		return nil, errors.New("libchdb returned no result")
	}
	defer a.destroyResult(r)
	if msg := cText(a.resultError(r)); msg != "" {
		return nil, newException(msg)
	}
	n := a.resultLength(r)
	buf := a.resultBuffer(r)
	if n == 0 || buf == nil {
		return nil, nil
	}
	return append([]byte(nil), unsafe.Slice((*byte)(buf), n)...), nil
}

// cText copies a NUL-terminated text; nil gives "".
func cText(p unsafe.Pointer) string {
	if p == nil {
		return ""
	}
	n := 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(p), n))
}

// Classes of statements as chdb_classify_query_n reports them.
const (
	classReadOnly = 0
	classUnknown  = 4
)

// analysis is chdb_query_analysis_v1.
type analysis struct {
	structSize uint32
	statements uint32 // 0: the text did not parse
	flags      uint32
	class      uint32
}
