-- The same figures from the hours that matter. Around each halt whole days were read, nine of them minute by minute only
-- to find the last one: two thirds of what the views of a halt took over millions of events.
DROP VIEW halt_moments;

CREATE VIEW halt_moments AS
WITH
    h AS
    (
        SELECT
            fleet, vendor, product, version, epoch,
            min(halts.issued_at) AS halted_at,
            ifNull(argMin(tuple(halts.stream_time), halts.issued_at).1, halted_at) AS decided_at,
            ifNull(argMin(halts.crashed_hosts, halts.issued_at), 0) AS crashed_hosts_at_halt,
            groupUniqArrayArray(halts.rings) AS rings
        FROM halts
        WHERE action = 'halt'
        GROUP BY fleet, vendor, product, version, epoch
    ),
    near AS
    (
        SELECT DISTINCT fleet, toStartOfHour(decided_at) + toIntervalHour(arrayJoin(range(-1, 25))) AS hour FROM h
    ),
    before AS
    (
        SELECT DISTINCT fleet, toStartOfHour(decided_at) - toIntervalHour(arrayJoin(range(25))) AS hour FROM h
    ),
    around AS
    (
        SELECT DISTINCT fleet, arrayJoin(arrayMap(days -> toDate(decided_at) + days, range(0, 9))) AS day FROM h
    ),
    clock AS
    (
        SELECT
            fleet, vendor, product, version, epoch,
            maxIf(minute, stored + toIntervalSecond(1) <= halted_at AND minute <= decided_at + toIntervalDay(1))
                AS told_minute,
            minIf(minute, minute BETWEEN decided_at - toIntervalHour(1) AND decided_at) AS first_of_hour,
            maxIf(minute, minute BETWEEN decided_at - toIntervalHour(1) AND decided_at) AS last_of_hour,
            argMinIf(stored, minute, minute BETWEEN decided_at - toIntervalHour(1) AND decided_at) AS first_stored,
            argMaxIf(stored, minute, minute BETWEEN decided_at - toIntervalHour(1) AND decided_at) AS last_stored
        FROM h
        INNER JOIN
        (
            SELECT fleet, minute, min(stratum_minutes.stored_at) AS stored
            FROM stratum_minutes
            WHERE (fleet, toStartOfHour(minute)) GLOBAL IN (SELECT fleet, hour FROM near)
            GROUP BY fleet, minute
        ) AS minutes USING (fleet)
        GROUP BY fleet, vendor, product, version, epoch
    ),
    ends AS
    (
        SELECT fleet, vendor, product, version, epoch, any(h.decided_at) AS decided, max(heard.hour) AS end_hour
        FROM h
        INNER JOIN
        (
            SELECT DISTINCT fleet, hour
            FROM stratum_hours
            WHERE (fleet, toDate(hour)) GLOBAL IN (SELECT fleet, day FROM around)
        ) AS heard USING (fleet)
        WHERE heard.hour <= h.decided_at + toIntervalDay(7)
        GROUP BY fleet, vendor, product, version, epoch
    ),
    last AS
    (
        SELECT
            fleet, vendor, product, version, epoch,
            any(end_hour) + toIntervalHour(1) AS last_hour,
            maxIf(minute + toIntervalMinute(1), toUnixTimestamp(minute) > 0 AND minute <= decided + toIntervalDay(7))
                AS last_minute
        FROM ends
        LEFT JOIN
        (
            SELECT DISTINCT fleet, minute
            FROM stratum_minutes
            WHERE (fleet, toStartOfHour(minute)) GLOBAL IN
                (SELECT fleet, end_hour - toIntervalHour(arrayJoin([0, 1])) FROM ends)
        ) AS minutes USING (fleet)
        GROUP BY fleet, vendor, product, version, epoch
    ),
    beats AS
    (
        SELECT
            fleet, vendor, product, version, epoch,
            uniqCombinedMergeIf(states, hour BETWEEN decided_at - toIntervalDay(1) AND decided_at)
                / avgIf(finalizeAggregation(states), hour BETWEEN decided_at - toIntervalDay(1) AND decided_at) AS gap_hours
        FROM h
        INNER JOIN
        (
            SELECT fleet, hour, uniqCombinedMergeState(stratum_hours.hosts) AS states
            FROM stratum_hours
            WHERE (fleet, hour) GLOBAL IN (SELECT fleet, hour FROM before)
            GROUP BY fleet, hour
        ) AS hours USING (fleet)
        GROUP BY fleet, vendor, product, version, epoch
    )
