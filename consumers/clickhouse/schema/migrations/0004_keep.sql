-- What is kept, and for how long, counted from when it was stored: a report may speak of a day long past.
-- Measured (docs/design.md): raw events are nearly all of the disk, so they go first; crashes are one in a thousand and
-- are what people come back for. Deadlines only take effect as parts are merged.
ALTER TABLE events MODIFY COLUMN ingested_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta, ZSTD(3));

ALTER TABLE events MODIFY TTL toDateTime(ingested_at) + INTERVAL 90 DAY;

ALTER TABLE heartbeats MODIFY TTL toDateTime(at) + INTERVAL 90 DAY;

-- Every report of a crash, whole, for three years: the answer to "has this ever happened before?".
CREATE TABLE crashes
(
    fleet LowCardinality(String),
    host String CODEC(ZSTD(3)),
    kind Enum8('boot' = 1, 'crash' = 2, 'heartbeat' = 3),
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(3)),
    ingested_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(3)),
    ring LowCardinality(String),
    os LowCardinality(String),
    model LowCardinality(String),
    region LowCardinality(String),
    site LowCardinality(String),
    prior_ended_at Nullable(DateTime64(3, 'UTC')) CODEC(Delta, ZSTD(3)),
    signature_code LowCardinality(String),
    signature_module LowCardinality(String),
    `updates.vendor` Array(LowCardinality(String)) CODEC(ZSTD(3)),
    `updates.product` Array(LowCardinality(String)) CODEC(ZSTD(3)),
    `updates.version` Array(LowCardinality(String)) CODEC(ZSTD(3)),
    `updates.installed_at` Array(DateTime64(3, 'UTC')) CODEC(Delta, ZSTD(3)),
    id String CODEC(ZSTD(3)),
    -- When the machine went down, as far as it knows.
    crashed_at DateTime64(3, 'UTC') ALIAS if(kind = 'boot', ifNull(prior_ended_at, ts), ts)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYear(ts)
PRIMARY KEY (fleet, toStartOfDay(ts), host)
ORDER BY (fleet, toStartOfDay(ts), host, ts, id)
TTL toDateTime(ingested_at) + INTERVAL 3 YEAR
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW crashes_feed TO crashes DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT
    fleet, host, kind, ts, ingested_at, ring, os, model, region, site, prior_ended_at, signature_code, signature_module,
    `updates.vendor`, `updates.product`, `updates.version`, `updates.installed_at`, id
FROM events
WHERE kind = 'crash' OR prior = 'crash';

-- Every host as it last said it was. An older report that comes late changes nothing.
CREATE TABLE hosts
(
    fleet LowCardinality(String),
    host String CODEC(ZSTD(3)),
    last_seen DateTime64(3, 'UTC') CODEC(ZSTD(3)),
    ingested_at DateTime64(3, 'UTC') CODEC(ZSTD(3)),
    ring LowCardinality(String),
    os LowCardinality(String),
    model LowCardinality(String),
    region LowCardinality(String),
    site LowCardinality(String),
    `updates.vendor` Array(LowCardinality(String)) CODEC(ZSTD(3)),
    `updates.product` Array(LowCardinality(String)) CODEC(ZSTD(3)),
    `updates.version` Array(LowCardinality(String)) CODEC(ZSTD(3)),
    `updates.installed_at` Array(DateTime64(3, 'UTC')) CODEC(Delta, ZSTD(3))
)
ENGINE = ReplacingMergeTree(last_seen)
ORDER BY (fleet, host)
TTL toDateTime(ingested_at) + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW hosts_feed TO hosts DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT
    fleet, host, ts AS last_seen, ingested_at, ring, os, model, region, site,
    `updates.vendor`, `updates.product`, `updates.version`, `updates.installed_at`
FROM events;

BACKFILL crashes;

BACKFILL hosts;
