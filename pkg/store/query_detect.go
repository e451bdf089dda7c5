package store

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
)

// attempt is the condition that the originator of a flow tried to reach someone: it opened
// a TCP connection, sent an echo request, or sent UDP from a port of its own to one host.
const attempt = `(proto = 'tcp' AND position(history, 'S') > 0
	OR proto = 'udp' AND (orig_port >= 1024 OR orig_port = resp_port)
	OR proto = 'icmp' AND orig_port = 8 OR proto = 'icmp6' AND orig_port = 128)
	AND NOT (resp_ip BETWEEN toIPv6('::ffff:224.0.0.0') AND toIPv6('::ffff:255.255.255.255') OR resp_ip >= toIPv6('ff00::'))`

// outcome is what became of a try, see the Outcome constants. A SYN without answer counts
// as unanswered only if the originator never acknowledged anything: otherwise the capture
// shows one direction only.
const outcome = `multiIf(proto != 'tcp', if(resp_pkts = 0, 0, 3),
	conn_state = 'REJ', 1,
	conn_state IN ('S0', 'RSTOS0', 'SH') AND resp_pkts = 0 AND orig_bytes = 0 AND position(history, 'A') = 0, 0,
	orig_bytes = 0 AND resp_bytes = 0 AND resp_pkts > 0, 2, 3)`

// firsts is the first contact of each originator with each target it was not given by DNS;
// key names its columns. It takes the evidence ids twice.
func firsts(key string) string {
	return `SELECT ` + key + `, min((toUnixTimestamp64Micro(start), flow_id)) AS opened, max(toUnixTimestamp64Micro(end)) AS closed,
		toUInt8(argMin(` + outcome + `, (start, flow_id))) AS result, count() AS flows, groupUniqArray(toString(evidence_id)) AS inputs
	FROM flow WHERE evidence_id IN (?) AND ` + attempt + ` AND (orig_ip, resp_ip) NOT IN (` + resolved + `) GROUP BY ` + key
}

// resolved is the addresses each originator was given by DNS.
const resolved = `SELECT orig_ip, toIPv6OrDefault(a) FROM dns ARRAY JOIN answers AS a WHERE evidence_id IN (?) AND (isIPv4String(a) OR isIPv6String(a))`

// contacts are the columns of a ScanGroup behind its key.
const contacts = `arrayMap(x -> x.1, groupArraySorted(4096)((opened.1, toString(resp_ip), port, flows, result, opened.2)) AS c),
	arrayMap(x -> x.2, c), arrayMap(x -> x.3, c), arrayMap(x -> x.4, c), arrayMap(x -> x.5, c), arrayMap(x -> x.6, c),
	count(), sum(flows), min(opened.1), max(closed), arraySort(arrayDistinct(arrayFlatten(groupArray(inputs))))`

// vain is the condition that at least so many contacts of a group came to nothing, and half
// of all: busy clients need not be looked at closer.
const vain = `countIf(result <= 2) >= ? AND 2 * countIf(result <= 2) >= count()`

// HorizontalScans gives the first contacts of each originator with many hosts on one port
// (ICMP: with one type of message), if at least least of them, and half, came to nothing; of
// ICMP whatever came of them.
func (s *Store) HorizontalScans(ctx context.Context, evidenceIDs []string, least int) ([]ScanGroup, error) {
	f := firsts("orig_ip, proto, if(proto LIKE 'icmp%', orig_port, resp_port) AS port, resp_ip")
	query := `SELECT toString(orig_ip), '', toString(proto), port, ` + contacts + `
FROM (` + f + `)
WHERE (orig_ip, proto, port) IN (SELECT orig_ip, proto, port FROM (` + f + `)
	GROUP BY orig_ip, proto, port HAVING ` + vain + ` OR proto LIKE 'icmp%' AND count() >= ?)
GROUP BY orig_ip, proto, port ORDER BY orig_ip, proto, port`
	groups, err := s.scans(ctx, query, evidenceIDs, evidenceIDs, evidenceIDs, evidenceIDs, least, least)
	if err != nil {
		return nil, fmt.Errorf("query horizontal scans: %w", err)
	}
	return groups, s.reach(ctx, evidenceIDs, groups)
}

