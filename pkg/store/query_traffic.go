package store

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tracer-framework/tracer/pkg/model"
)

// Bounds of an overview.
const (
	talkersCap  = 20
	servicesCap = 20
	volumeCap   = 120
)

// Traffic gives an overview of all flows of the evidence.
func (s *Store) Traffic(ctx context.Context, evidenceIDs []string) (Traffic, error) {
	var t Traffic
	if len(evidenceIDs) == 0 {
		return t, nil
	}
	const totals = `SELECT count(), sum(orig_bytes), sum(resp_bytes), toUnixTimestamp64Micro(min(start)), toUnixTimestamp64Micro(max(end)),
	uniqExactArray([orig_ip, resp_ip])
FROM flow WHERE evidence_id IN (?)`
	var first, last int64
	if err := s.Conn().QueryRow(ctx, totals, evidenceIDs).Scan(&t.Flows, &t.OrigBytes, &t.RespBytes, &first, &last, &t.Hosts); err != nil {
		return t, fmt.Errorf("query traffic: %w", err)
	}
	if t.Flows == 0 {
		return t, nil
	}
	t.First, t.Last = model.Time(first), model.Time(last)
	var err error
	if t.Talkers, err = s.talkers(ctx, evidenceIDs, nil); err != nil {
		return t, err
	}
	if t.Services, err = s.services(ctx, evidenceIDs); err != nil {
		return t, err
	}
	t.Step = step(t.Last.Sub(t.First).Seconds())
	if t.Volume, err = s.volume(ctx, evidenceIDs, t.Step); err != nil {
		return t, err
	}
	return t, nil
}

// TrafficOf gives the traffic of the hosts, sorted by address. A host without flows is left
// out.
func (s *Store) TrafficOf(ctx context.Context, evidenceIDs []string, hosts []netip.Addr) ([]Talker, error) {
	hosts = slices.Clone(hosts)
	slices.SortFunc(hosts, netip.Addr.Compare)
	var out []Talker
	for part := range slices.Chunk(slices.Compact(hosts), idsPerQuery) {
		list, err := s.talkers(ctx, evidenceIDs, part)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	slices.SortFunc(out, func(a, b Talker) int { return a.IP.Compare(b.IP) })
	return out, nil
}

// talkers gives the traffic of the given hosts, or of those with the most.
func (s *Store) talkers(ctx context.Context, evidenceIDs []string, hosts []netip.Addr) ([]Talker, error) {
	const side = `SELECT %s AS ip, %s AS peer, %s AS out, %s AS in, start, end, toString(%s) AS l2 FROM flow WHERE evidence_id IN (?)`
	of := ""
	args := []any{evidenceIDs}
	limit := fmt.Sprintf("LIMIT %d", talkersCap)
	if hosts != nil {
		args = append(args, addrTexts(hosts))
		limit = ""
	}
	args = append(args, args...)
	sideOf := func(ip, peer, out, in, l2 string) string {
		if hosts != nil {
			of = " AND " + ip + " IN (?)"
		}
		return fmt.Sprintf(side, ip, peer, out, in, l2) + of
	}
	query := `SELECT toString(ip), count(), uniqExact(peer), sum(out) AS sent, sum(in) AS received,
	toUnixTimestamp64Micro(min(start)), toUnixTimestamp64Micro(max(end)), arraySlice(arraySort(groupUniqArrayIf(l2, l2 != '')), 1, ` + fmt.Sprint(NamesCap) + `)
FROM (` + sideOf("orig_ip", "resp_ip", "orig_bytes", "resp_bytes", "orig_l2_addr") + `
	UNION ALL ` + sideOf("resp_ip", "orig_ip", "resp_bytes", "orig_bytes", "resp_l2_addr") + `)
GROUP BY ip ORDER BY sent + received DESC, ip ` + limit
	rows, err := s.Conn().Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("query traffic of hosts: %w", err)
	}
	var out []Talker
	for rows.Next() {
		var t Talker
		var ip string
		var first, last int64
		if err := rows.Scan(&ip, &t.Flows, &t.Peers, &t.BytesOut, &t.BytesIn, &first, &last, &t.L2Addrs); err != nil {
			rows.Close()
			return nil, fmt.Errorf("read traffic of hosts: %w", err)
		}
		t.IP, t.First, t.Last = addr(ip), model.Time(first), model.Time(last)
		out = append(out, t)
	}
	if err := closeRows(rows); err != nil {
		return nil, fmt.Errorf("read traffic of hosts: %w", err)
	}
	return out, nil
}

func (s *Store) services(ctx context.Context, evidenceIDs []string) ([]Service, error) {
	query := `SELECT toString(proto) AS p, toString(service) AS v, arraySort(x -> (-x.2, x.1), arrayZip(m.1, m.2))[1].1 AS port, flows, hosts, bytes
FROM (
	SELECT proto, service, sumMap([resp_port], [toUInt64(1)]) AS m, count() AS flows, uniqExact(resp_ip) AS hosts, sum(orig_bytes + resp_bytes) AS bytes
	FROM flow WHERE evidence_id IN (?) GROUP BY proto, service
)
ORDER BY bytes DESC, flows DESC, p, v LIMIT ` + fmt.Sprint(servicesCap)
	rows, err := s.Conn().Query(ctx, query, evidenceIDs)
	if err != nil {
		return nil, fmt.Errorf("query services: %w", err)
	}
	var out []Service
	for rows.Next() {
		var v Service
		if err := rows.Scan(&v.Proto, &v.Service, &v.Port, &v.Flows, &v.Hosts, &v.Bytes); err != nil {
			rows.Close()
			return nil, fmt.Errorf("read services: %w", err)
		}
		out = append(out, v)
	}
	if err := closeRows(rows); err != nil {
		return nil, fmt.Errorf("read services: %w", err)
	}
	return out, nil
}

// steps are the widths a volume entry may have, in seconds.
var steps = []uint64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 7 * 86400, 30 * 86400, 365 * 86400}

// step is the least width with which the span fits into volumeCap entries.
func step(seconds float64) uint64 {
	for _, s := range steps {
		if seconds/float64(s) < volumeCap-1 {
			return s
		}
	}
	return steps[len(steps)-1]
}

func (s *Store) volume(ctx context.Context, evidenceIDs []string, step uint64) ([]Volume, error) {
	const query = `SELECT intDiv(toUnixTimestamp64Micro(start), ?) AS slot, count(), sum(orig_bytes + resp_bytes)
FROM flow WHERE evidence_id IN (?) GROUP BY slot ORDER BY slot`
	width := int64(step) * 1_000_000
	rows, err := s.Conn().Query(ctx, query, width, evidenceIDs)
	if err != nil {
		return nil, fmt.Errorf("query volume: %w", err)
	}
	var out []Volume
	for rows.Next() {
		var slot int64
		var v Volume
		if err := rows.Scan(&slot, &v.Flows, &v.Bytes); err != nil {
			rows.Close()
			return nil, fmt.Errorf("read volume: %w", err)
		}
		v.At = model.Time(slot * width)
		for n := len(out); n > 0 && out[n-1].At+model.Time(width) < v.At && n < 4*volumeCap; n = len(out) {
			out = append(out, Volume{At: out[n-1].At + model.Time(width)})
		}
		out = append(out, v)
	}
	if err := closeRows(rows); err != nil {
		return nil, fmt.Errorf("read volume: %w", err)
	}
	return out, nil
}
