DROP VIEW machines_spared;

-- What a halt spared, by the plainest reckoning: hosts of the fleet that never had the update, times the share of those
-- with it that crashed (Wilson's limits). It holds if the rest would have fared alike and all would have got it.
-- All of it is of the time around the decision, in the time of the events: what the fleet becomes later changes nothing.
-- The fleet is who reported on the day of the decision or the seven before it; hosts with the update are those that had
-- said so seven days after it, for so long do reports list it. A halt when nobody reported has no row.
CREATE VIEW machines_spared AS
WITH
    h AS
    (
        SELECT
            fleet, vendor, product, version,
            min(halts.issued_at) AS halted_at,
            toDate(ifNull(argMin(tuple(halts.stream_time), halts.issued_at).1, halted_at)) AS decided_on
        FROM halts
        WHERE action = 'halt'
        GROUP BY fleet, vendor, product, version
    ),
    around AS
    (
        SELECT DISTINCT fleet, decided_on, arrayJoin(arrayMap(days -> decided_on - days, range(8))) AS day FROM h
    ),
    f AS
    (
        SELECT fleet, decided_on, uniqCombinedMergeState(s.states) AS states
        FROM
        (
            SELECT fleet, day, uniqCombinedMergeState(stratum_days.hosts) AS states
            FROM stratum_days
            WHERE (fleet, day) GLOBAL IN (SELECT fleet, day FROM around)
            GROUP BY fleet, day
        ) AS s
        INNER JOIN around USING (fleet, day)
        GROUP BY fleet, decided_on
    ),
    u AS
    (
        SELECT
            fleet, vendor, product, version, decided_on,
            uniqCombinedMergeState(d.states) AS states,
            uniqExactMerge(d.crashed) AS crashed_hosts,
            greatest(finalizeAggregation(states), crashed_hosts) AS hosts,
            1.959964 * sqrt(crashed_hosts * (hosts - crashed_hosts) / hosts + 0.9603647) AS margin
        FROM
        (
            SELECT
                fleet, vendor, product, version, day,
                uniqCombinedMergeState(update_days.hosts) AS states,
                uniqExactMergeState(update_days.crashed_hosts) AS crashed
            FROM update_days
            WHERE (fleet, vendor, product, version) GLOBAL IN (SELECT fleet, vendor, product, version FROM h)
            GROUP BY fleet, vendor, product, version, day
        ) AS d
        INNER JOIN h USING (fleet, vendor, product, version)
        WHERE day <= decided_on + 7
        GROUP BY fleet, vendor, product, version, decided_on
    )
SELECT
    h.fleet AS fleet, h.vendor AS vendor, h.product AS product, h.version AS version, h.halted_at AS halted_at,
    finalizeAggregation(f.states) AS fleet_hosts, u.hosts AS hosts_with_it, u.crashed_hosts AS crashed_hosts,
    greatest(0, toInt64(finalizeAggregation(f.states + u.states)) - toInt64(u.hosts)) AS hosts_without_it,
    round(hosts_without_it * crashed_hosts / hosts_with_it) AS spared,
    round(hosts_without_it * greatest(0, (crashed_hosts + 1.9207294 - u.margin) / (hosts_with_it + 3.8414588)))
        AS spared_low,
    round(hosts_without_it * least(1, (crashed_hosts + 1.9207294 + u.margin) / (hosts_with_it + 3.8414588)))
        AS spared_high
FROM h
INNER JOIN u USING (fleet, vendor, product, version, decided_on)
INNER JOIN f USING (fleet, decided_on);

DROP VIEW update_pairs;

-- Updates that stand on the same hosts now: what no host tells apart, no statistics can. A host has an update once, however
-- often it lists it, and not before it is installed.
CREATE VIEW update_pairs AS
WITH
    per_host AS
    (
        SELECT fleet, arraySort(arrayDistinct(arrayMap(u -> concat(u.1, '/', u.2, '/', u.3), arrayFilter(
            u -> u.4 <= last_seen,
            arrayZip(`updates.vendor`, `updates.product`, `updates.version`, `updates.installed_at`))))) AS names
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
