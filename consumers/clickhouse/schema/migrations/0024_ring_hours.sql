-- Hosts by ring and hour: what is asked of a whole fleet merged the sets of every kind, system and model of each hour. Over
-- 100 million events "How many machines were spared?" read 8,066 sets and reads 196 (0.32 s instead of 0.58, in one run).
-- Few rows hold large sets, so a mark stands at each few of them.
CREATE TABLE ring_hours
(
    fleet LowCardinality(String) COMMENT 'name of the fleet',
    hour DateTime('UTC') COMMENT 'hour of the reports (UTC)' CODEC(Delta(4), ZSTD(1)),
    ring LowCardinality(String) COMMENT 'rollout ring of the host, as it said',
    stored_at SimpleAggregateFunction(max, DateTime('UTC'))
        COMMENT 'when the newest of these reports came in; counts for the TTL' CODEC(Delta(4), ZSTD(1)),
    hosts AggregateFunction(uniqCombined, UInt64) COMMENT 'set of hosts that reported (uniqCombined)' CODEC(ZSTD(3))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (fleet, hour, ring)
TTL stored_at + INTERVAL 3 YEAR
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 10000;

ALTER TABLE ring_hours MODIFY COMMENT 'Hours of each ring: sets of hosts, to be merged; three years';

CREATE MATERIALIZED VIEW ring_hours_feed TO ring_hours DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT
    fleet, toStartOfHour(ts) AS hour, ring,
    max(toDateTime(ingested_at)) AS stored_at,
    uniqCombinedState(sipHash64(host)) AS hosts
FROM events
GROUP BY fleet, hour, ring;

ALTER VIEW ring_hours_feed MODIFY COMMENT 'internal: fills ring_hours';

-- Not from the raw events: it goes back further.
BACKFILL ring_hours FROM stratum_hours;

-- The same rows as before, from it; and of other versions of a halted product no more days are read than count.
DROP VIEW halt_moments;

CREATE VIEW halt_moments AS
WITH
    (
        SELECT groupArray((fleet, vendor, product, version, epoch, halted_at, decided_at, crashed_hosts_at_halt, rings))
        FROM
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
        )
    ) AS orders,
    (
        SELECT arrayMap(
            (of, decided) -> arrayMax(arrayFilter(
                at -> toDate(at) >= toDate(decided) AND at <= decided + toIntervalDay(7), heard[of])),
            orders.1, orders.7)
        FROM
        (
            SELECT (groupArray(fleet), groupArray(hours))::Map(String, Array(DateTime('UTC'))) AS heard
            FROM
            (
                SELECT fleet, groupUniqArray(hour) AS hours
                FROM ring_hours
                WHERE (fleet, toDate(hour)) GLOBAL IN
                    (SELECT each.1, toDate(each.7) + arrayJoin(range(9)) FROM (SELECT arrayJoin(orders) AS each))
                GROUP BY fleet
            )
        )
    ) AS last_hours
SELECT
    (orders.1)[id] AS fleet, (orders.2)[id] AS vendor, (orders.3)[id] AS product, (orders.4)[id] AS version,
    (orders.5)[id] AS epoch, (orders.9)[id] AS rings, (orders.6)[id] AS halted_at, (orders.7)[id] AS decided_at,
    (orders.8)[id] AS crashed_hosts_at_halt,
    dateDiff('second', decided_at, halted_at) > 86400
        OR (dateDiff('second', first_of_hour, last_of_hour) >= 600
            AND dateDiff('second', first_stored, last_stored) < dateDiff('second', first_of_hour, last_of_hour) / 2)
        AS replayed,
    greatest(decided_at, least(halted_at, toDateTime64(told_minute, 3, 'UTC') + toIntervalMinute(1))) AS told_at,
    greatest(told_at, toDateTime64(if(toUnixTimestamp(last_minute) > 0, last_minute + toIntervalMinute(1),
        last_hours[id] + toIntervalHour(1)), 3, 'UTC')) AS heard_until,
    greatest(told_at, heard_until - toIntervalSecond(if(dateDiff('hour', told_at, heard_until) >= 48, 86400,
        toUInt32(3600 * least(24, ifNotFinite(gap_hours, 1)))))) AS heard_since
