-- What a host lists without a usable time stands here as installed on 2020-01-01. Cut to the seven days that a report
-- lists, one such host put a release a week back. It says no more than that the update was there when the host reported,
-- and nothing about the hour. Hosts whose time is known are as they were.
DROP VIEW update_days_feed;

CREATE MATERIALIZED VIEW update_days_feed TO update_days DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT
    fleet, vendor, product, version, toDate(ts) AS day, ring, os, model,
    max(toDateTime(ingested_at)) AS stored_at,
    min(if(installed_at = toDateTime64('2020-01-01 00:00:00', 3, 'UTC'), ts,
        greatest(installed_at, ts - toIntervalDay(7)))) AS installed,
    uniqCombinedState(sipHash64(host)) AS hosts,
    uniqExactStateIf(sipHash64(id), kind = 'crash' OR prior = 'crash') AS crashes,
    uniqExactStateIf(sipHash64(host), kind = 'crash' OR prior = 'crash') AS crashed_hosts
FROM events
ARRAY JOIN
    `updates.vendor` AS vendor, `updates.product` AS product, `updates.version` AS version,
    `updates.installed_at` AS installed_at
WHERE installed_at <= if(prior = 'crash', prior_ended_at, ts)
GROUP BY fleet, vendor, product, version, day, ring, os, model;

BACKFILL update_days;

DROP VIEW update_installs_feed;

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
    AND installed_at != toDateTime64('2020-01-01 00:00:00', 3, 'UTC')
GROUP BY fleet, vendor, product, version, hour, ring, day;

BACKFILL update_installs;
