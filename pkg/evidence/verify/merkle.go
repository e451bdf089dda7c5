package verify

import (
	"crypto/sha256"
	"errors"
)

// hash is a node of the tree of RFC 6962, section 2.1.
type hash [sha256.Size]byte

func hashLeaf(entry []byte) hash {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(entry)
	return hash(h.Sum(nil))
}

func hashNode(left, right hash) hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

// accumulator computes the root of a growing list: complete subtrees, largest first.
type accumulator struct {
	size  uint64
	peaks []hash
}

func (a *accumulator) push(h hash) {
	for n := a.size; n&1 == 1; n >>= 1 {
		last := len(a.peaks) - 1
		h = hashNode(a.peaks[last], h)
		a.peaks = a.peaks[:last]
	}
	a.peaks = append(a.peaks, h)
	a.size++
}

func (a *accumulator) root() hash {
	if a.size == 0 {
		return sha256.Sum256(nil)
	}
	h := a.peaks[len(a.peaks)-1]
	for i := len(a.peaks) - 2; i >= 0; i-- {
		h = hashNode(a.peaks[i], h)
	}
	return h
}

// rootFromProof leads the hash of leaf index up to the root of a tree of the given size
// (RFC 9162, section 2.1.3.2).
func rootFromProof(index, size uint64, h hash, proof []hash) (hash, error) {
	if index >= size {
		return h, errors.New("the leaf lies behind the end of the tree")
	}
	last := size - 1
	for _, p := range proof {
		if last == 0 {
			return h, errors.New("the proof is too long")
		}
		if index&1 == 1 || index == last {
			h = hashNode(p, h)
			for index&1 == 0 && index != 0 {
				index, last = index>>1, last>>1
			}
		} else {
			h = hashNode(h, p)
		}
		index, last = index>>1, last>>1
	}
	if last != 0 {
		return h, errors.New("the proof is too short")
	}
	return h, nil
}
