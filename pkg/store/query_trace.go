package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tracer-framework/tracer/pkg/model"
)

// idsPerQuery keeps the text of a query well below the server's limit of 256 KiB.
const idsPerQuery = 4000

// payload is the condition that a flow carried payload that its receiver can have taken:
// the states left out are those without a completed handshake.
const payload = `(orig_bytes > 0 OR resp_bytes > 0) AND conn_state NOT IN ('S0', 'REJ', 'RSTOS0', 'RSTRH', 'SH', 'SHR')`

// FlowsByID gives flows of the evidence by their ids, sorted by start and id. Only their
// ends, times, volumes, state and service are filled.
func (s *Store) FlowsByID(ctx context.Context, evidenceIDs []string, ids []model.FlowID) ([]model.Flow, error) {
	const query = `SELECT flow_id, evidence_id, toUnixTimestamp64Micro(start), toUnixTimestamp64Micro(end),
	toString(orig_ip), orig_port, toString(resp_ip), resp_port, proto, service, conn_state,
	orig_bytes, resp_bytes, toUnixTimestamp64Micro(orig_data_start), toUnixTimestamp64Micro(resp_data_start)
FROM flow WHERE evidence_id IN (?) AND flow_id IN (?)
ORDER BY start, flow_id`
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	var out []model.Flow
	for part := range slices.Chunk(ids, idsPerQuery) {
		numbers := make([]uint64, len(part))
		for i, id := range part {
			numbers[i] = uint64(id)
		}
		rows, err := s.Conn().Query(ctx, query, evidenceIDs, numbers)
		if err != nil {
			return nil, fmt.Errorf("query flows by id: %w", err)
		}
		for rows.Next() {
			var f model.Flow
			var id uint64
			var start, end, origData, respData int64
			var orig, resp string
			if err := rows.Scan(&id, &f.EvidenceID, &start, &end, &orig, &f.OrigPort, &resp, &f.RespPort, &f.Proto, &f.Service, &f.ConnState,
				&f.OrigBytes, &f.RespBytes, &origData, &respData); err != nil {
				rows.Close()
				return nil, fmt.Errorf("read flows by id: %w", err)
			}
			f.FlowID, f.Start, f.End = model.FlowID(id), model.Time(start), model.Time(end)
			f.OrigDataStart, f.RespDataStart = model.Time(origData), model.Time(respData)
			f.OrigIP, f.RespIP = addr(orig), addr(resp)
			out = append(out, f)
		}
		if err := closeRows(rows); err != nil {
			return nil, fmt.Errorf("read flows by id: %w", err)
		}
	}
	slices.SortFunc(out, func(a, b model.Flow) int {
		if a.Start != b.Start {
			return int(max(-1, min(1, a.Start-b.Start)))
		}
		if a.FlowID < b.FlowID {
			return -1
		}
		return 1
	})
	return out, nil
}

// ExchangeQuery says which exchanges are wanted: those with one of Hosts at either end
// that have a suspect at both ends, or an Outside address as the responder, or one of the
// Ports or Services of remote work, or in which a host sent at least TransferBytes and
// TransferRatio times what it received.
type ExchangeQuery struct {
	EvidenceIDs   []string
	Hosts         []netip.Addr
	Suspects      []netip.Addr
	Outside       []netip.Addr
	Ports         []uint16
	Services      []string
	TransferBytes uint64
	TransferRatio uint64
	Limit         int // most exchanges returned, in order of originator, responder and port
}

