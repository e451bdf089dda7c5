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
	"sync"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/ingest/internal/source"
)

// ErrNoCapture says that there is no capture among the inputs: name others.
var ErrNoCapture = errors.New("no capture among the inputs, expected pcap or pcapng files")

// OpenCase makes a case of files and folders: folders are searched for captures, files are
// hashed in parallel. skipped lists the files that are no captures.
func OpenCase(ctx context.Context, paths []string, title string) (c model.Case, skipped []string, err error) {
	captures, skipped, err := source.Expand(paths)
	if err != nil {
		return model.Case{}, nil, err
	}
	if len(captures) == 0 {
		return model.Case{}, skipped, ErrNoCapture
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
	var run [8]byte
	_, _ = rand.Read(run[:]) // never fails
	c = model.Case{Run: hex.EncodeToString(run[:]), Title: title, Stage: model.StageOpened, Inputs: inputs, Updated: model.TimeOf(time.Now())}
	c.CaseID = model.DeriveID("case", c.EvidenceIDs()...)
	return c, skipped, nil
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
