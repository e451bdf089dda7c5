package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// data checks a data folder, or a bare ledger, whose log is in dir.
func (r *Report) data(ctx context.Context, dir string, opt Options) error {
	l := &ledgerLog{Report: r, dir: dir}
	if r.Kind == "data" {
		l.label = "ledger/"
	}
	l.key = r.findKey(dir, l.label, opt.Key)
	readable := false
	if l.key != nil {
		readable = l.openHead()
		l.earlier(r, opt)
	}
	if readable {
		if err := l.check(ctx); err != nil {
			return err
		}
		if err := l.extras(); err != nil {
			return fmt.Errorf("list the ledger: %w", err)
		}
	}
	l.unique()
	if r.Kind == "ledger" {
		return nil
	}
	recorded, err := r.objects(ctx, l.leaves)
	if err != nil {
		return err
	}
	return r.recorded(ctx, l.leaves, recorded, opt)
}

// findKey reads the public key beside the ledger and compares it with the pinned one.
func (r *Report) findKey(dir, label, pinned string) *key {
	var k *key
	text, err := readFile(filepath.Join(dir, "ledger.pub"), maxNote)
	if err != nil {
		r.problem("%sledger.pub cannot be read: %v", label, reason(err))
	} else if k, err = parseKey(strings.TrimSuffix(string(text), "\n")); err != nil || !strings.HasSuffix(string(text), "\n") {
		r.problem("%sledger.pub was changed: it is not a verifier key: %v", label, err)
		k = nil
	}
	return r.pin(k, pinned, label+"ledger.pub")
}

// pin prefers the key that was given over the one found, and says when they differ.
func (r *Report) pin(found *key, pinned, from string) *key {
	if pinned != "" {
		p, err := parseKey(strings.TrimSpace(pinned))
		if err != nil {
			r.problem("the given key is not a verifier key: %v", err)
			return nil
		}
		if found != nil && found.text != p.text {
			r.problem("%s is not the given key: it is %s", from, found.text)
		}
		found, r.Pinned = p, true
	}
	if found != nil {
		r.Origin, r.PublicKey = found.name, found.text
	}
	return found
}

// openHead reads the signed checkpoint; false if its size and root cannot be read.
func (l *ledgerLog) openHead() bool {
	text, err := readFile(filepath.Join(l.dir, "checkpoint"), maxNote)
	if err != nil {
		l.problem("%scheckpoint cannot be read: %v", l.label, reason(err))
		return false
	}
	c, ok, others, err := openCheckpoint(text, l.key)
	if err != nil {
		l.problem("%scheckpoint was changed: %v", l.label, err)
	}
	if others > 0 {
		l.note("%scheckpoint has %d signatures of other keys, which were not checked", l.label, others)
	}
	l.head = c
	l.Size, l.Root = c.size, strict64.EncodeToString(c.root[:])
	return ok
}

// earlier collects the checkpoints known from before: given ones, and those that bundles
// in the data folder keep.
func (l *ledgerLog) earlier(r *Report, opt Options) {
	add := func(text []byte, from string) {
		c, _, _, err := openCheckpoint(text, l.key)
		switch {
		case err != nil:
			l.problem("the earlier checkpoint in %s cannot be used: %v", from, err)
		case c.size > l.head.size:
			l.problem("%scheckpoint covers %d entries, but the earlier one in %s covers %d: the ledger was cut back", l.label, l.head.size, from, c.size)
		default:
			l.known = append(l.known, knownCheckpoint{c, from})
		}
	}
	for i, text := range opt.Checkpoints {
		add(text, fmt.Sprintf("given checkpoint %d", i+1))
	}
	if r.Kind != "data" {
		return
	}
	found, _ := filepath.Glob(filepath.Join(r.Dir, "cases", "*", bundleFile)) // the pattern is right
	for _, path := range found {
		var m manifest
		b, err := readFile(path, maxManifest)
		if err == nil {
			err = json.Unmarshal(b, &m)
		}
		if err != nil {
			l.problem("%s cannot be read: %v", path, reason(err))
			continue
		}
		add([]byte(m.Checkpoint), path)
	}
}

// unique names leaves of one kind and id.
func (l *ledgerLog) unique() {
	seen := map[[2]string]uint64{}
	for i := range l.leaves {
		k := [2]string{l.leaves[i].Kind, l.leaves[i].ID}
		if first, ok := seen[k]; ok {
			l.problem("%sentries %d and %d seal the same %s %s", l.label, first, l.leaves[i].index, k[0], k[1])
			continue
		}
		seen[k] = l.leaves[i].index
	}
}

// Types of events that say where files are.
const (
	caseOpened   = "io.tracer.case.opened.v1"
	reportIssued = "io.tracer.report.issued.v1"
)

// place is a file that a sealed event says to be at a path.
type place struct {
	path, sha256 string
	event        uint64 // index of the event's leaf: the latest holds
	document     bool
}

