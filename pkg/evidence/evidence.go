// Package evidence keeps the evidence ledger: an append-only, signed log of what was
// sealed, and the store of the sealed bytes. A ledger entry never holds contents, only
// the SHA-256 of a thing, its size and its names, so that contents can be erased and the
// proof stays.
//
// The ledger is a Merkle tree (RFC 6962, section 2.1) in the files of C2SP tlog-tiles
// (https://c2sp.org/tlog-tiles): any tool for such logs can read a copy of the folder.
//
//	checkpoint                 signed note: origin, size, root (https://c2sp.org/tlog-checkpoint)
//	tile/<L>/<N>[.p/<W>]       256 hashes of level L, or W of them in the last tile
//	tile/entries/<N>[.p/<W>]   256 entries, each after its length (2 bytes, big endian)
//	ledger.pub                 verifier key of the note (https://c2sp.org/signed-note)
//	ledger.key                 private key, mode 0600, unless a key is given from outside
//	ledger.lock                held (flock) by the one writer
//
// An entry is the canonical JSON (RFC 8785) of a leaf and the time it was sealed.
//
// The tree and the note format come from golang.org/x/mod/sumdb (tlog, note), the code
// behind the Go checksum database, and not from Tessera. Tessera integrates in the
// background: an entry has its place when Add resolves, but can be proved only once the
// checkpoint is published, about a second later; it brings its own sequencing state and
// garbage collection. Here an entry is acknowledged to the bus right after it is sealed,
// so sealing must be synchronous: when Append returns, files, folder entries and the
// signed checkpoint are on disk and the entry can be proved. With tlog that takes one
// page of code. The files are the same, so a change to Tessera stays possible.
package evidence

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Kinds of leaf. The bytes of a batch and an event are kept in Objects; a capture and a
// report stay where they are.
const (
	KindCapture = "capture" // an input file; ID is its SHA-256
	KindBatch   = "batch"   // a sealed batch of records; ID is its event id, Parent the capture's evidence_id
	KindEvent   = "event"   // the data of an event; ID is its event id, Name its type, Parent its case
	KindReport  = "report"  // an issued document; see ReportID
)

// ErrConflict is returned when a leaf of the same kind and id was sealed before with
// another digest; errors.As with a *ConflictError names both.
var ErrConflict = errors.New("already sealed with another digest")

// ErrLeaf is returned by Append for a leaf that no ledger can take, see Leaf.
var ErrLeaf = errors.New("leaf refused")

// ErrDamaged is returned by Open when the files of the ledger contradict each other or
// its signed checkpoint. Nothing is repaired: the verifier says what was changed.
var ErrDamaged = errors.New("evidence ledger damaged")

// ConflictError tells which leaf stands in the ledger and which was refused.
type ConflictError struct {
	Kind, ID string
	Sealed   string // SHA-256 that stands in the ledger
	Refused  string // SHA-256 of the leaf that was refused
	Index    uint64 // place of the sealed leaf
}

// Error says both digests.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s %s: sealed at %d with sha256 %s, refused with sha256 %s: %v", e.Kind, e.ID, e.Index, e.Sealed, e.Refused, ErrConflict)
}

// Is makes errors.Is(err, ErrConflict) true.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// Leaf is what is sealed about one thing. Kind and ID name it; a second leaf of the same
// Kind, ID and SHA256 is the same leaf.
type Leaf struct {
	Kind   string // lower case letters, at most 32
	ID     string // at most 1024 bytes
	SHA256 string // of the thing's bytes, 64 lower case hexadecimal digits
	Size   uint64 // bytes, at most 2^53-1 (the whole numbers of RFC 8785)
	Parent string // id of what it belongs to, at most 1024 bytes
	Name   string // name for people, at most 4096 bytes; bytes that are not UTF-8 become U+FFFD
}

// Entry is a leaf with its place and the time it was sealed.
type Entry struct {
	Leaf
	Index  uint64
	Sealed model.Time
}

