"""Make a table anew from the raw events while the stream runs: nobody sees a gap, and nothing is lost or doubled.

A second table is fed beside the first from its creation on, filled from what is stored (both may say the same report:
they are sets), and then exchanged for the first at once. A report that arrives meanwhile goes into both.
"""

from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from consumers.clickhouse.schema.feeds import FILL_SETTINGS, SUFFIX, Feed, Feeds
from consumers.clickhouse.schema.inserts import wait_for_inserts
from pipeline.runtime.errors import AndonError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

NEW, LATE = "_new", "_late_new"
# Raw events are kept 90 days from when they were stored; of days before these some may have gone already.
COMPLETE_DAYS = 89
# The column that says which day a row is about.
TIME = {
    "crashes": "ts",
    "hosts": "last_seen",
    "ring_hours": "hour",
    "stratum_minutes": "minute",
    "update_minutes": "minute",
    "stratum_hours": "hour",
    "update_hours": "hour",
    "stratum_days": "day",
    "update_days": "day",
    "update_installs": "day",
}

Condition = Callable[[str], str]  # of the name of the column that says which day a row is about
Progress = Callable[[int], None]  # called after each day, with the number of all days


class Rebuild:
    """One table of `feeds`, made anew. `expired`: also of days of which raw events may have gone, so that what only the
    table remembers of them is lost."""

    def __init__(self, client: "Client", feeds: Feeds, feed: Feed, *, expired: bool = False) -> None:
        if feeds.layout.cluster:
            raise AndonError("on a cluster a table can only be added to: --add")
        if feed.table not in TIME:
            raise AndonError(f"{feed.table}: not one of {', '.join(TIME)}")
        self._client, self._feeds, self._feed = client, feeds, feed
        self._expired = expired
        self._new, self._late = feed.table + NEW, feed.table + LATE

    def run(self, again: Condition, days: Callable[[], Collection[date]], progress: Progress) -> int:
        """`again` are the rows to be made anew, all others are carried over; `days` are those whose events are read,
        asked for once every report that can be in no feed of the new table is stored. Returns their number."""
        self.clear()
        name = self._feeds.layout.name
        table, new, late = name(self._feed.table), name(self._new), name(self._late)
        try:
            self._create(self._new)
            self._carry_over(again)
            read = sorted(days())
            for _ in self._feeds.fill(self._feed, self._new, read):
                progress(len(read))
            # An INSERT that looks up the first table before the exchange and the second after it feeds the old one
            # twice. What is under way then goes into a third as well, and from there into the new one.
            self._create(self._late)
            self._client.command(f"EXCHANGE TABLES {table} AND {new}")
            wait_for_inserts(self._client, self._feeds.layout)
            self._client.command(f"INSERT INTO {table} SELECT * FROM {late}", settings=FILL_SETTINGS)
        finally:
            self.clear()
        return len(read)

    def _create(self, table: str) -> None:
        """Another such table; when this returns, every INSERT that is still to be seen feeds it."""
        name = self._feeds.layout.name
        self._client.command(f"CREATE TABLE {name(table)} AS {name(self._feed.table)}")
        self._client.command(
            f"CREATE MATERIALIZED VIEW {name(table + SUFFIX)} TO {name(table)} "
            f"DEFINER = CURRENT_USER SQL SECURITY DEFINER AS {self._feed.select}"
        )
        wait_for_inserts(self._client, self._feeds.layout)

    def _carry_over(self, again: Condition) -> None:
        name, column = self._feeds.layout.name, TIME[self._feed.table]
        gone = again(column) if self._expired else f"({again(column)}) AND {between(None, None)(column)}"
        kept = f"SELECT * FROM {name(self._feed.table)} WHERE NOT ({gone})"
        self._client.command(f"INSERT INTO {name(self._new)} {kept}", settings=FILL_SETTINGS)

    def clear(self) -> None:
        """Remove what this run, or one that died, has left."""
        name = self._feeds.layout.name
        for table in (self._new, self._late):
            self._client.command(f"DROP VIEW IF EXISTS {name(table + SUFFIX)} SYNC")
            self._client.command(f"DROP TABLE IF EXISTS {name(table)} SYNC SETTINGS max_table_size_to_drop = 0")


def first_complete_day() -> date:
    """The first day (UTC) of which every raw event is still there."""
    return datetime.now(UTC).date() - timedelta(days=COMPLETE_DAYS)


def between(since: date | None, until: date | None) -> Condition:
    """The rows of a span of days. Without `since`: of the days of which no raw event can have gone."""
    low = since or first_complete_day()
    high = f" AND toDate({{}}) <= toDate('{until}')" if until else ""
    return lambda column: f"toDate({column}) >= toDate('{low}')" + high.format(column)


def among(days: Collection[date]) -> Condition:
    """The rows of these days."""
    listed = ", ".join(f"toDate('{day}')" for day in sorted(days)) or "NULL"
    return lambda column: f"toDate({column}) IN ({listed})"
