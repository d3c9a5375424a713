-- Aggregates anew, and all of them sets: crashes by report id and crashed hosts by host, exact (uniqExact over 64-bit
-- hashes: crashes are rare, and a halt must not rest on an estimate); reports by id and hosts seen by uniqCombined
-- (exact up to thousands a cell, then within 0.3 %). A set does not grow when the same report comes again: by a retry
-- of the sender, a repeated insert, a backfill beside the running stream. Nothing here is a sum, and nothing may be.
--
-- A set of hosts costs 4 bytes an entry. Per update and minute that was 87 bytes an event (measured: 11 updates
-- listed); so per minute an update has its crashes only, and the hosts with it are counted by hour and by day.
DROP VIEW strata_by_minute;

DROP VIEW updates_by_minute;

DROP VIEW stratum_minutes_feed;

DROP VIEW update_minutes_feed;

DROP TABLE stratum_minutes SETTINGS max_table_size_to_drop = 0;

DROP TABLE update_minutes SETTINGS max_table_size_to_drop = 0;

CREATE TABLE stratum_minutes
(
    fleet LowCardinality(String),
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    kind Enum8('boot' = 1, 'crash' = 2, 'heartbeat' = 3),
    ring LowCardinality(String),
    os LowCardinality(String),
    model LowCardinality(String),
    stored_at SimpleAggregateFunction(max, DateTime('UTC')) CODEC(Delta, ZSTD(1)),
    reports AggregateFunction(uniqCombined, UInt64),
    hosts AggregateFunction(uniqCombined, UInt64),
    crashes AggregateFunction(uniqExact, UInt64),
    crashed_hosts AggregateFunction(uniqExact, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(minute)
ORDER BY (fleet, minute, kind, ring, os, model)
TTL stored_at + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW stratum_minutes_feed TO stratum_minutes DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT
    fleet, toStartOfMinute(ts) AS minute, kind, ring, os, model,
    max(toDateTime(ingested_at)) AS stored_at,
    uniqCombinedState(sipHash64(id)) AS reports,
    uniqCombinedState(sipHash64(host)) AS hosts,
    uniqExactStateIf(sipHash64(id), kind = 'crash' OR prior = 'crash') AS crashes,
    uniqExactStateIf(sipHash64(host), kind = 'crash' OR prior = 'crash') AS crashed_hosts
FROM events
GROUP BY fleet, minute, kind, ring, os, model;

CREATE TABLE stratum_hours
(
    fleet LowCardinality(String),
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    kind Enum8('boot' = 1, 'crash' = 2, 'heartbeat' = 3),
    ring LowCardinality(String),
    os LowCardinality(String),
    model LowCardinality(String),
    stored_at SimpleAggregateFunction(max, DateTime('UTC')) CODEC(Delta, ZSTD(1)),
    hosts AggregateFunction(uniqCombined, UInt64),
    crashes AggregateFunction(uniqExact, UInt64),
    crashed_hosts AggregateFunction(uniqExact, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (fleet, hour, kind, ring, os, model)
TTL stored_at + INTERVAL 3 YEAR
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW stratum_hours_feed TO stratum_hours DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT
    fleet, toStartOfHour(ts) AS hour, kind, ring, os, model,
    max(toDateTime(ingested_at)) AS stored_at,
    uniqCombinedState(sipHash64(host)) AS hosts,
    uniqExactStateIf(sipHash64(id), kind = 'crash' OR prior = 'crash') AS crashes,
    uniqExactStateIf(sipHash64(host), kind = 'crash' OR prior = 'crash') AS crashed_hosts
FROM events
GROUP BY fleet, hour, kind, ring, os, model;

-- Per update that a report lists as installed by its moment. That is no exposure window: who is exposed, and for how
-- long, is the detector's business and stands in its verdicts.
CREATE TABLE update_minutes
(
    fleet LowCardinality(String),
    vendor LowCardinality(String),
    product LowCardinality(String),
    version LowCardinality(String),
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    ring LowCardinality(String),
    os LowCardinality(String),
    model LowCardinality(String),
    stored_at SimpleAggregateFunction(max, DateTime('UTC')) CODEC(Delta, ZSTD(1)),
    crashes AggregateFunction(uniqExact, UInt64),
    crashed_hosts AggregateFunction(uniqExact, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(minute)
ORDER BY (fleet, vendor, product, version, minute, ring, os, model)
TTL stored_at + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW update_minutes_feed TO update_minutes DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT
    fleet, vendor, product, version, toStartOfMinute(ts) AS minute, ring, os, model,
    max(toDateTime(ingested_at)) AS stored_at,
    uniqExactState(sipHash64(id)) AS crashes,
    uniqExactState(sipHash64(host)) AS crashed_hosts
FROM events
ARRAY JOIN
    `updates.vendor` AS vendor, `updates.product` AS product, `updates.version` AS version,
    `updates.installed_at` AS installed_at
WHERE (kind = 'crash' OR prior = 'crash') AND installed_at <= if(prior = 'crash', prior_ended_at, ts)
GROUP BY fleet, vendor, product, version, minute, ring, os, model;

CREATE TABLE update_hours
(
    fleet LowCardinality(String),
    vendor LowCardinality(String),
    product LowCardinality(String),
    version LowCardinality(String),
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    ring LowCardinality(String),
    os LowCardinality(String),
    model LowCardinality(String),
    stored_at SimpleAggregateFunction(max, DateTime('UTC')) CODEC(Delta, ZSTD(1)),
    hosts AggregateFunction(uniqCombined, UInt64),
    crashes AggregateFunction(uniqExact, UInt64),
    crashed_hosts AggregateFunction(uniqExact, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (fleet, vendor, product, version, hour, ring, os, model)
TTL stored_at + INTERVAL 1 YEAR
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW update_hours_feed TO update_hours DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT
    fleet, vendor, product, version, toStartOfHour(ts) AS hour, ring, os, model,
    max(toDateTime(ingested_at)) AS stored_at,
    uniqCombinedState(sipHash64(host)) AS hosts,
    uniqExactStateIf(sipHash64(id), kind = 'crash' OR prior = 'crash') AS crashes,
    uniqExactStateIf(sipHash64(host), kind = 'crash' OR prior = 'crash') AS crashed_hosts
FROM events
ARRAY JOIN
    `updates.vendor` AS vendor, `updates.product` AS product, `updates.version` AS version,
    `updates.installed_at` AS installed_at
WHERE installed_at <= if(prior = 'crash', prior_ended_at, ts)
GROUP BY fleet, vendor, product, version, hour, ring, os, model;

-- `installed` is the earliest installation that anybody reported; a report lists seven days, so a clock that is wrong
-- by years cannot drag it back further.
CREATE TABLE update_days
(
    fleet LowCardinality(String),
    vendor LowCardinality(String),
    product LowCardinality(String),
    version LowCardinality(String),
    day Date CODEC(Delta, ZSTD(1)),
    ring LowCardinality(String),
    os LowCardinality(String),
    model LowCardinality(String),
    stored_at SimpleAggregateFunction(max, DateTime('UTC')) CODEC(Delta, ZSTD(1)),
    installed SimpleAggregateFunction(min, DateTime64(3, 'UTC')) CODEC(Delta, ZSTD(1)),
    hosts AggregateFunction(uniqCombined, UInt64),
    crashes AggregateFunction(uniqExact, UInt64),
    crashed_hosts AggregateFunction(uniqExact, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYear(day)
ORDER BY (fleet, vendor, product, version, day, ring, os, model)
TTL stored_at + INTERVAL 3 YEAR
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW update_days_feed TO update_days DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT
    fleet, vendor, product, version, toDate(ts) AS day, ring, os, model,
    max(toDateTime(ingested_at)) AS stored_at,
    min(greatest(installed_at, ts - toIntervalDay(7))) AS installed,
    uniqCombinedState(sipHash64(host)) AS hosts,
    uniqExactStateIf(sipHash64(id), kind = 'crash' OR prior = 'crash') AS crashes,
    uniqExactStateIf(sipHash64(host), kind = 'crash' OR prior = 'crash') AS crashed_hosts
FROM events
ARRAY JOIN
    `updates.vendor` AS vendor, `updates.product` AS product, `updates.version` AS version,
    `updates.installed_at` AS installed_at
WHERE installed_at <= if(prior = 'crash', prior_ended_at, ts)
GROUP BY fleet, vendor, product, version, day, ring, os, model;

BACKFILL stratum_minutes;

BACKFILL stratum_hours;

BACKFILL update_minutes;

BACKFILL update_hours;

BACKFILL update_days;
