package source

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Expand turns files and folders into captures: folders are walked, a file is a capture by
// its first bytes and not by its name. Both results hold absolute paths, sorted and
// without repeats; skipped lists the files in folders that are no captures, and named
// files that are none. A name that does not exist is an error.
func Expand(paths []string) (captures, skipped []string, err error) {
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, nil, fmt.Errorf("expand %s: %w", p, err)
		}
		if _, err := os.Stat(abs); err != nil {
			return nil, nil, fmt.Errorf("expand inputs: %w", err)
		}
		// A symbolic link that is named is followed; links inside of folders are not.
		if target, err := filepath.EvalSymlinks(abs); err == nil {
			abs = target
		}
		err = filepath.WalkDir(abs, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return fmt.Errorf("expand inputs: %w", err)
			}
			if d.IsDir() {
				return nil
			}
			if d.Type().IsRegular() && isCapture(path) {
				captures = append(captures, path)
			} else {
				skipped = append(skipped, path)
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	slices.Sort(captures)
	slices.Sort(skipped)
	return slices.Compact(captures), slices.Compact(skipped), nil
}

// isCapture reads the first bytes of a file, inside of compression too.
func isCapture(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	fd, _, err := newFeed(f, f.Close, false)
	if err != nil {
		_ = f.Close()
		return false
	}
	head := slices.Clone(fd.peek(24))
	fd.abandon()
	return sniff(head) != ""
}
