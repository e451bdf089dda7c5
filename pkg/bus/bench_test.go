package bus_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/tracer-framework/tracer/pkg/bus"
	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/pkg/testkit"
)

const benchSize = 256 << 10 // a usual batch

func batch(b *testing.B, body []byte, n int) cloudevents.Event {
	ev, err := event.NewBulk(event.FlowObserved, fmt.Sprintf("obs-%08d", n), "/tracer/bench", "ab12", n%event.Partitions, body)
	if err != nil {
		b.Fatal(err)
	}
	return ev
}

// BenchmarkPublish stores batches through the embedded server, 64 in flight.
func BenchmarkPublish(b *testing.B) {
	bs := testkit.Bus(b)
	body := make([]byte, benchSize)
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := bs.PublishAsync(b.Context(), batch(b, body, i)); err != nil {
			b.Fatal(err)
		}
		if i%8192 == 8191 { // stay below the stream's limit
			b.StopTimer()
			drain(b, bs, 8192)
			b.StartTimer()
		}
	}
	if err := bs.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkConsume takes stored batches from the embedded server with one, two and four workers.
func BenchmarkConsume(b *testing.B) {
	for _, workers := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			bs := testkit.Bus(b)
			body := make([]byte, benchSize)
			const round = 2048
			b.SetBytes(benchSize)
			b.ReportAllocs()
			for left := b.N; left > 0; left -= round {
				n := min(left, round)
				b.StopTimer()
				for i := range n {
					if err := bs.PublishAsync(b.Context(), batch(b, body, left*round+i)); err != nil {
						b.Fatal(err)
					}
				}
				if err := bs.Flush(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				take(b, bs, n, workers)
			}
		})
	}
}

func drain(b *testing.B, bs *bus.Bus, n int) {
	if err := bs.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	take(b, bs, n, 4)
}

// take consumes until n messages were handled.
func take(b *testing.B, bs *bus.Bus, n, workers int) {
	ctx, cancel := context.WithCancel(b.Context())
	var mu sync.Mutex
	err := bs.Consume(ctx, "fingerprint", func(context.Context, cloudevents.Event) error {
		mu.Lock()
		defer mu.Unlock()
		if n--; n == 0 {
			cancel()
		}
		return nil
	}, bus.ConsumeOptions{Workers: workers})
	cancel()
	if err != nil {
		b.Fatal(err)
	}
}
