package analyze

import "github.com/tracer-framework/tracer/pkg/model"

// tunnelMax bounds the bytes kept of each direction until the protocol inside is known.
const tunnelMax = 4096

// tunnel is a stream that HTTP has been switched away from, by CONNECT or Upgrade. The
// protocol inside is recognised by its content as that of a flow is.
type tunnel struct {
	c     *Conn
	s     Sink
	first [2][]byte
	inner Analyzer
	dead  bool
}

// tunnelled are the protocols looked for inside. HTTP is not among them: a tunnel within a
// tunnel could go on for ever.
var tunnelled = []Protocol{tlsTCP, sshTCP}

func (t *tunnel) Data(ts model.Time, fromOrig bool, data []byte) bool {
	if t.dead || len(data) == 0 {
		return !t.dead
	}
	if t.inner != nil {
		return t.inner.Data(ts, fromOrig, data)
	}
	i := side(fromOrig)
	n := min(tunnelMax-len(t.first[i]), len(data))
	t.first[i] = append(t.first[i], data[:n]...)
	more := false
	for _, p := range tunnelled {
		switch p.Match(fromOrig, t.first[i]) {
		case Yes:
			t.inner = p.New(t.c, t.s)
			if other := t.first[1-i]; len(other) > 0 {
				t.inner.Data(ts, !fromOrig, other)
			}
			more = t.inner.Data(ts, fromOrig, t.first[i])
			if n < len(data) {
				more = t.inner.Data(ts, fromOrig, data[n:])
			}
			t.first = [2][]byte{}
			return more
		case NeedMore:
			more = true
		}
	}
	if !more || len(t.first[i]) >= tunnelMax {
		t.dead = true
		t.first = [2][]byte{}
	}
	return !t.dead
}

func (t *tunnel) Gap(ts model.Time, fromOrig bool, n int64) {
	if t.inner != nil {
		t.inner.Gap(ts, fromOrig, n)
		return
	}
	t.dead = true // what cannot be read from its beginning is not recognised
}

func (t *tunnel) End(ts model.Time) {
	if t.inner != nil {
		t.inner.End(ts)
	}
}
