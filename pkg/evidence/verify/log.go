package verify

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const (
	width       = 256                 // hashes of a full tile, entries of a full bundle
	maxBundle   = width * (2 + 65535) // bytes
	maxTile     = width * 32          // bytes
	maxNote     = 1 << 20             // bytes
	maxMissing  = 64                  // files missing in a row before the search ends
	maxMismatch = 1000                // entries that differ from their tile, kept by name
)

// ledgerLog checks the files of one ledger.
type ledgerLog struct {
	*Report
	dir, label string // label stands before paths in sentences
	key        *key
	head       checkpoint
	leaves     []leaf
	known      []knownCheckpoint
}

// knownCheckpoint is an earlier head and where it was kept.
type knownCheckpoint struct {
	checkpoint
	from string
}

func tilePath(level string, n uint64, w int) string {
	number := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		number = fmt.Sprintf("x%03d/", n%1000) + number
	}
	if w < width {
		number += ".p/" + strconv.Itoa(w)
	}
	return "tile/" + level + "/" + number
}

// mismatch is an entry whose hash is not the one in its tile.
type mismatch struct {
	index        uint64
	bundle, tile string // paths
}

// read reads one file of the ledger and names it if that fails.
func (l *ledgerLog) read(rel string, limit int64) ([]byte, bool) {
	b, err := readFile(filepath.Join(l.dir, filepath.FromSlash(rel)), limit)
	if errors.Is(err, fs.ErrNotExist) {
		l.problem("%s%s is missing", l.label, rel)
		return nil, false
	}
	if err != nil {
		l.problem("%s%s cannot be read: %v", l.label, rel, reason(err))
		return nil, false
	}
	l.count(&l.Checked.Tiles, uint64(len(b)))
	return b, true
}

// check recomputes the tree from the entries and from the tiles, compares both with the
// signed root and so tells which of them was changed.
func (l *ledgerLog) check(ctx context.Context) error {
	slices.SortFunc(l.known, func(a, b knownCheckpoint) int { return strings.Compare(a.from, b.from) })
	var entries, tiles accumulator
	entriesWhole, tilesWhole := true, true
	var rowE, rowT []hash // roots of the full tiles
	var diffs []mismatch
	missing := 0
	l.compareKnown(&entries, 0)
	for n := uint64(0); n*width < l.head.size; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		w := int(min(l.head.size-n*width, width))
		bundlePath, path := tilePath("entries", n, w), tilePath("0", n, w)
		bundle, okE := l.read(bundlePath, maxBundle)
		tile, okT := l.read(path, maxTile)
		if okT && len(tile) != w*32 {
			l.problem("%s%s has %d bytes, expected %d", l.label, path, len(tile), w*32)
			okT = false
		}
		var hashes []hash
		if okE {
			hashes, okE = l.bundle(bundlePath, bundle, n*width, w)
		}
		entriesWhole, tilesWhole = entriesWhole && okE, tilesWhole && okT
		if missing++; okE || okT {
			missing = 0
		}
		if missing == maxMissing {
			l.problem("%scheckpoint covers %d entries, but no more than %d are here: the ledger was cut off", l.label, l.head.size, (n+1-maxMissing)*width)
			return nil
		}
		var sub [2]accumulator
		for i := range w {
			if entriesWhole {
				entries.push(hashes[i])
				l.compareKnown(&entries, n*width+uint64(i)+1)
			}
			if okE {
				sub[0].push(hashes[i])
			}
			if okT {
				h := hash(tile[i*32:])
				sub[1].push(h)
				if tilesWhole {
					tiles.push(h)
				}
				if okE && h != hashes[i] && len(diffs) < maxMismatch {
					diffs = append(diffs, mismatch{index: n*width + uint64(i), bundle: bundlePath, tile: path})
				}
			}
		}
		if w == width {
			rowE, rowT = append(rowE, sub[0].root()), append(rowT, sub[1].root())
		}
	}
	goodE := entriesWhole && entries.root() == l.head.root
	goodT := tilesWhole && tiles.root() == l.head.root
	for _, d := range diffs {
		switch {
		case goodE:
			l.problem("%s%s was changed: its hash of entry %d is not that of the entry, which the checkpoint confirms", l.label, d.tile, d.index)
		case goodT:
			l.problem("%s%s: ledger entry %d was changed: %s, but the checkpoint confirms another", l.label, d.bundle, d.index, l.describe(d.index))
		default:
			l.problem("%s%s and %s differ in ledger entry %d: %s", l.label, d.bundle, d.tile, d.index, l.describe(d.index))
		}
	}
	if !goodE && !goodT {
		what := "the entries here give another"
		if !entriesWhole {
			what = "the entries here are not whole"
		}
		l.problem("%scheckpoint does not fit: it covers %d entries with root %s, %s", l.label, l.head.size, strict64.EncodeToString(l.head.root[:]), what)
	}
	switch {
	case goodE || entriesWhole && !goodT:
		l.upper(rowE)
	case tilesWhole:
		l.upper(rowT)
	}
	return nil
}

