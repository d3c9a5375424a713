-- Per minute of event time. `events` counts reports as they were stored (a client's repeat counts again); whatever a
-- person decides on is a set: crashes by report id and crashed hosts by host, exact (uniqExact over 64-bit hashes:
-- crashes are rare, and a halt must not rest on an estimate); hosts seen by uniqCombined (exact up to thousands, then
-- within 0.3 %, at most 96 KiB a cell), for they are everybody.
CREATE TABLE stratum_minutes
(
    fleet LowCardinality(String),
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    kind Enum8('boot' = 1, 'crash' = 2, 'heartbeat' = 3),
    ring LowCardinality(String),
    os LowCardinality(String),
    model LowCardinality(String),
    events SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
    crashes AggregateFunction(uniqExact, UInt64),
    hosts AggregateFunction(uniqCombined, String),
    crashed_hosts AggregateFunction(uniqExact, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(minute)
ORDER BY (fleet, minute, kind, ring, os, model)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW stratum_minutes_feed TO stratum_minutes AS
SELECT
    fleet, toStartOfMinute(ts) AS minute, kind, ring, os, model,
    count() AS events,
    uniqExactStateIf(sipHash64(id), kind = 'crash' OR prior = 'crash') AS crashes,
    uniqCombinedState(host) AS hosts,
    uniqExactStateIf(sipHash64(host), kind = 'crash' OR prior = 'crash') AS crashed_hosts
FROM events
GROUP BY fleet, minute, kind, ring, os, model;

-- The same per update that a report lists as installed by its moment. That is no exposure window: who is exposed,
-- and for how long, is the detector's business and stands in its verdicts.
CREATE TABLE update_minutes
(
    fleet LowCardinality(String),
    vendor LowCardinality(String),
    product LowCardinality(String),
    version LowCardinality(String),
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    kind Enum8('boot' = 1, 'crash' = 2, 'heartbeat' = 3),
    ring LowCardinality(String),
    os LowCardinality(String),
    model LowCardinality(String),
    events SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
    crashes AggregateFunction(uniqExact, UInt64),
    hosts AggregateFunction(uniqCombined, String),
    crashed_hosts AggregateFunction(uniqExact, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(minute)
ORDER BY (fleet, vendor, product, version, minute, kind, ring, os, model)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW update_minutes_feed TO update_minutes AS
SELECT
    fleet, vendor, product, version, toStartOfMinute(ts) AS minute, kind, ring, os, model,
    count() AS events,
    uniqExactStateIf(sipHash64(id), kind = 'crash' OR prior = 'crash') AS crashes,
    uniqCombinedState(host) AS hosts,
    uniqExactStateIf(sipHash64(host), kind = 'crash' OR prior = 'crash') AS crashed_hosts
FROM events
ARRAY JOIN
    `updates.vendor` AS vendor, `updates.product` AS product, `updates.version` AS version,
    `updates.installed_at` AS installed_at
WHERE installed_at <= if(prior = 'crash', prior_ended_at, ts)
GROUP BY fleet, vendor, product, version, minute, kind, ring, os, model;

-- For people and dashboards: plain numbers per minute.
CREATE VIEW strata_by_minute AS
SELECT
    fleet, minute, kind, ring, os, model,
    sum(stratum_minutes.events) AS events,
    uniqExactMerge(stratum_minutes.crashes) AS crashes,
    uniqCombinedMerge(stratum_minutes.hosts) AS hosts,
    uniqExactMerge(stratum_minutes.crashed_hosts) AS crashed_hosts
FROM stratum_minutes
GROUP BY fleet, minute, kind, ring, os, model;

CREATE VIEW updates_by_minute AS
SELECT
    fleet, vendor, product, version, minute, kind, ring, os, model,
    sum(update_minutes.events) AS events,
    uniqExactMerge(update_minutes.crashes) AS crashes,
    uniqCombinedMerge(update_minutes.hosts) AS hosts,
    uniqExactMerge(update_minutes.crashed_hosts) AS crashed_hosts
FROM update_minutes
GROUP BY fleet, vendor, product, version, minute, kind, ring, os, model;