// VerticalScans gives the first contacts of each originator with many ports of one host, if
// at least least of them, and half, came to nothing.
func (s *Store) VerticalScans(ctx context.Context, evidenceIDs []string, least int) ([]ScanGroup, error) {
	f := firsts("orig_ip, resp_ip, proto, resp_port AS port")
	query := `SELECT toString(orig_ip), toString(resp_ip), toString(proto), toUInt16(0), ` + contacts + `
FROM (` + f + `)
WHERE (orig_ip, resp_ip, proto) IN (SELECT orig_ip, resp_ip, proto FROM (` + f + `)
	WHERE proto IN ('tcp', 'udp') GROUP BY orig_ip, resp_ip, proto HAVING ` + vain + `)
GROUP BY orig_ip, resp_ip, proto ORDER BY orig_ip, resp_ip, proto`
	groups, err := s.scans(ctx, query, evidenceIDs, evidenceIDs, evidenceIDs, evidenceIDs, least)
	if err != nil {
		return nil, fmt.Errorf("query vertical scans: %w", err)
	}
	return groups, nil
}

func (s *Store) scans(ctx context.Context, query string, args ...any) ([]ScanGroup, error) {
	rows, err := s.Conn().Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	var out []ScanGroup
	for rows.Next() {
		var g ScanGroup
		var orig, resp string
		var first, last int64
		var at []int64
		var ips []string
		var ports []uint16
		var flows, ids []uint64
		var results []uint8
		if err := rows.Scan(&orig, &resp, &g.Proto, &g.Port, &at, &ips, &ports, &flows, &results, &ids,
			&g.Targets, &g.FlowCount, &first, &last, &g.EvidenceIDs); err != nil {
			rows.Close()
			return nil, fmt.Errorf("read rows: %w", err)
		}
		g.OrigIP, g.First, g.Last = addr(orig), model.Time(first), model.Time(last)
		if resp != "" {
			g.RespIP = addr(resp)
		}
		for i := range at {
			g.Contacts = append(g.Contacts, Contact{
				TS: model.Time(at[i]), IP: addr(ips[i]), Port: ports[i], Flows: flows[i], Outcome: results[i],
			})
			if i < model.FlowsCap {
				g.Flows = append(g.Flows, model.FlowID(ids[i]))
			}
		}
		out = append(out, g)
	}
	return out, closeRows(rows)
}

// reach fills ScanGroup.Reach.
func (s *Store) reach(ctx context.Context, evidenceIDs []string, groups []ScanGroup) error {
	type key struct {
		orig  netip.Addr
		proto string
	}
	counts := map[key]uint64{}
	var from []netip.Addr
	for _, g := range groups {
		from = append(from, g.OrigIP)
	}
	slices.SortFunc(from, netip.Addr.Compare)
	for part := range slices.Chunk(slices.Compact(from), idsPerQuery) {
		query := `SELECT toString(orig_ip), toString(proto), uniqExact(resp_ip) FROM (` + firsts("orig_ip, proto, resp_ip, resp_port") + `)
WHERE result <= 1 AND orig_ip IN (?) GROUP BY orig_ip, proto`
		rows, err := s.Conn().Query(ctx, query, evidenceIDs, evidenceIDs, addrTexts(part))
		if err != nil {
			return fmt.Errorf("query reach of scanners: %w", err)
		}
		for rows.Next() {
			var orig, proto string
			var n uint64
			if err := rows.Scan(&orig, &proto, &n); err != nil {
				rows.Close()
				return fmt.Errorf("read reach of scanners: %w", err)
			}
			counts[key{addr(orig), proto}] = n
		}
		if err := closeRows(rows); err != nil {
			return fmt.Errorf("read reach of scanners: %w", err)
		}
	}
	for i := range groups {
		groups[i].Reach = counts[key{groups[i].OrigIP, groups[i].Proto}]
	}
	return nil
}

