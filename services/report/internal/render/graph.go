package render

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/services/report/internal/content"
)

// Bounds of the host graph.
const (
	maxNodes     = 40
	maxPerColumn = 14
	maxFan       = 8  // lines from one host up to which its scans are labelled
	maxLabels    = 28 // with more edges their labels would cover each other
	nodeW        = 170.0
	nodeH        = 48.0
	gapH         = 6.0 // room of a line that passes a column
	columnGap    = 116.0
	rowGap       = 20.0
)

// node is a host, or several that are drawn as one; without hosts it is a gap in a column
// through which a line passes.
type node struct {
	hosts  []model.TraceHost
	column int
	row    int
	order  float64
	x, y   float64
	height float64
	left   []*line // lines that end at the left side
	right  []*line
}

// line is an edge between nodes: all steps of one phase between them.
type line struct {
	from, to *node
	via      []*node // gaps of the columns between, from left to right
	phase    string
	label    string
	id       string // of the first step
	title    string
	steps    int
	certain  bool
	x0, y0   float64
	x1, y1   float64
}

// graph draws the hosts of a trace from left (where it came from) to right (where it
// reports and sends to), hosts entered later further right.
func graph(t model.Trace) template.HTML {
	if len(t.Edges) == 0 {
		return ""
	}
	nodes, of := arrange(t)
	lines := connect(t, of)
	nodes = place(nodes, lines)

	columns, height := 0, 0.0
	for _, n := range nodes {
		columns = max(columns, n.column+1)
		height = math.Max(height, n.y+n.height)
	}
	width := float64(columns)*nodeW + float64(columns-1)*columnGap + 80
	d := &drawing{}
	d.add(`<defs>`)
	for _, p := range content.Phases {
		d.add(`<marker id="arrow-%v-%v" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path class="ph-%v" d="M0,0.6 L8,4 L0,7.4 z"/></marker>`, t.TraceID, p, p)
	}
	d.add(`</defs>`)
	for _, l := range lines {
		dash := ""
		if !l.certain {
			dash = " possible"
		}
		d.add(`<a href="#%v"><path class="edge ph-%v%v" marker-end="url(#arrow-%v-%v)" d="%v"><title>%v</title></path></a>`, esc(l.id), phaseClass(l.phase), dash, t.TraceID, phaseClass(l.phase), l.path(), esc(l.title))
	}
	for _, n := range nodes {
		if len(n.hosts) > 0 {
			d.node(n)
		}
	}
	if len(lines) <= maxLabels {
		for _, l := range lines {
			if scan := l.phase == model.PhaseRecon || l.phase == model.PhaseDiscovery; scan && len(l.from.right) > maxFan {
				continue // the colour says it
			}
			x, y := l.middle()
			d.add(`<text class="label ph-%v" x="%v" y="%v" text-anchor="middle">%v</text>`, phaseClass(l.phase), x, y-4, esc(l.label))
		}
	}
	return d.svg("chart graph", "Hosts of trace "+t.TraceID+" and the steps between them", width, height+16)
}

func (d *drawing) node(n *node) {
	h := n.hosts[0]
	where := "outside"
	if h.Internal {
		where = "inside"
	}
	if len(n.hosts) > 1 {
		d.add(`<g class="node %v role-%v"><rect x="%v" y="%v" width="%v" height="%v" rx="6"/><text class="ip" x="%v" y="%v">%d further hosts</text><text class="sub" x="%v" y="%v">%v</text></g>`,
			where, esc(h.Role), n.x, n.y, nodeW, nodeH, n.x+12, n.y+20, len(n.hosts), n.x+12, n.y+37, esc(h.Role))
		return
	}
	sub := h.Role
	if len(h.Names) > 0 {
		sub += " · " + h.Names[0]
	}
	d.add(`<a href="#%v"><g class="node %v role-%v"><rect x="%v" y="%v" width="%v" height="%v" rx="6"/><rect class="mark" x="%v" y="%v" width="5" height="%v" rx="2"/><text class="ip" x="%v" y="%v">%v</text><text class="sub" x="%v" y="%v">%v</text><title>%v</title></g></a>`,
		hostAnchor(h.IP), where, esc(h.Role), n.x, n.y, nodeW, nodeH, n.x, n.y, nodeH, n.x+14, n.y+20, esc(short(h.IP.String(), 22)), n.x+14, n.y+37, esc(short(sub, 25)), esc(h.IP.String()+", "+sub))
}

