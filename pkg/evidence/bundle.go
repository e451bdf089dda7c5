package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Files of a bundle, beside the documents they prove.
const (
	BundleFile    = "evidence.json"     // the manifest, a Bundle
	SignatureFile = "evidence.json.sig" // signed note: BundleSchema, SHA-256 (hex) of evidence.json
	BundleSchema  = "io.tracer.evidence.bundle.v1"
)

// Bundle is the manifest that lets anyone check a folder of documents offline, without
// the ledger: which leaves the conclusions rest on, the proof that each is in the ledger,
// and the digest of each file beside it. It holds no document text and no captured data.
type Bundle struct {
	Schema     string        `json:"schema"`     // BundleSchema
	Origin     string        `json:"origin"`     // of the ledger, name of its key
	PublicKey  string        `json:"public_key"` // verifier key (C2SP signed-note)
	Checkpoint string        `json:"checkpoint"` // signed note that every proof leads to
	Leaves     []BundleLeaf  `json:"leaves"`     // sorted by index
	Files      []BundledFile `json:"files"`      // sorted by path; every file right in the folder but the bundle's own two
	Sources    []Source      `json:"sources"`    // captures and where they were, sorted by evidence_id
}

// BundleLeaf is one ledger entry with its inclusion proof (RFC 6962, section 2.1.1).
type BundleLeaf struct {
	Index uint64   `json:"index"`
	Entry string   `json:"entry"` // canonical JSON; the leaf hash is SHA-256(0x00 || entry)
	Proof []string `json:"proof"` // base64, from the leaf's sibling up
}

// BundledFile is a file of the folder.
type BundledFile struct {
	Path   string  `json:"path"` // name in the folder
	SHA256 string  `json:"sha256"`
	Size   uint64  `json:"size"`
	Leaf   *uint64 `json:"leaf"` // index of the leaf that seals it; null for a file that is listed but not sealed
}

// Source tells where a capture was when it was read.
type Source struct {
	EvidenceID string `json:"evidence_id"`
	Path       string `json:"path"`
}

// Selection says what Export takes.
type Selection struct {
	Pick    func(Entry) bool  // leaves to be proved
	Sources map[string]string // evidence_id to path of the captures, if known
}

// OfCase picks what one run of a case rests on: the captures, the batches read from them,
// and the documents issued by the run.
func OfCase(caseID, run string, evidenceIDs []string) func(Entry) bool {
	return func(e Entry) bool {
		switch e.Kind {
		case KindCapture:
			return slices.Contains(evidenceIDs, e.ID)
		case KindBatch:
			return slices.Contains(evidenceIDs, e.Parent)
		case KindReport:
			return e.Parent == caseID && e.ID == ReportID(caseID, run, e.Name)
		}
		return false
	}
}

// Export writes the manifest and its signature into dir, beside the documents that are
// there. A picked report leaf seals the file of its name; every other file of dir is
// listed with its digest. Folders in dir are no part of the bundle. Call it last: files written later are reported as unknown by
// the verifier.
func (l *Ledger) Export(ctx context.Context, dir string, sel Selection) (*Bundle, error) {
	b, err := l.export(ctx, dir, sel)
	if err != nil {
		return nil, fmt.Errorf("export evidence to %s: %w", dir, err)
	}
	return b, nil
}

func (l *Ledger) export(ctx context.Context, dir string, sel Selection) (*Bundle, error) {
	t := l.tree.Load()
	b := &Bundle{
		Schema: BundleSchema, Origin: l.keys.verifier.Name(), PublicKey: l.keys.public, Checkpoint: string(t.checkpoint),
		Leaves: []BundleLeaf{}, Files: []BundledFile{}, Sources: []Source{},
	}
	byName := map[string]uint64{}
	err := l.scan(ctx, t, func(e Entry, data []byte) error {
		if !sel.Pick(e) {
			return nil
		}
		p, err := l.prove(t, e.Index)
		if err != nil {
			return err
		}
		leaf := BundleLeaf{Index: e.Index, Entry: string(data), Proof: []string{}}
		for _, h := range p.Hashes {
			leaf.Proof = append(leaf.Proof, base64.StdEncoding.EncodeToString(h[:]))
		}
		b.Leaves = append(b.Leaves, leaf)
		switch e.Kind {
		case KindReport:
			byName[e.Name] = e.Index
		case KindCapture:
			if path := sel.Sources[e.ID]; path != "" {
				b.Sources = append(b.Sources, Source{EvidenceID: e.ID, Path: path})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(b.Sources, func(x, y Source) int { return strings.Compare(x.EvidenceID, y.EvidenceID) })
	if b.Files, err = listFiles(dir, byName); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(b, "", " ")
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	sum := sha256.Sum256(text)
	sig, err := note.Sign(&note.Note{Text: BundleSchema + "\n" + hex.EncodeToString(sum[:]) + "\n"}, l.keys.signer)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return b, l.disk.write(file{path: filepath.Join(dir, BundleFile), data: text, mode: 0o644}, file{path: filepath.Join(dir, SignatureFile), data: sig, mode: 0o644})
}

// ReadBundle reads the manifest in dir. It checks nothing: that is the verifier's work.
func ReadBundle(dir string) (*Bundle, error) {
	text, err := os.ReadFile(filepath.Join(dir, BundleFile))
	if err != nil {
		return nil, fmt.Errorf("read evidence manifest: %w", err)
	}
	b := &Bundle{}
	if err := json.Unmarshal(text, b); err != nil {
		return nil, fmt.Errorf("read evidence manifest in %s: %w", dir, err)
	}
	return b, nil
}

// Entries decodes the leaves of the bundle.
func (b *Bundle) Entries() ([]Entry, error) {
	out := make([]Entry, len(b.Leaves))
	for i, l := range b.Leaves {
		out[i].Index = l.Index
		if err := out[i].decode([]byte(l.Entry)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Holds reports whether the bundle proves the leaf of a kind and id, such as
// KindReport and ReportID(case, run, "report.json").
func (b *Bundle) Holds(kind, id string) bool {
	entries, err := b.Entries()
	return err == nil && slices.ContainsFunc(entries, func(e Entry) bool { return e.Kind == kind && e.ID == id })
}

// listFiles lists the regular files of dir, in lexical order.
func listFiles(dir string, leaves map[string]uint64) ([]BundledFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	out := []BundledFile{}
	for _, entry := range entries {
		name := entry.Name()
		if own := strings.TrimSuffix(name, tmpSuffix); !entry.Type().IsRegular() || own == BundleFile || own == SignatureFile {
			continue
		}
		sum, err := fileSHA256(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		info, err := entry.Info()
		if err != nil {
			return nil, err
		}
		f := BundledFile{Path: name, SHA256: sum, Size: uint64(info.Size())}
		if i, ok := leaves[name]; ok {
			f.Leaf = &i
		}
		out = append(out, f)
	}
	return out, nil
}
