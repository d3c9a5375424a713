-- Subscribers say more than that they have stopped, and resumes are acknowledged, too: requested, confirmed, effective,
-- failed or ignored. Nobody could send an acknowledgement before, so no row has a word of old.
ALTER TABLE halt_acks ADD COLUMN action LowCardinality(String) DEFAULT 'halt'
    COMMENT 'what it acknowledges: halt or resume' AFTER epoch;

ALTER TABLE halt_acks COMMENT COLUMN status
    'requested (of the rollout system), confirmed (by it), effective (no host gets it), failed, or ignored';

-- Whether hosts still receive what is halted, as the detector saw it.
ALTER TABLE verdicts ADD COLUMN spreading_hosts_per_minute Nullable(Float64)
    COMMENT 'hosts a minute that still installed what is halted; NULL: unknown, or not halted';

ALTER TABLE verdicts ADD COLUMN flat_since Nullable(DateTime64(3, 'UTC'))
    COMMENT 'since when no host has installed what is halted; NULL: it spreads, or nobody knows';

ALTER TABLE verdicts ADD COLUMN last_install Nullable(DateTime64(3, 'UTC'))
    COMMENT 'newest installation of what is halted, as far as reported; NULL: unknown, or not halted';

-- Who obeyed which order, and how fast: every subscriber that has been heard of its fleet since thirty days before the
-- order, also one that has not answered; one row with no subscriber where there is none. Renewals keep their epoch, and
-- the first record counts. Seconds are from the record's own time to the subscriber's clock.
CREATE VIEW obedience AS
WITH
    orders AS
    (
        SELECT fleet, vendor, product, version, epoch, action, min(halts.issued_at) AS issued_at
        FROM halts
        GROUP BY fleet, vendor, product, version, epoch, action
    ),
    acks AS
    (
        SELECT
            halt_key, epoch, action, subscriber,
            arrayMap(part -> decodeURLComponent(part), splitByChar('/', halt_key)) AS parts,
            parts[1] AS fleet, parts[2] AS vendor, parts[3] AS product, parts[4] AS version,
            minOrNullIf(halt_acks.at, status = 'requested') AS requested_at,
            minOrNullIf(halt_acks.at, status IN ('confirmed', 'effective')) AS confirmed_at,
            minOrNullIf(halt_acks.at, status = 'effective') AS effective_at,
            argMax(halt_acks.status, tuple(halt_acks.at, source_offset)) AS newest_status,
            argMax(halt_acks.detail, tuple(halt_acks.at, source_offset)) AS newest_detail,
            max(halt_acks.at) AS newest_at
        FROM halt_acks
        GROUP BY halt_key, epoch, action, subscriber
    ),
    heard AS
    (
        SELECT fleet, groupArray(tuple(subscriber, last_at)) AS subscribers
        FROM (SELECT fleet, subscriber, max(newest_at) AS last_at FROM acks GROUP BY fleet, subscriber)
        GROUP BY fleet
    ),
    asked AS
    (
        SELECT
            fleet, vendor, product, version, epoch, action, issued_at,
            arrayMap(s -> s.1, arrayFilter(s -> s.2 >= issued_at - toIntervalDay(30), subscribers)) AS names,
            arrayJoin(if(empty(names), [''], names)) AS subscriber
        FROM orders
        LEFT JOIN heard USING (fleet)
    )
SELECT
    o.fleet AS fleet, o.vendor AS vendor, o.product AS product, o.version AS version, o.epoch AS epoch,
    o.action AS action, o.issued_at AS issued_at, o.subscriber AS subscriber,
    if(a.newest_status = '', 'unanswered', a.newest_status) AS status, a.newest_detail AS detail,
    (toUnixTimestamp64Milli(a.requested_at) - toUnixTimestamp64Milli(o.issued_at)) / 1000 AS seconds_to_requested,
    (toUnixTimestamp64Milli(a.confirmed_at) - toUnixTimestamp64Milli(o.issued_at)) / 1000 AS seconds_to_confirmed,
    (toUnixTimestamp64Milli(a.effective_at) - toUnixTimestamp64Milli(o.issued_at)) / 1000 AS seconds_to_effective
FROM asked AS o
LEFT JOIN acks AS a USING (fleet, vendor, product, version, epoch, action, subscriber);

DROP VIEW machines_spared;

