package fingerprint

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// inForce is the set of profiles that holds now.
func (s *Service) inForce() *ProfileSet {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.force
}

// watch starts to follow the bucket of profiles; while the bus is away it waits.
func (s *Service) watch(ctx context.Context) {
	pause := 100 * time.Millisecond
	for {
		err := s.startWatch(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		s.deps.Log.Warn("waiting for the bus to read the profiles put into it", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(5*time.Second, 2*pause)
	}
}

// startWatch reads the bucket of profiles and follows its changes until ctx is done.
func (s *Service) startWatch(ctx context.Context) error {
	kv, err := s.deps.Bus.KV(ctx, ProfileBucket)
	if err != nil {
		return fmt.Errorf("open bucket of profiles: %w", err)
	}
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch bucket of profiles: %w", err)
	}
	for e := range w.Updates() { // what is there already, up to a nil entry
		if e == nil {
			break
		}
		s.change(ctx, e)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	set := s.inForce()
	s.deps.Log.Info("profiles in force", "profiles", len(set.Profiles), "digest", set.Digest)
	go func() {
		for e := range w.Updates() {
			if e != nil {
				s.change(ctx, e)
			}
		}
	}()
	return nil
}

// change takes one entry of the bucket. A profile at fault is refused and counted; what
// was in force under its id stays.
func (s *Service) change(ctx context.Context, e jetstream.KeyValueEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := maps.Clone(s.own)
	switch e.Operation() {
	case jetstream.KeyValueDelete, jetstream.KeyValuePurge:
		delete(own, e.Key())
	default:
		p, err := s.parser.parseEntry(e)
		if err != nil {
			s.count.refused.Add(ctx, 1)
			s.deps.Log.Warn("profile refused, the one before it stays in force", "key", e.Key(), "revision", e.Revision(), "error", err)
			return
		}
		own[e.Key()] = p
	}
	s.own = own
	s.force = overlay(s.base, own)
	s.deps.Log.Info("profiles changed", "key", e.Key(), "operation", e.Operation().String(), "profiles", len(s.force.Profiles), "digest", s.force.Digest)
}
