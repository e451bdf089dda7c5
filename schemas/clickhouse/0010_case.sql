-- One row per case and run; the one updated last holds.
CREATE TABLE IF NOT EXISTS {{.Local "case"}}{{.OnCluster}}
(
    case_id LowCardinality(String),
    run LowCardinality(String),
    title String CODEC(ZSTD(1)),
    stage LowCardinality(String),
    inputs Array(Tuple(evidence_id String, name String, uri String, size UInt64, mod_time DateTime64(6, 'UTC'))) CODEC(ZSTD(1)),
    detections UInt64 CODEC(T64, ZSTD(1)),
    traces UInt64 CODEC(T64, ZSTD(1)),
    profiles LowCardinality(String),
    updated DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = {{.Engine "ReplacingMergeTree" "updated"}}
ORDER BY (case_id, run)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

{{.Distributed "case" "case_id"}}
