"""Which sets of the aggregates hold a host: by the hash of its name, which is all that they keep of it."""

import re
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from consumers.clickhouse.schema.feeds import FILL_SETTINGS
from consumers.clickhouse.schema.layout import Layout
from consumers.clickhouse.upkeep.rebuild import TIME
from consumers.clickhouse.upkeep.subject import Subject

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

LISTED = 4096  # up to here a uniqCombined lists its hashes, and one can be looked for; beyond, it holds none
_HASH = "[sipHash64({host:String})]"
# A set that does not grow when the host is added to it has it already. A uniqCombined keeps 32 bits of a hash: one set
# in a million of a thousand hosts says so of another host.
_GROWN = "finalizeAggregation({0}) = finalizeAggregation({0} + arrayReduce('{1}', {2}))"
INSIDE = {
    "hosts": f"finalizeAggregation(hosts) < {LISTED} AND " + _GROWN.format("hosts", "uniqCombinedState", _HASH),
    "crashed_hosts": _GROWN.format("crashed_hosts", "uniqExactState", _HASH),
}
_TTL = re.compile(r" TTL (.+?)(?: SETTINGS |$)")


class Holding(NamedTuple):
    """Sets of one day that hold the host, and the day on which the last of them expires."""

    day: date
    sets: int
    expire_on: str


class Sets:
    """The sets of one database, looked through for one host."""

    def __init__(self, client: "Client", layout: Layout, subject: Subject) -> None:
        self._client, self._layout, self._subject = client, layout, subject

    def holding(self) -> dict[str, list[Holding]]:
        """By table, of whichever day; nothing when the subject is no host."""
        if not self._subject.host:
            return {}
        return {table: self._held(table, columns, ttl) for table, columns, ttl in self._aggregates()}

    def _aggregates(self) -> list[tuple[str, set[str], str]]:
        sql = (
            "SELECT c.table, groupUniqArray(c.name), any(t.engine_full) FROM system.columns AS c "
            "INNER JOIN system.tables AS t ON t.database = c.database AND t.name = c.table "
            "WHERE c.database = {db:String} AND c.name IN {names:Array(String)} AND c.type LIKE 'AggregateFunction%' "
            "AND t.engine LIKE '%MergeTree' GROUP BY c.table ORDER BY c.table"
        )
        rows = self._client.query(sql, parameters={"db": self._layout.database, "names": list(INSIDE)}).result_rows
        return [(table, set(columns), engine) for table, columns, engine in rows if table in TIME]

    def _held(self, table: str, columns: set[str], engine: str) -> list[Holding]:
        found = _TTL.search(engine)
        expires = f"toString(toDate(max({found[1]})))" if found else "'no day'"
        fleet = "fleet = {fleet:String} AND " if self._subject.fleet else ""
        inside = " OR ".join(f"({INSIDE[name]})" for name in INSIDE if name in columns)
        sql = (
            f"SELECT toDate({TIME[table]}) AS on_day, count(), {expires} FROM {self._layout.name(table)} "
            f"WHERE {fleet}({inside}) GROUP BY on_day ORDER BY on_day"
        )
        rows = self._client.query(sql, parameters=self._subject.parameters, settings=FILL_SETTINGS).result_rows
        return [Holding(*row) for row in rows]
