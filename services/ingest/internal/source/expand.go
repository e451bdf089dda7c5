package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Skipped is a file that is no capture.
type Skipped struct {
	Path   string // absolute
	Reason string // what was found and what expected
	Named  bool   // it was named itself, not found in a folder
	Damage bool   // it looks like a capture, or had one in it: empty, or compressed and damaged
}

// Expand turns files and folders into captures: folders are walked, a file is a capture by
// its first bytes and not by its name. Both results are sorted by path and without repeats;
// skipped lists the files that are no captures. A name that does not exist is an error.
func Expand(paths []string) (captures []string, skipped []Skipped, err error) {
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", p, err)
		}
		if _, err := os.Stat(abs); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", p, cause(err))
		}
		// A symbolic link that is named is followed; links inside of folders are not.
		if target, err := filepath.EvalSymlinks(abs); err == nil {
			abs = target
		}
		err = filepath.WalkDir(abs, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return fmt.Errorf("%s: %w", path, cause(err))
			}
			if d.IsDir() {
				return nil
			}
			reason, damage := "not a regular file", false
			if d.Type().IsRegular() {
				reason, damage = whyNot(path)
			}
			if reason == "" {
				captures = append(captures, path)
			} else {
				skipped = append(skipped, Skipped{Path: path, Reason: reason, Named: path == abs, Damage: damage})
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	slices.Sort(captures)
	slices.SortStableFunc(skipped, func(a, b Skipped) int { return strings.Compare(a.Path, b.Path) })
	skipped = slices.CompactFunc(skipped, func(a, b Skipped) bool { return a.Path == b.Path })
	return slices.Compact(captures), skipped, nil
}

// cause is the error of the system without the call and the path around it.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// whyNot reads the first bytes of a file, inside of compression too, and tells why it is no
// capture; the reason is empty for one that is. What looks like a damaged capture says so.
func whyNot(path string) (reason string, damage bool) {
	f, err := os.Open(path)
	if err != nil {
		return cause(err).Error(), true
	}
	fd, _, err := newFeed(f, f.Close, false)
	if err != nil {
		_ = f.Close()
		return "byte 0: damaged: " + strings.Replace(err.Error(), "gzip: gzip: ", "gzip: ", 1), true
	}
	defer fd.abandon()
	head := fd.peek(24)
	switch {
	case sniff(head) != "":
		return "", false
	case fd.err != nil:
		return fmt.Sprintf("byte %d: damaged: %v, expected a pcap or pcapng header", len(head), fd.err), true
	case len(head) == 0:
		return "byte 0: empty, expected a pcap or pcapng header", true
	}
	return fmt.Sprintf("byte 0: found %x, expected a pcap or pcapng header", head[:min(4, len(head))]), false
}
