package store

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/tracer-framework/tracer/pkg/model"
)

// DomainExchanges gives, by domain, who asked whom about names under it, in order of
// originator, responder and port.
func (s *Store) DomainExchanges(ctx context.Context, evidenceIDs, domains []string) (map[string][]DomainExchange, error) {
	const under = `(query = ? OR endsWith(query, ?))`
	query := `SELECT toString(orig_ip), toString(resp_ip), resp_port, toString(proto), begin, finish, flows, queries, out, in, evidence,
	arrayMap(x -> x.1, f), arrayMap(x -> x.2, f), arrayMap(x -> x.3, f), arrayMap(x -> x.4, f), arrayMap(x -> x.5, f), arrayMap(x -> x.6, f)
FROM (
SELECT orig_ip, resp_ip, resp_port, proto, min(first) AS begin, max(last) AS finish, count() AS flows, sum(n) AS queries, sum(sent) AS out, sum(received) AS in,
	arraySort(groupUniqArray(toString(evidence_id))) AS evidence,
	groupArraySorted(` + fmt.Sprint(model.FlowsCap) + `)((first, flow_id, last, sent, received, toString(evidence_id))) AS f
FROM (
	SELECT orig_ip, resp_ip, resp_port, proto, flow_id, evidence_id, count() AS n,
		toUnixTimestamp64Micro(min(ts)) AS first, toUnixTimestamp64Micro(max(ts)) AS last, sum(request_bytes) AS sent, sum(response_bytes) AS received
	FROM dns WHERE evidence_id IN (?) AND ` + under + `
	GROUP BY orig_ip, resp_ip, resp_port, proto, flow_id, evidence_id
)
GROUP BY orig_ip, resp_ip, resp_port, proto
)
ORDER BY orig_ip, resp_ip, resp_port, proto`
	servers := `SELECT toString(resp_ip), countIf(` + under + `), countIf(NOT ` + under + `)
FROM dns WHERE evidence_id IN (?) AND resp_ip IN (SELECT resp_ip FROM dns WHERE evidence_id IN (?) AND ` + under + `)
GROUP BY resp_ip`
	out := make(map[string][]DomainExchange, len(domains))
	for _, domain := range domains {
		below := "." + domain
		rows, err := s.Conn().Query(ctx, query, evidenceIDs, domain, below)
		if err != nil {
			return nil, fmt.Errorf("query exchanges of domain %s: %w", domain, err)
		}
		var list []DomainExchange
		for rows.Next() {
			var x DomainExchange
			var orig, resp string
			var start, end int64
			var firsts, lasts []int64
			var ids, sent, received []uint64
			var evidence []string
			if err := rows.Scan(&orig, &resp, &x.RespPort, &x.Proto, &start, &end, &x.FlowCount, &x.Queries, &x.OrigBytes, &x.RespBytes,
				&x.EvidenceIDs, &firsts, &ids, &lasts, &sent, &received, &evidence); err != nil {
				rows.Close()
				return nil, fmt.Errorf("read exchanges of domain %s: %w", domain, err)
			}
			x.OrigIP, x.RespIP, x.Start, x.End, x.Service = addr(orig), addr(resp), model.Time(start), model.Time(end), "dns"
			x.Flows = make([]ExchangeFlow, len(ids))
			for i := range ids {
				f := ExchangeFlow{FlowID: model.FlowID(ids[i]), EvidenceID: evidence[i], Start: model.Time(firsts[i]), End: model.Time(lasts[i]), OrigBytes: sent[i], RespBytes: received[i]}
				if f.OrigBytes > 0 {
					f.OrigData = f.Start
				}
				if f.RespBytes > 0 {
					f.RespData = f.Start
				}
				x.Flows[i] = f
			}
			list = append(list, x)
		}
		if err := closeRows(rows); err != nil {
			return nil, fmt.Errorf("read exchanges of domain %s: %w", domain, err)
		}
		if len(list) == 0 {
			continue
		}
		got := map[netip.Addr][2]uint64{}
		rows, err = s.Conn().Query(ctx, servers, domain, below, domain, below, evidenceIDs, evidenceIDs, domain, below)
		if err != nil {
			return nil, fmt.Errorf("query servers of domain %s: %w", domain, err)
		}
		for rows.Next() {
			var ip string
			var n [2]uint64
			if err := rows.Scan(&ip, &n[0], &n[1]); err != nil {
				rows.Close()
				return nil, fmt.Errorf("read servers of domain %s: %w", domain, err)
			}
			got[addr(ip)] = n
		}
		if err := closeRows(rows); err != nil {
			return nil, fmt.Errorf("read servers of domain %s: %w", domain, err)
		}
		for i := range list {
			n := got[list[i].RespIP]
			list[i].ServerUnder, list[i].ServerOthers = n[0], n[1]
		}
		out[domain] = list
	}
	return out, nil
}
