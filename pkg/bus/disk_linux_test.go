package bus_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/bus/embedded"
	"github.com/tracer-framework/tracer/pkg/testkit"
)

// A full disk makes publishers wait; once there is room the server takes messages again,
// and nothing is missing.
func TestFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 8 s")
	}
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("needs a small disk of its own: mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 14<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var log testkit.Output
	logger := slog.New(slog.NewTextHandler(&log, nil))
	s := testkit.BusServer(t, embedded.Config{StoreDir: filepath.Join(disk, "bus"), MinFree: 4 << 20, Log: logger})
	testkit.BusOn(t, s, bus.ProvisionOptions{})
	b, err := bus.Connect(t.Context(), bus.Config{Log: logger}, nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	const n = 32 // of 512 KiB: more than the disk has room for
	produced := make(chan error, 1)
	go func() {
		for i := range n {
			if err := b.Publish(t.Context(), observed(t, i, 512<<10)); err != nil {
				produced <- err
				return
			}
		}
		produced <- nil
	}()
	until(t, "the wait to be told", func() bool {
		return strings.Contains(log.String(), "the bus cannot write to its disk") && strings.Contains(log.String(), "waiting for the bus")
	})
	select {
	case err := <-produced:
		t.Fatalf("the publisher did not wait: %v", err)
	default:
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := <-produced; err != nil {
		t.Fatal(err)
	}
	var got seen
	consume(t, b, "fingerprint", func(_ context.Context, ev cloudevents.Event) error {
		got.add(ev)
		return nil
	}, bus.ConsumeOptions{Workers: 2})
	until(t, "everything handled", func() bool { return got.len() == n })
	for id, c := range got.ids {
		if c != 1 {
			t.Errorf("%s handled %d times", id, c)
		}
	}
}
