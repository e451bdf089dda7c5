// Package model holds the nouns of TRACER: what an investigation reads, derives
// and hands over. It imports the standard library only. Every field has the
// same name in Go, JSON, SQL and the documentation; names follow Zeek where Zeek
// has a word (orig_/resp_, conn_state, history, service, missed_bytes) and
// ECS/OCSF elsewhere.
package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
)

// Time is a moment in microseconds since 1970-01-01T00:00:00Z. Zero means
// "not known". JSON form: RFC 3339 in UTC with six decimals, empty string for zero.
type Time int64

// TimeOf converts t, truncated to microseconds; the zero time.Time gives zero.
func TimeOf(t time.Time) Time {
	if t.IsZero() {
		return 0
	}
	return Time(t.UnixMicro())
}

// Time converts to time.Time in UTC; zero gives the zero time.Time.
func (t Time) Time() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(t)).UTC()
}

// Add returns t moved by d, truncated to microseconds.
func (t Time) Add(d time.Duration) Time { return t + Time(d.Microseconds()) }

// Sub returns t-u.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t-u) * time.Microsecond }

const timeLayout = "2006-01-02T15:04:05.000000Z"

// String is the JSON form without quotes.
func (t Time) String() string {
	if t == 0 {
		return ""
	}
	return t.Time().Format(timeLayout)
}

// MarshalJSON writes the JSON form.
func (t Time) MarshalJSON() ([]byte, error) {
	return strconv.AppendQuote(nil, t.String()), nil
}

// UnmarshalJSON reads the JSON form; any RFC 3339 time is accepted.
func (t *Time) UnmarshalJSON(b []byte) error {
	s, err := strconv.Unquote(string(b))
	if err != nil {
		return fmt.Errorf("time %s: expected a quoted RFC 3339 time", b)
	}
	if s == "" {
		*t = 0
		return nil
	}
	v, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return fmt.Errorf("time %q: expected RFC 3339: %w", s, err)
	}
	*t = TimeOf(v)
	return nil
}

// FlowID names one flow. It is derived from the content of the evidence and the
// position of the flow's first packet in it, so the same input gives the same id.
// Text and JSON form: 0x and 16 hexadecimal digits, which SQL reads as is:
//
//	SELECT * FROM flow WHERE flow_id = 0x00c0ffee00c0ffee
type FlowID uint64

// String is the text form.
func (id FlowID) String() string {
	const digits = "0123456789abcdef"
	var b [18]byte
	b[0], b[1] = '0', 'x'
	for i := 17; i > 1; i-- {
		b[i] = digits[id&15]
		id >>= 4
	}
	return string(b[:])
}

// MarshalText writes the text form.
func (id FlowID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the text form.
func (id *FlowID) UnmarshalText(b []byte) error {
	h, ok := bytes.CutPrefix(b, []byte("0x"))
	if !ok || len(h) != 16 {
		return fmt.Errorf("flow id %q: expected 0x and 16 hexadecimal digits", b)
	}
	v, err := strconv.ParseUint(string(h), 16, 64)
	if err != nil {
		return fmt.Errorf("flow id %q: expected 0x and 16 hexadecimal digits", b)
	}
	*id = FlowID(v)
	return nil
}

// DeriveID makes a deterministic id: prefix, a hyphen and the first 16 hexadecimal
// digits of the SHA-256 over the parts, each preceded by its length so that no two
// lists of parts give the same bytes.
func DeriveID(prefix string, parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write([]byte(p))
	}
	return prefix + "-" + hex.EncodeToString(h.Sum(nil)[:8])
}
