-- Raw events. The key is what one report is: a host's id, at its moment. A report sent twice merges into one; an id
-- that another host reuses (or forges) does not erase anybody's event. Read with FINAL, or through events_once.
--
-- Order: a day of a fleet is one range of the key, and within it a host's reports lie side by side, so that their
-- updates, which hardly change, compress to almost nothing.
CREATE TABLE events
(
    fleet LowCardinality(String),
    host String CODEC(ZSTD(3)),
    kind Enum8('boot' = 1, 'crash' = 2, 'heartbeat' = 3) CODEC(ZSTD(3)),
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(3)),
    ingested_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(3)),
    ring LowCardinality(String) CODEC(ZSTD(3)),
    os LowCardinality(String) CODEC(ZSTD(3)),
    model LowCardinality(String) CODEC(ZSTD(3)),
    region LowCardinality(String) CODEC(ZSTD(3)),
    site LowCardinality(String) CODEC(ZSTD(3)),
    prior Enum8('' = 0, 'clean' = 1, 'crash' = 2, 'unknown' = 3) CODEC(ZSTD(3)),
    prior_ended_at Nullable(DateTime64(3, 'UTC')) CODEC(Delta, ZSTD(3)),
    signature_code LowCardinality(String) CODEC(ZSTD(3)),
    signature_module LowCardinality(String) CODEC(ZSTD(3)),
    `updates.vendor` Array(LowCardinality(String)) CODEC(ZSTD(3)),
    `updates.product` Array(LowCardinality(String)) CODEC(ZSTD(3)),
    `updates.version` Array(LowCardinality(String)) CODEC(ZSTD(3)),
    `updates.installed_at` Array(DateTime64(3, 'UTC')) CODEC(Delta, ZSTD(3)),
    id String CODEC(ZSTD(3)),
    crashed Bool ALIAS kind = 'crash' OR prior = 'crash'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts)
PRIMARY KEY (fleet, toStartOfDay(ts), host)
ORDER BY (fleet, toStartOfDay(ts), host, ts, id)
SETTINGS non_replicated_deduplication_window = 10000;

-- The same, each report once, whatever has been merged yet.
CREATE VIEW events_once AS SELECT *, crashed FROM events FINAL;
