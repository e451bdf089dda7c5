package ingest

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/ingest/internal/source"
)

// ErrNoCapture says that there is no capture among the inputs: name others.
var ErrNoCapture = errors.New("no capture among the inputs")

// Skipped is an input that is no capture, and why.
type Skipped = source.Skipped

// OpenCase makes a case of files and folders: folders are searched for captures, files are
// hashed in parallel. Without a title the case is called after its inputs. skipped lists the
// files that are no captures.
func OpenCase(ctx context.Context, paths []string, title string) (c model.Case, skipped []Skipped, err error) {
	captures, skipped, err := source.Expand(paths)
	if err != nil {
		return model.Case{}, nil, err
	}
	if len(captures) == 0 {
		return model.Case{}, skipped, noCapture(paths, skipped)
	}
	inputs := make([]model.Input, len(captures))
	errs := make([]error, len(captures))
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(runtime.GOMAXPROCS(0), len(captures)) {
		wg.Go(func() {
			for i := range next {
				inputs[i], errs[i] = registerFile(ctx, captures[i])
			}
		})
	}
	for i := range captures {
		next <- i
	}
	close(next)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return model.Case{}, skipped, err
	}
	slices.SortFunc(inputs, func(a, b model.Input) int {
		return cmp.Or(cmp.Compare(a.EvidenceID, b.EvidenceID), cmp.Compare(a.Name, b.Name), cmp.Compare(a.URI, b.URI))
	})
	if title == "" {
		title = titleOf(inputs)
	}
	var run [8]byte
	_, _ = rand.Read(run[:]) // never fails
	c = model.Case{Run: hex.EncodeToString(run[:]), Title: title, Stage: model.StageOpened, Inputs: inputs, Updated: model.TimeOf(time.Now())}
	c.CaseID = model.DeriveID("case", c.EvidenceIDs()...)
	return c, skipped, nil
}

// noCapture says in one sentence what was found instead of captures.
func noCapture(paths []string, skipped []Skipped) error {
	if len(skipped) == 0 {
		return fmt.Errorf("%w: no files in %s, expected pcap or pcapng", ErrNoCapture, strings.Join(paths, ", "))
	}
	first := skipped[0]
	for _, s := range skipped {
		if s.Damage && !first.Damage {
			first = s
		}
	}
	if len(skipped) == 1 {
		return fmt.Errorf("%w: %s: %s", ErrNoCapture, first.Path, first.Reason)
	}
	return fmt.Errorf("%w: %s: %s (and %d more files)", ErrNoCapture, first.Path, first.Reason, len(skipped)-1)
}

// maxTitle bounds the characters of a file name in a title.
const maxTitle = 80

// titleOf calls a case after the names of its inputs, in the order of the names.
func titleOf(inputs []model.Input) string {
	var names []string
	for _, in := range inputs {
		name := []rune(in.Name)
		if len(name) > maxTitle {
			name = append(name[:maxTitle-1], '…')
		}
		names = append(names, string(name))
	}
	slices.Sort(names)
	names = slices.Compact(names)
	switch n := len(names); n {
	case 1:
		return names[0]
	case 2:
		return names[0] + " and " + names[1]
	case 3:
		return names[0] + ", " + names[1] + " and " + names[2]
	default:
		return fmt.Sprintf("%s, %s and %d more", names[0], names[1], n-2)
	}
}

// hashFile gives the SHA-256 of a file in hexadecimal, and its length.
func hashFile(ctx context.Context, path string) (sum string, n int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, fmt.Errorf("hash input: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	buf := make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return "", n, fmt.Errorf("hash %s: %w", path, context.Cause(ctx))
		}
		k, err := f.Read(buf)
		h.Write(buf[:k])
		n += int64(k)
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)), n, nil
		}
		if err != nil {
			return "", n, fmt.Errorf("hash %s: %w", path, err)
		}
	}
}
