package ingest

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/services/ingest/internal/decode"
	"github.com/tracer-framework/tracer/services/ingest/internal/flowtable"
	"github.com/tracer-framework/tracer/services/ingest/internal/partition"
	"github.com/tracer-framework/tracer/services/ingest/internal/source"
)

// Partitions is the number of logical partitions of a capture. Flows are spread over them
// by their key; it does not depend on the number of workers, so neither do the batches.
const Partitions = 8

// Emit takes batch n of a partition, n counting from 0 in each. Calls for different
// partitions may come at the same time. The batch is only valid during the call. A capture
// that is refused or cannot be opened has one batch, of partition 0 and number Refused: its
// number is none that the same capture has once it can be read.
type Emit func(partition, n int, b *record.Batch) error

// Refused is the number of the only batch of a capture that was not read.
const Refused = -1

// Read reads one capture into batches and returns its evidence record, which is also the
// single row of the last batch (of partition 0). What is wrong with the capture stands in
// the record; an error means that reading was broken off, by ctx or by emit.
func Read(ctx context.Context, path string, cfg Config, emit Emit) (model.Evidence, error) {
	in, err := registerFile(ctx, path)
	if err != nil {
		return model.Evidence{}, err
	}
	return read(ctx, in, cfg, nil, emit)
}

// read reads a registered input. A file that is not the one registered is refused.
func read(ctx context.Context, in model.Input, cfg Config, progress *Progress, emit Emit) (model.Evidence, error) {
	ev := model.Evidence{
		EvidenceID: in.EvidenceID, Kind: "capture", Name: in.Name, URI: in.URI, Size: in.Size,
		MediaType: "application/octet-stream", Tool: toolName, ToolVersion: toolVersion, Counters: map[string]uint64{},
	}
	var batches [Partitions]int
	number := Refused
	if problem := unchanged(in); problem != "" {
		ev.Problems = []string{problem}
		ev.BytesUnread = in.Size
	} else if opened, err := readCapture(ctx, in, cfg, progress, emit, &ev, &batches); err != nil {
		return ev, err
	} else if opened {
		number = batches[0]
	}
	slices.Sort(ev.Problems)
	ev.Problems = slices.Compact(ev.Problems)
	ev.Batches = 1
	for _, n := range batches {
		ev.Batches += uint32(n)
	}
	last := record.NewBatch()
	last.Evidence.Append(&ev)
	if err := emit(0, number, last); err != nil {
		return ev, err
	}
	return ev, nil
}

// unchanged tells in one sentence why a file is not the one that was registered, by size
// and time of change; the content is compared while it is read.
func unchanged(in model.Input) string {
	st, err := os.Stat(in.URI)
	switch {
	case err != nil:
		return fmt.Sprintf("%s: cannot be read: %v", in.Name, err)
	case uint64(st.Size()) != in.Size:
		return fmt.Sprintf("%s: refused: %d bytes long, was %d when it was registered", in.Name, st.Size(), in.Size)
	case model.TimeOf(st.ModTime()) != in.ModTime:
		return fmt.Sprintf("%s: refused: changed at %s, after it was registered", in.Name, model.TimeOf(st.ModTime()))
	}
	return ""
}

func readCapture(ctx context.Context, in model.Input, cfg Config, progress *Progress, emit Emit, ev *model.Evidence, batches *[Partitions]int) (opened bool, err error) {
	r, err := source.Open(in.URI, int64(in.Size))
	if err != nil {
		ev.Problems = append(ev.Problems, err.Error())
		ev.BytesUnread = in.Size
		return false, nil
	}
	e := newEngine(cfg)
	defer e.release()
	err = e.run(ctx, in.EvidenceID, r, progress, emit)
	res, closeErr := r.Close()
	if err != nil {
		return true, err
	}
	if closeErr != nil {
		ev.Problems = append(ev.Problems, fmt.Sprintf("%s: %v", in.Name, closeErr))
	}
	for i, p := range e.parts {
		n, err := p.Finish()
		if err != nil {
			return true, err
		}
		batches[i] = n
		p.Count(ev.Counters)
		ev.Flows += p.Flows()
	}
	progress.add(0, 0, ev.Flows)
	ev.MediaType = res.MediaType
	ev.Packets, ev.FirstPacket, ev.LastPacket = res.Packets, e.first, e.last
	ev.BytesRead, ev.BytesUnread, ev.LinkTypes = res.BytesRead, res.BytesUnread, res.LinkTypes
	ev.Problems = append(ev.Problems, res.Problems...)
	for l := range e.unread {
		ev.Problems = append(ev.Problems, fmt.Sprintf("%s: link type %d (%s) is not read, its packets are only counted", in.Name, l, source.LinkName(l)))
	}
	count(ev.Counters, &e.dec.Counters, &res)
	if res.SHA256 != in.EvidenceID {
		ev.Counters["content_changed"] = 1
		ev.Problems = append(ev.Problems, in.Name+": the bytes read are not those that were registered; its records must not be relied on")
	}
	if p := unchanged(in); p != "" && res.SHA256 == in.EvidenceID {
		ev.Problems = append(ev.Problems, in.Name+": changed while it was read; what was read is what was registered")
	}
	return true, nil
}