// PairQuery says which pairs are wanted: in each window those with at least Unique distinct
// seconds, at least Connections and fewer than Strobe connections.
type PairQuery struct {
	EvidenceIDs []string
	Windows     []Span // by the start of flows, inclusive; they must not overlap
	Unique      int
	Connections int
	Strobe      int
	Long        time.Duration // a name used this long in all explains its addresses, too
}

// from is the flows of the windows with the number of their window, from 1, and their name:
// TLS SNI or HTTP Host.
func (q *PairQuery) from() (sql string, arg any) {
	var list strings.Builder
	first, last := q.Windows[0].First, q.Windows[0].Last
	for i, w := range q.Windows {
		if i > 0 {
			list.WriteString(", ")
		}
		fmt.Fprintf(&list, "(%d, %d)", w.First, w.Last)
		first, last = min(first, w.First), max(last, w.Last)
	}
	return fmt.Sprintf(`(SELECT arrayFirstIndex(w -> toUnixTimestamp64Micro(start) >= w.1 AND toUnixTimestamp64Micro(start) <= w.2, [%s]) AS window,
	%s AS name, flow_id, evidence_id, start, end, orig_ip, resp_ip, resp_port, proto, service, orig_bytes, resp_bytes, orig_ip_bytes
	FROM flow WHERE evidence_id IN (?) AND NOT has(tags, 'midstream') AND start >= fromUnixTimestamp64Micro(%d, 'UTC') AND start <= fromUnixTimestamp64Micro(%d, 'UTC') AND window > 0)`,
		list.String(), name, first, last), q.EvidenceIDs
}

// name is the TLS SNI or HTTP Host of a flow.
const name = `multiIf(tls_sni != '', lower(tls_sni), http_host != '', lower(replaceRegexpOne(http_host, ':[0-9]+$', '')), '')`

const lasted = `(toUnixTimestamp64Micro(end) - toUnixTimestamp64Micro(start))`

// members are the columns of a Pair behind its key.
const members = `count(), 
	arrayMap(x -> x.1, arraySort(groupArray(86400)((toUnixTimestamp64Micro(start), orig_ip_bytes, flow_id))) AS a), arrayMap(x -> x.2, a), arrayMap(x -> x.3, a),
	sum(` + lasted + `), sum(orig_bytes), sum(resp_bytes), max(toUnixTimestamp64Micro(end)),
	if(uniqExact(resp_ip) = 1, toString(any(resp_ip)), ''), if(uniqExact(proto) = 1, toString(any(proto)), ''), if(uniqExact(resp_port) = 1, any(resp_port), 0),
	arraySort(arrayDistinct(arrayFlatten(groupUniqArray(arrayFilter(x -> x != '', splitByChar(',', toString(service))))))),
	arraySort(groupUniqArray(toString(evidence_id)))`

// NamedPairs gives the pairs of originator and name, sorted by window, originator and name.
func (s *Store) NamedPairs(ctx context.Context, q PairQuery) ([]Pair, error) {
	if len(q.Windows) == 0 {
		return nil, nil
	}
	from, ids := q.from()
	query := `SELECT window, toString(orig_ip), name, ` + members + `
FROM ` + from + ` WHERE name != '' AND (window, orig_ip, name) IN (
	SELECT window, orig_ip, name FROM ` + from + ` WHERE name != '' GROUP BY window, orig_ip, name HAVING count() >= ? AND count() < ?)
GROUP BY window, orig_ip, name HAVING uniqExact(toUnixTimestamp(start)) >= ?
ORDER BY window, orig_ip, name`
	return s.pairs(ctx, "named pairs", query, ids, ids, q.Connections, q.Strobe, q.Unique)
}

