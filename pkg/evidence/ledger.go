package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/tracer-framework/tracer/pkg/lock"
	"github.com/tracer-framework/tracer/pkg/model"
)

// Options of a ledger; the zero value makes the key on first open and keeps it inside.
type Options struct {
	// Key is the path of a private key from outside (see NewKey); it must exist.
	Key string
	// Now gives the sealing time; nil means the clock.
	Now func() time.Time

	fault func(op, path string) error // see disk
}

// Ledger is an open evidence ledger. Its methods may be called from several goroutines.
type Ledger struct {
	dir  string
	now  func() time.Time
	disk disk
	lock *os.File
	keys *keys

	commits group[*request]
	writing sync.Mutex // held by the commit under way
	tree    atomic.Pointer[tree]

	mu     sync.RWMutex
	index  map[[16]byte]place
	sealed []model.Time // by index
	stale  bool         // the last commit failed: what is on disk must be read again
	closed bool
}

// place of a leaf, found by the hash of its kind and id.
type place struct {
	index  uint64
	sha256 [32]byte
}

// request is one call of Append.
type request struct {
	leaves  []Leaf
	indexes []uint64
}

func indexKey(kind, id string) [16]byte {
	sum := sha256.Sum256([]byte(kind + "\x00" + id))
	return [16]byte(sum[:16])
}

// Open opens the ledger in dir, or begins one. It reads every entry, recomputes the tree
// and compares it with the signed checkpoint: an interrupted append is cut off, anything
// else that does not fit gives ErrDamaged. A second writer is refused with a sentence that
// names the process that holds the ledger.
func Open(dir string, opt Options) (*Ledger, error) {
	l := &Ledger{dir: dir, now: opt.Now, disk: disk{fault: opt.fault}}
	if l.now == nil {
		l.now = time.Now
	}
	made, err := l.disk.mkdir(dir)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	if err := l.disk.syncDirs(made); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	if l.lock, err = lock.Take(filepath.Join(dir, lockFile)); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	if err := l.open(opt.Key); err != nil {
		return nil, errors.Join(fmt.Errorf("open ledger %s: %w", dir, err), l.lock.Close())
	}
	return l, nil
}

func (l *Ledger) open(keyPath string) error {
	_, err := os.Stat(filepath.Join(l.dir, checkpointFile))
	isNew := errors.Is(err, fs.ErrNotExist)
	if isNew {
		if _, err := os.Stat(filepath.Join(l.dir, "tile")); err == nil {
			return fmt.Errorf("%w: entries without a checkpoint", ErrDamaged)
		}
	}
	if l.keys, err = openKeys(l.dir, keyPath, isNew, l.disk); err != nil {
		return err
	}
	if isNew {
		empty := &tree{}
		if empty.checkpoint, err = l.sign(empty); err != nil {
			return err
		}
		if err := l.disk.write(file{path: filepath.Join(l.dir, checkpointFile), data: empty.checkpoint}); err != nil {
			return fmt.Errorf("write checkpoint: %w", err)
		}
	}
	return l.load()
}

// load reads the checkpoint and everything below it.
func (l *Ledger) load() error {
	text, err := os.ReadFile(filepath.Join(l.dir, checkpointFile))
	if err != nil {
		return fmt.Errorf("read checkpoint: %w", err)
	}
	n, err := note.Open(text, note.VerifierList(l.keys.verifier))
	if err != nil {
		return fmt.Errorf("%w: checkpoint: %w", ErrDamaged, err)
	}
	size, root, err := parseCheckpoint(n.Text, l.keys.verifier.Name())
	if err != nil {
		return fmt.Errorf("%w: checkpoint: %w", ErrDamaged, err)
	}
	index := map[[16]byte]place{}
	var sealed []model.Time
	t, err := load(l.dir, size, func(e *Entry) {
		index[indexKey(e.Kind, e.ID)] = place{index: e.Index, sha256: digest(e.SHA256)}
		sealed = append(sealed, e.Sealed)
	})
	if err != nil {
		return err
	}
	if t.root() != root {
		return fmt.Errorf("%w: the entries give root %s, the signed checkpoint says %s", ErrDamaged, t.root(), root)
	}
	if err := t.clean(l.dir, l.disk); err != nil {
		return fmt.Errorf("remove what an interrupted append left: %w", err)
	}
	t.checkpoint = text
	l.mu.Lock()
	l.index, l.sealed, l.stale = index, sealed, false
	l.mu.Unlock()
	l.tree.Store(t)
	return nil
}