// ReportID is the leaf id of one document of one run of a case.
func ReportID(caseID, run, name string) string { return caseID + "/" + run + "/" + name }

const maxSize = 1<<53 - 1

// check refuses what cannot be written as an entry and replaces what is not UTF-8.
func (l *Leaf) check() error {
	l.Name = strings.ToValidUTF8(l.Name, "\uFFFD")
	switch {
	case l.Kind == "" || len(l.Kind) > 32 || strings.Trim(l.Kind, "abcdefghijklmnopqrstuvwxyz") != "":
		return fmt.Errorf("leaf kind %q: expected 1 to 32 lower case letters", l.Kind)
	case l.ID == "" || len(l.ID) > 1024 || !utf8.ValidString(l.ID):
		return fmt.Errorf("leaf %s: id of %d bytes: expected 1 to 1024 bytes of UTF-8", l.Kind, len(l.ID))
	case !validSHA256(l.SHA256):
		return fmt.Errorf("leaf %s %s: sha256 %q: expected 64 lower case hexadecimal digits", l.Kind, l.ID, l.SHA256)
	case l.Size > maxSize:
		return fmt.Errorf("leaf %s %s: size %d is above 2^53-1", l.Kind, l.ID, l.Size)
	case len(l.Parent) > 1024 || !utf8.ValidString(l.Parent):
		return fmt.Errorf("leaf %s %s: parent of %d bytes: expected at most 1024 bytes of UTF-8", l.Kind, l.ID, len(l.Parent))
	case len(l.Name) > 4096:
		return fmt.Errorf("leaf %s %s: name of %d bytes is above 4096", l.Kind, l.ID, len(l.Name))
	}
	return nil
}

func validSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32 && strings.ToLower(s) == s
}

// entry is the JSON form; fields in the order of RFC 8785 (sorted by name).
type entry struct {
	ID     string `json:"id"`
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Parent string `json:"parent"`
	Sealed string `json:"sealed"`
	SHA256 string `json:"sha256"`
	Size   uint64 `json:"size"`
}

// encode gives the canonical JSON of the entry.
func (e *Entry) encode() []byte {
	b := make([]byte, 0, 256+len(e.ID)+len(e.Name)+len(e.Parent))
	field := func(name, value string) {
		b = append(b, name...)
		b = appendString(b, value)
	}
	field(`{"id":`, e.ID)
	field(`,"kind":`, e.Kind)
	field(`,"name":`, e.Name)
	field(`,"parent":`, e.Parent)
	field(`,"sealed":`, e.Sealed.String())
	field(`,"sha256":`, e.SHA256)
	b = append(b, `,"size":`...)
	b = strconv.AppendUint(b, e.Size, 10)
	return append(b, '}')
}

// appendString writes s as a JSON string by RFC 8785, section 3.2.2.2.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\b':
			b = append(b, '\\', 'b')
		case c == '\t':
			b = append(b, '\\', 't')
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\f':
			b = append(b, '\\', 'f')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c < 0x20:
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// decode reads the canonical JSON of an entry and refuses any other form of it.
func (e *Entry) decode(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var j entry
	if err := dec.Decode(&j); err != nil {
		return fmt.Errorf("decode ledger entry: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("decode ledger entry: more than one JSON value")
	}
	if err := e.Sealed.UnmarshalJSON(strconv.AppendQuote(nil, j.Sealed)); err != nil {
		return fmt.Errorf("decode ledger entry: %w", err)
	}
	e.Leaf = Leaf{Kind: j.Kind, ID: j.ID, SHA256: j.SHA256, Size: j.Size, Parent: j.Parent, Name: j.Name}
	if err := e.check(); err != nil {
		return fmt.Errorf("decode ledger entry: %w", err)
	}
	if !bytes.Equal(e.encode(), data) {
		return errors.New("decode ledger entry: not canonical JSON")
	}
	return nil
}