// AddressedPairs gives the pairs of addresses, sorted by window and address, without those
// of which a connection belongs to a name the originator used often or long: such a pair is
// judged by the name.
func (s *Store) AddressedPairs(ctx context.Context, q PairQuery) ([]Pair, error) {
	if len(q.Windows) == 0 {
		return nil, nil
	}
	from, ids := q.from()
	query := `SELECT window, toString(orig_ip), '', ` + members + `
FROM ` + from + ` WHERE (window, orig_ip, resp_ip) IN (
	SELECT window, orig_ip, resp_ip FROM ` + from + ` GROUP BY window, orig_ip, resp_ip HAVING count() >= ? AND count() < ?)
AND (window, orig_ip, resp_ip) NOT IN (
	SELECT window, orig_ip, resp_ip FROM ` + from + ` WHERE (window, orig_ip, name) IN (
		SELECT window, orig_ip, name FROM ` + from + ` WHERE name != '' GROUP BY window, orig_ip, name
		HAVING uniqExact(toUnixTimestamp(start)) >= ? AND count() < ? OR sum(` + lasted + `) >= ?))
GROUP BY window, orig_ip, resp_ip HAVING uniqExact(toUnixTimestamp(start)) >= ?
ORDER BY window, orig_ip, resp_ip`
	return s.pairs(ctx, "addressed pairs", query, ids, ids, q.Connections, q.Strobe, ids, ids, q.Unique, q.Strobe, q.Long.Microseconds(), q.Unique)
}

// Strobes gives the pairs of addresses with at least q.Strobe connections, sorted by window
// and address. Their Starts are left out.
func (s *Store) Strobes(ctx context.Context, q PairQuery) ([]Pair, error) {
	if len(q.Windows) == 0 {
		return nil, nil
	}
	from, ids := q.from()
	cut := strings.Replace(members, "groupArray(86400)", fmt.Sprintf("groupArraySorted(%d)", model.FlowsCap), 1)
	query := `SELECT window, toString(orig_ip), '', ` + cut + `
FROM ` + from + ` WHERE (window, orig_ip, resp_ip) IN (
	SELECT window, orig_ip, resp_ip FROM ` + from + ` GROUP BY window, orig_ip, resp_ip HAVING count() >= ?)
GROUP BY window, orig_ip, resp_ip ORDER BY window, orig_ip, resp_ip`
	out, err := s.pairs(ctx, "strobes", query, ids, ids, q.Strobe)
	for i := range out {
		out[i].Starts, out[i].IPBytes = nil, nil
	}
	return out, err
}

func (s *Store) pairs(ctx context.Context, what, query string, args ...any) ([]Pair, error) {
	rows, err := s.Conn().Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", what, err)
	}
	var out []Pair
	for rows.Next() {
		var p Pair
		var orig, resp string
		var at []int64
		var ids []uint64
		var last int64
		var window uint32
		if err := rows.Scan(&window, &orig, &p.Name, &p.Count, &at, &p.IPBytes, &ids, &p.Duration, &p.OrigBytes, &p.RespBytes, &last,
			&resp, &p.Proto, &p.RespPort, &p.Services, &p.EvidenceIDs); err != nil {
			rows.Close()
			return nil, fmt.Errorf("read %s: %w", what, err)
		}
		p.Window = int(window) - 1
		p.OrigIP, p.FlowCount, p.Last = addr(orig), p.Count, model.Time(last)
		if resp != "" {
			p.RespIP = addr(resp)
		}
		p.Starts = make([]model.Time, len(at))
		for i, t := range at {
			p.Starts[i] = model.Time(t)
		}
		if len(p.Starts) > 0 {
			p.First = p.Starts[0]
		}
		for _, id := range ids[:min(len(ids), model.FlowsCap)] {
			p.Flows = append(p.Flows, model.FlowID(id))
		}
		out = append(out, p)
	}
	if err := closeRows(rows); err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	return out, nil
}