// digest decodes a SHA-256 that check has accepted.
func digest(s string) (d [32]byte) {
	_, _ = hex.Decode(d[:], []byte(s)) // accepted by check
	return d
}

// sign makes the checkpoint of t: origin, size and root under an Ed25519 signature.
func (l *Ledger) sign(t *tree) ([]byte, error) {
	text := fmt.Sprintf("%s\n%d\n%s\n", l.keys.signer.Name(), t.size, t.root())
	signed, err := note.Sign(&note.Note{Text: text}, l.keys.signer)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	return signed, nil
}

func parseCheckpoint(text, origin string) (uint64, tlog.Hash, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] != origin {
		return 0, tlog.Hash{}, fmt.Errorf("expected origin %s, size and root", origin)
	}
	size, err := strconv.ParseUint(lines[1], 10, 62)
	if err != nil {
		return 0, tlog.Hash{}, fmt.Errorf("size %q: %w", lines[1], err)
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return 0, tlog.Hash{}, fmt.Errorf("root %q: %w", lines[2], err)
	}
	return size, root, nil
}

// Append seals leaves and returns their places, in order. When it returns without error
// they are durable and covered by the signed checkpoint. A leaf that was sealed before
// keeps its place and its time. A leaf whose kind and id were sealed with another digest
// fails the whole call with a *ConflictError, and none of its leaves is sealed. Calls that
// arrive together share one commit. If ctx ends while the commit is under way, Append
// waits for its result.
func (l *Ledger) Append(ctx context.Context, leaves []Leaf) ([]uint64, error) {
	if len(leaves) == 0 {
		return nil, nil
	}
	r := &request{leaves: make([]Leaf, len(leaves)), indexes: make([]uint64, len(leaves))}
	copy(r.leaves, leaves)
	for i := range r.leaves {
		if err := r.leaves[i].check(); err != nil {
			return nil, fmt.Errorf("append to ledger: %w: %w", ErrLeaf, err)
		}
	}
	if err := l.commits.do(ctx, r, l.commit); err != nil {
		return nil, fmt.Errorf("append to ledger: %w", err)
	}
	return r.indexes, nil
}

// commit seals the leaves of several calls with one checkpoint.
func (l *Ledger) commit(requests []*request) []error {
	l.writing.Lock()
	defer l.writing.Unlock()
	errs := make([]error, len(requests))
	fail := func(err error) []error {
		for i := range errs {
			if errs[i] == nil {
				errs[i] = err
			}
		}
		return errs
	}
	if err := l.usable(); err != nil {
		return fail(err)
	}
	old := l.tree.Load()
	next := old.clone()
	sealed := model.TimeOf(l.now())
	if n := len(l.sealed); n > 0 {
		sealed = max(sealed, l.sealed[n-1]) // the clock may have been set back
	}

	var files []file
	full := func(level int, n uint64, content []byte) {
		files = append(files, file{path: filepath.Join(l.dir, tilePath(level, n, 0)), data: content})
	}
	added := map[[16]byte]place{}
	find := func(k [16]byte, own map[[16]byte]place) (place, bool) {
		for _, m := range []map[[16]byte]place{l.index, added, own} {
			if p, ok := m[k]; ok {
				return p, true
			}
		}
		return place{}, false
	}
	for i, r := range requests {
		own := map[[16]byte]place{}
		var fresh []Entry
		for j := range r.leaves {
			leaf := &r.leaves[j]
			k := indexKey(leaf.Kind, leaf.ID)
			sum := digest(leaf.SHA256)
			p, ok := find(k, own)
			if !ok {
				p = place{index: next.size + uint64(len(fresh)), sha256: sum}
				own[k] = p
				fresh = append(fresh, Entry{Leaf: *leaf, Index: p.index, Sealed: sealed})
			} else if p.sha256 != sum {
				errs[i] = &ConflictError{Kind: leaf.Kind, ID: leaf.ID, Sealed: hex.EncodeToString(p.sha256[:]), Refused: leaf.SHA256, Index: p.index}
				break
			}
			r.indexes[j] = p.index
		}
		if errs[i] != nil {
			continue
		}
		for j := range fresh {
			next.add(fresh[j].encode(), full)
		}
		maps.Copy(added, own)
	}
	if next.size == old.size {
		return errs
	}
	var err error
	if next.checkpoint, err = l.sign(next); err != nil {
		return fail(err)
	}
	if err := l.publish(old, next, files); err != nil {
		l.mu.Lock()
		l.stale = true
		l.mu.Unlock()
		return fail(err)
	}
	l.mu.Lock()
	maps.Copy(l.index, added)
	for range next.size - old.size {
		l.sealed = append(l.sealed, sealed)
	}
	l.mu.Unlock()
	l.tree.Store(next)
	return errs
}

