-- For people: names that one would look for, plain numbers, times in UTC. A rate is a share of hosts, and its limits
-- are Wilson's 95 % score interval (z = 1.959964: x + z²/2 = x + 1.9207294, n + z² = n + 3.8414588).
-- `crashed_hosts` and `crashes` are exact; `hosts` is exact up to thousands a cell, then within 0.3 %.
CREATE VIEW strata_by_minute AS
SELECT
    fleet, minute, kind, ring, os, model,
    uniqCombinedMerge(stratum_minutes.reports) AS events,
    uniqExactMerge(stratum_minutes.crashes) AS crashes,
    uniqCombinedMerge(stratum_minutes.hosts) AS hosts,
    uniqExactMerge(stratum_minutes.crashed_hosts) AS crashed_hosts
FROM stratum_minutes
GROUP BY fleet, minute, kind, ring, os, model;

CREATE VIEW strata_by_hour AS
SELECT
    fleet, hour, kind, ring, os, model,
    uniqExactMerge(stratum_hours.crashes) AS crashes,
    uniqCombinedMerge(stratum_hours.hosts) AS hosts,
    uniqExactMerge(stratum_hours.crashed_hosts) AS crashed_hosts
FROM stratum_hours
GROUP BY fleet, hour, kind, ring, os, model;

CREATE VIEW updates_by_minute AS
SELECT
    fleet, vendor, product, version, minute, ring, os, model,
    uniqExactMerge(update_minutes.crashes) AS crashes,
    uniqExactMerge(update_minutes.crashed_hosts) AS crashed_hosts
FROM update_minutes
GROUP BY fleet, vendor, product, version, minute, ring, os, model;

CREATE VIEW updates_by_hour AS
SELECT
    fleet, vendor, product, version, hour, ring, os, model,
    uniqExactMerge(update_hours.crashes) AS crashes,
    uniqCombinedMerge(update_hours.hosts) AS hosts,
    uniqExactMerge(update_hours.crashed_hosts) AS crashed_hosts
FROM update_hours
GROUP BY fleet, vendor, product, version, hour, ring, os, model;

CREATE VIEW crash_rate_by_update AS
SELECT
    fleet, vendor, product, version, hosts, crashed_hosts, crashes,
    crashed_hosts / hosts AS crash_rate,
    greatest(0, (crashed_hosts + 1.9207294 - margin) / (hosts + 3.8414588)) AS crash_rate_low,
    least(1, (crashed_hosts + 1.9207294 + margin) / (hosts + 3.8414588)) AS crash_rate_high
FROM
(
    SELECT
        fleet, vendor, product, version,
        uniqExactMerge(update_days.crashes) AS crashes,
        uniqExactMerge(update_days.crashed_hosts) AS crashed_hosts,
        greatest(uniqCombinedMerge(update_days.hosts), crashed_hosts) AS hosts,
        1.959964 * sqrt(crashed_hosts * (hosts - crashed_hosts) / hosts + 0.9603647) AS margin
    FROM update_days
    GROUP BY fleet, vendor, product, version
);

CREATE VIEW crash_rate_by_update_ring AS
SELECT
    fleet, vendor, product, version, ring, hosts, crashed_hosts, crashes,
    crashed_hosts / hosts AS crash_rate,
    greatest(0, (crashed_hosts + 1.9207294 - margin) / (hosts + 3.8414588)) AS crash_rate_low,
    least(1, (crashed_hosts + 1.9207294 + margin) / (hosts + 3.8414588)) AS crash_rate_high
FROM
(
    SELECT
        fleet, vendor, product, version, ring,
        uniqExactMerge(update_days.crashes) AS crashes,
        uniqExactMerge(update_days.crashed_hosts) AS crashed_hosts,
        greatest(uniqCombinedMerge(update_days.hosts), crashed_hosts) AS hosts,
        1.959964 * sqrt(crashed_hosts * (hosts - crashed_hosts) / hosts + 0.9603647) AS margin
    FROM update_days
    GROUP BY fleet, vendor, product, version, ring
);

CREATE VIEW crash_rate_by_update_model AS
SELECT
    fleet, vendor, product, version, model, hosts, crashed_hosts, crashes,
    crashed_hosts / hosts AS crash_rate,
    greatest(0, (crashed_hosts + 1.9207294 - margin) / (hosts + 3.8414588)) AS crash_rate_low,
    least(1, (crashed_hosts + 1.9207294 + margin) / (hosts + 3.8414588)) AS crash_rate_high
FROM
(
    SELECT
        fleet, vendor, product, version, model,
        uniqExactMerge(update_days.crashes) AS crashes,
        uniqExactMerge(update_days.crashed_hosts) AS crashed_hosts,
        greatest(uniqCombinedMerge(update_days.hosts), crashed_hosts) AS hosts,
        1.959964 * sqrt(crashed_hosts * (hosts - crashed_hosts) / hosts + 0.9603647) AS margin
    FROM update_days
    GROUP BY fleet, vendor, product, version, model
);

