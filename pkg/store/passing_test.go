package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tracer-framework/tracer/pkg/store"
)

func TestPassing(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("decode row: bad"), false},
		{context.Canceled, false},
		{fmt.Errorf("read flow: %w", refused), true},
		{fmt.Errorf("read flow: %w", io.ErrUnexpectedEOF), true},
		{&clickhouse.Exception{Code: 60, Message: "unknown table"}, false},
		{fmt.Errorf("x: %w", &clickhouse.Exception{Code: 241, Message: "memory"}), true},
		{&clickhouse.HTTPError{StatusCode: 503}, true},
		{&clickhouse.HTTPError{StatusCode: 400}, false},
	} {
		if got := store.Passing(tc.err); got != tc.want {
			t.Errorf("Passing(%v) = %v, want %v", tc.err, got, tc.want)
		}
	}
}
