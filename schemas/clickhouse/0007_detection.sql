-- What the detectors and threat profiles raised.
CREATE TABLE IF NOT EXISTS {{.Local "detection"}}{{.OnCluster}}
(
    detection_id String CODEC(ZSTD(1)),
    case_id LowCardinality(String),
    run LowCardinality(String),
    detector LowCardinality(String),
    profile LowCardinality(String),
    title String CODEC(ZSTD(1)),
    why String CODEC(ZSTD(1)),
    severity LowCardinality(String),
    confidence UInt8 CODEC(ZSTD(1)),
    phase LowCardinality(String),
    technique LowCardinality(String),
    technique_name LowCardinality(String),
    technique_legacy LowCardinality(String),
    tactic LowCardinality(String),
    false_positives Array(LowCardinality(String)),
    orig_ip IPv6 CODEC(ZSTD(1)),
    resp_ip IPv6 CODEC(ZSTD(1)),
    resp_port UInt16 CODEC(ZSTD(1)),
    proto LowCardinality(String),
    domain String CODEC(ZSTD(1)),
    indicator String CODEC(ZSTD(1)),
    first_seen DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    last_seen DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    numbers Array(Tuple(name LowCardinality(String), value Float64, unit LowCardinality(String))),
    flow_count UInt64 CODEC(T64, ZSTD(1)),
    flows Array(UInt64) CODEC(ZSTD(1)),
    evidence_ids Array(String) CODEC(ZSTD(1)),
    `from` Array(String) CODEC(ZSTD(1))
)
ENGINE = {{.Engine "ReplacingMergeTree"}}
ORDER BY (case_id, run, detection_id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

{{.Distributed "detection" "detection_id"}}