// describe says what the entry at index claims now.
func (l *ledgerLog) describe(index uint64) string {
	i, ok := slices.BinarySearchFunc(l.leaves, index, func(x leaf, i uint64) int { return int(x.index) - int(i) })
	if !ok {
		return "it is not readable"
	}
	return "it says " + l.leaves[i].Kind + " " + l.leaves[i].ID
}

// bundle splits a bundle of w entries, parses the leaves and hashes them.
func (l *ledgerLog) bundle(path string, b []byte, first uint64, w int) ([]hash, bool) {
	hashes := make([]hash, 0, w)
	for i := range w {
		index := first + uint64(i)
		if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
			l.problem("%s%s: ledger entry %d is cut short", l.label, path, index)
			return hashes, false
		}
		data := b[2 : 2+int(binary.BigEndian.Uint16(b))]
		b = b[2+len(data):]
		hashes = append(hashes, hashLeaf(data))
		leaf, err := parseLeaf(data, index)
		if err != nil {
			l.problem("%s%s: ledger entry %d is not a leaf: %v", l.label, path, index, err)
			continue
		}
		l.leaves = append(l.leaves, leaf)
		l.count(&l.Checked.Leaves, 0)
	}
	if len(b) > 0 {
		l.problem("%s%s has %d bytes behind its last entry", l.label, path, len(b))
		return hashes, false
	}
	return hashes, true
}

// compareKnown compares the tree with every known checkpoint of its present size.
func (l *ledgerLog) compareKnown(a *accumulator, size uint64) {
	for _, k := range l.known {
		if k.size == size && k.root != a.root() {
			l.problem("%sthe first %d entries are not those of the earlier checkpoint in %s: the ledger was rewritten", l.label, size, k.from)
		}
	}
}

// upper checks the tiles above the leaves; row holds the roots of the full tiles below.
func (l *ledgerLog) upper(row []hash) {
	for level := 1; len(row) > 0; level++ {
		var next []hash
		for n := 0; n*width < len(row); n++ {
			part := row[n*width : min(len(row), (n+1)*width)]
			var want []byte
			var a accumulator
			for _, h := range part {
				want = append(want, h[:]...)
				a.push(h)
			}
			path := tilePath(strconv.Itoa(level), uint64(n), len(part))
			if have, ok := l.read(path, maxTile); ok && !bytes.Equal(have, want) {
				l.problem("%s%s was changed: it is not what the tiles below it give", l.label, path)
			}
			if len(part) == width {
				next = append(next, a.root())
			}
		}
		row = next
	}
}

var tileRE = regexp.MustCompile(`^tile/(entries|[0-6])/((?:x\d{3}/){0,6})(\d{3})(?:\.p/([1-9]\d{0,2}))?$`)

// extras names every file that does not belong to the ledger, or lies behind its checkpoint.
func (l *ledgerLog) extras() error {
	writing := l.writing()
	return walk(l.dir, func(rel, path string, _ fs.DirEntry) error {
		switch rel {
		case "checkpoint", "ledger.pub", "ledger.key", "ledger.lock":
			return nil
		}
		if strings.HasSuffix(rel, ".tmp") {
			l.note("%s%s was left by an interrupted write", l.label, rel)
			return nil
		}
		m := tileRE.FindStringSubmatch(rel)
		if m == nil {
			l.problem("%s%s does not belong to a ledger", l.label, rel)
			return nil
		}
		n, err := strconv.ParseUint(strings.NewReplacer("x", "", "/", "").Replace(m[2])+m[3], 10, 64)
		w := width
		if m[4] != "" {
			w, _ = strconv.Atoi(m[4]) // digits
		}
		level, _ := strconv.Atoi(m[1]) // 0 for entries
		count := l.head.size >> (8 * level)
		if err != nil || n > 1<<48 || tilePath(m[1], n, w) != rel {
			l.problem("%s%s does not belong to a ledger", l.label, rel)
			return nil
		}
		behind := count - min(count, n*width) // hashes of this tile that the checkpoint covers
		switch covered := int(min(behind, width)); {
		case covered == w:
		case covered < w && writing:
			l.remark("%s%s lies behind the checkpoint: a process is writing the ledger now", l.label, rel)
		case covered < w:
			l.problem("%s%s lies behind the checkpoint of %d entries: an append was interrupted, or the checkpoint was set back", l.label, rel, l.head.size)
		default: // a shorter form of the tile, which the longer one replaced
			long, err1 := readFile(filepath.Join(l.dir, filepath.FromSlash(tilePath(m[1], n, covered))), maxBundle)
			short, err2 := readFile(path, maxBundle)
			if errors.Join(err1, err2) != nil || !bytes.HasPrefix(long, short) {
				l.problem("%s%s differs from the longer tile that replaced it", l.label, rel)
			}
		}
		return nil
	})
}

// writing tells whether a process holds the ledger for writing.
func (l *ledgerLog) writing() bool {
	f, err := os.Open(filepath.Join(l.dir, "ledger.lock"))
	if err != nil {
		return false
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	_ = f.Close() // drops the lock
	return errors.Is(err, syscall.EWOULDBLOCK)
}
