package evidence

import (
	"context"
	"slices"
	"sync"
)

// group lets callers that arrive while a commit is under way share the next one. There is
// no goroutine of its own: the first waiting caller runs the commit for all.
type group[T any] struct {
	mu      sync.Mutex
	waiting []*waiter[T]
	busy    bool
}

type waiter[T any] struct {
	item T
	lead chan struct{} // closed: run the next commit
	done chan error
}

// do hands item to commit together with the items of other callers, and returns the error
// commit gives for it. commit returns one error an item. A caller whose ctx ends before
// its commit began is left out of it.
func (g *group[T]) do(ctx context.Context, item T, commit func([]T) []error) error {
	w := &waiter[T]{item: item, lead: make(chan struct{}), done: make(chan error, 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, w)
	if !g.busy {
		g.busy = true
		close(w.lead)
	}
	g.mu.Unlock()

	select {
	case err := <-w.done:
		return err
	case <-w.lead:
	case <-ctx.Done():
		if g.leave(w) {
			return ctx.Err()
		}
		return <-w.done
	}

	g.mu.Lock()
	batch := g.waiting
	g.waiting = nil
	g.mu.Unlock()
	items := make([]T, len(batch))
	for i, b := range batch {
		items[i] = b.item
	}
	errs := commit(items)
	g.mu.Lock()
	g.next()
	g.mu.Unlock()
	for i, b := range batch {
		b.done <- errs[i]
	}
	return <-w.done
}

// next names the leader of the next commit; the lock is held.
func (g *group[T]) next() {
	if len(g.waiting) == 0 {
		g.busy = false
		return
	}
	close(g.waiting[0].lead)
}

// leave takes w out of the queue; false means that its commit is under way.
func (g *group[T]) leave(w *waiter[T]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, w)
	if i < 0 {
		return false
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	select {
	case <-w.lead:
		g.next() // w was to lead: another does
	default:
	}
	return true
}
