-- What a store of years is made of is hashes in sets, and two thirds of them said which hosts had an update in which hour:
-- a host that lists fourteen updates put its hash into fourteen sets with every report, 29 bytes an event. What people ask
-- of those is how far an update had come by when. That is known from the hour in which each host installed it, which is
-- the same report after report: update_installs, where day after day lies beside the one before and compresses to little.
-- Per hour an update keeps its crashes; hosts with it are counted by day.
CREATE TABLE update_installs
(
    fleet LowCardinality(String),
    vendor LowCardinality(String),
    product LowCardinality(String),
    version LowCardinality(String),
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    ring LowCardinality(String),
    day Date CODEC(Delta, ZSTD(1)),
    stored_at SimpleAggregateFunction(max, DateTime('UTC')) CODEC(Delta, ZSTD(1)),
    hosts AggregateFunction(uniqCombined, UInt64) CODEC(ZSTD(3))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYear(day)
ORDER BY (fleet, vendor, product, version, hour, ring, day)
TTL stored_at + INTERVAL 1 YEAR
SETTINGS non_replicated_deduplication_window = 10000;

-- `day` is the report's, `hour` the installation's; a report lists seven days, so a clock that is wrong by years cannot
-- drag it back further.
CREATE MATERIALIZED VIEW update_installs_feed TO update_installs DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT
    fleet, vendor, product, version,
    toStartOfHour(toDateTime(greatest(installed_at, ts - toIntervalDay(7)), 'UTC')) AS hour, ring, toDate(ts) AS day,
    max(toDateTime(ingested_at)) AS stored_at,
    uniqCombinedState(sipHash64(host)) AS hosts
FROM events
ARRAY JOIN
    `updates.vendor` AS vendor, `updates.product` AS product, `updates.version` AS version,
    `updates.installed_at` AS installed_at
WHERE installed_at <= if(prior = 'crash', prior_ended_at, ts)
GROUP BY fleet, vendor, product, version, hour, ring, day;

BACKFILL update_installs;

DROP VIEW exposure_over_time;

-- How far an update has come: hosts that installed it in the hour, and all that had it by its end.
CREATE VIEW exposure_over_time AS
SELECT
    fleet, vendor, product, version, hour, finalizeAggregation(states) AS hosts,
    uniqCombinedMerge(states) OVER (PARTITION BY fleet, vendor, product, version ORDER BY hour) AS hosts_so_far
FROM
(
    SELECT fleet, vendor, product, version, hour, uniqCombinedMergeState(update_installs.hosts) AS states
    FROM update_installs
    GROUP BY fleet, vendor, product, version, hour
);

DROP VIEW updates_by_hour;

DROP VIEW update_hours_feed;

ALTER TABLE update_hours DROP COLUMN hosts;

CREATE MATERIALIZED VIEW update_hours_feed TO update_hours DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT
    fleet, vendor, product, version, toStartOfHour(ts) AS hour, ring, os, model,
    max(toDateTime(ingested_at)) AS stored_at,
    uniqExactState(sipHash64(id)) AS crashes,
    uniqExactState(sipHash64(host)) AS crashed_hosts
FROM events
ARRAY JOIN
    `updates.vendor` AS vendor, `updates.product` AS product, `updates.version` AS version,
    `updates.installed_at` AS installed_at
WHERE (kind = 'crash' OR prior = 'crash') AND installed_at <= if(prior = 'crash', prior_ended_at, ts)
GROUP BY fleet, vendor, product, version, hour, ring, os, model;

BACKFILL update_hours;

CREATE VIEW updates_by_hour AS
SELECT
    fleet, vendor, product, version, hour, ring, os, model,
    uniqExactMerge(update_hours.crashes) AS crashes,
    uniqExactMerge(update_hours.crashed_hosts) AS crashed_hosts
FROM update_hours
GROUP BY fleet, vendor, product, version, hour, ring, os, model
HAVING crashes > 0;

-- Hours without a crash said only who had it.
ALTER TABLE update_hours DELETE WHERE finalizeAggregation(crashes) = 0;

-- Sets had no codec of their own. What is stored already is rewritten as it is merged.
ALTER TABLE stratum_minutes
    MODIFY COLUMN reports CODEC(ZSTD(3)),
    MODIFY COLUMN hosts CODEC(ZSTD(3)),
    MODIFY COLUMN crashes CODEC(ZSTD(3)),
    MODIFY COLUMN crashed_hosts CODEC(ZSTD(3));

ALTER TABLE stratum_hours
    MODIFY COLUMN hosts CODEC(ZSTD(3)),
    MODIFY COLUMN crashes CODEC(ZSTD(3)),
    MODIFY COLUMN crashed_hosts CODEC(ZSTD(3));

ALTER TABLE stratum_days
    MODIFY COLUMN hosts CODEC(ZSTD(3)),
    MODIFY COLUMN crashes CODEC(ZSTD(3)),
    MODIFY COLUMN crashed_hosts CODEC(ZSTD(3));

ALTER TABLE update_minutes
    MODIFY COLUMN crashes CODEC(ZSTD(3)),
    MODIFY COLUMN crashed_hosts CODEC(ZSTD(3));

ALTER TABLE update_days
    MODIFY COLUMN hosts CODEC(ZSTD(3)),
    MODIFY COLUMN crashes CODEC(ZSTD(3)),
    MODIFY COLUMN crashed_hosts CODEC(ZSTD(3));

-- Hosts repeat the very moments of their installations, report after report: differences hide that.
ALTER TABLE events MODIFY COLUMN `updates.installed_at` CODEC(ZSTD(3));

ALTER TABLE hosts MODIFY COLUMN `updates.installed_at` CODEC(ZSTD(3));