// count adds what the reader and the decoder counted, leaving zeros out.
func count(m map[string]uint64, d *decode.Counters, res *source.Result) {
	for name, n := range map[string]uint64{
		"packets_ipv4": d.IP4, "packets_ipv6": d.IP6, "packets_not_ip": d.NotIP, "packets_mpls": d.MPLS, "packets_pppoe": d.PPPoE,
		"packets_vlan": d.VLAN, "packets_link_unread": d.LinkUnread, "packets_bad_link": d.BadLink, "packets_bad_ip": d.BadIP,
		"packets_bad_transport": d.BadTransport, "packets_truncated": d.Truncated, "packets_untimed": res.Untimed, "packets_bad_time": res.BadTimes,
		"fragments": d.Fragments, "fragments_reassembled": d.Reassembled, "fragments_overlapping": d.FragmentOverlap,
		"fragments_expired": d.FragmentsExpired, "fragments_evicted": d.FragmentsEvicted, "fragments_bad": d.FragmentsBad,
		"ipv6_extension_headers": d.ExtensionHeaders, "ipv6_extension_headers_bad": d.ExtensionHeadersBad, "blocks_skipped": res.Skipped,
	} {
		if n > 0 {
			m[name] += n
		}
	}
}

// engine is what reading one capture needs; engines are used again.
type engine struct {
	cfg    Config
	dec    decode.Decoder
	parts  [Partitions]*partition.Partition
	first  model.Time
	last   model.Time
	num    uint64
	unread map[uint32]bool // link types that are not read
	fill   [Partitions]*packets
	failed atomic.Bool
}

var engines sync.Pool

func newEngine(cfg Config) *engine {
	e, _ := engines.Get().(*engine)
	if e == nil || e.cfg != cfg {
		e = &engine{cfg: cfg, unread: map[uint32]bool{}}
		for i := range e.parts {
			e.parts[i] = partition.New(partition.Config{
				Table: flowtable.Config{
					MaxFlows:    max(1, cfg.MaxFlows/Partitions),
					MaxBuffered: max(1<<16, int(cfg.MaxBuffered/Partitions)),
					Interim:     model.Time(cfg.Interim.Microseconds()),
				},
				Rows: cfg.BatchRows, Analyzes: true,
			})
		}
	}
	return e
}

func (e *engine) release() { engines.Put(e) }

// packets is a run of packets of one partition on its way to a worker, with the blocks of
// memory they point into.
type packets struct {
	part   int
	n      int
	pkts   [512]decode.Packet
	blocks []*source.Block
}

// maxBlocks bounds the memory a slowly filling run holds on to.
const maxBlocks = 4

var packetsPool = sync.Pool{New: func() any { return new(packets) }}

// inlineSize is the size up to which a capture is not worth other goroutines.
const inlineSize = 1 << 20

// run reads all packets and hands them to their partitions, directly or over channels to
// workers. Each partition sees its packets in the order of the capture either way.
func (e *engine) run(ctx context.Context, evidence string, r *source.Reader, progress *Progress, emit Emit) error {
	e.dec.Reset()
	e.first, e.last, e.num = 0, 0, 0
	clear(e.unread)
	e.failed.Store(false)
	for i, p := range e.parts {
		p.Begin(evidence, func(n int, b *record.Batch) error {
			err := emit(i, n, b)
			if err != nil {
				e.failed.Store(true)
			}
			return err
		})
	}
	raw, err := hex.DecodeString(evidence)
	if err != nil || len(raw) < 8 {
		return fmt.Errorf("evidence id %q: expected a SHA-256 in hexadecimal", evidence)
	}
	seed := binary.LittleEndian.Uint64(raw)
	if workers := min(e.cfg.Workers, Partitions); workers > 1 && r.Size() > inlineSize {
		return e.fanOut(ctx, workers, seed, r, progress)
	}
	return e.eachPacket(ctx, seed, r, progress, func(p *decode.Packet, part int) { e.parts[part].Packet(p) }, new(decode.Packet))
}

