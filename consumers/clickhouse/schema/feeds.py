"""Tables that are functions of the raw events, each through one materialized view, its *feed*.

The feed's own SELECT is the only definition: filling a table again runs that same SELECT over stored events. All of
these tables are sets (or keep one row per key), so to fill in what is there already changes nothing.
"""

import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple

from consumers.clickhouse.schema.layout import Layout
from pipeline.runtime.errors import AndonError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SOURCE = "events"
SUFFIX = "_feed"
FILL_SECONDS = 3600  # of one day's events
# A day of a large fleet does not fit in memory at once.
FILL_SETTINGS = {
    "max_execution_time": FILL_SECONDS,
    "max_bytes_before_external_group_by": 1 << 30,
    "max_partitions_per_insert_block": 0,
}


class Feed(NamedTuple):
    """A table, the view that feeds it, and that view's SELECT as the server has it."""

    table: str
    view: str
    select: str


class Feeds:
    """The feeds of one database."""

    def __init__(self, client: "Client", layout: Layout) -> None:
        self._client = client
        self.layout = layout

    def all(self) -> dict[str, Feed]:
        """By the table that they feed, those that are being rebuilt left out."""
        sql = (
            "SELECT name, as_select FROM system.tables WHERE database = {database:String} "
            "AND engine = 'MaterializedView' AND endsWith(name, {suffix:String}) AND NOT endsWith(name, '_new_feed') "
            "ORDER BY name"
        )
        found = self._client.query(sql, parameters={"database": self.layout.database, "suffix": SUFFIX}).result_rows
        return {name.removesuffix(SUFFIX): Feed(name.removesuffix(SUFFIX), name, select) for name, select in found}

    def of(self, table: str) -> Feed:
        """Raises AndonError when no such table is fed from the events."""
        feeds = self.all()
        if table not in feeds:
            raise AndonError(f"{table!r} is not made from raw events; these are: {', '.join(sorted(feeds))}")
        return feeds[table]

    def days(self, since: date | None = None, until: date | None = None) -> list[date]:
        """Days (UTC) that have raw events, from `since` to `until`, both included."""
        low, high = since or date(1970, 1, 1), until or date(2149, 1, 1)
        sql = (
            f"SELECT DISTINCT toDate(ts) AS day FROM {self.layout.name(SOURCE)} "
            "WHERE day BETWEEN {low:Date32} AND {high:Date32} ORDER BY day"
        )
        rows = self._client.query(sql, parameters={"low": low, "high": high}).result_rows
        return [row[0] for row in rows]

    def fill(self, feed: Feed, into: str, days: list[date]) -> Iterator[date]:
        """Run the feed's SELECT over the stored events of each day; yields a day when it is done."""
        for day in days:
            self._client.command(f"INSERT INTO {self.layout.name(into)} {self.over(feed, day)}", settings=FILL_SETTINGS)
            yield day

    def copy(self, source: str, into: str) -> None:
        """Every row of another table, the columns that both have: sets of what is finer are sets of what is coarser."""
        sql = (
            "SELECT name FROM system.columns WHERE database = {database:String} AND table IN ({into:String}, "
            "{source:String}) GROUP BY name HAVING count() = 2 ORDER BY name"
        )
        values = {"database": self.layout.database, "into": into, "source": source}
        columns = ", ".join(row[0] for row in self._client.query(sql, parameters=values).result_rows)
        copied = f"INSERT INTO {self.layout.name(into)} ({columns}) SELECT {columns} FROM {self.layout.name(source)}"
        self._client.command(copied, settings=FILL_SETTINGS)

    def over(self, feed: Feed, day: date) -> str:
        """The feed's SELECT, reading one day of the stored events instead of what is being inserted."""
        start, end = day.isoformat(), (day + timedelta(days=1)).isoformat()
        stored = (
            f"FROM (SELECT * FROM {self.layout.name(SOURCE)} WHERE toStartOfDay(ts) = toDateTime('{start}', 'UTC') "
            f"AND ts >= toDateTime64('{start}', 3, 'UTC') AND ts < toDateTime64('{end}', 3, 'UTC'))"
        )
        source = rf"FROM {re.escape(self.layout.database)}\.{self.layout.local(SOURCE)}\b"
        select, times = re.subn(source, lambda _: stored, feed.select)
        if times != 1:
            raise AndonError(f"{feed.view} reads something else than {SOURCE}: {feed.select}")
        return select