// LongConnections gives the connections that lasted at least least, grouped by hosts and
// port, sorted.
func (s *Store) LongConnections(ctx context.Context, evidenceIDs []string, least time.Duration) ([]LongGroup, error) {
	query := `SELECT toString(orig_ip), toString(resp_ip), resp_port, toString(proto),
	arraySort(arrayDistinct(arrayFlatten(groupUniqArray(arrayFilter(x -> x != '', splitByChar(',', toString(service))))))),
	max(` + name + `), max(` + lasted + `), sum(` + lasted + `), argMax(open, (` + lasted + `, flow_id)),
	sum(orig_bytes), sum(resp_bytes), sum(orig_pkts), sum(resp_pkts), count(),
	arrayMap(x -> x.2, groupArraySorted(` + fmt.Sprint(model.FlowsCap) + `)((toUnixTimestamp64Micro(start), flow_id))),
	arraySort(groupUniqArray(toString(evidence_id))), min(toUnixTimestamp64Micro(start)), max(toUnixTimestamp64Micro(end))
FROM flow WHERE evidence_id IN (?) AND ` + lasted + ` >= ?
GROUP BY orig_ip, resp_ip, resp_port, proto ORDER BY orig_ip, resp_ip, resp_port, proto`
	rows, err := s.Conn().Query(ctx, query, evidenceIDs, least.Microseconds())
	if err != nil {
		return nil, fmt.Errorf("query long connections: %w", err)
	}
	var out []LongGroup
	for rows.Next() {
		var g LongGroup
		var orig, resp string
		var ids []uint64
		var first, last int64
		if err := rows.Scan(&orig, &resp, &g.RespPort, &g.Proto, &g.Services, &g.Name, &g.Longest, &g.Total, &g.Open,
			&g.OrigBytes, &g.RespBytes, &g.OrigPkts, &g.RespPkts, &g.FlowCount, &ids, &g.EvidenceIDs, &first, &last); err != nil {
			rows.Close()
			return nil, fmt.Errorf("read long connections: %w", err)
		}
		g.OrigIP, g.RespIP, g.First, g.Last = addr(orig), addr(resp), model.Time(first), model.Time(last)
		for _, id := range ids {
			g.Flows = append(g.Flows, model.FlowID(id))
		}
		out = append(out, g)
	}
	if err := closeRows(rows); err != nil {
		return nil, fmt.Errorf("read long connections: %w", err)
	}
	return out, nil
}

// DNSNames hands each name an originator asked for to take, in no particular order.
// Multicast names and NetBIOS are left out.
func (s *Store) DNSNames(ctx context.Context, evidenceIDs []string, take func(DNSName)) error {
	const query = `SELECT toString(orig_ip), if(uniqExact(resp_ip) = 1, toString(any(resp_ip)), ''), query, count(),
	countIf(qtype IN (5, 10, 15, 16, 25, 33, 65399)), countIf(answered), countIf(rcode = 3),
	countIf(arrayExists(a -> startsWith(a, '127.'), answers)), sum(request_bytes), sum(response_bytes),
	min(toUnixTimestamp64Micro(ts)), max(toUnixTimestamp64Micro(ts))
FROM dns WHERE evidence_id IN (?) AND resp_port NOT IN (137, 5353, 5355) GROUP BY orig_ip, query`
	rows, err := s.Conn().Query(ctx, query, evidenceIDs)
	if err != nil {
		return fmt.Errorf("query dns names: %w", err)
	}
	for rows.Next() {
		var n DNSName
		var orig, resp string
		var first, last int64
		if err := rows.Scan(&orig, &resp, &n.Query, &n.Queries, &n.Bulky, &n.Answered, &n.NXDomain, &n.Loopback,
			&n.RequestBytes, &n.ResponseBytes, &first, &last); err != nil {
			rows.Close()
			return fmt.Errorf("read dns names: %w", err)
		}
		n.OrigIP, n.First, n.Last = addr(orig), model.Time(first), model.Time(last)
		if resp != "" {
			n.RespIP = addr(resp)
		}
		take(n)
	}
	if err := closeRows(rows); err != nil {
		return fmt.Errorf("read dns names: %w", err)
	}
	return nil
}

