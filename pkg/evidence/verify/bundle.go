package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	bundleFile    = "evidence.json"
	signatureFile = "evidence.json.sig"
	bundleSchema  = "io.tracer.evidence.bundle.v1"
	maxManifest   = 256 << 20 // bytes
)

// manifest is evidence.json.
type manifest struct {
	Schema     string `json:"schema"`
	Origin     string `json:"origin"`
	PublicKey  string `json:"public_key"`
	Checkpoint string `json:"checkpoint"`
	Leaves     []struct {
		Index uint64   `json:"index"`
		Entry string   `json:"entry"`
		Proof []string `json:"proof"`
	} `json:"leaves"`
	Files []struct {
		Path   string  `json:"path"`
		SHA256 string  `json:"sha256"`
		Size   uint64  `json:"size"`
		Leaf   *uint64 `json:"leaf"`
	} `json:"files"`
	Sources []struct {
		EvidenceID string `json:"evidence_id"`
		Path       string `json:"path"`
	} `json:"sources"`
}

// parseManifest reads evidence.json without tolerance.
func parseManifest(data []byte) (*manifest, error) {
	var m manifest
	if err := decodeStrict(data, &m); err != nil {
		return nil, err
	}
	if m.Schema != bundleSchema {
		return nil, fmt.Errorf("schema %q, expected %s", m.Schema, bundleSchema)
	}
	return &m, nil
}

