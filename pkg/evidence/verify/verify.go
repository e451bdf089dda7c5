// Package verify checks sealed evidence offline. It shares no code with the packages that
// write it: formats are read anew from their specifications (C2SP tlog-tiles,
// tlog-checkpoint and signed-note, RFC 6962), so that a fault of the writer cannot hide
// itself here. It reads only, trusts no file, and names what does not fit.
package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Options of a check; the zero value trusts the public key found beside the evidence.
type Options struct {
	// Key is a verifier key (C2SP signed-note) obtained by another way. Without it the
	// check proves that nothing was changed by someone without the private key that
	// belongs to the key found beside the evidence.
	Key string
	// Strict makes what is absent, not sealed yet or left behind a problem, not a note.
	Strict bool
	// Checkpoints are earlier signed checkpoints of the same ledger: it must still begin
	// with what they cover.
	Checkpoints [][]byte
	// Captures are folders where captures are looked for by name when they are not at
	// the path that was recorded.
	Captures []string
	// Data is, for a bundle, the data folder whose ledger must hold what the bundle proves.
	Data string
}

// Counts tells how much was checked.
type Counts struct {
	Leaves    uint64 `json:"leaves"`    // ledger entries, or proved leaves of a bundle
	Tiles     uint64 `json:"tiles"`     // files of the ledger below tile/
	Proofs    uint64 `json:"proofs"`    // inclusion proofs
	Objects   uint64 `json:"objects"`   // sealed batches and events
	Captures  uint64 `json:"captures"`  // input files
	Documents uint64 `json:"documents"` // issued documents
	Bytes     uint64 `json:"bytes"`     // hashed for all of these
}

// Report is what a check found.
type Report struct {
	Kind       string   `json:"kind"` // data, ledger or bundle
	Dir        string   `json:"dir"`
	Origin     string   `json:"origin"`     // name of the ledger
	PublicKey  string   `json:"public_key"` // key the signatures were checked with
	Pinned     bool     `json:"pinned"`     // the key was given, not found
	Size       uint64   `json:"size"`       // entries the checkpoint covers
	Root       string   `json:"root"`       // base64
	Checked    Counts   `json:"checked"`
	Problems   []string `json:"problems"`    // one sentence each, sorted: what does not fit
	NotPresent []string `json:"not_present"` // sealed, but not here to be checked
	Notes      []string `json:"notes"`       // what the reader should know

	mu     sync.Mutex
	strict bool
	more   int // problems behind maxProblems
}

const maxProblems = 1000

// OK reports whether everything that was checked fits.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

func (r *Report) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.Problems) >= maxProblems {
		r.more++
		return
	}
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// absent tells of something that is not there, which is a problem only when strict.
func (r *Report) absent(format string, args ...any) {
	if r.strict {
		r.problem(format, args...)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.NotPresent = append(r.NotPresent, fmt.Sprintf(format, args...))
}

// note tells of something that is unusual, which is a problem only when strict.
func (r *Report) note(format string, args ...any) {
	if r.strict {
		r.problem(format, args...)
		return
	}
	r.remark(format, args...)
}

// remark tells of something that is never a problem.
func (r *Report) remark(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

func (r *Report) count(n *uint64, bytes uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*n++
	r.Checked.Bytes += bytes
}

func (r *Report) finish() {
	for _, list := range []*[]string{&r.Problems, &r.NotPresent, &r.Notes} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
		if *list == nil {
			*list = []string{}
		}
	}
	if r.more > 0 {
		r.Problems = append(r.Problems, fmt.Sprintf("and %d more problems", r.more))
	}
}

// Dir checks a data folder (ledger, objects, and the captures and documents at their
// recorded paths), a bare ledger, or a bundle: a folder with documents and the manifest
// evidence.json, which may be named itself. What does not fit is in the report; an error
// means that nothing could be checked.
func Dir(ctx context.Context, dir string, opt Options) (*Report, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	} else if !info.IsDir() {
		if filepath.Base(dir) != bundleFile {
			return nil, fmt.Errorf("verify %s: expected a folder or the file %s", dir, bundleFile)
		}
		dir = filepath.Dir(dir)
	}
	has := func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return err == nil
	}
	r := &Report{Dir: dir, strict: opt.Strict}
	var err error
	switch {
	case has(bundleFile) || has(signatureFile):
		r.Kind = "bundle"
		err = r.bundle(ctx, opt)
	case has("ledger"):
		r.Kind = "data"
		err = r.data(ctx, filepath.Join(dir, "ledger"), opt)
	case has("checkpoint") || has("tile") || has("ledger.pub"):
		r.Kind = "ledger"
		err = r.data(ctx, dir, opt)
	default:
		return nil, fmt.Errorf("verify %s: found neither %s (a bundle) nor ledger (a data folder)", dir, bundleFile)
	}
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", dir, err)
	}
	r.finish()
	return r, nil
}

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	return b, nil
}

// hashFile gives digest (hex) and size of a file.
func hashFile(ctx context.Context, path string) (string, uint64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	h := sha256.New()
	n, err := io.Copy(h, &contextReader{ctx, f})
	if err := errors.Join(err, f.Close()); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), uint64(n), nil
}

// contextReader stops reading when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

// Read reads unless the context has ended.
func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// walk calls f for every file below dir with its slash separated path; a missing dir has none.
func walk(dir string, f func(rel, path string, entry fs.DirEntry) error) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			if path == dir && errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if entry.IsDir() {
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return f(filepath.ToSlash(rel), path, entry)
	})
}

// reason is an error of the file system without the path, which the sentence names already.
func reason(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