// objects checks every sealed object and returns the places that sealed events record.
func (r *Report) objects(ctx context.Context, leaves []leaf) (map[string]place, error) {
	dir := filepath.Join(r.Dir, "evidence", "objects")
	want := map[string]*leaf{}
	for i := range leaves {
		if leaves[i].Kind == "batch" || leaves[i].Kind == "event" {
			want[leaves[i].SHA256] = &leaves[i]
		}
	}
	seen := map[string]bool{}
	jobs := r.pool(ctx)
	err := walk(dir, func(rel, path string, entry fs.DirEntry) error {
		name := filepath.Base(rel)
		switch {
		case strings.HasSuffix(rel, ".tmp"):
			r.note("evidence/objects/%s was left by an interrupted write", rel)
			return nil
		case !isSHA256(name) || rel != name[:2]+"/"+name || !entry.Type().IsRegular():
			r.problem("evidence/objects/%s does not belong to the sealed objects", rel)
			return nil
		}
		seen[name] = true
		jobs.do(func() {
			sum, size, err := hashFile(ctx, path)
			l := want[name]
			what := "which no ledger entry seals"
			if l != nil {
				what = l.String()
			}
			switch {
			case err != nil:
				r.problem("evidence/objects/%s cannot be read: %v", rel, reason(err))
				return
			case sum != name:
				r.problem("evidence/objects/%s was changed: it is %s, its bytes now have SHA-256 %s (%d bytes)", rel, what, sum, size)
			case l == nil:
				r.note("evidence/objects/%s is whole, but no ledger entry seals it: sealing it was interrupted, or the ledger was cut back", rel)
			case l.Size != size:
				r.problem("evidence/objects/%s has %d bytes, %s says %d", rel, size, l, l.Size)
			}
			r.count(&r.Checked.Objects, size)
		})
		return nil
	})
	jobs.wait()
	if err := errors.Join(err, ctx.Err()); err != nil {
		return nil, fmt.Errorf("list the objects: %w", err)
	}
	places := map[string]place{}
	for i := range leaves {
		l := &leaves[i]
		if l.Kind != "batch" && l.Kind != "event" {
			continue
		}
		if !seen[l.SHA256] {
			r.problem("evidence/objects/%s/%s is missing: it is %s", l.SHA256[:2], l.SHA256, l)
			continue
		}
		if l.Kind == "event" && (l.Name == caseOpened || l.Name == reportIssued) {
			r.places(filepath.Join(dir, l.SHA256[:2], l.SHA256), l, places)
		}
	}
	return places, nil
}

// places reads from a sealed event where files are said to be.
func (r *Report) places(path string, l *leaf, out map[string]place) {
	var data struct {
		Inputs []struct {
			EvidenceID string `json:"evidence_id"`
			URI        string `json:"uri"`
		} `json:"inputs"`
		Dir   string `json:"dir"`
		Files []struct {
			Name   string `json:"name"`
			SHA256 string `json:"sha256"`
		} `json:"files"`
	}
	b, err := readFile(path, maxManifest)
	if err == nil {
		err = json.Unmarshal(b, &data)
	}
	if err != nil {
		r.problem("%s does not say where its files are: %v", l, reason(err))
		return
	}
	for _, in := range data.Inputs {
		if filepath.IsAbs(in.URI) {
			out[in.URI] = place{path: in.URI, sha256: in.EvidenceID, event: l.index}
		}
	}
	for _, f := range data.Files {
		if filepath.IsAbs(data.Dir) && filepath.IsLocal(f.Name) {
			p := filepath.Join(data.Dir, f.Name)
			out[p] = place{path: p, sha256: f.SHA256, event: l.index, document: true}
		}
	}
}

// recorded checks captures and documents at the paths that sealed events record.
func (r *Report) recorded(ctx context.Context, leaves []leaf, places map[string]place, opt Options) error {
	jobs := r.pool(ctx)
	names := map[string]string{} // digest to name
	for i := range leaves {
		if leaves[i].Kind == "capture" {
			names[leaves[i].SHA256] = leaves[i].Name
		}
	}
	placed := map[string]bool{}
	for _, p := range places {
		placed[p.sha256] = true
		if !p.document {
			jobs.do(func() { r.capture(ctx, p.path, p.sha256, opt) })
			continue
		}
		jobs.do(func() {
			sum, size, err := hashFile(ctx, p.path)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				r.absent("document %s is not present", p.path)
				return
			case err != nil:
				r.problem("document %s cannot be read: %v", p.path, reason(err))
				return
			case sum != p.sha256:
				r.problem("document %s was changed: it was issued with SHA-256 %s and has %s", p.path, p.sha256, sum)
			}
			r.count(&r.Checked.Documents, size)
		})
	}
	for sum, name := range names {
		if !placed[sum] {
			jobs.do(func() { r.capture(ctx, name, sum, opt) })
		}
	}
	jobs.wait()
	return ctx.Err()
}

// capture checks an input file at its path, or by its name in the folders given.
func (r *Report) capture(ctx context.Context, path, want string, opt Options) {
	tries := []string{}
	if filepath.IsAbs(path) {
		tries = append(tries, path)
	}
	for _, dir := range opt.Captures {
		tries = append(tries, filepath.Join(dir, filepath.Base(path)))
	}
	for _, try := range tries {
		sum, size, err := hashFile(ctx, try)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			r.problem("capture %s cannot be read: %v", try, reason(err))
			return
		}
		if sum != want {
			r.problem("capture %s was changed: it was sealed with SHA-256 %s and has %s", try, want, sum)
		}
		r.count(&r.Checked.Captures, size)
		return
	}
	r.absent("capture %s (SHA-256 %s) is not present", path, want)
}

// pool runs jobs on all processors.
type pool struct {
	jobs chan func()
	wg   sync.WaitGroup
	ctx  context.Context // lives as long as one check
}

func (r *Report) pool(ctx context.Context) *pool {
	p := &pool{jobs: make(chan func()), ctx: ctx}
	for range runtime.GOMAXPROCS(0) {
		p.wg.Go(func() {
			for job := range p.jobs {
				if p.ctx.Err() == nil {
					job()
				}
			}
		})
	}
	return p
}

func (p *pool) do(job func()) { p.jobs <- job }

func (p *pool) wait() {
	close(p.jobs)
	p.wg.Wait()
}
