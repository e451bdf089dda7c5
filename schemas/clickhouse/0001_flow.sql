-- One row per flow; a long-lived flow has several, of which the highest seq holds.
-- Partitions are months, not days: an insert makes one part per partition it touches, at
-- some 15 ms each, and the times in a capture may be spread over years.
CREATE TABLE IF NOT EXISTS {{.Local "flow"}}{{.OnCluster}}
(
    flow_id UInt64 CODEC(ZSTD(1)),
    community_id String CODEC(ZSTD(1)),
    seq UInt16 CODEC(T64, ZSTD(1)),
    open Bool CODEC(ZSTD(1)),
    start DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `end` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    sensor LowCardinality(String),
    source LowCardinality(String),
    evidence_id LowCardinality(String),
    first_packet UInt64 CODEC(T64, ZSTD(1)),
    orig_ip IPv6 CODEC(ZSTD(1)),
    orig_port UInt16 CODEC(ZSTD(1)),
    resp_ip IPv6 CODEC(ZSTD(1)),
    resp_port UInt16 CODEC(ZSTD(1)),
    proto LowCardinality(String),
    service LowCardinality(String),
    conn_state LowCardinality(String),
    history LowCardinality(String),
    orig_bytes UInt64 CODEC(T64, ZSTD(1)),
    resp_bytes UInt64 CODEC(T64, ZSTD(1)),
    orig_pkts UInt64 CODEC(T64, ZSTD(1)),
    resp_pkts UInt64 CODEC(T64, ZSTD(1)),
    orig_ip_bytes UInt64 CODEC(T64, ZSTD(1)),
    resp_ip_bytes UInt64 CODEC(T64, ZSTD(1)),
    missed_bytes UInt64 CODEC(T64, ZSTD(1)),
    orig_data_start DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    resp_data_start DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    vlan UInt16 CODEC(ZSTD(1)),
    inner_vlan UInt16 CODEC(ZSTD(1)),
    orig_l2_addr LowCardinality(String),
    resp_l2_addr LowCardinality(String),
    tunnel LowCardinality(String),
    in_if UInt32 CODEC(T64, ZSTD(1)),
    out_if UInt32 CODEC(T64, ZSTD(1)),
    exporter IPv6 CODEC(ZSTD(1)),
    tls_version LowCardinality(String),
    tls_sni LowCardinality(String),
    tls_alpn LowCardinality(String),
    ja3 LowCardinality(String),
    ja3s LowCardinality(String),
    ja4 LowCardinality(String),
    hassh LowCardinality(String),
    hassh_server LowCardinality(String),
    http_host LowCardinality(String),
    http_user_agent LowCardinality(String),
    dns_query String CODEC(ZSTD(1)),
    tags Array(LowCardinality(String)),
    INDEX by_flow_id flow_id TYPE bloom_filter GRANULARITY 1,
    INDEX by_evidence_id evidence_id TYPE set(16) GRANULARITY 1
)
ENGINE = {{.Engine "ReplacingMergeTree" "seq"}}
PARTITION BY toYYYYMM(start)
ORDER BY (orig_ip, resp_ip, start, flow_id)
SETTINGS non_replicated_deduplication_window = 1000;

{{.Distributed "flow" "flow_id"}}