CREATE VIEW crash_rate_by_update_os AS
SELECT
    fleet, vendor, product, version, os, hosts, crashed_hosts, crashes,
    crashed_hosts / hosts AS crash_rate,
    greatest(0, (crashed_hosts + 1.9207294 - margin) / (hosts + 3.8414588)) AS crash_rate_low,
    least(1, (crashed_hosts + 1.9207294 + margin) / (hosts + 3.8414588)) AS crash_rate_high
FROM
(
    SELECT
        fleet, vendor, product, version, os,
        uniqExactMerge(update_days.crashes) AS crashes,
        uniqExactMerge(update_days.crashed_hosts) AS crashed_hosts,
        greatest(uniqCombinedMerge(update_days.hosts), crashed_hosts) AS hosts,
        1.959964 * sqrt(crashed_hosts * (hosts - crashed_hosts) / hosts + 0.9603647) AS margin
    FROM update_days
    GROUP BY fleet, vendor, product, version, os
);

CREATE VIEW crash_rate_by_update_day AS
SELECT
    fleet, vendor, product, version, day, hosts, crashed_hosts, crashes,
    crashed_hosts / hosts AS crash_rate,
    greatest(0, (crashed_hosts + 1.9207294 - margin) / (hosts + 3.8414588)) AS crash_rate_low,
    least(1, (crashed_hosts + 1.9207294 + margin) / (hosts + 3.8414588)) AS crash_rate_high
FROM
(
    SELECT
        fleet, vendor, product, version, day,
        uniqExactMerge(update_days.crashes) AS crashes,
        uniqExactMerge(update_days.crashed_hosts) AS crashed_hosts,
        greatest(uniqCombinedMerge(update_days.hosts), crashed_hosts) AS hosts,
        1.959964 * sqrt(crashed_hosts * (hosts - crashed_hosts) / hosts + 0.9603647) AS margin
    FROM update_days
    GROUP BY fleet, vendor, product, version, day
);

CREATE VIEW crash_rate_by_day AS
SELECT
    fleet, day, hosts, crashed_hosts, crashes,
    crashed_hosts / hosts AS crash_rate,
    greatest(0, (crashed_hosts + 1.9207294 - margin) / (hosts + 3.8414588)) AS crash_rate_low,
    least(1, (crashed_hosts + 1.9207294 + margin) / (hosts + 3.8414588)) AS crash_rate_high
FROM
(
    SELECT
        fleet, toDate(hour) AS day,
        uniqExactMerge(stratum_hours.crashes) AS crashes,
        uniqExactMerge(stratum_hours.crashed_hosts) AS crashed_hosts,
        greatest(uniqCombinedMerge(stratum_hours.hosts), crashed_hosts) AS hosts,
        1.959964 * sqrt(crashed_hosts * (hosts - crashed_hosts) / hosts + 0.9603647) AS margin
    FROM stratum_hours
    GROUP BY fleet, day
);

CREATE VIEW crash_rate_by_ring AS
SELECT
    fleet, day, ring, hosts, crashed_hosts, crashes,
    crashed_hosts / hosts AS crash_rate,
    greatest(0, (crashed_hosts + 1.9207294 - margin) / (hosts + 3.8414588)) AS crash_rate_low,
    least(1, (crashed_hosts + 1.9207294 + margin) / (hosts + 3.8414588)) AS crash_rate_high
FROM
(
    SELECT
        fleet, toDate(hour) AS day, ring,
        uniqExactMerge(stratum_hours.crashes) AS crashes,
        uniqExactMerge(stratum_hours.crashed_hosts) AS crashed_hosts,
        greatest(uniqCombinedMerge(stratum_hours.hosts), crashed_hosts) AS hosts,
        1.959964 * sqrt(crashed_hosts * (hosts - crashed_hosts) / hosts + 0.9603647) AS margin
    FROM stratum_hours
    GROUP BY fleet, day, ring
);

CREATE VIEW crash_rate_by_model AS
SELECT
    fleet, day, model, hosts, crashed_hosts, crashes,
    crashed_hosts / hosts AS crash_rate,
    greatest(0, (crashed_hosts + 1.9207294 - margin) / (hosts + 3.8414588)) AS crash_rate_low,
    least(1, (crashed_hosts + 1.9207294 + margin) / (hosts + 3.8414588)) AS crash_rate_high