// arrange gives each host its node and column, drawing what is too much as one.
func arrange(t model.Trace) ([]*node, map[netip.Addr]*node) {
	column := columnsOf(t)
	hosts := slices.Clone(t.Hosts)
	slices.SortStableFunc(hosts, func(a, b model.TraceHost) int {
		return cmp.Or(cmp.Compare(importance(a), importance(b)), cmp.Compare(a.FirstSeen, b.FirstSeen), a.IP.Compare(b.IP))
	})
	of := map[netip.Addr]*node{}
	rest := map[string]*node{}
	perColumn := map[int]int{}
	var nodes []*node
	for _, h := range hosts {
		c := column[h.IP]
		if len(nodes) < maxNodes && perColumn[c] < maxPerColumn {
			n := &node{hosts: []model.TraceHost{h}, column: c, height: nodeH}
			of[h.IP] = n
			nodes = append(nodes, n)
			perColumn[c]++
			continue
		}
		k := fmt.Sprint(c, h.Role, h.Internal)
		if rest[k] == nil {
			rest[k] = &node{column: c, height: nodeH}
			nodes = append(nodes, rest[k])
		}
		rest[k].hosts = append(rest[k].hosts, h)
		of[h.IP] = rest[k]
	}
	return nodes, of
}

func importance(h model.TraceHost) int {
	if h.Role == "target" || h.Role == "relay" {
		return 1
	}
	return 0
}

// columnsOf puts outside origins left, then the hosts by how many steps of entry away
// they are, those that were only touched beside who touched them, and the outside
// addresses that were reported or sent to right.
func columnsOf(t model.Trace) map[netip.Addr]int {
	const most = 3
	column := map[netip.Addr]int{}
	role := map[netip.Addr]model.TraceHost{}
	for _, h := range t.Hosts {
		role[h.IP] = h
		if h.Role == "origin" && !h.Internal {
			column[h.IP] = 0
		} else {
			column[h.IP] = 1
		}
	}
	for range most { // edges are in time order; a few sweeps settle short chains
		for _, e := range t.Edges {
			to := role[e.RespIP]
			if (e.Phase == model.PhaseExploit || e.Phase == model.PhaseTraversal || e.Phase == model.PhaseCredential) && to.Role != "origin" && e.OrigIP != e.RespIP {
				column[e.RespIP] = min(most, max(column[e.RespIP], column[e.OrigIP]+1))
			}
		}
	}
	last := 1
	for _, e := range t.Edges {
		if r := role[e.RespIP].Role; r == "target" || r == "relay" {
			column[e.RespIP] = max(column[e.RespIP], column[e.OrigIP]+1)
		}
	}
	for ip, c := range column {
		if r := role[ip].Role; r != "c2" && r != "exfil" {
			last = max(last, c)
		}
	}
	used := map[int]bool{}
	for ip := range column {
		if r := role[ip].Role; r == "c2" || r == "exfil" {
			column[ip] = last + 1
		}
		used[column[ip]] = true
	}
	shift := map[int]int{} // no empty columns
	next := 0
	for c := range last + 2 {
		shift[c] = next
		if used[c] {
			next++
		}
	}
	for ip := range column {
		column[ip] = shift[column[ip]]
	}
	return column
}

