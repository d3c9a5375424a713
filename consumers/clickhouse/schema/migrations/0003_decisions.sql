-- What the detector thought, ordered and was told. A record is known by where it stood in its topic, so that reading
-- it again changes nothing; `record` is it in full, as it was.
CREATE TABLE verdicts
(
    fleet LowCardinality(String),
    vendor LowCardinality(String),
    product LowCardinality(String),
    version LowCardinality(String),
    ring LowCardinality(String),
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    state LowCardinality(String),
    log10_evidence Float64,
    threshold Float64,
    basis LowCardinality(String),
    observed UInt64,
    expected Float64,
    relative_risk_low Float64,
    relative_risk_high Float64,
    crashed_hosts UInt64,
    exposed_trials UInt64,
    needs_trials UInt64,
    explanation_kind LowCardinality(String),
    explanation_code String,
    explanation_module String,
    explanation_strata Array(String),
    flags Array(LowCardinality(String)),
    record String CODEC(ZSTD(3)),
    source_partition UInt32,
    source_offset UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (fleet, vendor, product, version, ring, at, source_partition, source_offset)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE heartbeats
(
    fleet LowCardinality(String),
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    stream_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    live_updates UInt32,
    events UInt64,
    offset Int64,
    source_partition UInt32,
    source_offset UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (fleet, at, source_partition, source_offset)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE halts
(
    fleet LowCardinality(String),
    vendor LowCardinality(String),
    product LowCardinality(String),
    version LowCardinality(String),
    epoch UInt64,
    action LowCardinality(String),
    rings Array(LowCardinality(String)),
    issued_at DateTime64(3, 'UTC'),
    expires_at DateTime64(3, 'UTC'),
    decided_by String,
    policy String,
    reason String,
    stream_time Nullable(DateTime64(3, 'UTC')),
    log10_evidence Nullable(Float64),
    basis LowCardinality(String),
    observed Nullable(UInt64),
    expected Nullable(Float64),
    crashed_hosts Nullable(UInt64),
    exposed_trials Nullable(UInt64),
    kid LowCardinality(String),
    record String CODEC(ZSTD(3)),
    source_partition UInt32,
    source_offset UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (fleet, vendor, product, version, epoch, issued_at, source_partition, source_offset)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE halt_acks
(
    halt_key String,
    epoch UInt64,
    subscriber String,
    status LowCardinality(String),
    at DateTime64(3, 'UTC'),
    detail String,
    kid LowCardinality(String),
    record String CODEC(ZSTD(3)),
    source_partition UInt32,
    source_offset UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (halt_key, epoch, subscriber, at, source_partition, source_offset)
SETTINGS non_replicated_deduplication_window = 10000;

-- Refused messages, their bytes untouched. `topic`, `partition` and `offset` say where the message stood.
CREATE TABLE dead_letters
(
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    reason LowCardinality(String),
    detail String CODEC(ZSTD(3)),
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    stage LowCardinality(String),
    key Nullable(String) CODEC(ZSTD(3)),
    value String CODEC(ZSTD(3)),
    source_partition UInt32,
    source_offset UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (at, source_partition, source_offset)
SETTINGS non_replicated_deduplication_window = 10000;
