"""Events generated inside the engine: a fleet with twenty updates in turn, each ring by ring, a crash in a thousand."""

from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from consumers.clickhouse.schema.feeds import FILL_SETTINGS, Feeds
from consumers.clickhouse.schema.layout import Layout

AT_ONCE = 2_000_000
UPDATES = 20
DAYS = 10
FLEET, HOST = "acme", "h-0000227"
VENDOR, PRODUCT, VERSION = "crowdstrike", "falcon-content", "285"
STAGING = "staging"

# Every draw is a hash of the event's number or of its host, so the same plan gives the same events. {days} before now.
_GENERATE = """
INSERT INTO staging (fleet, host, kind, ts, ingested_at, ring, os, model, region, site, prior, prior_ended_at,
    signature_code, signature_module,
    `updates.vendor`, `updates.product`, `updates.version`, `updates.installed_at`, id)
WITH
    {days} * 86400000 AS span,
    (toUnixTimestamp(today()) - {days} * 86400) * 1000 AS start,
    cityHash64(number, {seed}) % {hosts} AS h,
    cityHash64(h, {seed} + 1) AS hh,
    toInt64(start + intDiv(number * span, {events}) + cityHash64(number, 2) % 1000) AS at,
    multiIf(hh % 100 < 1, 0, hh % 100 < 10, 1, hh % 100 < 70, 2, 3) AS ring_code,
    cityHash64(number, 3) % 1000000 AS dice,
    dice < 1000 AS is_crash,
    NOT is_crash AND dice < 150000 AS is_boot,
    arrayFilter(u -> u.2 <= at AND at < u.2 + 604800000, arrayMap(k -> (k, toInt64(
        start + intDiv(k * span, {updates}) - 259200000 + ring_code * 43200000 + cityHash64(hh, k) % 43200000)),
        range({updates}))) AS us
SELECT
    'acme', concat('h-', leftPad(toString(h), 7, '0')), multiIf(is_crash, 'crash', is_boot, 'boot', 'heartbeat'),
    fromUnixTimestamp64Milli(at), fromUnixTimestamp64Milli(at + 500 + toInt64(cityHash64(number, 6) % 4000)),
    ['canary', 'early', 'broad', 'late'][ring_code + 1],
    ['windows-10.0.22631', 'windows-10.0.19045', 'windows-10.0.26100'][intDiv(hh, 100) % 3 + 1],
    ['latitude-7440', 'thinkpad-t14', 'elitebook-840', 'surface-pro-9', 'optiplex-7010'][intDiv(hh, 1000) % 5 + 1],
    'eu', ['ber-3', 'muc-1', 'ham-2', 'par-7'][intDiv(hh, 10000) % 4 + 1],
    if(is_boot, 'clean', ''), if(is_boot, fromUnixTimestamp64Milli(at - 30000), NULL),
    if(is_crash, concat('0x', hex(toUInt8(cityHash64(number, 4) % 40))), ''),
    if(is_crash, ['csagent.sys', 'ntfs.sys', 'nvlddmkm.sys'][cityHash64(number, 5) % 3 + 1], ''),
    arrayMap(u -> ['crowdstrike', 'microsoft', 'dell', 'intel', 'google'][u.1 % 5 + 1], us),
    arrayMap(u -> ['falcon-content', 'windows-update', 'bios', 'gfx-driver', 'chrome'][u.1 % 5 + 1], us),
    arrayMap(u -> toString(280 + u.1), us),
    arrayMap(u -> fromUnixTimestamp64Milli(u.2), us),
    substring(lower(hex(sipHash128(number))), 1, 24)
FROM numbers({first}, {count})
"""


class Plan(NamedTuple):
    """How many events of how many hosts over how many days until today."""

    events: int
    hosts: int
    days: int
    seed: int


def generate(client: Client, plan: Plan) -> None:
    """Into `events`, its feeds left out: they are filled afterwards, a day at a time, as a backfill does."""
    client.command(f"CREATE TABLE {STAGING} AS events")
    for first in range(0, plan.events, AT_ONCE):
        part = {"first": first, "count": min(AT_ONCE, plan.events - first), "updates": UPDATES}
        client.command(_GENERATE.format(**plan._asdict(), **part), settings=FILL_SETTINGS)
    sql = f"SELECT DISTINCT partition_id FROM system.parts WHERE database = 'andon' AND table = '{STAGING}' AND active"
    for (partition,) in client.query(sql).result_rows:
        client.command(f"ALTER TABLE events ATTACH PARTITION ID '{partition}' FROM {STAGING}")
    client.command(f"DROP TABLE {STAGING} SYNC SETTINGS max_table_size_to_drop = 0")


def fill(client: Client, database: str) -> None:
    """Every table that is fed from the events."""
    feeds = Feeds(client, Layout(database))
    days = feeds.days()
    for feed in feeds.all().values():
        for _ in feeds.fill(feed, feed.table, days):
            pass


def halted_ms_before_end(days: int) -> int:
    """How long before the last event the one halt was issued."""
    return days * 43_200_000


def decide(client: Client, plan: Plan) -> None:
    """A halt in the middle of the events, its acknowledgement and a doubt of it, an alarm, and some verdicts: what the
    views join with, and what was reported around it."""
    update, key = [FLEET, VENDOR, PRODUCT, VERSION], "fleet, vendor, product, version"
    named = ", ".join(f"'{part}'" for part in update)
    at = f"toDateTime64(today(), 3, 'UTC') - toIntervalMillisecond({halted_ms_before_end(plan.days)})"
    client.command(
        f"INSERT INTO halts ({key}, epoch, action, issued_at, stream_time, rings, crashed_hosts) "
        f"SELECT {named}, 1, 'halt', {at}, {at}, ['*'], 5"
    )
    client.command(
        f"INSERT INTO halt_acks (halt_key, epoch, subscriber, status, at) "
        f"SELECT '{'/'.join(update)}', 1, 'bench', 'confirmed', {at}"
    )
    client.command(
        f"INSERT INTO verdicts ({key}, ring, at, state, log10_evidence) "
        f"SELECT {named}, 'broad', now64(3) - number, 'watching', number / 1000 FROM numbers(10000)"
    )
    client.command(
        f"INSERT INTO verdicts ({key}, ring, at, state, flags, doubted_for) "
        f"SELECT {named}, 'broad', now64(3) + 1, 'halted', ['doubtful'], ['{VENDOR}/another/1']"
    )
    client.command(f"INSERT INTO alarms (fleet, at, state, since) SELECT '{FLEET}', {at}, 'sounding', {at}")
    client.command(
        "INSERT INTO dead_letters (at, reason, stage) SELECT now64(3), 'invalid_json', 'combine' FROM numbers(10)"
    )