// connect makes one line for all steps of a phase between two nodes.
func connect(t model.Trace, of map[netip.Addr]*node) []*line {
	type key struct {
		from, to *node
		phase    string
	}
	by := map[key]*line{}
	var out []*line
	for _, e := range t.Edges {
		from, to := of[e.OrigIP], of[e.RespIP]
		if from == nil || to == nil || from == to {
			continue
		}
		k := key{from, to, e.Phase}
		l := by[k]
		if l == nil {
			l = &line{from: from, to: to, phase: e.Phase, id: e.EdgeID, certain: e.Order == model.OrderCertain, label: shortPhase(e.Phase)}
			if e.Service != "" {
				l.label += " " + short(e.Service, 14)
			} else if e.RespPort != 0 {
				l.label += fmt.Sprintf(" %d", e.RespPort)
			}
			l.title = fmt.Sprintf("%s · %s · %s", content.When(e.Start), content.PhaseNames[e.Phase], e.Why)
			by[k] = l
			out = append(out, l)
		}
		l.steps++
	}
	for _, l := range out {
		if l.steps > 1 {
			l.label = fmt.Sprintf("%s ×%d", shortPhase(l.phase), l.steps)
		}
	}
	return out
}

// shortPhase is the name of a phase where there is little room.
func shortPhase(phase string) string {
	switch phase {
	case model.PhaseC2:
		return "C2"
	case model.PhaseTraversal:
		return "lateral"
	}
	return phaseClass(phase)
}

// place orders the nodes of each column so that lines cross little, and gives all of them
// their coordinates. A line that passes columns gets a gap in each, so that it runs behind
// no host; the gaps are returned with the nodes.
func place(nodes []*node, lines []*line) []*node {
	for _, l := range lines {
		left, right := l.from.column, l.to.column
		for c := min(left, right) + 1; c < max(left, right); c++ {
			gap := &node{column: c, height: gapH}
			l.via = append(l.via, gap)
			nodes = append(nodes, gap)
		}
	}
	columns := map[int][]*node{}
	last := 0
	for _, n := range nodes {
		n.row = len(columns[n.column])
		columns[n.column] = append(columns[n.column], n)
		last = max(last, n.column)
	}
	near := map[*node][]*node{}
	join := func(a, b *node) {
		near[a] = append(near[a], b)
		near[b] = append(near[b], a)
	}
	for _, l := range lines {
		stops := l.stops()
		for i := range len(stops) - 1 {
			join(stops[i], stops[i+1])
		}
	}
	for sweep := range 8 {
		for i := range last + 1 {
			c := i
			if sweep%2 == 1 {
				c = last - i
			}
			for _, n := range columns[c] {
				sum, count := 0.0, 0.0
				for _, o := range near[n] {
					if o.column != n.column {
						sum += (float64(o.row) + 0.5) / float64(len(columns[o.column]))
						count++
					}
				}
				n.order = (float64(n.row) + 0.5) / float64(len(columns[c]))
				if count > 0 {
					n.order = sum / count
				}
			}
			slices.SortStableFunc(columns[c], func(a, b *node) int { return cmp.Compare(a.order, b.order) })
			for row, n := range columns[c] {
				n.row = row
			}
		}
	}
	total := 0.0
	heights := map[int]float64{}
	for c, list := range columns {
		own := -rowGap
		for _, n := range list {
			own += n.height + rowGap
		}
		heights[c] = own
		total = math.Max(total, own)
	}
	for c, list := range columns {
		y := 16 + (total-heights[c])/2
		for _, n := range list {
			n.x, n.y = 40+float64(c)*(nodeW+columnGap), y
			y += n.height + rowGap
		}
	}
	for _, l := range lines {
		switch {
		case l.from.column < l.to.column:
			l.from.right = append(l.from.right, l)
			l.to.left = append(l.to.left, l)
		case l.from.column == l.to.column:
			l.from.left = append(l.from.left, l)
			l.to.left = append(l.to.left, l)
		default:
			l.from.left = append(l.from.left, l)
			l.to.right = append(l.to.right, l)
		}
	}
	for _, n := range nodes {
		n.spread(n.left, n.x)
		n.spread(n.right, n.x+nodeW)
	}
	return nodes
}

