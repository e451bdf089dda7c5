// Package source reads packets out of capture files: pcap and pcapng in both byte orders,
// plain or compressed with gzip or zstd. The formats are read by hand over blocks of
// memory that packets point into, so that reading a packet neither copies nor allocates.
//
// A damaged capture keeps everything before the damage. What was wrong, where, and how
// many bytes were not read is part of the result.
package source

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Packet is one frame of a capture. Data points into the reader's current Block.
type Packet struct {
	TS      model.Time
	Link    uint32 // link type, see the Link constants
	WireLen uint32 // length on the wire
	Data    []byte // captured bytes
}

// Result tells what became of a capture.
type Result struct {
	SHA256      string // of the file's bytes, hexadecimal; set by Close
	Format      string // pcap or pcapng, with ".gz" or ".zst" if compressed
	MediaType   string
	Packets     uint64
	BytesRead   uint64 // of the decompressed input, headers included
	BytesUnread uint64 // behind the damage
	Problems    []string
	LinkTypes   []string // names, sorted
	Skipped     uint64   // pcapng blocks that hold no packets
	Untimed     uint64   // packets whose block carries no time; they take that of the packet before
	BadTimes    uint64   // times outside the years 1970 to 9999, set to the bound
}

// Reader reads one capture. It is used by one goroutine.
type Reader struct {
	name string // for messages
	size int64
	in   *feed
	next func(*Reader, *Packet) bool
	res  Result
	done bool
	pc   pcapState
	ng   ngState
	last model.Time
	lost uint64 // consumed bytes of a block that turned out to be cut
	// links seen so far; the last one is remembered apart because it rarely changes
	links    map[uint32]bool
	lastLink uint32
	anyLink  bool
}

// Open opens a capture and reads its first header. A file that is no capture at all is an
// error of one sentence; damage further on is told by Close. Only the first size bytes are
// read: what is appended to the file later is not part of the capture.
func Open(path string, size int64) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open capture: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open capture: %w", err)
	}
	if !st.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	r, err := newReader(filepath.Base(path), io.LimitReader(f, size), f.Close, st.Size() > blockData)
	if err != nil {
		return nil, err
	}
	r.size = min(size, st.Size())
	return r, nil
}

// Next reads the next packet into p. It is false at the end of the capture or of its
// readable part.
func (r *Reader) Next(p *Packet) bool {
	if r.done || !r.next(r, p) {
		r.done = true
		return false
	}
	r.res.Packets++
	if !r.anyLink || p.Link != r.lastLink {
		r.anyLink, r.lastLink = true, p.Link
		r.links[p.Link] = true
	}
	r.last = p.TS
	return true
}

// Block is the memory the packet read last points into. Retain it to keep the packet's
// Data beyond the next call of Next.
func (r *Reader) Block() *Block { return r.in.cur }

// FileOffset is the number of bytes read from the file so far, which runs ahead of what
// Next returned.
func (r *Reader) FileOffset() int64 { return r.in.raw.n.Load() }

// Size is the size of the file.
func (r *Reader) Size() int64 { return r.size }

// Close ends reading, hashes what is left of the file and returns the result.
func (r *Reader) Close() (Result, error) {
	r.done = true
	sum, unread, err := r.in.close()
	r.res.SHA256 = hex.EncodeToString(sum)
	r.res.BytesRead = uint64(r.in.off) - r.lost
	r.res.BytesUnread = unread + r.lost
	for l := range r.links {
		r.res.LinkTypes = append(r.res.LinkTypes, LinkName(l))
	}
	slices.Sort(r.res.LinkTypes)
	if errors.Is(r.in.err, io.ErrUnexpectedEOF) {
		r.problem("byte %d: the compressed data ends in the middle", r.in.off)
	} else if r.in.err != nil {
		r.problem("byte %d: %v", r.in.off, r.in.err)
	}
	if r.res.BadTimes > 0 {
		r.problem("%d packets have times before 1970 or after 9999, the nearest bound stands for them", r.res.BadTimes)
	}
	slices.Sort(r.res.Problems)
	r.res.Problems = slices.Compact(r.res.Problems)
	return r.res, err
}

// problem notes what went wrong, one sentence that begins with the file's name.
func (r *Reader) problem(format string, args ...any) {
	if len(r.res.Problems) < 32 {
		r.res.Problems = append(r.res.Problems, r.name+": "+fmt.Sprintf(format, args...))
	}
}

// The last microsecond and second of the year 9999.
const (
	maxTime    = maxSeconds*1000000 + 999999
	maxSeconds = 253402300799
)

// time bounds a time given in microseconds.
func (r *Reader) time(us uint64) model.Time {
	if us > maxTime {
		r.res.BadTimes++
		return maxTime
	}
	return model.Time(us)
}