// Exchanges gives the exchanges that q asks for. More tells that there were more than
// q.Limit.
func (s *Store) Exchanges(ctx context.Context, q ExchangeQuery) (list []Exchange, more bool, err error) {
	query := `SELECT toString(orig_ip), toString(resp_ip), resp_port, toString(proto), toString(service), first, last, flows, sent, received, evidence,
	arrayMap(x -> x.1, f), arrayMap(x -> x.2, f), arrayMap(x -> x.3, f), arrayMap(x -> x.4, f),
	arrayMap(x -> x.5, f), arrayMap(x -> x.6, f), arrayMap(x -> x.7, f), arrayMap(x -> x.8, f)
FROM (
SELECT orig_ip, resp_ip, resp_port, proto, service,
	toUnixTimestamp64Micro(min(start)) AS first, toUnixTimestamp64Micro(max(end)) AS last, count() AS flows, sum(orig_bytes) AS sent, sum(resp_bytes) AS received,
	arraySort(groupUniqArray(toString(evidence_id))) AS evidence,
	groupArraySorted(` + fmt.Sprint(model.FlowsCap) + `)((toUnixTimestamp64Micro(start), flow_id, toUnixTimestamp64Micro(end),
		if(orig_bytes > 0, toUnixTimestamp64Micro(if(orig_data_start = 0, start, orig_data_start)), 0),
		if(resp_bytes > 0, toUnixTimestamp64Micro(if(resp_data_start = 0, start, resp_data_start)), 0),
		orig_bytes, resp_bytes, toString(evidence_id))) AS f
FROM flow
WHERE evidence_id IN (?) AND (orig_ip IN (?) OR resp_ip IN (?)) AND ` + payload + `
GROUP BY orig_ip, resp_ip, resp_port, proto, service
HAVING (orig_ip IN (?) AND resp_ip IN (?)) OR resp_ip IN (?)
	OR resp_port IN (?) OR hasAny(splitByChar(',', toString(service)), ?)
	OR (sent >= ? AND intDiv(sent, ?) >= received)
)
ORDER BY orig_ip, resp_ip, resp_port, proto, service
LIMIT ?`
	hosts, suspects := addrTexts(q.Hosts), addrTexts(q.Suspects)
	rows, err := s.Conn().Query(ctx, query, q.EvidenceIDs, hosts, hosts, suspects, suspects, addrTexts(q.Outside),
		q.Ports, q.Services, q.TransferBytes, max(1, q.TransferRatio), q.Limit+1)
	if err != nil {
		return nil, false, fmt.Errorf("query exchanges: %w", err)
	}
	for rows.Next() {
		var x Exchange
		var orig, resp string
		var start, end int64
		var starts, ends, origData, respData []int64
		var ids, origBytes, respBytes []uint64
		var evidence []string
		if err := rows.Scan(&orig, &resp, &x.RespPort, &x.Proto, &x.Service, &start, &end, &x.FlowCount, &x.OrigBytes, &x.RespBytes,
			&x.EvidenceIDs, &starts, &ids, &ends, &origData, &respData, &origBytes, &respBytes, &evidence); err != nil {
			rows.Close()
			return nil, false, fmt.Errorf("read exchanges: %w", err)
		}
		x.OrigIP, x.RespIP, x.Start, x.End = addr(orig), addr(resp), model.Time(start), model.Time(end)
		x.Flows = make([]ExchangeFlow, len(ids))
		for i := range ids {
			x.Flows[i] = ExchangeFlow{
				FlowID: model.FlowID(ids[i]), EvidenceID: evidence[i], Start: model.Time(starts[i]), End: model.Time(ends[i]),
				OrigData: model.Time(origData[i]), RespData: model.Time(respData[i]), OrigBytes: origBytes[i], RespBytes: respBytes[i],
			}
		}
		list = append(list, x)
	}
	if err := closeRows(rows); err != nil {
		return nil, false, fmt.Errorf("read exchanges: %w", err)
	}
	if len(list) > q.Limit {
		return list[:q.Limit], true, nil
	}
	return list, false, nil
}

