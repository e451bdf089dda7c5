package cli

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/ingest"
)

// progress shows how far reading is: a bar with rate and estimated end for a person, a line
// every five seconds otherwise.
type progress struct {
	done   *ingest.Progress
	out    io.Writer
	person bool
	sum    int64 // bytes of all inputs
	begin  time.Time

	mu   sync.Mutex
	bar  *progressbar.ProgressBar
	quit chan struct{}
	wg   sync.WaitGroup
}

// showProgress begins the display; finish ends it.
func showProgress(out io.Writer, person bool, inputs []model.Input, done *ingest.Progress) *progress {
	p := &progress{done: done, out: out, person: person, begin: time.Now(), quit: make(chan struct{})}
	for _, in := range inputs {
		p.sum += int64(in.Size)
	}
	every := 5 * time.Second
	if person {
		every = 100 * time.Millisecond
		p.bar = progressbar.NewOptions64(p.sum, progressbar.OptionSetWriter(out), progressbar.OptionSetDescription("reading"),
			progressbar.OptionShowBytes(true), progressbar.OptionSetPredictTime(true), progressbar.OptionSetWidth(30))
	}
	p.wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-p.quit:
				return
			case <-tick.C:
				p.show()
			}
		}
	})
	return p
}

func (p *progress) show() {
	done := min(int64(p.done.Bytes.Load()), p.sum)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.bar != nil:
		// A terminal that cannot be written to is no reason to stop reading evidence.
		_ = p.bar.Set64(done)
	case !p.person && done < p.sum:
		rate, left := float64(done)/time.Since(p.begin).Seconds(), "unknown time"
		if rate > 0 {
			left = time.Duration(float64(p.sum-done) / rate * float64(time.Second)).Round(time.Second).String()
		}
		fmt.Fprintf(p.out, "reading: %d of %d MB, %.1f MB/s, %d packets, %d flows, %s left\n", done/1e6, p.sum/1e6, rate/1e6, p.done.Packets.Load(), p.done.Flows.Load(), left)
	}
}

// stage says which stage the case has reached.
func (p *progress) stage(s string) {
	words := map[string]string{
		model.StageDetected: "detectors have run",
		model.StageMapped:   "traces are mapped",
		model.StageReported: "report is issued",
	}[s]
	if words == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Set64(p.sum) // see show
		fmt.Fprintln(p.out)
		p.bar = nil
	}
	if p.person {
		fmt.Fprintln(p.out, words)
	}
}

func (p *progress) finish() {
	close(p.quit)
	p.wg.Wait()
}
