"""`andon forget`: drop what is stored about a fleet or a host, and show that it is gone.

Rows go by a mutation that rewrites the parts they are in. Aggregates hold sets of 32- and 64-bit hashes of host names:
of the days on which the host reported they are made anew from the raw events that remain, if those are all still there.
Of older days they are kept, for they are all that is left of every other host as well; what holds the hash is counted.
"""

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

import click

from consumers.clickhouse import known
from consumers.clickhouse.connect import ClickHouseConfig, connect
from consumers.clickhouse.schema.feeds import FILL_SECONDS, FILL_SETTINGS, Feeds
from consumers.clickhouse.schema.layout import Layout
from consumers.clickhouse.upkeep.rebuild import Rebuild, among, first_complete_day
from consumers.clickhouse.upkeep.sets import Holding, Sets
from consumers.clickhouse.upkeep.subject import Subject
from pipeline.runtime.config import configured
from pipeline.runtime.console import stdout_console
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.say import say, say_json
from pipeline.wire.hosts import one_host

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

REMAINS = (
    "Kafka keeps what it has for its own time: fleet.events 2 days, fleet.partials 6 hours, fleet.deadletter 7 days, "
    "fleet.halt-acks and fleet.commands 30 days; fleet.verdicts and fleet.halts each key's newest record for good.",
    "What Kafka still holds unread, or a sender reports again, will be stored again.",
    "On disk, parts that nobody reads any more stay until the server removes them (old_parts_lifetime: 8 minutes).",
    "The server's logs of queries (system.query_log: 7 days here) and of mutations (system.mutations: a table's last "
    "100) may name it. Backups are yours to clean.",
)
HOST_REMAINS = ("Verdicts and halts name no host.",)
FLEET_REMAINS = (
    "A correlator that has seen a fleet keeps it for good, in its changelog too: heartbeats of it are stored again "
    "within 10 s, its halts when they are renewed. No command makes it forget one fleet.",
    "To be rid of it: stop the fleet's senders and wait until fleet.partials has let go of it; lift its standing "
    "halts, each by a signed resume (nothing in Andon issues one yet); stop the correlator; delete its changelog "
    "topic (andon-correlate-state-changelog: the state of EVERY fleet goes, and all are judged anew); write a "
    "tombstone, a record without value, to each of the fleet's keys on fleet.verdicts; start the correlator; forget "
    "once more.",
    "Never delete keys of fleet.halts: that lifts no halt, subscribers keep what they hold, and they would take the "
    "key's next halt, which starts at epoch 1 again, for a replay.",
)


class Found(NamedTuple):
    """Rows, or sets, that are about the subject."""

    table: str
    what: str
    before: int
    after: int


class Expired(NamedTuple):
    """Sets that still hold a hash of the host and cannot be made anew; `expire_on` "" when there are none."""

    sets: int
    expire_on: str

    def __str__(self) -> str:
        return (
            f"{self.sets:,} sets of days whose raw events have expired still hold a hash of the host, not its name; "
            f"they expire on {self.expire_on}. They hold every other host of these days, too, so they are kept."
        )


class Forget:
    """One request."""

    def __init__(self, client: "Client", layout: Layout, subject: Subject) -> None:
        if layout.cluster and subject.host:
            raise AndonError("a host's hashes cannot be taken out of aggregates on a cluster: not built yet")
        self._client, self._layout, self._subject = client, layout, subject
        self._feeds = Feeds(client, layout)
        self._sets = Sets(client, layout, subject)

    def run(self) -> tuple[list[Found], Expired]:
        """Count, drop, make anew, count."""
        rows, sets = self._counted(), self._sets.holding()
        days = self._days(sets)
        for table, condition in self._rows():
            sql = f"ALTER TABLE {self._layout.name(self._layout.local(table))}{self._layout.everywhere} DELETE WHERE "
            # Not `command`: that puts parameters into the URL, however long they are.
            settings = {"mutations_sync": 2}
            self._client.raw_query(sql + condition, parameters=self._subject.parameters, settings=settings)
        for feed in self._feeds.all().values() if days else ():
            if feed.table not in ("crashes", "hosts"):
                Rebuild(self._client, self._feeds, feed).run(among(days), lambda: days, lambda _: None)
        rows_after, sets_after = self._counted(), self._sets.holding()
        found = [Found(table, "rows", count, rows_after[table]) for table, count in rows.items()]
        found += [Found(table, "sets", _sum(held), _sum(sets_after[table])) for table, held in sets.items()]
        return found, _expired(sets_after)

    def _rows(self) -> Iterator[tuple[str, str]]:
        for table, columns in self._tables().items():
            condition = self._subject.condition(table, columns)
            if condition is not None:
                yield table, condition

    def _tables(self) -> dict[str, set[str]]:
        kind = "Distributed" if self._layout.cluster else "%MergeTree"
        tables = "SELECT name FROM system.tables WHERE database = {db:String} AND engine LIKE {kind:String}"
        columns = "SELECT table, groupUniqArray(name) FROM system.columns WHERE database = {db:String}"
        sql = f"{columns} AND table IN ({tables}) GROUP BY table ORDER BY table"
        rows = self._client.query(sql, parameters={"db": self._layout.database, "kind": kind}).result_rows
        return {table: set(columns) for table, columns in rows}

    def _days(self, sets: dict[str, list[Holding]]) -> list[date]:
        """Of which sets are made anew: on which the host reported, or that a run which died has left; none of which a
        raw event may have expired, for the sets would lose all other hosts."""
        if not self._subject.host:
            return []
        condition = self._subject.condition("events", {"fleet", "host"})
        sql = f"SELECT DISTINCT toDate(ts) FROM {self._layout.name('events')} WHERE {condition}"
        days = {row[0] for row in self._client.query(sql, parameters=self._subject.parameters).result_rows}
        days |= {one.day for held in sets.values() for one in held}
        return sorted(day for day in days if day >= first_complete_day())

    def _counted(self) -> dict[str, int]:
        return {table: self._count(table, condition) for table, condition in self._rows()}

    def _count(self, table: str, condition: str) -> int:
        sql = f"SELECT count() FROM {self._layout.name(table)} WHERE {condition}"
        return int(self._client.query(sql, parameters=self._subject.parameters, settings=FILL_SETTINGS).first_row[0])


