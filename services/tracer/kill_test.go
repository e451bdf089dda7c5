package tracer_test

import (
	"context"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func portOpen(port string) bool {
	c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close() // opened only to see whether it can be
	return true
}

// kills is how often each kill test strikes.
const kills = 10

// kill -9 of the whole process at ten random moments, each followed by a restart on the same
// data folder: the documents are those of an undisturbed run.
func TestKillWhole(t *testing.T) {
	want := reference(t)
	dir := t.TempDir()
	rnd := rand.New(rand.NewPCG(1, 2))
	args := []string{"investigate", "--data", filepath.Join(dir, "data"), "--out", filepath.Join(dir, "out"), captures(t)}
	struck := 0
	for range kills {
		p := start(t, nil, args...)
		select {
		case <-p.done:
		case <-time.After(time.Duration(100+rnd.IntN(4000)) * time.Millisecond):
			struck++
		}
		p.kill()
	}
	t.Logf("killed %d of %d runs before their end", struck, kills)
	mustTracer(t, 0, args...)
	sameDocuments(t, "after kills", want, filepath.Join(dir, "out"))
	mustTracer(t, 0, "verify", filepath.Join(dir, "out"))
	mustTracer(t, 0, "verify", filepath.Join(dir, "data"))
}

// kill -9 of single stages at ten random moments while a case is treated.
func TestKillStages(t *testing.T) {
	want := reference(t)
	s := startSplit(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan []string)
	go func() {
		rnd := rand.New(rand.NewPCG(3, 4))
		names := []string{"ingest", "fingerprint", "archive", "tracemap", "report"}
		var struck []string
		for i := range kills {
			select {
			case <-ctx.Done():
				done <- struck
				return
			case <-time.After(time.Duration(100+rnd.IntN(700)) * time.Millisecond):
			}
			name := names[i%len(names)]
			s.restart(t, name)
			struck = append(struck, name)
		}
		done <- struck
	}()
	docs := s.investigate(t, captures(t))
	stop()
	struck := <-done
	t.Logf("killed while the case was treated: %s", strings.Join(struck, " "))
	if len(struck) < 3 {
		t.Errorf("only %d stages were killed before the case was done: the test proves little", len(struck))
	}
	sameDocuments(t, "after kills of stages", want, docs)
}

// The bus, then the store, are killed and come back while a case is treated: the services
// wait, say so, and lose nothing.
func TestOutage(t *testing.T) {
	want := reference(t)
	for _, which := range []string{"bus", "store"} {
		t.Run(which, func(t *testing.T) {
			s := startSplit(t)
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan int)
			go func() {
				outages := 0
				for range 3 {
					select {
					case <-ctx.Done():
						done <- outages
						return
					case <-time.After(700 * time.Millisecond):
					}
					outages++
					if which == "bus" {
						s.bus.kill()
						time.Sleep(2 * time.Second)
						s.bus = start(t, s.env, s.busArgs...)
					} else {
						s.store.kill()
						time.Sleep(2 * time.Second)
						s.store = start(t, s.env, s.storeArgs...)
					}
				}
				done <- outages
			}()
			docs := s.investigate(t, captures(t))
			stop()
			if n := <-done; n == 0 {
				t.Error("the case was done before the first outage: the test proves nothing")
			}
			sameDocuments(t, "after outages of the "+which, want, docs)
			var said bool
			for _, p := range s.services {
				said = said || strings.Contains(p.stderr.String(), "wait")
			}
			if !said {
				t.Errorf("no service said that it waits for the %s", which)
			}
		})
	}
}

// A full disk is waited out with a clear message: once there is room the work goes on, and the
// documents are those of an undisturbed run.
func TestOutageDisk(t *testing.T) {
	want := reference(t)
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o750); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", data).CombinedOutput(); err != nil {
		t.Skipf("a small disk cannot be made here: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", data).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	out := filepath.Join(dir, "out")
	p := start(t, nil, "investigate", "--data", data, "--out", out, captures(t))
	said := regexp.MustCompile(`(?i)disk|no space|room`)
	for deadline := time.Now().Add(60 * time.Second); !said.MatchString(p.stderr.String()); time.Sleep(100 * time.Millisecond) {
		if p.ended() {
			t.Fatalf("ended instead of waiting for room:\n%s", tail(p.stderr.String(), 3000))
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing said about the full disk:\n%s", tail(p.stderr.String(), 3000))
		}
	}
	time.Sleep(2 * time.Second)
	if p.ended() {
		t.Fatalf("ended instead of waiting for room:\n%s", tail(p.stderr.String(), 3000))
	}
	if out, err := exec.Command("mount", "-o", "remount,size=1g", data).CombinedOutput(); err != nil {
		t.Fatalf("make room: %v %s", err, out)
	}
	select {
	case <-p.done:
	case <-time.After(2 * time.Minute):
		t.Fatalf("does not go on although there is room:\n%s", tail(p.stderr.String(), 3000))
	}
	if code := p.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("exit status %d:\n%s", code, tail(p.stderr.String(), 3000))
	}
	sameDocuments(t, "after a full disk", want, out)
}