// usable says whether a commit may begin. After a failure it reads the disk anew: the
// checkpoint may or may not have been written, and no two of one size may ever be signed.
func (l *Ledger) usable() error {
	l.mu.RLock()
	closed, stale := l.closed, l.stale
	l.mu.RUnlock()
	if closed {
		return errors.New("ledger is closed")
	}
	if stale {
		return l.load()
	}
	return nil
}

// publish makes next durable: the tiles first, then the checkpoint that counts them in.
func (l *Ledger) publish(old, next *tree, files []file) error {
	current := map[string]bool{}
	next.partial(func(level int, n uint64, width int, content []byte) {
		path := filepath.Join(l.dir, tilePath(level, n, width))
		current[path] = true
		files = append(files, file{path: path, data: content})
	})
	var replaced []string
	old.partial(func(level int, n uint64, width int, _ []byte) {
		path := filepath.Join(l.dir, tilePath(level, n, width))
		if !current[path] {
			replaced = append(replaced, path)
			return
		}
		for i := range files { // did not grow: on disk already
			if files[i].path == path {
				files = append(files[:i], files[i+1:]...)
				break
			}
		}
	})
	if err := l.disk.write(files...); err != nil {
		return fmt.Errorf("write ledger tiles: %w", err)
	}
	if err := l.disk.write(file{path: filepath.Join(l.dir, checkpointFile), data: next.checkpoint}); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	for _, path := range replaced {
		// A partial tile that a longer one replaced does no harm: Open removes it.
		_ = l.disk.remove(path)
		_ = os.Remove(filepath.Dir(path)) // succeeds once the folder is empty
	}
	return nil
}

// Size is the number of entries.
func (l *Ledger) Size() uint64 { return l.tree.Load().size }

// Checkpoint is the signed note over the present size and root.
func (l *Ledger) Checkpoint() []byte { return l.tree.Load().checkpoint }

// PublicKey is the verifier key of the checkpoints (C2SP signed-note).
func (l *Ledger) PublicKey() string { return l.keys.public }

// Sealed is the time entry index was sealed; zero if there is no such entry.
func (l *Ledger) Sealed(index uint64) model.Time {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if index >= uint64(len(l.sealed)) {
		return 0
	}
	return l.sealed[index]
}

// Lookup finds the entry of a kind and id; false if there is none.
func (l *Ledger) Lookup(kind, id string) (Entry, bool, error) {
	l.mu.RLock()
	p, ok := l.index[indexKey(kind, id)]
	l.mu.RUnlock()
	if !ok {
		return Entry{}, false, nil
	}
	e, err := l.Entry(p.index)
	return e, err == nil, err
}