// DNSSupport names the flows in which orig asked for names under domain or, with an empty
// domain, asked server for anything.
func (s *Store) DNSSupport(ctx context.Context, evidenceIDs []string, orig, server netip.Addr, domain string) (Support, error) {
	where, args := `(query = ? OR endsWith(query, ?))`, []any{evidenceIDs, addrTexts([]netip.Addr{orig}), domain, "." + domain}
	if domain == "" {
		where, args = `1`, []any{evidenceIDs, addrTexts([]netip.Addr{orig})}
		if server.IsValid() {
			where, args = `resp_ip IN (?)`, append(args, addrTexts([]netip.Addr{server}))
		}
	}
	query := `SELECT count(), arrayMap(x -> x.2, groupArraySorted(` + fmt.Sprint(model.FlowsCap) + `)((first, flow_id))),
	arraySort(groupUniqArray(toString(input))), min(first), max(last)
FROM (SELECT flow_id, any(evidence_id) AS input, min(toUnixTimestamp64Micro(ts)) AS first, max(toUnixTimestamp64Micro(ts)) AS last
	FROM dns WHERE evidence_id IN (?) AND orig_ip IN (?) AND ` + where + ` GROUP BY flow_id)`
	var sup Support
	var ids []uint64
	var first, last int64
	if err := s.Conn().QueryRow(ctx, query, args...).Scan(&sup.FlowCount, &ids, &sup.EvidenceIDs, &first, &last); err != nil {
		return Support{}, fmt.Errorf("query flows of dns names: %w", err)
	}
	for _, id := range ids {
		sup.Flows = append(sup.Flows, model.FlowID(id))
	}
	sup.First, sup.Last = model.Time(first), model.Time(last)
	return sup, nil
}

// Spans gives for each day the first and the last start of a flow.
func (s *Store) Spans(ctx context.Context, evidenceIDs []string) ([]Span, error) {
	const query = `SELECT min(toUnixTimestamp64Micro(start)), max(toUnixTimestamp64Micro(start)), count()
FROM flow WHERE evidence_id IN (?) GROUP BY toDate(start) ORDER BY toDate(start)`
	rows, err := s.Conn().Query(ctx, query, evidenceIDs)
	if err != nil {
		return nil, fmt.Errorf("query spans: %w", err)
	}
	var out []Span
	for rows.Next() {
		var first, last int64
		var flows uint64
		if err := rows.Scan(&first, &last, &flows); err != nil {
			rows.Close()
			return nil, fmt.Errorf("read spans: %w", err)
		}
		out = append(out, Span{First: model.Time(first), Last: model.Time(last), Flows: flows})
	}
	if err := closeRows(rows); err != nil {
		return nil, fmt.Errorf("read spans: %w", err)
	}
	return out, nil
}

// always are the columns Records reads of every kind.
var always = map[string][]string{
	"flow": {"flow_id", "evidence_id", "start", "end", "orig_ip", "orig_port", "resp_ip", "resp_port", "proto", "tls_sni", "http_host"},
	"dns":  {"flow_id", "evidence_id", "ts", "n", "orig_ip", "orig_port", "resp_ip", "resp_port", "proto", "query"},
	"http": {"flow_id", "evidence_id", "ts", "n", "orig_ip", "orig_port", "resp_ip", "resp_port", "proto", "host"},
	"tls":  {"flow_id", "evidence_id", "ts", "n", "orig_ip", "orig_port", "resp_ip", "resp_port", "proto", "sni"},
	"ssh":  {"flow_id", "evidence_id", "ts", "n", "orig_ip", "orig_port", "resp_ip", "resp_port", "proto"},
}

