-- One row per HTTP/1.x request with its response.
CREATE TABLE IF NOT EXISTS {{.Local "http"}}{{.OnCluster}}
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
    method LowCardinality(String),
    host LowCardinality(String),
    uri String CODEC(ZSTD(1)),
    referrer String CODEC(ZSTD(1)),
    version LowCardinality(String),
    user_agent LowCardinality(String),
    username LowCardinality(String),
    request_body_len UInt64 CODEC(T64, ZSTD(1)),
    response_body_len UInt64 CODEC(T64, ZSTD(1)),
    status_code UInt16 CODEC(T64, ZSTD(1)),
    status_msg LowCardinality(String),
    request_mime LowCardinality(String),
    response_mime LowCardinality(String),
    response_magic LowCardinality(String),
    response_file String CODEC(ZSTD(1)),
    request_headers Array(LowCardinality(String)),
    response_headers Array(LowCardinality(String)),
    location String CODEC(ZSTD(1)),
    answered Bool CODEC(ZSTD(1))
)
ENGINE = {{.Engine "ReplacingMergeTree"}}
PARTITION BY toYYYYMM(ts)
ORDER BY (orig_ip, resp_ip, ts, flow_id, n)
SETTINGS non_replicated_deduplication_window = 1000;

{{.Distributed "http" "flow_id"}}