SELECT
    h.fleet AS fleet, h.vendor AS vendor, h.product AS product, h.version AS version, h.epoch AS epoch,
    h.rings AS rings, h.halted_at AS halted_at, h.decided_at AS decided_at,
    h.crashed_hosts_at_halt AS crashed_hosts_at_halt,
    dateDiff('second', h.decided_at, h.halted_at) > 86400
        OR (dateDiff('second', c.first_of_hour, c.last_of_hour) >= 600
            AND dateDiff('second', c.first_stored, c.last_stored)
                < dateDiff('second', c.first_of_hour, c.last_of_hour) / 2) AS replayed,
    greatest(h.decided_at, least(h.halted_at, toDateTime64(c.told_minute, 3, 'UTC') + toIntervalMinute(1))) AS told_at,
    greatest(told_at, toDateTime64(if(toUnixTimestamp(l.last_minute) > 0, l.last_minute, l.last_hour), 3, 'UTC'))
        AS heard_until,
    greatest(told_at, heard_until - toIntervalSecond(if(dateDiff('hour', told_at, heard_until) >= 48, 86400,
        toUInt32(3600 * least(24, ifNotFinite(b.gap_hours, 1)))))) AS heard_since
FROM h
LEFT JOIN clock AS c USING (fleet, vendor, product, version, epoch)
LEFT JOIN last AS l USING (fleet, vendor, product, version, epoch)
LEFT JOIN beats AS b USING (fleet, vendor, product, version, epoch);

ALTER VIEW halt_moments COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN vendor 'vendor of the update',
    COMMENT COLUMN product 'product of the update', COMMENT COLUMN version 'version of the update',
    COMMENT COLUMN epoch 'number of the order; the higher one counts',
    COMMENT COLUMN rings 'rings that it stops; * is all',
    COMMENT COLUMN halted_at 'when the record was made, by the clock on the wall',
    COMMENT COLUMN decided_at 'when the crash that decided happened, by the events',
    COMMENT COLUMN crashed_hosts_at_halt 'crashed hosts with it, by then',
    COMMENT COLUMN replayed 'whether the events came in faster than life, or a day late',
    COMMENT COLUMN told_at 'how far the events had come when the record was made',
    COMMENT COLUMN heard_until 'last report within seven days',
    COMMENT COLUMN heard_since 'who has not reported since then, until heard_until, is silent';

ALTER VIEW halt_moments MODIFY COMMENT 'When each halt was decided and told, in the time of the events, and how long its fleet was heard after it';

DROP VIEW machines_spared;

