package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight = 8               // of tlog-tiles
	tileWidth  = 1 << tileHeight // hashes of a full tile, entries of a full bundle
	entriesDir = -1              // level that stands for tile/entries
)

// tree is the ledger at one size. It is never changed once published: what is complete is
// on disk, what is not (the last tile of each level, the last bundle) is here too.
type tree struct {
	size       uint64
	levels     [][]tlog.Hash // the incomplete tile of each level, from the leaves up
	bundle     []byte        // the incomplete bundle of entries
	checkpoint []byte        // the signed note
}

// clone returns a copy to be grown.
func (t *tree) clone() *tree {
	c := &tree{size: t.size, levels: make([][]tlog.Hash, len(t.levels)), bundle: slices.Clone(t.bundle)}
	for i, l := range t.levels {
		c.levels[i] = slices.Clone(l)
	}
	return c
}

// add appends one entry; full gets every tile and bundle that the entry completes.
func (t *tree) add(data []byte, full func(level int, n uint64, content []byte)) {
	t.bundle = binary.BigEndian.AppendUint16(t.bundle, uint16(len(data))) // check bounds every field of an entry
	t.bundle = append(t.bundle, data...)
	if t.size%tileWidth == tileWidth-1 {
		full(entriesDir, t.size/tileWidth, t.bundle)
		t.bundle = nil
	}
	h := tlog.RecordHash(data)
	n := t.size
	t.size++
	for level := 0; ; level++ {
		if level == len(t.levels) {
			t.levels = append(t.levels, nil)
		}
		t.levels[level] = append(t.levels[level], h)
		if len(t.levels[level]) < tileWidth {
			return
		}
		n /= tileWidth
		full(level, n, tileBytes(t.levels[level]))
		h = rootOf(t.levels[level])
		t.levels[level] = nil
	}
}

// partial calls f for every incomplete tile and bundle.
func (t *tree) partial(f func(level int, n uint64, width int, content []byte)) {
	if w := t.size % tileWidth; w > 0 {
		f(entriesDir, t.size/tileWidth, int(w), t.bundle)
	}
	n := t.size
	for level, hashes := range t.levels {
		n /= tileWidth
		if len(hashes) > 0 {
			f(level, n, len(hashes), tileBytes(hashes))
		}
	}
}

// root is the Merkle tree hash of RFC 6962, section 2.1.
func (t *tree) root() tlog.Hash {
	if t.size == 0 {
		return sha256.Sum256(nil)
	}
	var root tlog.Hash
	first := true
	for _, hashes := range t.levels { // from the right edge, small subtrees, to the left
		for end, width := len(hashes), 1; end > 0; width *= 2 {
			if end&width == 0 {
				continue
			}
			h := rootOf(hashes[end-width : end])
			if end -= width; first {
				root, first = h, false
			} else {
				root = tlog.NodeHash(h, root)
			}
		}
	}
	return root
}

// rootOf hashes a complete subtree; len(hashes) is a power of two.
func rootOf(hashes []tlog.Hash) tlog.Hash {
	row := slices.Clone(hashes)
	for len(row) > 1 {
		for i := range len(row) / 2 {
			row[i] = tlog.NodeHash(row[2*i], row[2*i+1])
		}
		row = row[:len(row)/2]
	}
	return row[0]
}

func tileBytes(hashes []tlog.Hash) []byte {
	b := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, h := range hashes {
		b = append(b, h[:]...)
	}
	return b
}

// tilePath is the path of a tile or bundle below the ledger; width 0 means full.
func tilePath(level int, n uint64, width int) string {
	number := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		number = fmt.Sprintf("x%03d/%s", n%1000, number)
	}
	if width > 0 {
		number += fmt.Sprintf(".p/%d", width)
	}
	if level == entriesDir {
		return "tile/entries/" + number
	}
	return fmt.Sprintf("tile/%d/%s", level, number)
}

// splitBundle cuts the next entry off a bundle.
func splitBundle(b []byte) (data, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, errors.New("bundle of entries cut short")
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return nil, nil, errors.New("bundle of entries cut short")
	}
	return b[2 : 2+n], b[2+n:], nil
}

// entryAt returns the bytes of entry i, which is below t.size.
func (t *tree) entryAt(dir string, i uint64) ([]byte, error) {
	bundle, path := t.bundle, tilePath(entriesDir, i/tileWidth, 0)
	if i/tileWidth < t.size/tileWidth {
		b, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return nil, fmt.Errorf("read ledger entry %d: %w", i, err)
		}
		bundle = b
	}
	for skip := i % tileWidth; ; skip-- {
		data, rest, err := splitBundle(bundle)
		if err != nil {
			return nil, fmt.Errorf("read ledger entry %d in %s: %w", i, path, err)
		}
		if skip == 0 {
			return data, nil
		}
		bundle = rest
	}
}

// tiles lets tlog read the tiles of one tree; it checks them against the root.
type tiles struct {
	dir  string
	tree *tree
}