// eachPacket decodes packet after packet into p and calls fn with its partition.
func (e *engine) eachPacket(ctx context.Context, seed uint64, r *source.Reader, progress *Progress, fn func(*decode.Packet, int), p *decode.Packet) error {
	var f source.Packet
	var told int64
	var toldNum uint64
	for r.Next(&f) {
		e.num++
		if e.num%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("read capture: %w", context.Cause(ctx))
			}
			if e.failed.Load() {
				break
			}
			at := r.FileOffset()
			progress.add(uint64(at-told), e.num-toldNum, 0)
			told, toldNum = at, e.num
		}
		if e.first == 0 || f.TS < e.first {
			e.first = f.TS
		}
		e.last = max(e.last, f.TS)
		if !e.dec.Decode(&f, p) {
			if !source.LinkRead(f.Link) {
				e.unread[f.Link] = true
			}
			continue
		}
		p.TS, p.Num = f.TS, e.num
		key, _ := p.FlowKey()
		p.Hash = key.Hash(seed)
		fn(p, int(key.Hash(0)>>61))
	}
	progress.add(uint64(r.FileOffset()-told), e.num-toldNum, 0)
	return nil
}

// fanOut spreads the partitions over workers.
func (e *engine) fanOut(ctx context.Context, workers int, seed uint64, r *source.Reader, progress *Progress) error {
	queues := make([]chan *packets, workers)
	var wg sync.WaitGroup
	for w := range queues {
		queues[w] = make(chan *packets, 8)
		wg.Go(func() {
			for run := range queues[w] {
				part := e.parts[run.part]
				for i := range run.n {
					part.Packet(&run.pkts[i])
				}
				for _, b := range run.blocks {
					b.Release()
				}
				run.blocks = run.blocks[:0]
				packetsPool.Put(run)
			}
		})
	}
	var p decode.Packet
	send := func(part int) {
		queues[part%workers] <- e.fill[part]
		e.fill[part] = nil
	}
	err := e.eachPacket(ctx, seed, r, progress, func(p *decode.Packet, part int) {
		run := e.fill[part]
		if run == nil {
			run = packetsPool.Get().(*packets)
			run.part, run.n = part, 0
			e.fill[part] = run
		}
		if b := r.Block(); len(run.blocks) == 0 || run.blocks[len(run.blocks)-1] != b {
			b.Retain()
			run.blocks = append(run.blocks, b)
		}
		run.pkts[run.n] = *p
		run.n++
		if run.n == len(run.pkts) || len(run.blocks) == maxBlocks {
			send(part)
		}
	}, &p)
	for part, run := range e.fill {
		if run != nil {
			send(part)
		}
	}
	for _, q := range queues {
		close(q)
	}
	wg.Wait()
	return err
}

// registerFile hashes one file.
func registerFile(ctx context.Context, path string) (model.Input, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return model.Input{}, fmt.Errorf("register %s: %w", path, err)
	}
	st, err := os.Stat(abs)
	if err != nil {
		return model.Input{}, fmt.Errorf("register input: %w", err)
	}
	if !st.Mode().IsRegular() {
		return model.Input{}, fmt.Errorf("register %s: %w", path, errors.New("not a regular file"))
	}
	sum, n, err := hashFile(ctx, abs)
	if err != nil {
		return model.Input{}, err
	}
	if n != st.Size() {
		return model.Input{}, fmt.Errorf("register %s: the file changed while it was hashed", path)
	}
	return model.Input{
		EvidenceID: sum, Name: filepath.Base(abs), URI: abs, Size: uint64(n), ModTime: model.TimeOf(st.ModTime()),
	}, nil
}

// Progress counts what has been done, for a progress bar. All may be read at any time.
type Progress struct {
	Inputs, InputsDone atomic.Uint64
	Total, Bytes       atomic.Uint64 // bytes of the files
	Packets, Flows     atomic.Uint64
	started            atomic.Int64
}

// Started is when the first input was begun, zero if none was.
func (p *Progress) Started() time.Time {
	if ns := p.started.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

func (p *Progress) add(bytes, packets, flows uint64) {
	if p == nil {
		return
	}
	p.Bytes.Add(bytes)
	p.Packets.Add(packets)
	p.Flows.Add(flows)
}

func (p *Progress) begin(in model.Input) {
	if p == nil {
		return
	}
	p.started.CompareAndSwap(0, time.Now().UnixNano())
	p.Inputs.Add(1)
	p.Total.Add(in.Size)
}

func (p *Progress) end() {
	if p != nil {
		p.InputsDone.Add(1)
	}
}
