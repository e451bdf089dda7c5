package evidence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrDigest is returned by Put when the bytes are not those the digest names.
var ErrDigest = errors.New("content does not have the digest")

// Objects keeps sealed bytes in files named by their SHA-256: <dir>/ab/<sha256>. Its
// methods may be called from several goroutines.
type Objects struct {
	dir   string
	disk  disk
	group group[*object]
}

// object is one Put: a synced temporary file to be renamed, or, with tmp empty, a file
// that is there already and of which only the folder is to be synced.
type object struct{ tmp, path string }

// OpenObjects opens the objects below dir, makes the folder if need be, and removes what
// an interrupted Put left. One process at a time may write to dir; the lock of the ledger
// beside it sees to that.
func OpenObjects(dir string) (*Objects, error) { return openObjects(dir, nil) }

func openObjects(dir string, fault func(op, path string) error) (*Objects, error) {
	o := &Objects{dir: dir, disk: disk{fault: fault}}
	made, err := o.disk.mkdir(dir)
	if err == nil {
		err = o.disk.syncDirs(made)
	}
	if err != nil {
		return nil, fmt.Errorf("open objects: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "??", "*"+tmpSuffix))
	for _, path := range left {
		err = errors.Join(err, o.disk.remove(path))
	}
	if err != nil {
		return nil, fmt.Errorf("open objects: remove what an interrupted write left: %w", err)
	}
	return o, nil
}

// Path is where the object of a SHA-256 (64 hexadecimal digits) is or would be.
func (o *Objects) Path(sum string) string { return filepath.Join(o.dir, sum[:2], sum) }

// Put stores what r gives under its SHA-256. When it returns without error the object is
// durable. An object that is there with the right bytes is kept; one with other bytes is
// replaced. Calls that arrive together share the syncing of folders.
func (o *Objects) Put(ctx context.Context, sum string, r io.Reader) error {
	if err := o.put(ctx, sum, r); err != nil {
		return fmt.Errorf("store object %s: %w", sum, err)
	}
	return nil
}

func (o *Objects) put(ctx context.Context, sum string, r io.Reader) error {
	if !validSHA256(sum) {
		return errors.New("expected 64 lower case hexadecimal digits")
	}
	obj := &object{path: o.Path(sum)}
	if have, err := fileSHA256(obj.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	} else if have != sum {
		if obj.tmp, err = o.writeTemp(sum, r); err != nil {
			return err
		}
	}
	err := o.group.do(ctx, obj, o.commit)
	if err != nil && obj.tmp != "" {
		_ = os.Remove(obj.tmp) // gone if it was renamed
	}
	return err
}

// writeTemp writes and syncs the bytes under a name of their own.
func (o *Objects) writeTemp(sum string, r io.Reader) (tmp string, err error) {
	made, err := o.disk.mkdir(filepath.Join(o.dir, sum[:2]))
	if err != nil {
		return "", err
	}
	if err := o.disk.syncDirs(made); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Join(o.dir, sum[:2]), sum+".*"+tmpSuffix)
	if err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			_ = os.Remove(f.Name()) // the first error counts
		}
	}()
	if err := o.disk.ask("write", f.Name()); err != nil {
		_, werr := io.CopyN(f, r, 1) // a torn write
		return "", errors.Join(err, werr)
	}
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, h), r); err != nil {
		return "", err
	}
	if have := hex.EncodeToString(h.Sum(nil)); have != sum {
		return "", fmt.Errorf("%w: it has %s", ErrDigest, have)
	}
	return f.Name(), o.disk.sync(f)
}

// commit renames the files of several calls and syncs their folders once.
func (o *Objects) commit(objects []*object) []error {
	errs := make([]error, len(objects))
	var dirs []string
	for i, obj := range objects {
		if obj.tmp != "" {
			errs[i] = o.disk.rename(obj.tmp, obj.path)
		}
		dirs = append(dirs, filepath.Dir(obj.path))
	}
	if err := o.disk.syncDirs(dirs); err != nil {
		for i := range errs {
			errs[i] = errors.Join(errs[i], err)
		}
	}
	return errs
}

// Get opens the object of a SHA-256.
func (o *Objects) Get(sum string) (io.ReadCloser, error) {
	if !validSHA256(sum) {
		return nil, fmt.Errorf("open object %q: expected 64 lower case hexadecimal digits", sum)
	}
	f, err := os.Open(o.Path(sum))
	if err != nil {
		return nil, fmt.Errorf("open object: %w", err)
	}
	return f, nil
}

// PutBytes stores data and returns its SHA-256.
func (o *Objects) PutBytes(ctx context.Context, data []byte) (string, error) {
	sum := sha256.Sum256(data)
	name := hex.EncodeToString(sum[:])
	return name, o.Put(ctx, name, bytes.NewReader(data))
}

// fileSHA256 is the digest of a file's bytes in hexadecimal.
func fileSHA256(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