// Entry reads the entry at index.
func (l *Ledger) Entry(index uint64) (Entry, error) {
	return l.entry(l.tree.Load(), index)
}

func (l *Ledger) entry(t *tree, index uint64) (Entry, error) {
	e := Entry{Index: index}
	if index >= t.size {
		return e, fmt.Errorf("read ledger entry %d: the ledger has %d", index, t.size)
	}
	data, err := t.entryAt(l.dir, index)
	if err != nil {
		return e, err
	}
	if err := e.decode(data); err != nil {
		return e, fmt.Errorf("%w: entry %d: %w", ErrDamaged, index, err)
	}
	return e, nil
}

// scan reads every entry of t in order.
func (l *Ledger) scan(ctx context.Context, t *tree, see func(e Entry, data []byte) error) error {
	for start := uint64(0); start < t.size; start += tileWidth {
		if err := ctx.Err(); err != nil {
			return err
		}
		bundle := t.bundle
		if start+tileWidth <= t.size {
			b, err := os.ReadFile(filepath.Join(l.dir, tilePath(entriesDir, start/tileWidth, 0)))
			if err != nil {
				return fmt.Errorf("read ledger entries: %w", err)
			}
			bundle = b
		}
		for i := start; i < min(start+tileWidth, t.size); i++ {
			data, rest, err := splitBundle(bundle)
			if err != nil {
				return fmt.Errorf("%w: entry %d: %w", ErrDamaged, i, err)
			}
			bundle = rest
			e := Entry{Index: i}
			if err := e.decode(data); err != nil {
				return fmt.Errorf("%w: entry %d: %w", ErrDamaged, i, err)
			}
			if err := see(e, data); err != nil {
				return err
			}
		}
	}
	return nil
}

// Proof shows that an entry is in the tree of a checkpoint (RFC 6962, section 2.1.1).
type Proof struct {
	Index      uint64
	Entry      []byte      // canonical JSON, the bytes that were hashed
	Hashes     []tlog.Hash // from the leaf's sibling up
	Checkpoint []byte      // signed note the proof leads to
}

// Prove gives the inclusion proof of an entry under the present checkpoint.
func (l *Ledger) Prove(index uint64) (Proof, error) {
	return l.prove(l.tree.Load(), index)
}

func (l *Ledger) prove(t *tree, index uint64) (Proof, error) {
	if index >= t.size {
		return Proof{}, fmt.Errorf("prove ledger entry %d: the ledger has %d", index, t.size)
	}
	data, err := t.entryAt(l.dir, index)
	if err != nil {
		return Proof{}, err
	}
	hashes, err := tlog.ProveRecord(int64(t.size), int64(index), l.hashes(t))
	if err != nil {
		return Proof{}, fmt.Errorf("prove ledger entry %d: %w", index, err)
	}
	return Proof{Index: index, Entry: data, Hashes: hashes, Checkpoint: t.checkpoint}, nil
}

// Consistency proves that the ledger of oldSize entries, at least 1, is the beginning of
// the present one (RFC 6962, section 2.1.2); it returns the present checkpoint with it.
func (l *Ledger) Consistency(oldSize uint64) ([]tlog.Hash, []byte, error) {
	t := l.tree.Load()
	if oldSize == 0 || oldSize > t.size {
		return nil, nil, fmt.Errorf("prove consistency with size %d: the ledger has %d", oldSize, t.size)
	}
	p, err := tlog.ProveTree(int64(t.size), int64(oldSize), l.hashes(t))
	if err != nil {
		return nil, nil, fmt.Errorf("prove consistency with size %d: %w", oldSize, err)
	}
	return p, t.checkpoint, nil
}

func (l *Ledger) hashes(t *tree) tlog.HashReader {
	return tlog.TileHashReader(tlog.Tree{N: int64(t.size), Hash: t.root()}, tiles{dir: l.dir, tree: t})
}

// Close gives the ledger up to the next writer. Everything sealed is on disk already.
func (l *Ledger) Close() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	return l.lock.Close()
}
