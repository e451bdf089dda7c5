package chdb

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// KnownSHA256 is the hash of the libchdb.so this package was written and tested against:
// @chdb/lib-linux-x64-gnu 26.7.3-stable.1, which is ClickHouse 26.7.2.1.
const KnownSHA256 = "36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5"

const (
	libraryInModules = "node_modules/@chdb/lib-linux-x64-gnu/libchdb.so"
	libraryInSystem  = "/usr/lib/tracer/libchdb.so"
)

// Library finds libchdb.so: in $TRACER_LIBCHDB; in node_modules of the executable's folder
// and its parents, then of the working directory and its parents; in /usr/lib/tracer.
func Library() (string, error) {
	if p := os.Getenv("TRACER_LIBCHDB"); p != "" {
		if _, err := os.Stat(p); err != nil {
			return "", fmt.Errorf("libchdb.so named by TRACER_LIBCHDB: %w", err)
		}
		return p, nil
	}
	var starts []string
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	for _, dir := range starts {
		for {
			p := filepath.Join(dir, libraryInModules)
			if _, err := os.Stat(p); err == nil {
				return p, nil
			}
			up := filepath.Dir(dir)
			if up == dir {
				break
			}
			dir = up
		}
	}
	if _, err := os.Stat(libraryInSystem); err == nil {
		return libraryInSystem, nil
	}
	return "", fmt.Errorf("libchdb.so not found: run `npm ci --ignore-scripts` in the folder of package.json, or name the file in TRACER_LIBCHDB")
}

// verify checks the library's SHA-256 against want. Hashing half a gigabyte takes a second,
// so a file once found good is remembered by size, modification time and inode.
func verify(path, want string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("check libchdb: %w", err)
	}
	var inode uint64
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = st.Ino
	}
	line := fmt.Sprintf("%s %d %d %d\n", want, info.Size(), info.ModTime().UnixNano(), inode)
	memo := ""
	if dir, err := os.UserCacheDir(); err == nil {
		memo = filepath.Join(dir, "tracer", "libchdb.verified")
		if old, err := os.ReadFile(memo); err == nil && strings.Contains(string(old), line) {
			return nil
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("check libchdb: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("check libchdb %s: %w", path, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("libchdb %s has SHA-256 %s, expected %s: run `npm ci --ignore-scripts` again, or state the hash in TRACER_LIBCHDB_SHA256 if this library is meant", path, got, want)
	}
	if memo != "" { // a failure only costs the next start a second
		if os.MkdirAll(filepath.Dir(memo), 0o700) == nil {
			_ = os.WriteFile(memo, []byte(line), 0o600)
		}
	}
	return nil
}
