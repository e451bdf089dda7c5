-- One row per SSH connection.
CREATE TABLE IF NOT EXISTS {{.Local "ssh"}}{{.OnCluster}}
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
    client LowCardinality(String),
    server LowCardinality(String),
    client_kex Array(LowCardinality(String)),
    client_host_key Array(LowCardinality(String)),
    client_enc Array(LowCardinality(String)),
    client_mac Array(LowCardinality(String)),
    client_comp Array(LowCardinality(String)),
    server_kex Array(LowCardinality(String)),
    server_host_key Array(LowCardinality(String)),
    server_enc Array(LowCardinality(String)),
    server_mac Array(LowCardinality(String)),
    server_comp Array(LowCardinality(String)),
    kex_alg LowCardinality(String),
    host_key_alg LowCardinality(String),
    cipher_alg LowCardinality(String),
    mac_alg LowCardinality(String),
    compression_alg LowCardinality(String),
    hassh LowCardinality(String),
    hassh_raw LowCardinality(String),
    hassh_server LowCardinality(String),
    hassh_server_raw LowCardinality(String)
)
ENGINE = {{.Engine "ReplacingMergeTree"}}
PARTITION BY toYYYYMM(ts)
ORDER BY (orig_ip, resp_ip, ts, flow_id, n)
SETTINGS non_replicated_deduplication_window = 1000;

{{.Distributed "ssh" "flow_id"}}
