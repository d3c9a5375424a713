"""`andon forget`: drop what is stored about a fleet or a host, and show that it is gone.

Rows go by a mutation that rewrites the parts they are in. Aggregates hold sets of 32- and 64-bit hashes of host names:
of the days on which the host reported they are made anew from the raw events that remain.
"""

import json
from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

import click
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error
from rich.console import Console
from rich.table import Table

from consumers.clickhouse.archive import ArchiveConfig
from consumers.clickhouse.cluster import Layout
from consumers.clickhouse.connect import connect
from consumers.clickhouse.feeds import FILL_SECONDS, FILL_SETTINGS, Feeds
from consumers.clickhouse.rebuild import TIME, Rebuild, among
from pipeline.runtime.config import configured
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.wire.keys import update_key

SET_SIZE = 4096  # up to here a uniqCombined lists its hashes, and one can be looked for
SETS = ("hosts", "crashed_hosts")
REMAINS = (
    "Kafka keeps what it has for its own time: fleet.events 2 days, fleet.partials 6 hours, fleet.deadletter 7 days.",
    "What Kafka still holds unread, or a sender reports again, will be stored again.",
    "The server's logs of queries (system.query_log: 7 days here) may name it. Backups are yours to clean.",
)
HOST_REMAINS = (
    "Sets of days whose raw events have expired keep the hash of the name, not the name.",
    "Verdicts and halts name no host.",
)


class Subject(NamedTuple):
    """Whose data; "" is every fleet, or every host of the fleet."""

    fleet: str
    host: str

    def condition(self, table: str, columns: set[str]) -> str | None:
        """The rows of a table that are about the subject; None when the table knows nothing of it."""
        wanted = {name: value for name, value in self._asdict().items() if value}
        if table == "dead_letters":  # may be anything, broken JSON too
            quoted = [f"position(value, concat('\"', {{{name}:String}}, '\"')) > 0" for name in wanted]
            by_key = ["key = {host:String}"] if self.host and not self.fleet else []
            return " OR ".join([f"({' AND '.join(quoted)})", *by_key])
        if table == "halt_acks" and not self.host:
            return "startsWith(halt_key, {halts:String})"
        if wanted.keys() <= columns:
            return " AND ".join(f"{name} = {{{name}:String}}" for name in wanted)
        return None

    @property
    def parameters(self) -> dict[str, str]:
        """Of every statement about the subject: its names are data."""
        return {**self._asdict(), "halts": update_key(self.fleet, "", "", "").removesuffix("//")}


class Found(NamedTuple):
    """Rows, or sets, that are about the subject."""

    table: str
    what: str
    before: int
    after: int


class Forget:
    """One request."""

    def __init__(self, client: Client, layout: Layout, subject: Subject) -> None:
        if layout.cluster and subject.host:
            raise AndonError("a host's hashes cannot be taken out of aggregates on a cluster: not built yet")
        self._client, self._layout, self._subject = client, layout, subject
        self._feeds = Feeds(client, layout)
        self._days: list[date] = []

    def run(self) -> list[Found]:
        """Count, drop, make anew, count."""
        self._days = self._days_of_host() if self._subject.host else []
        before = dict(self._counts())
        for table, condition in self._rows():
            sql = f"ALTER TABLE {self._layout.name(self._layout.local(table))}{self._layout.everywhere} DELETE WHERE "
            self._client.command(sql + condition, parameters=self._subject.parameters, settings={"mutations_sync": 2})
        for feed in self._feeds.all().values() if self._days else ():
            if feed.table not in ("crashes", "hosts"):
                Rebuild(self._client, self._feeds, feed).run(among(self._days), lambda: self._days, lambda _: None)
        after = dict(self._counts())
        return [Found(table, what, count, after[table, what]) for (table, what), count in before.items()]

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

    def _days_of_host(self) -> list[date]:
        condition = self._subject.condition("events", {"fleet", "host"})
        sql = f"SELECT DISTINCT toDate(ts) AS day FROM {self._layout.name('events')} WHERE {condition} ORDER BY day"
        return [row[0] for row in self._client.query(sql, parameters=self._subject.parameters).result_rows]

    def _counts(self) -> Iterator[tuple[tuple[str, str], int]]:
        tables = self._tables()
        for table, condition in self._rows():
            yield (table, "rows"), self._count(f"FROM {self._layout.name(table)} WHERE {condition}")
        if self._subject.host:
            for table, columns in tables.items():
                if columns & set(SETS) and table in TIME and self._days:
                    yield (table, "sets"), self._count(self._sets(table, columns))

    def _sets(self, table: str, columns: set[str]) -> str:
        """Sets that do not grow when the host is added to them: it is in them."""
        fleet = "fleet = {fleet:String} AND " if self._subject.fleet else ""
        one = {"hosts": "uniqCombinedState", "crashed_hosts": "uniqExactState"}
        size, grown = (
            "finalizeAggregation({0})",
            "finalizeAggregation({0} + arrayReduce('{1}', [sipHash64({{host:String}})]))",
        )
        inside = [
            f"({size} < {SET_SIZE} AND {size} = {grown})".format(name, one[name], host="{host}")
            for name in SETS
            if name in columns
        ]
        return (
            f"FROM {self._layout.name(table)} WHERE {fleet}{among(self._days)(TIME[table])} AND ({' OR '.join(inside)})"
        )

    def _count(self, rest: str) -> int:
        sql = f"SELECT count() {rest}"
        return int(self._client.query(sql, parameters=self._subject.parameters, settings=FILL_SETTINGS).first_row[0])


@click.command("forget")
@click.option("--fleet", default="", help="This fleet; with --host, that host of this fleet.")
@click.option("--host", default="", help="This host.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@configured(("archive", ArchiveConfig))
def command(archive: ArchiveConfig, fleet: str, host: str, yes: bool, as_json: bool) -> None:
    """Drop what ClickHouse holds about a fleet or a host from every table, and show that it is gone.

    Exit code 1 when something is left.
    """
    if not fleet and not host:
        raise ConfigError("name a --fleet, a --host, or both")
    if not yes:
        what = " of ".join(filter(None, (host and f"host {host!r}", fleet and f"fleet {fleet!r}")))
        click.confirm(f"Drop everything about {what} in {archive.clickhouse_url}?", abort=True, err=True)
    try:
        client = connect(archive, timeout_seconds=FILL_SECONDS)
        found = Forget(client, Layout(archive.database, archive.cluster), Subject(fleet, host)).run()
    except Error as error:
        raise AndonError(f"ClickHouse at {archive.clickhouse_url}: {error}") from None
    remains = (*REMAINS, *(HOST_REMAINS if host else ()))
    if as_json:
        click.echo(json.dumps({"tables": [row._asdict() for row in found], "remains": remains}))
    else:
        _show(found, remains)
    if any(row.after for row in found):
        raise SystemExit(1)


def _show(found: list[Found], remains: tuple[str, ...]) -> None:
    table = Table("table", "holds", "before", "after")
    for row in found:
        table.add_row(row.table, row.what, f"{row.before:,}", f"{row.after:,}")
    console = Console()
    console.print(table)
    for line in remains:
        console.print("· " + line, highlight=False)