CREATE VIEW machines_spared AS
WITH
    h AS
    (
        SELECT
            fleet, vendor, product, version,
            min(halts.issued_at) AS halted_at,
            toDate(ifNull(argMin(tuple(halts.stream_time), halts.issued_at).1, halted_at)) AS decided_on,
            groupUniqArrayArray(halts.rings) AS rings
        FROM halts
        WHERE action = 'halt'
        GROUP BY fleet, vendor, product, version
    ),
    (
        SELECT groupArray((fleet, vendor, product, version, told_at, next_hour, heard_since, heard_until, rings))
        FROM
        (
            SELECT
                fleet, vendor, product, version,
                argMin(halt_moments.told_at, epoch) AS told_at,
                toStartOfHour(told_at) + toIntervalHour(1) AS next_hour,
                argMin(halt_moments.heard_since, epoch) AS heard_since,
                argMin(halt_moments.heard_until, epoch) AS heard_until,
                groupUniqArrayArray(halt_moments.rings) AS rings
            FROM halt_moments
            GROUP BY fleet, vendor, product, version
        )
    ) AS moments,
    m AS
    (
        SELECT
            arrayJoin(moments) AS each, each.1 AS fleet, each.2 AS vendor, each.3 AS product, each.4 AS version,
            each.5 AS told_at, each.6 AS next_hour, each.7 AS heard_since, each.8 AS heard_until, each.9 AS rings
    ),
    hours AS
    (
        SELECT fleet, '' AS vendor, '' AS product, '' AS version, minute AS at, ring,
            uniqCombinedMergeState(stratum_minutes.hosts) AS states
        FROM stratum_minutes
        WHERE (fleet, toStartOfHour(minute)) GLOBAL IN (SELECT fleet, toStartOfHour(heard_since) FROM m)
        GROUP BY fleet, minute, ring
        UNION ALL
        SELECT fleet, '' AS vendor, '' AS product, '' AS version, hour AS at, ring,
            uniqCombinedMergeState(stratum_hours.hosts) AS states
        FROM stratum_hours
        WHERE (fleet, hour) GLOBAL IN
            (
                SELECT
                    fleet,
                    arrayJoin(arrayConcat(
                        arrayMap(hours -> next_hour - toIntervalHour(hours), range(1, 25)),
                        arrayMap(hours -> toStartOfHour(heard_since) + toIntervalHour(hours),
                            range(toUInt64(dateDiff('hour', heard_since, heard_until)) + 1)))) AS hour
                FROM m
            )
        GROUP BY fleet, hour, ring
        UNION ALL
        SELECT fleet, vendor, product, version, hour AS at, ring, uniqCombinedMergeState(update_installs.hosts) AS states
        FROM update_installs
        WHERE (fleet, vendor, product, version) GLOBAL IN (SELECT fleet, vendor, product, version FROM h)
        GROUP BY fleet, vendor, product, version, hour, ring
    ),
    heard AS
    (
        SELECT
            m.fleet AS fleet, m.vendor AS vendor, m.product AS product, m.version AS version, next_hour,
            uniqCombinedMergeStateIf(states, of_fleet AND at >= next_hour - toIntervalDay(1) AND at < next_hour) AS before,
            uniqCombinedMergeStateIf(states, of_fleet AND at >= heard_since AND at < heard_until) AS since,
            uniqCombinedMergeIf(states, of_it AND at < next_hour) AS installed_before,
            uniqCombinedMergeIf(states, of_it AND at < next_hour + toIntervalDay(1)) - installed_before AS installed_after,
            uniqCombinedMergeIf(states, of_it AND at >= next_hour - toIntervalHour(3) AND at < next_hour) AS installed_lately,
            dateDiff('second', next_hour, least(any(heard_until), next_hour + toIntervalDay(1))) AS seconds_after,
            dateDiff('second', greatest(minIf(at, of_it), next_hour - toIntervalHour(3)), next_hour) AS seconds_of_those,
            installed_lately * least(1, seconds_after / seconds_of_those) AS expected_after
        FROM
        (
            SELECT
                m.*, at, states, r.vendor = '' AS of_fleet,
                r.vendor = m.vendor AND r.product = m.product AND r.version = m.version AS of_it
            FROM m
            INNER JOIN hours AS r ON r.fleet = m.fleet
            WHERE (of_fleet OR of_it) AND (has(rings, '*') OR has(rings, r.ring))
        ) AS m
        GROUP BY fleet, vendor, product, version, next_hour
    ),
    listed AS
    (
        SELECT
            h.fleet AS fleet, h.vendor AS vendor, h.product AS product, h.version AS version, any(h.halted_at) AS halted_at,
            uniqCombinedMergeStateIf(d.states, d.version = h.version AND d.day <= decided_on + 7) AS of_it,
            uniqExactMergeIf(d.crashed, d.version = h.version AND d.day <= decided_on + 7) AS crashed_hosts,
            uniqCombinedMergeStateIf(d.states, d.version != h.version AND d.day BETWEEN decided_on - 7 AND decided_on)
                AS of_another
        FROM h
        INNER JOIN
        (
            SELECT
                fleet, vendor, product, version, day, ring,
                uniqCombinedMergeState(update_days.hosts) AS states,
                uniqExactMergeState(update_days.crashed_hosts) AS crashed
            FROM update_days
            WHERE (fleet, vendor, product) GLOBAL IN (SELECT fleet, vendor, product FROM h)
            GROUP BY fleet, vendor, product, version, day, ring
        ) AS d ON d.fleet = h.fleet AND d.vendor = h.vendor AND d.product = h.product
        WHERE has(rings, '*') OR has(rings, d.ring)
        GROUP BY fleet, vendor, product, version
    ),
    obeyed AS
    (
        SELECT
            arrayMap(part -> decodeURLComponent(part), splitByChar('/', halt_key)) AS parts,
            parts[1] AS fleet, parts[2] AS vendor, parts[3] AS product, parts[4] AS version,
            uniqExact(subscriber) AS subscribers_stopped
        FROM halt_acks
        WHERE status IN ('confirmed', 'effective') AND action = 'halt'
        GROUP BY halt_key
    )
