package source

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// maxRecord bounds one record or packet block of a capture. The largest packet that
	// common tools write is 256 KiB.
	maxRecord = 512 << 10
	// blockData is how much of the input one block holds behind its head room.
	blockData = 512 << 10
	// maxWindow bounds the memory a compressed input can demand.
	maxWindow = 64 << 20
)

// Block is a piece of input that packets point into. It goes back to the pool when the
// last holder has released it.
type Block struct {
	buf  []byte // head room of maxRecord bytes, then data
	end  int
	refs atomic.Int32
	err  error // what ended the input behind this block, io.EOF at its end
}

var blockPool = sync.Pool{New: func() any { return &Block{buf: make([]byte, maxRecord+blockData)} }}

func newBlock() *Block {
	b := blockPool.Get().(*Block)
	b.refs.Store(1)
	b.end, b.err = maxRecord, nil
	return b
}

// Retain adds a holder.
func (b *Block) Retain() { b.refs.Add(1) }

// Release drops a holder.
func (b *Block) Release() {
	if b.refs.Add(-1) == 0 {
		blockPool.Put(b)
	}
}

// feed gives the decompressed input as contiguous pieces. What is left of one block moves
// into the head room of the next, so a record is always in one piece. For larger inputs
// another goroutine reads, hashes and decompresses ahead.
type feed struct {
	cur  *Block
	pos  int
	off  int64 // bytes consumed
	err  error // other than the plain end
	eof  bool
	raw  *hashed
	in   io.Reader
	stop func()
	done func() error

	ahead chan *Block
	quit  chan struct{}
}

// hashed hashes all that is read from the file.
type hashed struct {
	r io.Reader
	h hash.Hash
	n atomic.Int64
}

func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.h.Write(p[:n])
	h.n.Add(int64(n))
	return n, err
}

var (
	magicGzip = []byte{0x1f, 0x8b}
	magicZstd = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// newFeed starts reading f. The suffix names the compression, "" if none.
func newFeed(f io.Reader, done func() error, parallel bool) (*feed, string, error) {
	fd := &feed{raw: &hashed{r: f, h: sha256.New()}, done: done, stop: func() {}}
	head := make([]byte, 4)
	n, err := io.ReadFull(fd.raw, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, "", fmt.Errorf("read: %w", err)
	}
	head = head[:n]
	fd.in = io.MultiReader(bytes.NewReader(head), fd.raw)
	suffix := ""
	switch {
	case bytes.HasPrefix(head, magicGzip):
		z, err := gzip.NewReader(fd.in)
		if err != nil {
			return nil, "", fmt.Errorf("gzip: %w", err)
		}
		fd.in, suffix = z, ".gz"
	case bytes.HasPrefix(head, magicZstd):
		z, err := zstd.NewReader(fd.in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, "", fmt.Errorf("zstd: %w", err)
		}
		fd.in, fd.stop, suffix = z, z.Close, ".zst"
	}
	fd.cur = newBlock()
	fd.pos = maxRecord
	fd.fill(fd.cur)
	fd.take(fd.cur)
	if parallel && !fd.eof {
		fd.ahead = make(chan *Block, 4)
		fd.quit = make(chan struct{})
		go fd.readAhead()
	}
	return fd, suffix, nil
}

// fill reads a block's worth of input.
func (fd *feed) fill(b *Block) {
	n, err := io.ReadFull(fd.in, b.buf[maxRecord:])
	b.end = maxRecord + n
	if errors.Is(err, io.ErrUnexpectedEOF) && n < blockData {
		// ReadFull says this both for the plain end of the input and for a cut
		// compressed stream; another read tells them apart.
		var one [1]byte
		if _, err = fd.in.Read(one[:]); err == nil {
			err = errors.New("the input went on after its end")
		}
	}
	b.err = err
}

func (fd *feed) take(b *Block) {
	if b.err != nil {
		fd.eof = true
		if !errors.Is(b.err, io.EOF) {
			fd.err = b.err
		}
	}
}

func (fd *feed) readAhead() {
	defer close(fd.ahead)
	for {
		b := newBlock()
		fd.fill(b)
		last := b.err != nil
		select {
		case fd.ahead <- b:
		case <-fd.quit:
			b.Release()
			return
		}
		if last {
			return
		}
	}
}

// peek makes the next n bytes available without consuming them, n <= maxRecord. At the end
// of the input fewer are returned.
func (fd *feed) peek(n int) []byte {
	for fd.cur.end-fd.pos < n && !fd.eof {
		var b *Block
		if fd.ahead != nil {
			b = <-fd.ahead
		} else {
			b = newBlock()
			fd.fill(b)
		}
		rest := fd.cur.buf[fd.pos:fd.cur.end]
		at := max(maxRecord-len(rest),
			// more than one block is wanted: cannot be, n is bounded
			0)
		copy(b.buf[at:], rest)
		fd.cur.Release()
		fd.cur, fd.pos = b, at
		fd.take(b)
	}
	return fd.cur.buf[fd.pos:min(fd.pos+n, fd.cur.end)]
}

// skip consumes n bytes that were peeked.
func (fd *feed) skip(n int) {
	fd.pos += n
	fd.off += int64(n)
}

// discard consumes up to n bytes and tells how many there were.
func (fd *feed) discard(n int64) int64 {
	var total int64
	for total < n {
		step := int(min(n-total, maxRecord/2))
		got := len(fd.peek(step))
		fd.skip(got)
		total += int64(got)
		if got < step {
			break
		}
	}
	return total
}

// close reads what is left, so that the hash covers the whole file, and counts it. Of a
// damaged compressed stream the compressed bytes are counted.
func (fd *feed) close() (sum []byte, unread uint64, err error) {
	unread = uint64(fd.cur.end - fd.pos)
	fd.pos = fd.cur.end
	fd.cur.Release()
	if fd.ahead != nil && !fd.eof {
		for b := range fd.ahead {
			unread += uint64(b.end - maxRecord)
			fd.take(b)
			b.Release()
		}
	}
	for !fd.eof {
		b := newBlock()
		fd.fill(b)
		unread += uint64(b.end - maxRecord)
		fd.take(b)
		b.Release()
	}
	fd.stop()
	rest, err := io.Copy(io.Discard, fd.raw)
	if fd.err != nil {
		unread += uint64(rest)
	}
	if cerr := fd.done(); err == nil {
		err = cerr
	}
	return fd.raw.h.Sum(nil), unread, err
}

// abandon gives everything back without reading on.
func (fd *feed) abandon() {
	if fd.ahead != nil {
		close(fd.quit)
		for b := range fd.ahead {
			b.Release()
		}
	}
	fd.cur.Release()
	fd.stop()
	_ = fd.done()
}
