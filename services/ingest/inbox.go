package ingest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

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
		if len(settled) > 0 {
			if err := s.openInboxCase(ctx, settled); err != nil && ctx.Err() == nil {
				s.deps.Log.Error("case of the inbox not opened, trying again", "error", err)
				for _, path := range settled {
					seen[path].taken = false
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look notes the files of a folder and returns those that came to rest since, sorted. While
// one of the new files still grows, none is returned: they are one set.
func look(folder string, seen map[string]*inboxFile) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("read inbox: %w", err)
	}
	var settled []string
	moving := false
	for _, e := range entries {
		st, err := e.Info()
		if err != nil || !st.Mode().IsRegular() {
			continue
		}
		path := filepath.Join(folder, e.Name())
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

func (s *Service) openInboxCase(ctx context.Context, paths []string) error {
	c, skipped, err := OpenCase(ctx, paths, "Inbox: "+filepath.Base(paths[0]))
	for _, path := range skipped {
		s.deps.Log.Warn("file in the inbox is no capture", "path", path)
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
