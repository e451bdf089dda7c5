-- One row per edge of a trace.
CREATE TABLE IF NOT EXISTS {{.Local "trace_edge"}}{{.OnCluster}}
(
    edge_id String CODEC(ZSTD(1)),
    trace_id LowCardinality(String),
    case_id LowCardinality(String),
    run LowCardinality(String),
    orig_ip IPv6 CODEC(ZSTD(1)),
    resp_ip IPv6 CODEC(ZSTD(1)),
    resp_port UInt16 CODEC(ZSTD(1)),
    proto LowCardinality(String),
    service LowCardinality(String),
    phase LowCardinality(String),
    technique LowCardinality(String),
    direction LowCardinality(String),
    `order` LowCardinality(String),
    start DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `end` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    orig_bytes UInt64 CODEC(T64, ZSTD(1)),
    resp_bytes UInt64 CODEC(T64, ZSTD(1)),
    flow_count UInt64 CODEC(T64, ZSTD(1)),
    flows Array(UInt64) CODEC(ZSTD(1)),
    evidence_ids Array(String) CODEC(ZSTD(1)),
    detections Array(String) CODEC(ZSTD(1)),
    confidence UInt8 CODEC(ZSTD(1)),
    why String CODEC(ZSTD(1)),
    `from` Array(String) CODEC(ZSTD(1))
)
ENGINE = {{.Engine "ReplacingMergeTree"}}
ORDER BY (case_id, run, trace_id, edge_id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

{{.Distributed "trace_edge" "trace_id"}}
