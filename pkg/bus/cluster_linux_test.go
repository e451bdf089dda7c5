package bus_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/bus/embedded"
)

// nodeEnv makes the test binary a member of a cluster instead of running tests.
const nodeEnv = "TRACER_TEST_BUS_NODE"

func TestMain(m *testing.M) {
	spec := os.Getenv(nodeEnv)
	if spec == "" {
		os.Exit(m.Run())
	}
	var cfg embedded.Config
	if err := json.Unmarshal([]byte(spec), &cfg); err != nil {
		panic(err)
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	if _, err := embedded.Start(cfg); err != nil {
		panic(err)
	}
	select {} // until killed
}

// node is one member of the cluster: a process of its own.
type node struct {
	cfg embedded.Config
	cmd *exec.Cmd
}

func (n *node) start(t testing.TB) {
	t.Helper()
	spec, err := json.Marshal(n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.cmd = exec.Command(os.Args[0], "-test.run=^$")
	n.cmd.Env = append(os.Environ(), nodeEnv+"="+string(spec))
	n.cmd.Stderr = os.Stderr
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// kill ends the process without a chance to tidy up.
func (n *node) kill() {
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
}

// gaps measures the longest time between two acknowledgements.
type gaps struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
	acked   map[string]bool
}

func (g *gaps) add(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if !g.last.IsZero() {
		g.longest = max(g.longest, now.Sub(g.last))
	}
	g.last = now
	g.acked[id] = true
}

// Three server processes, three copies of each stream. While eight publishers and a
// consumer work, the leader of a stream is killed, brought back, and the next one killed:
// nothing acknowledged is lost, nothing is stored twice, and nobody waits for long.
func TestClusterLosesItsLeader(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	const members = 3
	var nodes [members]*node
	var clients, routes []string
	for range members {
		clients = append(clients, freePort(t))
		routes = append(routes, freePort(t))
	}
	for i := range nodes {
		c := &embedded.Cluster{Name: "tracer", Node: fmt.Sprintf("node-%d", i), Listen: routes[i]}
		for j, r := range routes {
			if j != i {
				c.Routes = append(c.Routes, "nats://"+r)
			}
		}
		nodes[i] = &node{cfg: embedded.Config{StoreDir: t.TempDir(), Listen: clients[i], Cluster: c}}
		nodes[i].start(t)
		t.Cleanup(nodes[i].kill)
	}
	url := "nats://" + strings.Join(clients, ",nats://")
	quiet := slog.New(slog.DiscardHandler)
	b, err := bus.Connect(t.Context(), bus.Config{URL: url, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	begin := time.Now()
	until(t, "the cluster to be usable", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err = bus.Provision(ctx, b, bus.ProvisionOptions{Replicas: members, AckWait: 5 * time.Second})
		return err == nil
	})
	t.Logf("cluster of %d processes provisioned after %s", members, time.Since(begin).Round(100*time.Millisecond))
	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}

	flows := gaps{acked: map[string]bool{}}
	cases := gaps{acked: map[string]bool{}}
	var handled seen
	consume(t, b, "fingerprint", func(_ context.Context, ev cloudevents.Event) error {
		handled.add(ev)
		return nil
	}, bus.ConsumeOptions{Workers: 4})
	publishing, stopPublishing := context.WithCancel(t.Context())
	defer stopPublishing()
	var publishers sync.WaitGroup
	var number atomic.Int64
	for range 8 {
		publishers.Go(func() {
			for publishing.Err() == nil {
				i := int(number.Add(1))
				ev, g := observed(t, i, 4096), &flows
				if i%2 == 0 {
					ev, g = opened(t, i), &cases
				}
				if err := b.Publish(t.Context(), ev); err != nil {
					t.Errorf("publish: %v", err)
					return
				}
				g.add(ev.ID())
			}
		})
	}
	leader := func(stream string) string {
		s, err := js.Stream(t.Context(), stream)
		if err != nil {
			return ""
		}
		return s.CachedInfo().Cluster.Leader
	}
	wait(t.Context(), 3*time.Second)
	for _, stream := range []string{"FLOW_OBSERVED", "CASE"} {
		var was string
		until(t, "a leader", func() bool { was = leader(stream); return was != "" })
		var victim *node
		for _, n := range nodes {
			if n.cfg.Cluster.Node == was {
				victim = n
			}
		}
		victim.kill()
		killed := time.Now()
		until(t, "a new leader of "+stream, func() bool {
			l := leader(stream)
			return l != "" && l != was
		})
		t.Logf("%s, leader of %s, killed; new leader after %s", was, stream, time.Since(killed).Round(100*time.Millisecond))
		wait(t.Context(), max(0, 12*time.Second-time.Since(killed)))
		victim.start(t)
		back := time.Now()
		until(t, "all copies to be current again", func() bool {
			s, err := js.Stream(t.Context(), stream)
			if err != nil || s.CachedInfo().Cluster == nil {
				return false
			}
			current := 0
			for _, r := range s.CachedInfo().Cluster.Replicas {
				if r.Current && !r.Offline {
					current++
				}
			}
			return current == members-1
		})
		t.Logf("%s current again %s after its start", was, time.Since(back).Round(100*time.Millisecond))
		wait(t.Context(), 2*time.Second)
	}
	stopPublishing()
	publishers.Wait()

	// Every acknowledged flow batch reaches its handler.
	missing := func() (n int) {
		for id := range flows.acked {
			if handled.count(id) == 0 {
				n++
			}
		}
		return n
	}
	until(t, "all flow batches handled", func() bool { return missing() == 0 })
	again := 0
	for id := range flows.acked {
		again += handled.count(id) - 1
	}
	// Every acknowledged case is in its stream once.
	s, err := js.Stream(t.Context(), "CASE")
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]int{}
	lost, dup := missing(), 0
	oc, err := s.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	it, err := oc.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer it.Stop()
	for left := s.CachedInfo().State.Msgs; left > 0; left-- {
		m, err := it.Next(jetstream.NextMaxWait(20 * time.Second))
		if err != nil {
			t.Fatalf("read back, %d left: %v", left, err)
		}
		id := m.Headers().Get(jetstream.MsgIDHeader)
		if stored[id]++; stored[id] > 1 {
			dup++
		}
	}
	for id := range cases.acked {
		if stored[id] == 0 {
			lost++
		}
	}
	longest := max(flows.longest, cases.longest)
	t.Logf("acknowledged %d, LOST=%d DUP=%d, longest gap %s, handled again %d", len(flows.acked)+len(cases.acked), lost, dup, longest.Round(100*time.Millisecond), again)
	if lost != 0 || dup != 0 {
		t.Errorf("lost %d, stored twice %d", lost, dup)
	}
	if longest > 15*time.Second {
		t.Errorf("publishers waited %s", longest)
	}
}
