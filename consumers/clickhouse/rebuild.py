"""Make a table anew from the raw events while the stream runs: nobody sees a gap, and nothing is lost or doubled.

A second table is fed beside the first from its creation on, filled from what is stored (both may say the same report:
they are sets), and then exchanged for the first at once. A report that arrives meanwhile goes into both.
"""

from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, timedelta

from clickhouse_connect.driver.client import Client

from consumers.clickhouse.feeds import SUFFIX, Feed, Feeds
from pipeline.runtime.errors import AndonError

NEW = "_new"
# Raw events are kept 90 days from when they were stored; of days before these some may have gone already.
COMPLETE_DAYS = 89
# The column that says which day a row is about.
TIME = {
    "crashes": "ts",
    "hosts": "last_seen",
    "stratum_minutes": "minute",
    "update_minutes": "minute",
    "stratum_hours": "hour",
    "update_hours": "hour",
    "stratum_days": "day",
    "update_days": "day",
    "update_installs": "day",
}

Progress = Callable[[date], None]


class Rebuild:
    """One table of `feeds`, made anew."""

    def __init__(self, client: Client, feeds: Feeds, feed: Feed) -> None:
        if feeds.layout.cluster:
            raise AndonError("on a cluster a table can only be added to: --add")
        if feed.table not in TIME:
            raise AndonError(f"{feed.table}: not one of {', '.join(TIME)}")
        self._client, self._feeds, self._feed = client, feeds, feed
        self._new = feed.table + NEW
        self._view = self._new + SUFFIX

    def run(self, again: Callable[[str], str], days: Collection[date], progress: Progress) -> None:
        """`again(column)` is the condition of the rows to be made anew, all others are carried over; `days` are those
        whose events are read."""
        self.clear()
        name = self._feeds.layout.name
        try:
            self._client.command(f"CREATE TABLE {name(self._new)} AS {name(self._feed.table)}")
            self._client.command(
                f"CREATE MATERIALIZED VIEW {name(self._view)} TO {name(self._new)} "
                f"DEFINER = CURRENT_USER SQL SECURITY DEFINER AS {self._feed.select}"
            )
            self._feeds.settle()
            kept = f"SELECT * FROM {name(self._feed.table)} WHERE NOT ({again(TIME[self._feed.table])})"
            self._client.command(
                f"INSERT INTO {name(self._new)} {kept}", settings={"max_partitions_per_insert_block": 0}
            )
            for day in self._feeds.fill(self._feed, self._new, sorted(days)):
                progress(day)
            self._client.command(f"EXCHANGE TABLES {name(self._feed.table)} AND {name(self._new)}")
        finally:
            self.clear()

    def clear(self) -> None:
        """Remove what this run, or one that died, has left."""
        name = self._feeds.layout.name
        self._client.command(f"DROP VIEW IF EXISTS {name(self._view)} SYNC")
        self._client.command(f"DROP TABLE IF EXISTS {name(self._new)} SYNC SETTINGS max_table_size_to_drop = 0")


def first_complete_day() -> date:
    """The first day of which no raw event can have gone."""
    return datetime.now(UTC).date() - timedelta(days=COMPLETE_DAYS)


def between(since: date | None, until: date | None) -> Callable[[str], str]:
    """The rows of a span of days. Without `since`: of the days of which no raw event can have gone."""
    low = since or first_complete_day()
    high = f" AND toDate({{}}) <= toDate('{until}')" if until else ""
    return lambda column: f"toDate({column}) >= toDate('{low}')" + high.format(column)


def among(days: Collection[date]) -> Callable[[str], str]:
    """The rows of these days."""
    listed = ", ".join(f"toDate('{day}')" for day in sorted(days)) or "NULL"
    return lambda column: f"toDate({column}) IN ({listed})"
