package archive

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/store"
)

// Bounds of one insert. A larger one costs memory in the store and gains nothing more.
const (
	maxInsertRows  = 100_000
	maxInsertBytes = 64 << 20
)

// writer puts the blocks of messages that are archived at the same time into common
// inserts. An insert of one row costs the embedded engine about 24 ms of processor time,
// eight rows of eight messages together cost 28 ms. A Native insert takes blocks one after
// another, so they are joined as they are.
//
// No deduplication token goes with such an insert, because a message that is delivered
// again meets other company. None is needed: every table replaces rows of the same key,
// and the store reads the replaced ones never.
type writer struct {
	store *store.Store
	queue chan *insertion
}

// insertion is the blocks of one message.
type insertion struct {
	blocks []record.Block
	done   chan error
}

func newWriter(s *store.Store) *writer {
	return &writer{store: s, queue: make(chan *insertion)}
}

// insert returns when the blocks are stored.
func (w *writer) insert(ctx context.Context, blocks []record.Block) error {
	in := &insertion{blocks: blocks, done: make(chan error, 1)}
	select {
	case w.queue <- in:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-in.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run inserts until ctx is done, two inserts at a time: one waits for the disk while the
// other is worked on.
func (w *writer) run(ctx context.Context) {
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case first := <-w.queue:
					w.flush(ctx, w.gather(first))
				case <-ctx.Done():
					return
				}
			}
		})
	}
	wg.Wait()
}

// gather takes what else is waiting now.
func (w *writer) gather(first *insertion) []*insertion {
	group := []*insertion{first}
	rows, bytes := size(first.blocks)
	for rows < maxInsertRows && bytes < maxInsertBytes {
		select {
		case next := <-w.queue:
			r, b := size(next.blocks)
			group, rows, bytes = append(group, next), rows+r, bytes+b
		default:
			return group
		}
	}
	return group
}

func size(blocks []record.Block) (rows, bytes int) {
	for _, b := range blocks {
		rows, bytes = rows+b.Rows, bytes+len(b.Native)
	}
	return rows, bytes
}

// flush stores a group. If the store refuses it for good, each message is tried alone, so
// that only the faulty one fails.
func (w *writer) flush(ctx context.Context, group []*insertion) {
	var all []record.Block
	for _, in := range group {
		all = append(all, in.blocks...)
	}
	err := w.write(ctx, all)
	for _, in := range group {
		if err != nil && len(group) > 1 && ctx.Err() == nil {
			in.done <- w.write(ctx, in.blocks)
			continue
		}
		in.done <- err
	}
}

// write makes one insert per table.
func (w *writer) write(ctx context.Context, blocks []record.Block) error {
	var tables []string
	joined := map[string][]byte{}
	for _, b := range blocks {
		if _, ok := joined[b.Table]; !ok {
			tables = append(tables, b.Table)
		}
		joined[b.Table] = append(joined[b.Table], b.Native...)
	}
	var errs []error
	for _, table := range tables {
		if err := w.store.InsertNative(ctx, table, "", joined[table]); err != nil {
			errs = append(errs, fmt.Errorf("store rows: %w", err))
		}
	}
	return errors.Join(errs...)
}
