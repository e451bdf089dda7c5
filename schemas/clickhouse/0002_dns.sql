-- One row per DNS query with its answer.
CREATE TABLE IF NOT EXISTS {{.Local "dns"}}{{.OnCluster}}
(
    flow_id UInt64 CODEC(ZSTD(1)),
    evidence_id LowCardinality(String),
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    n UInt32 CODEC(T64, ZSTD(1)),
    orig_ip IPv6 CODEC(ZSTD(1)),
    orig_port UInt16 CODEC(ZSTD(1)),
    resp_ip IPv6 CODEC(ZSTD(1)),
    resp_port UInt16 CODEC(ZSTD(1)),
    proto LowCardinality(String),
    trans_id UInt16 CODEC(T64, ZSTD(1)),
    rtt_us UInt32 CODEC(T64, ZSTD(1)),
    query String CODEC(ZSTD(1)),
    qclass UInt16 CODEC(T64, ZSTD(1)),
    qtype UInt16 CODEC(T64, ZSTD(1)),
    qtype_name LowCardinality(String),
    rcode UInt16 CODEC(T64, ZSTD(1)),
    rcode_name LowCardinality(String),
    queried Bool CODEC(ZSTD(1)),
    answered Bool CODEC(ZSTD(1)),
    aa Bool CODEC(ZSTD(1)),
    tc Bool CODEC(ZSTD(1)),
    rd Bool CODEC(ZSTD(1)),
    ra Bool CODEC(ZSTD(1)),
    answers Array(String) CODEC(ZSTD(1)),
    ttls Array(UInt32) CODEC(ZSTD(1)),
    request_bytes UInt32 CODEC(T64, ZSTD(1)),
    response_bytes UInt32 CODEC(T64, ZSTD(1))
)
ENGINE = {{.Engine "ReplacingMergeTree"}}
PARTITION BY toYYYYMM(ts)
ORDER BY (orig_ip, resp_ip, ts, flow_id, n)
SETTINGS non_replicated_deduplication_window = 1000;

{{.Distributed "dns" "flow_id"}}