FROM
(
    SELECT
        id,
        maxIf(at, is_minute AND stored + toIntervalSecond(1) <= halted AND at <= decided + toIntervalDay(1))
            AS told_minute,
        minIf(at, is_minute AND at BETWEEN decided - toIntervalHour(1) AND decided) AS first_of_hour,
        maxIf(at, is_minute AND at BETWEEN decided - toIntervalHour(1) AND decided) AS last_of_hour,
        argMinIf(stored, at, is_minute AND at BETWEEN decided - toIntervalHour(1) AND decided) AS first_stored,
        argMaxIf(stored, at, is_minute AND at BETWEEN decided - toIntervalHour(1) AND decided) AS last_stored,
        maxIf(at, is_minute AND at >= last_hour - toIntervalHour(1) AND at < last_hour + toIntervalHour(1)
            AND at <= decided + toIntervalDay(7)) AS last_minute,
        uniqCombinedMergeIf(states, is_hour) / avgIf(finalizeAggregation(states), is_hour) AS gap_hours
    FROM
    (
        SELECT
            arrayJoin(arrayFilter(
                (n, of, decided, last) -> of = fleet
                    AND (at BETWEEN decided - toIntervalHour(1) AND decided + toIntervalDay(1)
                    OR at >= last - toIntervalHour(1) AND at < last + toIntervalHour(1)),
                arrayEnumerate(orders), orders.1, orders.7, last_hours)) AS id,
            (orders.6)[id] AS halted, (orders.7)[id] AS decided, last_hours[id] AS last_hour,
            at, stored, true AS is_minute, false AS is_hour, states
        FROM
        (
            SELECT
                fleet, minute AS at, min(stratum_minutes.stored_at) AS stored,
                arrayReduce('uniqCombinedState', emptyArrayUInt64()) AS states
            FROM stratum_minutes
            WHERE (fleet, toStartOfHour(minute)) GLOBAL IN
                (
                    SELECT
                        each.1,
                        arrayJoin(arrayConcat(
                            arrayMap(n -> toStartOfHour(each.2) + toIntervalHour(n), range(-1, 25)),
                            [each.3 - toIntervalHour(1), each.3]))
                    FROM (SELECT arrayJoin(arrayZip(orders.1, orders.7, last_hours)) AS each)
                )
            GROUP BY fleet, minute
        )
        UNION ALL
        SELECT
            arrayJoin(arrayFilter((n, of, decided) -> of = fleet AND at BETWEEN decided - toIntervalDay(1) AND decided,
                arrayEnumerate(orders), orders.1, orders.7)) AS id,
            (orders.6)[id] AS halted, (orders.7)[id] AS decided, last_hours[id] AS last_hour,
            at, at AS stored, false AS is_minute, true AS is_hour, states
        FROM
        (
            SELECT fleet, hour AS at, uniqCombinedMergeState(ring_hours.hosts) AS states
            FROM ring_hours
            WHERE (fleet, hour) GLOBAL IN
                (
                    SELECT each.1, toStartOfHour(each.2) - toIntervalHour(arrayJoin(range(25)))
                    FROM (SELECT arrayJoin(arrayZip(orders.1, orders.7, last_hours)) AS each)
                    WHERE each.3 < each.2 + toIntervalHour(75)
                )
            GROUP BY fleet, hour
        )
        UNION ALL
        SELECT
            arrayJoin(arrayEnumerate(orders)) AS id, (orders.6)[id] AS halted, (orders.7)[id] AS decided,
            last_hours[id] AS last_hour, toDateTime(0, 'UTC') AS at, at AS stored, false AS is_minute, false AS is_hour,
            arrayReduce('uniqCombinedState', emptyArrayUInt64()) AS states
    )
    GROUP BY id
);

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
    (
        SELECT groupArray((fleet, vendor, product, version, halted_at, decided_on, next_hour, heard_since, heard_until,
            rings))
        FROM
        (
            SELECT
                fleet, vendor, product, version,
                min(halt_moments.halted_at) AS halted_at,
                toDate(argMin(halt_moments.decided_at, halt_moments.halted_at)) AS decided_on,
                toStartOfHour(argMin(halt_moments.told_at, epoch)) + toIntervalHour(1) AS next_hour,
                argMin(halt_moments.heard_since, epoch) AS heard_since,
                argMin(halt_moments.heard_until, epoch) AS heard_until,
                groupUniqArrayArray(halt_moments.rings) AS rings
            FROM halt_moments
            GROUP BY fleet, vendor, product, version
        )
    ) AS moments,
    (
        SELECT groupUniqArray((parts[1], parts[2], parts[3], parts[4]))
        FROM
        (
            SELECT arrayMap(part -> decodeURLComponent(part), splitByChar('/', halt_key)) AS parts
            FROM halt_acks
            WHERE status IN ('confirmed', 'effective') AND action = 'halt'
        )
    ) AS acknowledged