// Clients gives for each service the hosts that used it with payload, the first
// ClientsCap of them in time.
func (s *Store) Clients(ctx context.Context, evidenceIDs []string, dests []Dest) (map[Dest][]Client, error) {
	query := `SELECT toString(resp_ip), resp_port, arrayMap(x -> toUnixTimestamp64Micro(x.1), c), arrayMap(x -> toString(x.2), c)
FROM (
SELECT resp_ip, resp_port, groupArraySorted(` + fmt.Sprint(ClientsCap) + `)((first, orig_ip)) AS c
FROM (
	SELECT resp_ip, resp_port, orig_ip, min(start) AS first
	FROM flow
	WHERE evidence_id IN (?) AND resp_ip IN (?) AND resp_port IN (?) AND ` + payload + `
	GROUP BY resp_ip, resp_port, orig_ip
)
GROUP BY resp_ip, resp_port
)`
	out := make(map[Dest][]Client, len(dests))
	for part := range slices.Chunk(dests, idsPerQuery/4) {
		var ips []netip.Addr
		var ports []uint16
		for _, d := range part {
			ips = append(ips, d.IP)
			ports = append(ports, d.Port)
			out[d] = nil
		}
		slices.SortFunc(ips, netip.Addr.Compare)
		slices.Sort(ports)
		rows, err := s.Conn().Query(ctx, query, evidenceIDs, addrTexts(slices.Compact(ips)), slices.Compact(ports))
		if err != nil {
			return nil, fmt.Errorf("query clients: %w", err)
		}
		for rows.Next() {
			var resp string
			var port uint16
			var first []int64
			var orig []string
			if err := rows.Scan(&resp, &port, &first, &orig); err != nil {
				rows.Close()
				return nil, fmt.Errorf("read clients: %w", err)
			}
			d := Dest{addr(resp), port}
			if _, wanted := out[d]; !wanted {
				continue
			}
			list := make([]Client, len(orig))
			for i := range orig {
				list[i] = Client{addr(orig[i]), model.Time(first[i])}
			}
			out[d] = list
		}
		if err := closeRows(rows); err != nil {
			return nil, fmt.Errorf("read clients: %w", err)
		}
	}
	return out, nil
}

// NamesCap bounds the names given for a host.
const NamesCap = 8

// HostNames gives what the traffic called the hosts: server names of TLS and HTTP, and the
// DNS queries that were answered with their address. Sorted, at most NamesCap each.
func (s *Store) HostNames(ctx context.Context, evidenceIDs []string, hosts []netip.Addr) (map[netip.Addr][]string, error) {
	query := `SELECT ip, arraySlice(arraySort(groupUniqArray(name)), 1, ` + fmt.Sprint(NamesCap) + `)
FROM (
	SELECT toString(resp_ip) AS ip, arrayJoin([toString(tls_sni), domain(concat('http://', toString(http_host)))]) AS name
	FROM flow WHERE evidence_id IN (?) AND resp_ip IN (?)
	UNION ALL
	SELECT toString(toIPv6(arrayJoin(arrayFilter(x -> isIPv4String(x) OR isIPv6String(x), answers)))) AS ip, toString(query) AS name
	FROM dns WHERE evidence_id IN (?)
)
WHERE name != '' AND toIPv6(ip) IN (?)
GROUP BY ip ORDER BY ip`
	out := map[netip.Addr][]string{}
	for part := range slices.Chunk(hosts, idsPerQuery) {
		texts := addrTexts(part)
		rows, err := s.Conn().Query(ctx, query, evidenceIDs, texts, evidenceIDs, texts)
		if err != nil {
			return nil, fmt.Errorf("query host names: %w", err)
		}
		for rows.Next() {
			var ip string
			var names []string
			if err := rows.Scan(&ip, &names); err != nil {
				rows.Close()
				return nil, fmt.Errorf("read host names: %w", err)
			}
			out[addr(ip)] = slices.DeleteFunc(names, func(n string) bool {
				_, err := netip.ParseAddr(n)
				return err == nil
			})
		}
		if err := closeRows(rows); err != nil {
			return nil, fmt.Errorf("read host names: %w", err)
		}
	}
	return out, nil
}

// closeRows ends the reading of rows; the error is that of a result cut short.
func closeRows(rows driver.Rows) error {
	err := rows.Err()
	return errors.Join(err, rows.Close())
}

// addr reads an address as the store prints it; mapped IPv4 becomes IPv4.
func addr(s string) netip.Addr {
	a, _ := netip.ParseAddr(s)
	return a.Unmap()
}

// addrTexts writes addresses as the store compares them. An empty list becomes one that
// nothing equals.
func addrTexts(list []netip.Addr) []string {
	if len(list) == 0 {
		return []string{"::"}
	}
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = netip.AddrFrom16(a.As16()).String()
	}
	return out
}