def _sum(held: list[Holding]) -> int:
    return sum(one.sets for one in held)


def _expired(sets: dict[str, list[Holding]]) -> Expired:
    old = [one for held in sets.values() for one in held if one.day < first_complete_day()]
    return Expired(_sum(old), max((one.expire_on for one in old), default=""))


@click.command("forget")
@click.option("--fleet", default="", help="This fleet; with --host, that host of this fleet.")
@click.option("--host", default="", help="This host.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@configured(("clickhouse", ClickHouseConfig))
def command(clickhouse: ClickHouseConfig, fleet: str, host: str, yes: bool, as_json: bool) -> None:
    """Drop what ClickHouse holds about a fleet or a host from every table, and show that it is gone.

    Exit code 1 when something is left: also when that is a hash in a set that cannot be made anew.
    """
    if not fleet and not host:
        raise ConfigError("name a --fleet, a --host, or both")
    from clickhouse_connect.driver.exceptions import Error  # here: help does not wait for it

    try:
        _warn_of_unknown(clickhouse, fleet, host)
        if not yes:
            what = " of ".join(filter(None, (host and f"host {host!r}", fleet and f"fleet {fleet!r}")))
            click.confirm(f"Drop everything about {what} in {clickhouse.url}?", abort=True, err=True)
        client = connect(clickhouse, timeout_seconds=FILL_SECONDS)
        layout = Layout(clickhouse.database, clickhouse.cluster)
        found, expired = _both([Forget(client, layout, Subject(fleet, name)).run() for name in _names(host)])
    except Error as error:
        raise AndonError(f"ClickHouse at {clickhouse.url}: {error}") from None
    remains = (*REMAINS, *(HOST_REMAINS if host else FLEET_REMAINS), *([str(expired)] if expired.sets else ()))
    if as_json:
        tables = [row._asdict() for row in found]
        say_json({"tables": tables, "expired": expired._asdict(), "remains": remains})
    else:
        _show(found, remains)
    if any(row.after for row in found):
        raise SystemExit(1)


def _names(host: str) -> list[str]:
    """As it was given, and the one under which it is stored."""
    return list(dict.fromkeys((host, one_host(host)))) if host else [host]


def _both(runs: list[tuple[list[Found], Expired]]) -> tuple[list[Found], Expired]:
    """What was found of either name."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for row in (row for found, _ in runs for row in found):
        before, after = sums.get(row[:2], (0, 0))
        sums[row[:2]] = before + row.before, after + row.after
    expired = [expired for _, expired in runs]
    return (
        [Found(*name, *counts) for name, counts in sums.items()],
        Expired(sum(each.sets for each in expired), max(each.expire_on for each in expired)),
    )


def _warn_of_unknown(clickhouse: ClickHouseConfig, fleet: str, host: str) -> None:
    """Nothing left of a misspelt name is no proof that the right one is forgotten."""
    named = {name: value for name, value in (("fleet", fleet), ("host", host)) if value}
    try:
        known.check(connect(clickhouse, database=clickhouse.database), named)
    except known.UnknownName as error:
        say(f"warning: {error}", err=True)


def _show(found: list[Found], remains: tuple[str, ...]) -> None:
    from rich.table import Table

    table = Table("table", "holds", "before", "after")
    for row in found:
        table.add_row(row.table, row.what, f"{row.before:,}", f"{row.after:,}")
    out = stdout_console()
    out.print(table)
    for line in remains:
        out.print("· " + line)