SELECT
    fleet, vendor, product, version, halted_at, proof, spared_low, spared_high, hosts_with_it, crashed_hosts,
    hosts_without_it, hosts_in_line, silent_hosts, crash_rate_low, crash_rate_high
FROM
(
    SELECT
        (moments.1)[id] AS fleet, (moments.2)[id] AS vendor, (moments.3)[id] AS product, (moments.4)[id] AS version,
        (moments.5)[id] AS halted_at, (moments.7)[id] AS next_hour, (moments.9)[id] AS heard_until,
        least(dateDiff('second', next_hour, heard_until), 86400) AS seconds_after,
        dateDiff('second', greatest(first_install, next_hour - toIntervalHour(3)), next_hour) AS seconds_of_those,
        installed_lately * least(1, seconds_after / seconds_of_those) AS expected_after,
        installed_by_then - installed_before AS installed_after,
        multiIf(installed_after >= 3 AND installed_after > 0.1 * expected_after, 'unproven: installations went on',
            has(acknowledged, (fleet, vendor, product, version)), 'acknowledged',
            seconds_after >= 1800 AND expected_after >= 5, 'installations ended', 'unproven') AS proof,
        crashed_hosts,
        toInt64(finalizeAggregation(of_it)) AS listed_it,
        toInt64(finalizeAggregation(since)) AS reported_since,
        toInt64(finalizeAggregation(since + of_it)) AS since_or_it,
        toInt64(finalizeAggregation(before + of_it)) - listed_it AS never_listed_it,
        toInt64(finalizeAggregation(before + since + of_it)) - since_or_it AS silent_hosts,
        toInt64(finalizeAggregation(of_another + of_it)) - listed_it AS had_another,
        toInt64(finalizeAggregation(of_another + since + of_it)) - since_or_it AS silent_with_another,
        greatest(listed_it, toInt64(crashed_hosts)) AS hosts_with_it,
        greatest(0, never_listed_it - silent_hosts) AS hosts_without_it,
        least(hosts_without_it, greatest(0, had_another - silent_with_another)) AS hosts_in_line,
        hosts_with_it + silent_hosts AS n,
        least(n, toInt64(crashed_hosts) + silent_hosts + since_or_it - reported_since) AS most_crashed,
        greatest(0, (crashed_hosts + 1.9207294 - 1.959964 * sqrt(crashed_hosts * (n - crashed_hosts) / greatest(n, 1)
            + 0.9603647))
            / (n + 3.8414588)) AS crash_rate_low,
        least(1, (most_crashed + 1.9207294 + 1.959964 * sqrt(most_crashed * (n - most_crashed) / greatest(n, 1)
            + 0.9603647))
            / (n + 3.8414588)) AS crash_rate_high,
        if(startsWith(proof, 'unproven'), 0, toInt64(floor(hosts_in_line * crash_rate_low))) AS spared_low,
        toInt64(ceil((hosts_without_it + silent_hosts) * crash_rate_high)) AS spared_high
    FROM
    (
        SELECT
            id,
            (moments.6)[id] AS decided_on, (moments.7)[id] AS next_hour, (moments.8)[id] AS heard_since,
            (moments.9)[id] AS heard_until,
            uniqCombinedMergeStateIf(states, part = 'heard' AND at >= next_hour - toIntervalDay(1) AND at < next_hour)
                AS before,
            uniqCombinedMergeStateIf(states, part = 'heard' AND at >= heard_since AND at < heard_until) AS since,
            uniqCombinedMergeIf(states, part = 'installed' AND at < next_hour) AS installed_before,
            uniqCombinedMergeIf(states, part = 'installed' AND at < next_hour + toIntervalDay(1)) AS installed_by_then,
            uniqCombinedMergeIf(states, part = 'installed' AND at >= next_hour - toIntervalHour(3) AND at < next_hour)
                AS installed_lately,
            minIf(at, part = 'installed') AS first_install,
            uniqCombinedMergeStateIf(states, part = 'it' AND toDate(at) <= decided_on + 7) AS of_it,
            uniqExactMergeIf(crashed, part = 'it' AND toDate(at) <= decided_on + 7) AS crashed_hosts,
            uniqCombinedMergeStateIf(states, part = 'another' AND toDate(at) BETWEEN decided_on - 7 AND decided_on)
                AS of_another
        FROM
        (
            SELECT
                arrayJoin(arrayFilter(
                    (n, of, next, since, until) -> of = fleet AND (at >= since AND at < until
                        OR at >= next - toIntervalDay(1) AND at < next),
                    arrayEnumerate(moments), moments.1, moments.7, moments.8, moments.9)) AS id,
                'heard' AS part, ring, at, states, arrayReduce('uniqExactState', emptyArrayUInt64()) AS crashed
            FROM
            (
                SELECT fleet, ring, hour AS at, hosts AS states
                FROM ring_hours
                WHERE (fleet, hour) GLOBAL IN
                    (
                        SELECT
                            each.1,
                            arrayJoin(arrayConcat(
                                arrayMap(n -> each.7 - toIntervalHour(n), range(1, 25)),
                                arrayMap(n -> toStartOfHour(each.8) + toIntervalHour(n),
                                    range(toUInt64(dateDiff('hour', each.8, each.9)) + 1))))
                        FROM (SELECT arrayJoin(moments) AS each)
                    )
                UNION ALL
                SELECT fleet, ring, minute AS at, hosts AS states
                FROM stratum_minutes
                WHERE (fleet, toStartOfHour(minute)) GLOBAL IN
                    (
                        SELECT each.1, toStartOfHour(each.8) FROM (SELECT arrayJoin(moments) AS each)
                        WHERE each.8 > toStartOfHour(each.8)
                    )
            )
            UNION ALL
            SELECT
                indexOf(arrayZip(moments.1, moments.2, moments.3, moments.4), (fleet, vendor, product, version)) AS id,
                'installed' AS part, ring, hour AS at, hosts AS states,
                arrayReduce('uniqExactState', emptyArrayUInt64()) AS crashed
            FROM update_installs
            WHERE (fleet, vendor, product, version) GLOBAL IN
                (SELECT each.1, each.2, each.3, each.4 FROM (SELECT arrayJoin(moments) AS each))
            UNION ALL
            SELECT
                arrayJoin(arrayFilter((n, of) -> of = (fleet, vendor, product), arrayEnumerate(moments),
                    arrayZip(moments.1, moments.2, moments.3))) AS id,
                if((moments.4)[id] = version, 'it', 'another') AS part, ring, toDateTime(day, 'UTC') AS at,
                hosts AS states, crashed_hosts AS crashed
            FROM update_days
            WHERE (fleet, vendor, product, version) GLOBAL IN
                (SELECT each.1, each.2, each.3, each.4 FROM (SELECT arrayJoin(moments) AS each))
                OR (fleet, vendor, product, day) GLOBAL IN
                    (SELECT each.1, each.2, each.3, each.6 - arrayJoin(range(8)) FROM (SELECT arrayJoin(moments) AS each))
        )
        WHERE has((moments.10)[id], '*') OR has((moments.10)[id], ring)
        GROUP BY id
        HAVING countIf(part IN ('it', 'another')) > 0
    )
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
