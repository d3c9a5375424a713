"""Whether ClickHouse has ever heard of a fleet, an update or a host that somebody names.

A name that nobody knows is no fleet in which all is well: it is said to be unknown, with the names that are near.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from pipeline.runtime.errors import AndonError
from pipeline.runtime.logging import printable
from pipeline.runtime.wrong import did_you_mean

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SHOWN = 10
UPDATE = ("vendor", "product", "version")
# Where a fleet or an update leaves its name whatever becomes of the raw events.
_FLEETS = (
    "SELECT fleet FROM stratum_days UNION DISTINCT SELECT fleet FROM halts UNION DISTINCT SELECT fleet FROM verdicts"
)
_UPDATES = " UNION DISTINCT ".join(
    f"SELECT vendor, product, version FROM {table} WHERE fleet = {{fleet:String}}"
    for table in ("update_days", "halts", "verdicts")
)
_IN_FLEET = "({fleet:String} = '' OR fleet = {fleet:String})"
_HOST = f"SELECT count() FROM hosts WHERE {_IN_FLEET} AND host = {{host:String}}"
_NEAR_HOSTS = (
    f"SELECT DISTINCT host FROM hosts WHERE {_IN_FLEET} "
    "ORDER BY ngramDistanceCaseInsensitive(host, {host:String}), host LIMIT 20"
)


# Of free SQL, which may ask about several fleets: what any of them has.
_ANYWHERE = {
    "fleet": _FLEETS,
    "ring": "SELECT ring FROM stratum_days UNION DISTINCT SELECT ring FROM verdicts",
} | {
    part: " UNION DISTINCT ".join(f"SELECT {part} FROM {table}" for table in ("update_days", "halts", "verdicts"))
    for part in UPDATE
}


class UnknownName(AndonError):
    """Something is named that ClickHouse has never heard of."""


def check(client: "Client", named: Mapping[str, str]) -> None:
    """`named`: of "fleet", "vendor", "product", "version" and "host" those that a question names. Without a fleet a
    host is looked for in all of them, and no update is looked at.

    Raises:
        UnknownName: for the first that is unknown.
        clickhouse_connect.driver.exceptions.Error: when ClickHouse does not answer.
    """
    fleet = {"fleet": named.get("fleet", "")}
    if "fleet" in named:
        rows = client.query(f"SELECT DISTINCT fleet FROM ({_FLEETS})").result_rows
        _known("fleet", named["fleet"], (row[0] for row in rows))
    if {"fleet", *UPDATE} <= named.keys():
        _check_update(client.query(_UPDATES, parameters=fleet).result_rows, named)
    if "host" in named:
        given = fleet | {"host": named["host"]}
        if not client.query(_HOST, parameters=given).first_row[0]:
            near = [row[0] for row in client.query(_NEAR_HOSTS, parameters=given).result_rows]
            raise UnknownName(f"host {_shown(named['host'])} is unknown{printable(did_you_mean(named['host'], near))}")


def unheard(client: "Client", names: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Of pairs of a word of `check`, or "ring", and a name: what is to be said of those that ClickHouse has never heard
    of in any fleet. Raises as `check` does, but for UnknownName."""
    known: dict[str, list[str]] = {}
    for what, name in dict.fromkeys(each for each in names if each[1]):
        try:
            if what == "host":
                check(client, {"host": name})
                continue
            if what not in known:
                rows = client.query(f"SELECT DISTINCT * FROM ({_ANYWHERE[what]})").result_rows
                known[what] = [row[0] for row in rows if row[0]]
            _known(what, name, known[what])
        except UnknownName as error:
            yield str(error)


def _check_update(rows: Iterable[tuple[str, ...]], named: Mapping[str, str]) -> None:
    left = set(rows)
    said = f" of fleet {printable(named['fleet'])}"
    for place, part in enumerate(UPDATE):
        _known(part, named[part], (row[place] for row in left), said)
        left = {row for row in left if row[place] == named[part]}
        said = f" of {printable(named[part])}"


def _known(what: str, name: str, known: Iterable[str], of: str = "") -> None:
    names = sorted(set(known))
    if name in names:
        return
    there = ", ".join(map(printable, names[:SHOWN]))
    there += f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    has = f"ClickHouse has {there}" if names else "ClickHouse has none yet"
    near = printable(did_you_mean(name, names))
    raise UnknownName(f"{what} {_shown(name)}{of} is unknown: {has}{near}")


def _shown(name: str) -> str:
    return f"'{printable(name)}'"