// bundle checks a folder of documents by its manifest.
func (r *Report) bundle(ctx context.Context, opt Options) error {
	text, err := readFile(filepath.Join(r.Dir, bundleFile), maxManifest)
	if err != nil {
		r.problem("%s cannot be read: %v", bundleFile, reason(err))
		return nil
	}
	m, err := parseManifest(text)
	if err != nil {
		r.problem("%s was changed: %v", bundleFile, err)
		return nil
	}
	found, err := parseKey(m.PublicKey)
	if err != nil {
		r.problem("%s was changed: public_key: %v", bundleFile, err)
	}
	k := r.pin(found, opt.Key, bundleFile)
	if k == nil {
		return nil
	}
	if m.Origin != k.name {
		r.problem("%s was changed: origin %q, the key says %q", bundleFile, m.Origin, k.name)
	}
	r.signature(text, k)
	head, readable, _, err := openCheckpoint([]byte(m.Checkpoint), k)
	if err != nil {
		r.problem("%s: checkpoint was changed: %v", bundleFile, err)
	}
	r.Size, r.Root = head.size, strict64.EncodeToString(head.root[:])
	var leaves map[uint64]*leaf
	if readable {
		leaves = r.proofs(m, head)
	}
	if err := r.documents(ctx, m, leaves); err != nil {
		return err
	}
	paths := map[string]string{}
	for _, s := range m.Sources {
		paths[s.EvidenceID] = s.Path
	}
	for _, l := range leaves {
		if l.Kind != "capture" {
			continue
		}
		path := paths[l.SHA256]
		if path == "" {
			path = l.Name
		}
		r.capture(ctx, path, l.SHA256, opt)
	}
	if opt.Data != "" {
		if err := r.against(ctx, m, opt); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// signature checks that the manifest is the one that was signed.
func (r *Report) signature(manifest []byte, k *key) {
	sig, err := readFile(filepath.Join(r.Dir, signatureFile), maxNote)
	if errors.Is(err, fs.ErrNotExist) {
		r.problem("%s is missing: %s is not signed", signatureFile, bundleFile)
		return
	}
	if err != nil {
		r.problem("%s cannot be read: %v", signatureFile, reason(err))
		return
	}
	text, others, err := openNote(sig, k)
	sum := sha256.Sum256(manifest)
	switch {
	case err != nil:
		r.problem("%s was changed, or is of another key: %v", signatureFile, err)
	case others > 0:
		r.problem("%s was changed: it has a signature of another key", signatureFile)
	case text != bundleSchema+"\n"+hex.EncodeToString(sum[:])+"\n":
		r.problem("%s was changed: it is not the file that was signed", bundleFile)
	}
}

// proofs leads every leaf to the root of the checkpoint; it returns those that arrive there.
func (r *Report) proofs(m *manifest, head checkpoint) map[uint64]*leaf {
	leaves := map[uint64]*leaf{}
	for i := range m.Leaves {
		b := &m.Leaves[i]
		l, err := parseLeaf([]byte(b.Entry), b.Index)
		if err != nil {
			r.problem("%s: ledger entry %d is not a leaf: %v", bundleFile, b.Index, err)
			continue
		}
		var proof []hash
		for _, s := range b.Proof {
			h, err := decode64(s, len(hash{}))
			if err != nil {
				r.problem("%s: the proof of %s was changed: %v", bundleFile, &l, err)
				break
			}
			proof = append(proof, hash(h))
		}
		root, err := rootFromProof(b.Index, head.size, hashLeaf([]byte(b.Entry)), proof)
		if err == nil && root != head.root {
			err = errors.New("it leads to another root than the checkpoint")
		}
		if err != nil {
			r.problem("%s: %s or its proof was changed: %v", bundleFile, &l, err)
			continue
		}
		if _, twice := leaves[b.Index]; twice {
			r.problem("%s: %s is listed twice", bundleFile, &l)
		}
		leaves[b.Index] = &l
		r.count(&r.Checked.Leaves, uint64(len(b.Entry)))
		r.count(&r.Checked.Proofs, 0)
	}
	return leaves
}

// documents checks the files of the folder against the manifest and the leaves.
func (r *Report) documents(ctx context.Context, m *manifest, leaves map[uint64]*leaf) error {
	listed := map[string]bool{bundleFile: true, signatureFile: true}
	sealed := map[uint64]bool{}
	for i := range m.Files {
		f := &m.Files[i]
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) || listed[f.Path] {
			r.problem("%s: file %q lies outside the folder or is listed twice", bundleFile, f.Path)
			continue
		}
		listed[f.Path] = true
		want, size := f.SHA256, f.Size
		if f.Leaf != nil {
			l := leaves[*f.Leaf]
			switch {
			case l == nil:
				r.problem("%s: %s refers to ledger entry %d, which is not proved", bundleFile, f.Path, *f.Leaf)
			case l.SHA256 != want || l.Size != size || l.Name != f.Path:
				r.problem("%s: %s is not what %s seals", bundleFile, f.Path, l)
				want, size = l.SHA256, l.Size
			}
			sealed[*f.Leaf] = true
		} else {
			r.remark("%s is listed in the signed manifest, but not sealed in the ledger", f.Path)
		}
		have, n, err := hashFile(ctx, filepath.Join(r.Dir, filepath.FromSlash(f.Path)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			r.problem("%s is missing", f.Path)
			continue
		case err != nil:
			r.problem("%s cannot be read: %v", f.Path, reason(err))
			continue
		case have != want:
			r.problem("%s was changed: it was issued with SHA-256 %s (%d bytes) and has %s (%d bytes)", f.Path, want, size, have, n)
		}
		r.count(&r.Checked.Documents, n)
	}
	for i, l := range leaves {
		if l.Kind == "report" && !sealed[i] {
			r.problem("%s is missing: %s", l.Name, l)
		}
	}
	here, err := os.ReadDir(r.Dir)
	if err != nil {
		return err
	}
	for _, e := range here {
		switch name := e.Name(); {
		case listed[name] || e.IsDir():
		case name == bundleFile+".tmp" || name == signatureFile+".tmp":
			r.note("%s was left by an interrupted write", name)
		default:
			r.problem("%s is not listed in %s: it was added later", name, bundleFile)
		}
	}
	return nil
}

// against checks the data folder of the ledger, which must still begin with what the
// checkpoint of the bundle covers.
func (r *Report) against(ctx context.Context, m *manifest, opt Options) error {
	opt.Checkpoints = append([][]byte{[]byte(m.Checkpoint)}, opt.Checkpoints...)
	if opt.Key == "" {
		opt.Key = m.PublicKey
	}
	data := opt.Data
	opt.Data = ""
	other, err := Dir(ctx, data, opt)
	if err != nil {
		return err
	}
	for _, p := range other.Problems {
		r.problem("%s: %s", data, p)
	}
	for _, p := range other.NotPresent {
		r.absent("%s: %s", data, p)
	}
	r.Checked.Objects += other.Checked.Objects
	r.Checked.Tiles += other.Checked.Tiles
	r.Checked.Bytes += other.Checked.Bytes
	return nil
}