// Records hands the rows of table kind (flow, dns, http, tls, ssh) to take, in no
// particular order. Besides what tells who and when, only the columns own are filled, and
// of the row's flow the columns flow. The record is reused: take must not keep it.
func (s *Store) Records(ctx context.Context, evidenceIDs []string, kind string, own, flow []string, take func(*Record)) error {
	if always[kind] == nil {
		return fmt.Errorf("query records: %q is no kind of record", kind)
	}
	var rec Record
	var columns []string
	var into []any
	var after []func()
	add := func(table string, of reflect.Value, names []string) error {
		for _, n := range names {
			f, ok := fieldByJSON(of, n)
			if !ok {
				return fmt.Errorf("query records: %s has no column %q", kind, n)
			}
			expr, target, then := readable(table+"."+quoteName(n), f)
			columns, into = append(columns, expr), append(into, target)
			if then != nil {
				after = append(after, then)
			}
		}
		return nil
	}
	of := map[string]reflect.Value{
		"flow": reflect.ValueOf(&rec.Flow).Elem(), "dns": reflect.ValueOf(&rec.DNS).Elem(), "http": reflect.ValueOf(&rec.HTTP).Elem(),
		"tls": reflect.ValueOf(&rec.TLS).Elem(), "ssh": reflect.ValueOf(&rec.SSH).Elem(),
	}
	names := slices.Concat(always[kind], own)
	slices.Sort(names)
	if err := add("r", of[kind], slices.Compact(names)); err != nil {
		return err
	}
	query := `FROM ` + kind + ` AS r `
	args := []any{evidenceIDs}
	if len(flow) > 0 {
		if err := add("f", of["flow"], flow); err != nil {
			return err
		}
		quoted := make([]string, len(flow))
		for i, n := range flow {
			quoted[i] = quoteName(n)
		}
		query += `LEFT JOIN (SELECT flow_id AS id, ` + strings.Join(quoted, ", ") + ` FROM flow WHERE evidence_id IN (?)) AS f ON f.id = r.flow_id `
		args = append(args, evidenceIDs)
	}
	rows, err := s.Conn().Query(ctx, `SELECT `+strings.Join(columns, ", ")+` `+query+`WHERE r.evidence_id IN (?)`, args...)
	if err != nil {
		return fmt.Errorf("query %s records: %w", kind, err)
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			rows.Close()
			return fmt.Errorf("read %s records: %w", kind, err)
		}
		for _, then := range after {
			then()
		}
		take(&rec)
	}
	if err := closeRows(rows); err != nil {
		return fmt.Errorf("read %s records: %w", kind, err)
	}
	return nil
}

// fieldByJSON finds the field of a struct (and the structs embedded in it) by its name.
func fieldByJSON(v reflect.Value, name string) (reflect.Value, bool) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			if found, ok := fieldByJSON(v.Field(i), name); ok {
				return found, true
			}
			continue
		}
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag == name {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// readable says how to read a column into a field: the SQL expression, where to scan it,
// and what to do after each row (nil: nothing).
func readable(column string, f reflect.Value) (expr string, target any, then func()) {
	switch f.Type() {
	case reflect.TypeFor[netip.Addr]():
		text := new(string)
		return "toString(" + column + ")", text, func() { f.Set(reflect.ValueOf(addr(*text))) }
	case reflect.TypeFor[model.Time]():
		return "toUnixTimestamp64Micro(" + column + ")", f.Addr().Convert(reflect.TypeFor[*int64]()).Interface(), nil
	case reflect.TypeFor[model.FlowID]():
		return column, f.Addr().Convert(reflect.TypeFor[*uint64]()).Interface(), nil
	}
	return column, f.Addr().Interface(), nil
}
