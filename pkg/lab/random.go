package lab

import (
	"encoding/binary"
	"math"
	"math/bits"
	"time"
)

// random is a stream of pseudo-random numbers (SplitMix64, Steele and others 2014). It is
// written out here, rather than taken from math/rand, so that a seed means the same bytes
// with every release of Go. Each actor has a stream of its own: changing one leaves the
// others as they were.
type random struct{ state uint64 }

// newRandom starts the stream of one actor.
func newRandom(seed int64, name string) *random {
	h := uint64(14695981039346656037) // FNV-1a over the name
	for i := 0; i < len(name); i++ {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	r := &random{state: uint64(seed)*0x9e3779b97f4a7c15 ^ h}
	r.u64()
	return r
}

// fork starts an independent stream, which depends on r's state and the name.
func (r *random) fork(name string) *random { return newRandom(int64(r.u64()), name) }

func (r *random) u64() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (r *random) u32() uint32 { return uint32(r.u64() >> 32) }
func (r *random) u16() uint16 { return uint16(r.u64() >> 48) }

// intn returns a number in [0, n); n must be positive.
func (r *random) intn(n int) int {
	hi, _ := bits.Mul64(r.u64(), uint64(n))
	return int(hi)
}

// span returns a number in [low, high].
func (r *random) span(low, high int) int { return low + r.intn(high-low+1) }

// float returns a number in [0, 1).
func (r *random) float() float64 { return float64(r.u64()>>11) / (1 << 53) }

func (r *random) chance(p float64) bool { return r.float() < p }

// between returns nanoseconds, uniform in [low, high).
func (r *random) between(low, high time.Duration) int64 {
	return int64(low) + int64(r.float()*float64(high-low))
}

// exp returns exponentially distributed nanoseconds.
func (r *random) exp(mean time.Duration) int64 {
	return int64(-math.Log(1-r.float()) * float64(mean))
}

// normal returns a standard normal number (Box-Muller).
func (r *random) normal() float64 {
	u := 1 - r.float()
	return math.Sqrt(-2*math.Log(u)) * math.Cos(2*math.Pi*r.float())
}

// lognormal returns a heavy-tailed number with the given median, cut at 40 times the median.
func (r *random) lognormal(median, sigma float64) float64 {
	return min(median*math.Exp(sigma*r.normal()), 40*median)
}

// size is lognormal as a number of bytes, at least low.
func (r *random) size(median, sigma float64, low int) int {
	return max(low, int(r.lognormal(median, sigma)))
}

// think is lognormal as nanoseconds.
func (r *random) think(median time.Duration, sigma float64) int64 {
	return int64(r.lognormal(float64(median), sigma))
}

// fill overwrites b.
func (r *random) fill(b []byte) {
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, r.u64())
		b = b[8:]
	}
	if len(b) > 0 {
		v := r.u64()
		for i := range b {
			b[i] = byte(v)
			v >>= 8
		}
	}
}

// append adds n bytes to dst.
func (r *random) append(dst []byte, n int) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, n)...)
	r.fill(dst[at:])
	return dst
}

func (r *random) bytes(n int) []byte { return r.append(nil, n) }

// text returns n letters of the alphabet.
func (r *random) text(n int, alphabet string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[r.intn(len(alphabet))]
	}
	return string(b)
}

const (
	hexDigits = "0123456789abcdef"
	base32Set = "abcdefghijklmnopqrstuvwxyz234567"
	wordSet   = "abcdefghijklmnopqrstuvwxyz0123456789"
)

// pick returns one element.
func pick[T any](r *random, list []T) T { return list[r.intn(len(list))] }

// shuffle puts list into a random order.
func shuffle[T any](r *random, list []T) {
	for i := len(list) - 1; i > 0; i-- {
		j := r.intn(i + 1)
		list[i], list[j] = list[j], list[i]
	}
}
