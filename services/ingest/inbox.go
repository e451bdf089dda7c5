package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/model"
)

const (
	inboxPeriod = time.Second
	inboxStill  = 2 // looks at which a file's size must be the same before it is taken
)

// inboxFile is a file seen in the inbox.
type inboxFile struct {
	size  int64
	time  time.Time
	still int
	taken bool
}

// watchInbox opens a case for every set of files that has come to rest.
func (s *Service) watchInbox(ctx context.Context) {
	seen := map[string]*inboxFile{}
	tick := time.NewTicker(inboxPeriod)
	defer tick.Stop()
	for {
		settled, err := look(s.cfg.Inbox, seen)
		if err != nil {
			s.deps.Log.Warn("inbox cannot be read", "folder", s.cfg.Inbox, "error", err)
		}
		if err := s.takeInbox(ctx, settled, seen); err != nil && ctx.Err() == nil {
			s.deps.Log.Error("case of the inbox not opened, trying again", "error", err)
			for _, path := range settled {
				seen[path].taken = false
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look notes the files of a folder and the folders in it, and returns those that came to
// rest since, sorted. While one of the new files still grows, none is returned: they are one
// set. Names that begin with a dot are left alone, copying programs use them for parts.
func look(folder string, seen map[string]*inboxFile) ([]string, error) {
	var settled []string
	moving := false
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && path == folder:
			return err
		case err != nil:
			return nil // gone, or not to be read: another look may find it
		case path != folder && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case !d.Type().IsRegular():
			return nil
		}
		st, err := d.Info()
		if err != nil {
			return nil // gone since
		}
		f := seen[path]
		if f == nil {
			f = &inboxFile{size: -1}
			seen[path] = f
		}
		if f.size != st.Size() || !f.time.Equal(st.ModTime()) {
			f.size, f.time, f.still, f.taken = st.Size(), st.ModTime(), 0, false
		} else if !f.taken {
			f.still++
		}
		switch {
		case f.taken:
		case f.still >= inboxStill:
			settled = append(settled, path)
		default:
			moving = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read inbox: %w", err)
	}
	if moving {
		return nil, nil
	}
	for _, path := range settled {
		seen[path].taken = true
	}
	slices.Sort(settled)
	return settled, nil
}

// takeInbox opens a case of the settled files that were not taken before this start of the
// service: what a file was when it was taken stands in the key-value bucket.
func (s *Service) takeInbox(ctx context.Context, settled []string, seen map[string]*inboxFile) error {
	if len(settled) == 0 {
		return nil
	}
	kv, err := s.deps.Bus.KV(ctx, "ingest")
	if err != nil {
		return fmt.Errorf("open markers: %w", err)
	}
	taken := map[string][]byte{}
	var fresh []string
	for _, path := range settled {
		abs, err := filepath.Abs(path)
		if err != nil {
			return fmt.Errorf("inbox: %w", err)
		}
		f := seen[path]
		key, state := "inbox/"+model.DeriveID("file", abs), fmt.Appendf(nil, "%d bytes, changed %d", f.size, f.time.UnixNano())
		entry, err := kv.Get(ctx, key)
		switch {
		case err == nil && string(entry.Value()) == string(state):
			continue
		case err != nil && !errors.Is(err, jetstream.ErrKeyNotFound):
			return fmt.Errorf("read marker: %w", err)
		}
		fresh, taken[key] = append(fresh, path), state
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := s.openInboxCase(ctx, fresh); err != nil {
		return err
	}
	// The case is open: a stop of the service must not keep its files from being noted.
	noting, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	for key, state := range taken {
		if _, err := kv.Put(noting, key, state); err != nil {
			return fmt.Errorf("write marker: %w", err)
		}
	}
	return nil
}

func (s *Service) openInboxCase(ctx context.Context, paths []string) error {
	c, skipped, err := OpenCase(ctx, paths, "")
	for _, file := range skipped {
		s.deps.Log.Warn("file in the inbox is no capture", "path", file.Path, "reason", file.Reason)
	}
	if errors.Is(err, ErrNoCapture) {
		return nil
	}
	if err != nil {
		return err
	}
	// A case of the same files opened before is the same treatment: a restart of the
	// service must not treat it anew.
	c.Run = model.DeriveID("inbox", c.EvidenceIDs()...)
	ev, err := event.New(event.CaseOpened, model.DeriveID("opened", c.CaseID, c.Run), "tracer/ingest", c.CaseID, c)
	if err != nil {
		return fmt.Errorf("make event: %w", err)
	}
	if err := s.deps.Bus.Publish(ctx, ev); err != nil {
		return fmt.Errorf("publish case: %w", err)
	}
	s.deps.Log.Info("case opened by the inbox", "case_id", c.CaseID, "inputs", len(c.Inputs))
	return nil
}
