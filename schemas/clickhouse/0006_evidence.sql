-- Captures, sealed batches, events and reports.
CREATE TABLE IF NOT EXISTS {{.Local "evidence"}}{{.OnCluster}}
(
    evidence_id String CODEC(ZSTD(1)),
    kind LowCardinality(String),
    parent String CODEC(ZSTD(1)),
    name String CODEC(ZSTD(1)),
    uri String CODEC(ZSTD(1)),
    size UInt64 CODEC(T64, ZSTD(1)),
    media_type LowCardinality(String),
    first_packet DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    last_packet DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    packets UInt64 CODEC(T64, ZSTD(1)),
    flows UInt64 CODEC(T64, ZSTD(1)),
    batches UInt32 CODEC(T64, ZSTD(1)),
    link_types Array(LowCardinality(String)),
    bytes_read UInt64 CODEC(T64, ZSTD(1)),
    bytes_unread UInt64 CODEC(T64, ZSTD(1)),
    problems Array(String) CODEC(ZSTD(1)),
    counters Map(LowCardinality(String), UInt64),
    tool LowCardinality(String),
    tool_version LowCardinality(String),
    sealed DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    leaf_index UInt64 CODEC(T64, ZSTD(1))
)
ENGINE = {{.Engine "ReplacingMergeTree" "sealed"}}
ORDER BY (kind, parent, evidence_id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

{{.Distributed "evidence" "evidence_id"}}