FROM
(
    SELECT
        fleet, toDate(hour) AS day, model,
        uniqExactMerge(stratum_hours.crashes) AS crashes,
        uniqExactMerge(stratum_hours.crashed_hosts) AS crashed_hosts,
        greatest(uniqCombinedMerge(stratum_hours.hosts), crashed_hosts) AS hosts,
        1.959964 * sqrt(crashed_hosts * (hosts - crashed_hosts) / hosts + 0.9603647) AS margin
    FROM stratum_hours
    GROUP BY fleet, day, model
);

-- Hosts of a day that did not crash, and their share.
CREATE VIEW crash_free_hosts AS
SELECT
    fleet, day, ring, hosts, crashed_hosts,
    hosts - crashed_hosts AS crash_free_hosts,
    1 - crash_rate AS crash_free_share,
    1 - crash_rate_high AS crash_free_share_low,
    1 - crash_rate_low AS crash_free_share_high
FROM crash_rate_by_ring;

-- Signatures by day; a boot after a crash has none.
CREATE VIEW top_signatures AS
SELECT
    fleet, toDate(ts) AS day, signature_code, signature_module,
    uniqExact(host) AS hosts,
    count() AS crashes,
    uniqExact(model) AS models,
    uniqExact(site) AS sites
FROM crashes FINAL
WHERE kind = 'crash'
GROUP BY fleet, day, signature_code, signature_module;

-- When each signature was first seen, where, and what had been installed there last.
CREATE VIEW new_signatures AS
SELECT
    fleet, signature_code, signature_module,
    min(ts) AS first_seen,
    argMin(host, ts) AS first_host,
    argMin(ring, ts) AS first_ring,
    argMin(if(empty(`updates.vendor`), '', arrayStringConcat(
        [`updates.vendor`[newest], `updates.product`[newest], `updates.version`[newest]], '/')), ts) AS newest_update_there,
    max(ts) AS last_seen,
    uniqExact(host) AS hosts,
    count() AS crashes
FROM
(
    SELECT *, indexOf(`updates.installed_at`, arrayMax(`updates.installed_at`)) AS newest
    FROM crashes FINAL
    WHERE kind = 'crash'
)
GROUP BY fleet, signature_code, signature_module;

-- How far an update has come: hosts seen with it in the hour, and all that had it so far.
CREATE VIEW exposure_over_time AS
SELECT
    fleet, vendor, product, version, hour, finalizeAggregation(states) AS hosts,
    uniqCombinedMerge(states) OVER (PARTITION BY fleet, vendor, product, version ORDER BY hour) AS hosts_so_far
FROM
(
    SELECT fleet, vendor, product, version, hour, uniqCombinedMergeState(update_hours.hosts) AS states
    FROM update_hours
    GROUP BY fleet, vendor, product, version, hour
);

-- The same as the halt topic says now: one row per update that was ever halted.
CREATE VIEW halts_now AS
SELECT
    fleet, vendor, product, version,
    max(halts.epoch) AS epoch,
    argMax(halts.action, (halts.epoch, halts.issued_at)) AS action,
    argMax(halts.rings, (halts.epoch, halts.issued_at)) AS rings,
    min(halts.issued_at) AS first_issued_at,
    argMax(halts.expires_at, (halts.epoch, halts.issued_at)) AS expires_at,
    argMax(halts.decided_by, (halts.epoch, halts.issued_at)) AS decided_by,
    argMax(halts.reason, (halts.epoch, halts.issued_at)) AS reason
FROM halts
GROUP BY fleet, vendor, product, version;

CREATE VIEW verdicts_now AS
SELECT
    fleet, vendor, product, version, ring,
    max(verdicts.at) AS at,
    argMax(verdicts.state, verdicts.at) AS state,
    argMax(verdicts.log10_evidence, verdicts.at) AS log10_evidence,
    argMax(verdicts.threshold, verdicts.at) AS threshold,
    argMax(verdicts.crashed_hosts, verdicts.at) AS crashed_hosts,
    argMax(verdicts.exposed_trials, verdicts.at) AS exposed_trials,
    argMax(verdicts.needs_trials, verdicts.at) AS needs_trials,
    argMax(verdicts.flags, verdicts.at) AS flags
FROM verdicts
GROUP BY fleet, vendor, product, version, ring;

-- From the first reported installation to the halt and the last subscriber that obeyed it. A renewal keeps its epoch
-- and changes nothing here. `decided_at` is in the time of the events, `halted_at` in that of the wall.
CREATE VIEW time_to_halt AS
SELECT
    h.fleet AS fleet, h.vendor AS vendor, h.product AS product, h.version AS version, h.epoch AS epoch,
    u.installed AS released_at, c.first_crash_at AS first_crash_at, h.decided_at AS decided_at,
    h.halted_at AS halted_at, a.stopped_at AS stopped_at, a.subscribers AS subscribers_stopped,
    (toUnixTimestamp64Milli(h.decided_at) - toUnixTimestamp64Milli(u.installed)) / 1000 AS seconds_release_to_decision,
    (toUnixTimestamp64Milli(h.halted_at) - toUnixTimestamp64Milli(h.decided_at)) / 1000 AS seconds_decision_to_halt,
    (toUnixTimestamp64Milli(a.stopped_at) - toUnixTimestamp64Milli(h.halted_at)) / 1000 AS seconds_halt_to_stopped,
    h.crashed_hosts AS crashed_hosts_at_halt