// Height is the height of a tile.
func (r tiles) Height() int { return tileHeight }

// SaveTiles is told which tiles proved right; they are files already.
func (r tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// ReadTiles reads full tiles from disk and partial ones from the tree.
func (r tiles) ReadTiles(want []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(want))
	for i, t := range want {
		if t.L < len(r.tree.levels) && uint64(t.N) == r.tree.size>>(tileHeight*(t.L+1)) {
			out[i] = tileBytes(r.tree.levels[t.L])
		} else {
			b, err := os.ReadFile(filepath.Join(r.dir, tilePath(t.L, uint64(t.N), 0)))
			if err != nil {
				return nil, fmt.Errorf("read ledger tile: %w", err)
			}
			out[i] = b
		}
		if len(out[i]) < t.W*tlog.HashSize {
			return nil, fmt.Errorf("read ledger tile %s: %w: %d bytes, expected %d", tilePath(t.L, uint64(t.N), 0), ErrDamaged, len(out[i]), t.W*tlog.HashSize)
		}
		out[i] = out[i][:t.W*tlog.HashSize]
	}
	return out, nil
}

// load rebuilds the tree of the given size from the entries on disk, gives every entry to
// see, and compares the tiles on disk with what the entries say.
func load(dir string, size uint64, see func(*Entry)) (*tree, error) {
	t := &tree{}
	var bad error
	same := func(level int, n uint64, width int, content []byte) {
		path := tilePath(level, n, width)
		disk, err := os.ReadFile(filepath.Join(dir, path))
		switch {
		case bad != nil:
		case errors.Is(err, fs.ErrNotExist):
			bad = fmt.Errorf("%w: %s is missing", ErrDamaged, path)
		case err != nil:
			bad = fmt.Errorf("read ledger: %w", err)
		case !bytes.Equal(disk, content):
			bad = fmt.Errorf("%w: %s differs from what the entries give", ErrDamaged, path)
		}
	}
	for t.size < size {
		width := int(min(size-t.size, tileWidth) % tileWidth)
		path := tilePath(entriesDir, t.size/tileWidth, width)
		bundle, err := os.ReadFile(filepath.Join(dir, path))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %s is missing", ErrDamaged, path)
		}
		if err != nil {
			return nil, fmt.Errorf("read ledger: %w", err)
		}
		for range min(size-t.size, tileWidth) {
			data, rest, err := splitBundle(bundle)
			if err != nil {
				return nil, fmt.Errorf("%w: entry %d in %s: %w", ErrDamaged, t.size, path, err)
			}
			bundle = rest
			e := Entry{Index: t.size}
			if err := e.decode(data); err != nil {
				return nil, fmt.Errorf("%w: entry %d in %s: %w", ErrDamaged, t.size, path, err)
			}
			see(&e)
			t.add(data, func(level int, n uint64, content []byte) {
				if level != entriesDir {
					same(level, n, 0, content)
				}
			})
		}
		if len(bundle) > 0 {
			return nil, fmt.Errorf("%w: %s has %d bytes behind its last entry", ErrDamaged, path, len(bundle))
		}
	}
	t.partial(func(level int, n uint64, width int, content []byte) {
		if level != entriesDir {
			same(level, n, width, content)
		}
	})
	return t, bad
}

// clean removes what an interrupted append left: temporary files, tiles behind the
// checkpoint, and partial tiles that a longer one replaced.
func (t *tree) clean(dir string, d disk) error {
	keep := map[string]bool{}
	t.partial(func(level int, n uint64, width int, _ []byte) {
		keep[filepath.Join(dir, tilePath(level, n, width))] = true
	})
	full := func(path string) bool {
		level, n, ok := parseTilePath(path)
		return ok && n < t.size>>(tileHeight*(max(level, 0)+1))
	}
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if filepath.Ext(path) == tmpSuffix || strings.HasPrefix(rel, "tile"+string(filepath.Separator)) && !keep[path] && !full(filepath.ToSlash(rel)) {
			return d.remove(path)
		}
		return nil
	})
}

// parseTilePath reads the path of a full tile or bundle.
func parseTilePath(path string) (level int, n uint64, ok bool) {
	parts := bytes.Split([]byte(path), []byte("/"))
	if len(parts) < 3 {
		return 0, 0, false
	}
	level = entriesDir
	if l := string(parts[1]); l != "entries" {
		if _, err := fmt.Sscanf(l, "%d", &level); err != nil || level < 0 || level > 6 {
			return 0, 0, false
		}
	}
	for i, p := range parts[2:] {
		if i < len(parts)-3 {
			p = bytes.TrimPrefix(p, []byte("x"))
		}
		var digits uint64
		if len(p) != 3 || len(parts) > 8 {
			return 0, 0, false
		}
		for _, c := range p {
			if c < '0' || c > '9' {
				return 0, 0, false
			}
			digits = digits*10 + uint64(c-'0')
		}
		n = n*1000 + digits
	}
	return level, n, path == tilePath(level, n, 0)
}
