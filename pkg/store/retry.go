package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// passing are the codes of errors that go away without a change of what was sent:
// resources used up, servers that start, stop or cannot reach one another.
var passing = map[int32]string{
	159: "TIMEOUT_EXCEEDED",
	198: "DNS_ERROR",
	202: "TOO_MANY_SIMULTANEOUS_QUERIES",
	203: "NO_FREE_CONNECTION",
	209: "SOCKET_TIMEOUT",
	210: "NETWORK_ERROR",
	236: "ABORTED",
	241: "MEMORY_LIMIT_EXCEEDED",
	242: "TABLE_IS_READ_ONLY",
	243: "NOT_ENOUGH_SPACE",
	252: "TOO_MANY_PARTS",
	254: "REPLICA_IS_NOT_IN_QUORUM",
	279: "ALL_CONNECTION_TRIES_FAILED",
	285: "TOO_FEW_LIVE_REPLICAS",
	286: "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
	289: "REPLICA_STATUS_CHANGED",
	319: "UNKNOWN_STATUS_OF_INSERT",
	373: "SESSION_IS_LOCKED",
	394: "QUERY_WAS_CANCELLED",
	425: "SYSTEM_ERROR",
	439: "CANNOT_SCHEDULE_TASK",
	473: "DEADLOCK_AVOIDED",
	999: "KEEPER_EXCEPTION",
}

// diskFull are texts by which errors of other codes show that the disk is full.
var diskFull = regexp.MustCompile(`(?i)no space left on device|not enough (free )?space|ENOSPC|disk quota exceeded`)

// lasting reports whether sending the same again cannot succeed.
func lasting(err error) bool {
	if ex, ok := errors.AsType[*clickhouse.Exception](err); ok {
		_, waits := passing[ex.Code]
		return !waits && !diskFull.MatchString(ex.Message)
	}
	if status, ok := errors.AsType[*clickhouse.HTTPError](err); ok {
		return status.StatusCode < 500 && status.StatusCode != http.StatusTooManyRequests
	}
	return false // the network
}

// backoff is the pause between attempts.
type backoff struct{ first, most time.Duration }

// retry runs attempt until it succeeds, fails for good, or ctx is done. The first failure
// is logged with what is being waited for, and so is the end of the wait.
func (s *Store) retry(ctx context.Context, what string, attempt func() error) error {
	wait := s.wait
	if wait.first == 0 {
		wait = backoff{100 * time.Millisecond, 10 * time.Second}
	}
	start := time.Now()
	said := ""
	for pause := wait.first; ; pause = min(2*pause, wait.most) {
		err := attempt()
		if err == nil {
			if said != "" {
				s.log.InfoContext(ctx, "store answers again", "what", what, "waited", time.Since(start).Round(time.Millisecond))
			}
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, errors.Join(ctx.Err(), err))
		}
		if lasting(err) {
			return fmt.Errorf("%s: %w", what, err)
		}
		if msg := reason(err); msg != said {
			said = msg
			s.log.WarnContext(ctx, "store does not answer as it should, waiting", "what", what, "reason", msg, "error", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, errors.Join(ctx.Err(), err))
		case <-time.After(pause):
		}
	}
}

// reason says in a few words why rows are not taken, for people who have to act.
func reason(err error) string {
	var ex *clickhouse.Exception
	switch {
	case diskFull.MatchString(err.Error()):
		return "the disk of the store is full"
	case errors.As(err, &ex) && ex.Code == 243:
		return "the disk of the store is full"
	case errors.As(err, &ex):
		return "the store answers " + passing[ex.Code]
	case errors.Is(err, context.DeadlineExceeded):
		return "the store does not answer in time"
	}
	return "the store cannot be reached"
}

// Passing reports whether err comes from a store that is away, overloaded or out of space:
// the same request can succeed later. Errors of the caller's context do not pass.
func Passing(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	var ex *clickhouse.Exception
	var status *clickhouse.HTTPError
	if errors.As(err, &ex) || errors.As(err, &status) {
		return !lasting(err)
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
