"""Whether tables and views still are what the migrations made of them.

A migration's checksum says what was run, not what is there: a view may have been dropped since, a table altered by
hand. So once all is applied, the statement of every object is recorded as the server prints it. Recorded and present
ones are compared as the server prints them now, for another release may do it differently.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from consumers.clickhouse.schema.feeds import SUFFIX
from consumers.clickhouse.schema.layout import Layout
from consumers.clickhouse.schema.migration import OBJECTS_TABLE, Migration, backfilled, created, dropped

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Statements = dict[str, str | None]  # by name

ACCESS_DENIED = 497
UNRECORDED = "nothing is recorded to compare its tables and views with"


class Drift(NamedTuple):
    """Objects that are not there, and objects that are not what they were; false when there are none. `unrecorded`:
    nothing says what they were. `hidden`: not this account's to see."""

    missing: list[str]
    differs: list[str]
    unrecorded: bool = False
    hidden: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.differs)

    @property
    def words(self) -> str:
        """Each by its name."""
        return ", ".join([f"{name} is missing" for name in self.missing] + [f"{name} differs" for name in self.differs])

    @property
    def advice(self) -> str:
        """What to do about it."""
        said = (
            f"what each was is recorded in {OBJECTS_TABLE}, and `andon migrate --dry-run --database NEW` prints every "
            "statement: put it back"
        )
        if any(name.partition(" ")[0].endswith(SUFFIX) for name in self.missing):
            said += f", then make the table of each missing …{SUFFIX} anew with `andon backfill`"
        if self.differs:
            said += (
                "; if what differs is meant, or another release of ClickHouse only prints it differently, "
                "`andon migrate --accept` takes it as it is"
            )
        return said


def made(layout: Layout, migrations: list[Migration]) -> set[str]:
    """The names of what stands after these migrations."""
    names: set[str | None] = set()
    for step in (step for migration in migrations for step in migration.steps if not backfilled(step)):
        for statement in layout.statements(step):
            names.discard(dropped(statement))
            names.add(created(statement))
    return {name for name in names if name is not None}


def present(layout: Layout) -> str:
    """The query for server (by its id: two may have one name), address, name and statement of every object; of
    system.one too, so that no server is overlooked."""
    source = f"clusterAllReplicas('{layout.cluster}', system.tables)" if layout.cluster else "system.tables"
    return (
        "SELECT serverUUID() AS server, concat(hostName(), ':', toString(tcpPort())) AS address, name, "
        "formatQuerySingleLineOrNull(create_table_query) AS statement "
        f"FROM {source} WHERE database = '{layout.database}' OR (database = 'system' AND name = 'one')"
    )


Row = tuple[object, str, str, str | None]  # of what `present` asks for


def compare(rows: Iterable[Row], names: set[str], was: Statements, *, on_cluster: bool) -> Drift:
    """What is there, server by server, with what there should be: these names, and these statements as far as known."""
    found: dict[tuple[str, str], Statements] = {}
    for server, address, name, statement in rows:
        found.setdefault((address, str(server)), {})[name] = statement
    drift = Drift([], [], unrecorded=not was)
    for (address, _), here in sorted(found.items()):
        at = f" on {address}" if on_cluster else ""
        drift.missing.extend(name + at for name in sorted(names - here.keys()))
        differs = (name for name in sorted(names & here.keys() & was.keys()) if here[name] != was[name])
        drift.differs.extend(name + at for name in differs)
    return drift


class Objects:
    """The tables and views of one database, and what is recorded of them."""

    def __init__(self, client: "Client", layout: Layout) -> None:
        self._client, self._layout = client, layout

    def drift(self, migrations: list[Migration]) -> Drift:
        """Against what was recorded after the last of these; what an earlier Andon made has no record: only what is
        missing can be known then."""
        rows: Sequence[Row] = self._client.query(present(self._layout)).result_rows
        was = self.recorded(migrations) if any(name == OBJECTS_TABLE for _, _, name, _ in rows) else {}
        drift = compare(rows, made(self._layout, migrations), was, on_cluster=bool(self._layout.cluster))
        hidden = tuple(name for name in drift.missing if not self._layout.cluster and self._is_hidden(name))
        return drift._replace(missing=[name for name in drift.missing if name not in hidden], hidden=hidden)

    def _is_hidden(self, name: str) -> bool:
        """Whether a feed that does not show is another's to see: a reader may not, and is told so, not that there is
        none."""
        if not name.endswith(SUFFIX):
            return False
        from clickhouse_connect.driver.exceptions import Error  # here: help does not wait for it

        try:
            self._client.command(f"SELECT 1 FROM {self._layout.name(name)} LIMIT 0")
        except Error as error:
            return getattr(error, "code", None) == ACCESS_DENIED
        return False

    def recorded(self, migrations: list[Migration]) -> Statements:
        """What was recorded after the last of these migrations."""
        sql = (
            f"SELECT name, formatQuerySingleLineOrNull(statement) FROM {self._layout.name(OBJECTS_TABLE)} FINAL "
            "WHERE migration = {last:UInt32}"
        )
        return dict(self._client.query(sql, parameters={"last": migrations[-1].number}).result_rows)

    def record(self, migrations: list[Migration]) -> None:
        """What they have made is as it should be now."""
        sql = (
            f"INSERT INTO {self._layout.name(OBJECTS_TABLE)} (migration, name, statement) "
            "SELECT {last:UInt32}, name, create_table_query FROM system.tables "
            "WHERE database = {db:String} AND name IN {names:Array(String)}"
        )
        names = sorted(made(self._layout, migrations))
        given = {"last": migrations[-1].number, "db": self._layout.database, "names": names}
        self._client.command(sql, parameters=given)