-- What a halt can have spared, as a range. Credit wants proof: a subscriber that said that it has stopped, or
-- installations that came to an end, though they went on in the three hours before; with neither, and wherever they went
-- on, the lower limit is 0.
-- A host is known to be without the update only if it reported at the end and had not listed it. One that reported in the
-- day before the halt, not at the end, and did not list it is *silent*: it may have had it and be dead. So the share of
-- hosts with it that crashed lies between "no silent host crashed" and "every one did" (Wilson's limits around both).
-- Lower limit: hosts without it that had another version of the product in the week before, for where that went this one
-- was to go, too, times the lower share. Upper: all hosts without it and all silent ones, times the upper share.
-- All of it is of the time around the decision and of the halted rings: what the fleet becomes later changes nothing.
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
    m AS
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
        WHERE (fleet, toDate(hour)) GLOBAL IN
            (SELECT fleet, arrayJoin(arrayMap(days -> decided_on + days, range(-1, 9))) FROM h)
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

DROP VIEW time_to_halt;

-- From the first reported installation to the halt and the last subscriber that obeyed it. A renewal keeps its epoch
-- and changes nothing here. `decided_at` is in the time of the events, `halted_at` in that of the wall: after a replay
-- nobody can say how long the one took after the other.
CREATE VIEW time_to_halt AS
SELECT
    h.fleet AS fleet, h.vendor AS vendor, h.product AS product, h.version AS version, h.epoch AS epoch,
    u.installed AS released_at, c.first_crash_at AS first_crash_at, h.decided_at AS decided_at,
    h.halted_at AS halted_at, a.stopped_at AS stopped_at, a.subscribers AS subscribers_stopped, h.replayed AS replayed,
    (toUnixTimestamp64Milli(h.decided_at) - toUnixTimestamp64Milli(u.installed)) / 1000 AS seconds_release_to_decision,
    if(h.replayed, NULL, (toUnixTimestamp64Milli(h.halted_at) - toUnixTimestamp64Milli(h.decided_at)) / 1000)
        AS seconds_decision_to_halt,
    (toUnixTimestamp64Milli(a.stopped_at) - toUnixTimestamp64Milli(h.halted_at)) / 1000 AS seconds_halt_to_stopped,
    h.crashed_hosts_at_halt AS crashed_hosts_at_halt
FROM halt_moments AS h
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
        toNullable(max(first_at)) AS stopped_at, count() AS subscribers
    FROM
    (
        SELECT halt_key, epoch, subscriber, min(at) AS first_at
        FROM halt_acks
        WHERE status IN ('confirmed', 'effective') AND action = 'halt'
        GROUP BY halt_key, epoch, subscriber
    )
    GROUP BY halt_key, epoch
) AS a USING (fleet, vendor, product, version, epoch);

ALTER VIEW obedience COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN vendor 'vendor of the update',
    COMMENT COLUMN product 'product of the update', COMMENT COLUMN version 'version of the update',
    COMMENT COLUMN epoch 'number of the order; the higher one counts', COMMENT COLUMN action 'halt or resume',
    COMMENT COLUMN issued_at 'when the order was first made (UTC)',
    COMMENT COLUMN subscriber 'who is to obey; empty when nobody has been heard',
    COMMENT COLUMN status 'its newest word, or unanswered', COMMENT COLUMN detail 'in its words',
    COMMENT COLUMN seconds_to_requested 'until it had asked the rollout system, by its clock',
    COMMENT COLUMN seconds_to_confirmed 'until that said that it has stopped; NULL: it has not',
    COMMENT COLUMN seconds_to_effective 'until no host got it any more; NULL: not said';

ALTER VIEW machines_spared COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN vendor 'vendor of the update',
    COMMENT COLUMN product 'product of the update', COMMENT COLUMN version 'version of the update',
    COMMENT COLUMN halted_at 'when the first halt was made (UTC)',
    COMMENT COLUMN proof 'acknowledged, installations ended, or unproven',
    COMMENT COLUMN spared_low 'at least so many; 0 while unproven', COMMENT COLUMN spared_high 'at most so many',
    COMMENT COLUMN hosts_with_it 'hosts that listed it', COMMENT COLUMN crashed_hosts 'of these, reported a crash',
    COMMENT COLUMN hosts_without_it 'hosts that reported at the end and never listed it',
    COMMENT COLUMN hosts_in_line 'of these, had another version of the product',
    COMMENT COLUMN silent_hosts 'hosts that fell silent and never listed it: unknown',
    COMMENT COLUMN crash_rate_low 'share that it crashed if no silent host had it crash, lower limit',
    COMMENT COLUMN crash_rate_high 'share that it crashed if it crashed every silent host, upper limit';

ALTER VIEW time_to_halt COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN vendor 'vendor of the update',
    COMMENT COLUMN product 'product of the update', COMMENT COLUMN version 'version of the update',
    COMMENT COLUMN epoch 'number of the order; the higher one counts',
    COMMENT COLUMN released_at 'first installation that was reported',
    COMMENT COLUMN first_crash_at 'first crash with it',
    COMMENT COLUMN decided_at 'when the crash that decided happened, by the events',
    COMMENT COLUMN halted_at 'when the record was made, by the clock on the wall',
    COMMENT COLUMN stopped_at 'when the last subscriber had confirmed that it has stopped',
    COMMENT COLUMN subscribers_stopped 'subscribers that said so',
    COMMENT COLUMN replayed 'whether the events came in faster than life, or a day late',
    COMMENT COLUMN seconds_release_to_decision 'released_at to decided_at',
    COMMENT COLUMN seconds_decision_to_halt 'decided_at to halted_at; NULL after a replay',
    COMMENT COLUMN seconds_halt_to_stopped 'halted_at to stopped_at',
    COMMENT COLUMN crashed_hosts_at_halt 'crashed hosts with it, when it was halted';
