-- The way of a threat through the network; column document holds all of it.
CREATE TABLE IF NOT EXISTS {{.Local "trace"}}{{.OnCluster}}
(
    trace_id String CODEC(ZSTD(1)),
    case_id LowCardinality(String),
    run LowCardinality(String),
    seed Array(String) CODEC(ZSTD(1)),
    title String CODEC(ZSTD(1)),
    start DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `end` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    host_ips Array(IPv6) CODEC(ZSTD(1)),
    `from` Array(String) CODEC(ZSTD(1)),
    document String CODEC(ZSTD(1))
)
ENGINE = {{.Engine "ReplacingMergeTree"}}
ORDER BY (case_id, run, trace_id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

{{.Distributed "trace" "trace_id"}}