SELECT
    fleet, vendor, product, version, halted_at, proof, spared_low, spared_high, hosts_with_it, crashed_hosts,
    hosts_without_it, hosts_in_line, silent_hosts, crash_rate_low, crash_rate_high
FROM
(
    SELECT
        l.fleet AS fleet, l.vendor AS vendor, l.product AS product, l.version AS version, l.halted_at AS halted_at,
        multiIf(e.installed_after >= 3 AND e.installed_after > 0.1 * e.expected_after, 'unproven: installations went on',
            s.subscribers_stopped > 0, 'acknowledged',
            e.seconds_after >= 1800 AND e.expected_after >= 5, 'installations ended', 'unproven') AS proof,
        l.crashed_hosts AS crashed_hosts,
        toInt64(finalizeAggregation(l.of_it)) AS listed_it,
        toInt64(finalizeAggregation(e.since)) AS reported_since,
        toInt64(finalizeAggregation(e.since + l.of_it)) AS since_or_it,
        toInt64(finalizeAggregation(e.before + l.of_it)) - listed_it AS never_listed_it,
        toInt64(finalizeAggregation(e.before + e.since + l.of_it)) - since_or_it AS silent_hosts,
        toInt64(finalizeAggregation(l.of_another + l.of_it)) - listed_it AS had_another,
        toInt64(finalizeAggregation(l.of_another + e.since + l.of_it)) - since_or_it AS silent_with_another,
        greatest(listed_it, toInt64(crashed_hosts)) AS hosts_with_it,
        greatest(0, never_listed_it - silent_hosts) AS hosts_without_it,
        least(hosts_without_it, greatest(0, had_another - silent_with_another)) AS hosts_in_line,
        hosts_with_it + silent_hosts AS n,
        least(n, toInt64(crashed_hosts) + silent_hosts + since_or_it - reported_since) AS most_crashed,
        greatest(0, (crashed_hosts + 1.9207294 - 1.959964 * sqrt(crashed_hosts * (n - crashed_hosts) / n + 0.9603647))
            / (n + 3.8414588)) AS crash_rate_low,
        least(1, (most_crashed + 1.9207294 + 1.959964 * sqrt(most_crashed * (n - most_crashed) / n + 0.9603647))
            / (n + 3.8414588)) AS crash_rate_high,
        if(startsWith(proof, 'unproven'), 0, toInt64(floor(hosts_in_line * crash_rate_low))) AS spared_low,
        toInt64(ceil((hosts_without_it + silent_hosts) * crash_rate_high)) AS spared_high
    FROM listed AS l
    INNER JOIN heard AS e USING (fleet, vendor, product, version)
    LEFT JOIN obeyed AS s USING (fleet, vendor, product, version)
);

ALTER VIEW machines_spared COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN vendor 'vendor of the update',
    COMMENT COLUMN product 'product of the update', COMMENT COLUMN version 'version of the update',
    COMMENT COLUMN halted_at 'when the first halt was made (UTC)',
    COMMENT COLUMN proof 'acknowledged, installations ended, or unproven',
    COMMENT COLUMN spared_low 'at least so many; 0 while unproven', COMMENT COLUMN spared_high 'at most so many',
    COMMENT COLUMN hosts_with_it 'hosts that listed it', COMMENT COLUMN crashed_hosts 'of these, reported a crash',
    COMMENT COLUMN hosts_without_it 'hosts that reported at the end and never listed it',
    COMMENT COLUMN hosts_in_line 'of these, had another version of the product',
    COMMENT COLUMN silent_hosts 'hosts that fell silent around the halt and never listed it: unknown; from sets',
    COMMENT COLUMN crash_rate_low 'share that it crashed if no silent host had it crash, lower limit',
    COMMENT COLUMN crash_rate_high 'share that it crashed if it crashed every silent host, upper limit';

ALTER VIEW machines_spared MODIFY COMMENT 'What each halt can have spared, as a range, and what proves it';