// stops are the nodes along the line, from left to right.
func (l *line) stops() []*node {
	a, b := l.from, l.to
	if a.column > b.column {
		a, b = b, a
	}
	return append(append([]*node{a}, l.via...), b)
}

// spread gives the lines at one side of a node their ends, in the order of where they go.
func (n *node) spread(side []*line, x float64) {
	other := func(l *line) *node {
		stops := l.stops()
		if len(l.via) > 0 {
			if stops[0] == n {
				return stops[1]
			}
			return stops[len(stops)-2]
		}
		if l.from == n {
			return l.to
		}
		return l.from
	}
	slices.SortStableFunc(side, func(a, b *line) int {
		return cmp.Or(cmp.Compare(other(a).y, other(b).y), cmp.Compare(other(a).x, other(b).x), cmp.Compare(slices.Index(content.Phases, a.phase), slices.Index(content.Phases, b.phase)))
	})
	for i, l := range side {
		y := n.y + nodeH*float64(i+1)/float64(len(side)+1)
		if l.from == n {
			l.x0, l.y0 = x, y
		} else {
			l.x1, l.y1 = x, y
		}
	}
}

// bend is how far the line leaves its ends horizontally.
func (l *line) bend() (c0, c1 float64) {
	b := math.Max(34, math.Abs(l.x1-l.x0)*0.45)
	switch {
	case l.from.column < l.to.column:
		return l.x0 + b, l.x1 - b
	case l.from.column == l.to.column:
		return l.x0 - 38, l.x1 - 38
	default:
		return l.x0 - b, l.x1 + b
	}
}

func (l *line) path() string {
	if len(l.via) == 0 {
		c0, c1 := l.bend()
		return fmt.Sprintf("M%s,%s C%s,%s %s,%s %s,%s", num(l.x0), num(l.y0), num(c0), num(l.y0), num(c1), num(l.y1), num(l.x1), num(l.y1))
	}
	via := slices.Clone(l.via)
	dir := 1.0
	if l.from.column > l.to.column {
		slices.Reverse(via)
		dir = -1
	}
	x, y := l.x0, l.y0
	var path strings.Builder
	fmt.Fprintf(&path, "M%s,%s", num(x), num(y))
	curve := func(x1, y1 float64) {
		b := dir * math.Abs(x1-x) * 0.5
		fmt.Fprintf(&path, " C%s,%s %s,%s %s,%s", num(x+b), num(y), num(x1-b), num(y1), num(x1), num(y1))
		x, y = x1, y1
	}
	for _, n := range via {
		near, far := n.x, n.x+nodeW
		if dir < 0 {
			near, far = far, near
		}
		curve(near, n.y+n.height/2)
		fmt.Fprintf(&path, " L%s,%s", num(far), num(y))
		x = far
	}
	curve(l.x1, l.y1)
	return path.String()
}

// middle is the point of the curve where its label stands: in the gap of a column that it
// passes, else nearer to the end where fewer
// lines meet, so that the labels of a fan do not cover each other.
func (l *line) middle() (x, y float64) {
	if len(l.via) > 0 {
		n := l.via[len(l.via)/2]
		return n.x + nodeW/2, n.y + n.height/2
	}
	c0, c1 := l.bend()
	t := 0.5
	switch from, to := len(l.from.left)+len(l.from.right), len(l.to.left)+len(l.to.right); {
	case from > to+1:
		t = 0.64
	case to > from+1:
		t = 0.36
	}
	at := func(p0, p1, p2, p3 float64) float64 {
		u := 1 - t
		return u*u*u*p0 + 3*u*u*t*p1 + 3*u*t*t*p2 + t*t*t*p3
	}
	return at(l.x0, c0, c1, l.x1), at(l.y0, l.y0, l.y1, l.y1)
}