FROM
(
    SELECT
        fleet, vendor, product, version, epoch,
        min(halts.issued_at) AS halted_at,
        ifNull(argMin(halts.stream_time, halts.issued_at), halted_at) AS decided_at,
        ifNull(argMin(halts.crashed_hosts, halts.issued_at), 0) AS crashed_hosts
    FROM halts
    WHERE action = 'halt'
    GROUP BY fleet, vendor, product, version, epoch
) AS h
LEFT JOIN
(
    SELECT fleet, vendor, product, version, toNullable(min(update_days.installed)) AS installed
    FROM update_days
    GROUP BY fleet, vendor, product, version
) AS u USING (fleet, vendor, product, version)
LEFT JOIN
(
    SELECT fleet, vendor, product, version, toNullable(min(crashes.ts)) AS first_crash_at
    FROM crashes
    ARRAY JOIN
        `updates.vendor` AS vendor, `updates.product` AS product, `updates.version` AS version,
        `updates.installed_at` AS installed_at
    WHERE kind = 'crash' AND installed_at <= ts
    GROUP BY fleet, vendor, product, version
) AS c USING (fleet, vendor, product, version)
LEFT JOIN
(
    SELECT
        arrayMap(part -> decodeURLComponent(part), splitByChar('/', halt_key)) AS parts,
        parts[1] AS fleet, parts[2] AS vendor, parts[3] AS product, parts[4] AS version, epoch,
        toNullable(max(at)) AS stopped_at, uniqExact(subscriber) AS subscribers
    FROM halt_acks
    WHERE status = 'stopped'
    GROUP BY halt_key, epoch
) AS a USING (fleet, vendor, product, version, epoch);

-- What a halt spared, by the plainest reckoning: hosts of the fleet that never had the update, times the share of those
-- with it that crashed (Wilson's limits). It holds if the rest would have fared alike and all would have got it.
CREATE VIEW machines_spared AS
SELECT
    h.fleet AS fleet, h.vendor AS vendor, h.product AS product, h.version AS version, h.halted_at AS halted_at,
    f.hosts AS fleet_hosts, u.hosts AS hosts_with_it, u.crashed_hosts AS crashed_hosts,
    greatest(0, toInt64(f.hosts) - toInt64(u.hosts)) AS hosts_without_it,
    round(hosts_without_it * u.crash_rate) AS spared,
    round(hosts_without_it * u.crash_rate_low) AS spared_low,
    round(hosts_without_it * u.crash_rate_high) AS spared_high
FROM
(
    SELECT fleet, vendor, product, version, min(halts.issued_at) AS halted_at
    FROM halts
    WHERE action = 'halt'
    GROUP BY fleet, vendor, product, version
) AS h
INNER JOIN crash_rate_by_update AS u USING (fleet, vendor, product, version)
INNER JOIN (SELECT fleet, uniqExact(host) AS hosts FROM hosts GROUP BY fleet) AS f USING (fleet);

-- Updates that stand on the same hosts now: what no host tells apart, no statistics can.
CREATE VIEW update_pairs AS
WITH
    per_host AS
    (
        SELECT fleet, arraySort(arrayMap((v, p, n) -> concat(v, '/', p, '/', n),
            `updates.vendor`, `updates.product`, `updates.version`)) AS names
        FROM hosts FINAL
    ),
    single AS
    (
        SELECT fleet, name, count() AS hosts FROM per_host ARRAY JOIN names AS name GROUP BY fleet, name
    ),
    pairs AS
    (
        SELECT fleet, pair.1 AS update_a, pair.2 AS update_b, count() AS hosts_both
        FROM per_host
        ARRAY JOIN arrayFlatten(arrayMap(a -> arrayMap(b -> (a, b), arrayFilter(b -> b > a, names)), names)) AS pair
        GROUP BY fleet, update_a, update_b
    )
SELECT
    p.fleet AS fleet, p.update_a AS update_a, p.update_b AS update_b, p.hosts_both AS hosts_both,
    a.hosts - p.hosts_both AS hosts_only_a,
    b.hosts - p.hosts_both AS hosts_only_b,
    p.hosts_both / (a.hosts + b.hosts - p.hosts_both) AS overlap
FROM pairs AS p
INNER JOIN single AS a ON a.fleet = p.fleet AND a.name = p.update_a
INNER JOIN single AS b ON b.fleet = p.fleet AND b.name = p.update_b;
