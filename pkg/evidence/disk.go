package evidence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// disk writes files so that they survive a crash at any moment: a file is written under
// another name, synced, renamed, and its folder is synced.
type disk struct {
	// fault is asked before every effect (write, sync, rename, syncdir, remove), so that
	// tests can end the process, or make the call fail, in between.
	fault func(op, path string) error
}

const tmpSuffix = ".tmp"

func (d disk) ask(op, path string) error {
	if d.fault == nil {
		return nil
	}
	return d.fault(op, path)
}

// file is one file to be written whole.
type file struct {
	path string
	data []byte
	mode fs.FileMode // 0 means 0600
}

// write makes the files durable, in order, and then their folders. Files are replaced.
func (d disk) write(files ...file) error {
	var dirs []string
	for _, f := range files {
		made, err := d.mkdir(filepath.Dir(f.path))
		if err != nil {
			return err
		}
		dirs = append(dirs, made...)
		if err := d.writeTemp(f); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := d.rename(f.path+tmpSuffix, f.path); err != nil {
			return err
		}
		dirs = append(dirs, filepath.Dir(f.path))
	}
	return d.syncDirs(dirs)
}

// writeTemp writes and syncs the file under its temporary name.
func (d disk) writeTemp(f file) error {
	if f.mode == 0 {
		f.mode = 0o600
	}
	tmp := f.path + tmpSuffix
	w, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, f.mode)
	if err != nil {
		return err
	}
	data := f.data
	fault := d.ask("write", tmp)
	if fault != nil {
		data = data[:len(data)/2] // a torn write
	}
	_, err = w.Write(data)
	if err = errors.Join(fault, err); err == nil {
		err = d.sync(w)
	}
	return errors.Join(err, w.Close())
}

func (d disk) sync(w *os.File) error {
	if err := d.ask("sync", w.Name()); err != nil {
		return err
	}
	return w.Sync()
}

func (d disk) rename(from, to string) error {
	if err := d.ask("rename", to); err != nil {
		return err
	}
	return os.Rename(from, to)
}

// mkdir makes a folder and those above it; it returns the folders whose entries changed.
func (d disk) mkdir(dir string) ([]string, error) {
	if _, err := os.Stat(dir); err == nil {
		return nil, nil
	}
	parent := filepath.Dir(dir)
	changed, err := d.mkdir(parent)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return append(changed, parent), nil
}

// syncDirs makes the names in the folders durable.
func (d disk) syncDirs(dirs []string) error {
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		if err := d.ask("syncdir", dir); err != nil {
			return err
		}
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("sync folder %s: %w", dir, err)
		}
	}
	return nil
}

func (d disk) remove(path string) error {
	if err := d.ask("remove", path); err != nil {
		return err
	}
	return os.Remove(path)
}
