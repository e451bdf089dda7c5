// Package lock lets one process at a time use a folder, and names it to the others.
package lock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is how long Take waits for a lock that is only looked at, see [flock(2)] LOCK_SH.
const patience = 100 * time.Millisecond

// ErrHeld tells that another process, named in the message, has the lock: it must end
// first, or be asked instead.
var ErrHeld = errors.New("one process at a time may use it")

// Take makes the file if need be, takes its lock (flock) and writes the number of this
// process into it. The lock ends with the file's Close, or with the process. The file stays:
// removing it would race with the next process.
func Take(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := take(f); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

func take(f *os.File) error {
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("in use by process %s: %w", holder(f), ErrHeld)
		}
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// holder is the number that the holder has written into the file.
func holder(f *os.File) string {
	b, err := io.ReadAll(io.LimitReader(f, 32))
	if number := strings.TrimSpace(string(b)); err == nil && number != "" {
		return number
	}
	return "unknown"
}
