"""`andon hosts-to-restore`: for the desktop team: who is down, where, and how fast they return."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from consumers.clickhouse import known
from consumers.clickhouse.ask.named import queries
from consumers.clickhouse.connect import ClickHouseConfig, connect
from consumers.rollout.params import Name, UpdateName
from pipeline.runtime.config import configured
from pipeline.runtime.errors import AndonError
from pipeline.runtime.logging import printable
from pipeline.runtime.say import say, say_json
from pipeline.wire.words import counted

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

HOSTS, CURVE = "hosts-to-restore", "recovery-curve"  # of docs/analysts.md
# `total` is the row of all of them.
_BY_PLACE = """
SELECT grouping(ring, site) = 3 AS is_total, ring, site, countIf(crashes > 0) AS crashed,
       countIf(state = 'back') AS back, countIf(state = 'down') AS down, countIf(state = 'silent') AS silent
FROM ({hosts})
GROUP BY GROUPING SETS ((ring, site), ())
ORDER BY is_total DESC, down + silent DESC, ring, site
"""
BAR_COLUMNS = 40
STEPS = 24  # of the curve, on a screen
PLACES = 30  # on a screen

Row = Mapping[str, Any]


@click.command("hosts-to-restore")
@click.argument("update", type=UpdateName())
@click.option("--fleet", required=True, type=Name(), help="Whose hosts.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with every host.")
@configured(("clickhouse", ClickHouseConfig), unused=("cluster",))
def command(update: tuple[str, str, str], fleet: str, as_json: bool, clickhouse: ClickHouseConfig) -> None:
    """Hosts that an update crashed or that fell silent with it: by ring and site, back or still down, and the curve of
    recovery. Each host by its name: --json, or `andon query hosts-to-restore --format csv`."""
    from clickhouse_connect.driver.exceptions import Error  # here: help does not wait for it

    given = {"fleet": fleet} | dict(zip(("vendor", "product", "version"), update, strict=True))
    named = {name: queries()[name].sql for name in (HOSTS, CURVE)}
    try:
        with connect(clickhouse, database=clickhouse.database) as client:
            known.check(client, given)
            total, *places = _rows(client, _BY_PLACE.format(hosts=named[HOSTS]), given)
            curve = _rows(client, named[CURVE], given)
            hosts = _rows(client, named[HOSTS], given) if as_json else []
    except (Error, OSError) as error:
        raise AndonError(f"ClickHouse at {clickhouse.url}: {printable(str(error).strip()[:400])}") from None
    facts = {name: total[name] for name in ("crashed", "back", "down", "silent")}
    by_place = [{name: value for name, value in row.items() if name != "is_total"} for row in places]
    if as_json:
        say_json({**given, **facts, "by_ring_and_site": by_place, "curve": curve, "hosts": hosts})
        return
    _show("/".join(update), fleet, facts, by_place, curve)


def _rows(client: "Client", sql: str, given: Mapping[str, str]) -> list[dict[str, Any]]:
    found = client.query(sql, parameters=dict(given), settings={"session_timezone": "UTC"})
    return [dict(zip(found.column_names, row, strict=True)) for row in found.result_rows]


def _show(update: str, fleet: str, facts: Row, places: list[dict[str, Any]], curve: list[dict[str, Any]]) -> None:
    crashed = counted(facts["crashed"], "host")
    say(f"{printable(update)} in {printable(fleet)}: {crashed} crashed, {facts['back']:,} of them back, "
        f"{facts['down']:,} still down; {facts['silent']:,} more fell silent, and nobody knows")  # fmt: skip
    if places:
        say(f"\n{'ring':16}  {'site':16}  {'crashed':>9}  {'back':>9}  {'down':>9}  {'silent':>9}")
    for row in places[:PLACES]:
        ring, site = printable(row["ring"])[:16], printable(row["site"] or "-")[:16]
        figures = "  ".join(f"{row[name]:>9,}" for name in ("crashed", "back", "down", "silent"))
        say(f"{ring:16}  {site:16}  {figures}")
    if len(places) > PLACES:
        say(f"and {len(places) - PLACES:,} places more: --json has all")
    if curve:
        say(f"\nhow they return (UTC){'':>10}  {'crashed':>9}  {'back':>9}  {'down':>9}")
    most = max((row["still_down"] for row in curve), default=0)
    for row in thinned(curve):
        bar = "█" * round(row["still_down"] / max(most, 1) * BAR_COLUMNS)
        figures = "  ".join(f"{row[name]:>9,}" for name in ("crashed_so_far", "back_so_far", "still_down"))
        say(f"{row['moment']:%Y-%m-%d %H:%M}{'':>15}  {figures}  {bar}")


def thinned(curve: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """So many of its steps as a screen has room for, its last among them."""
    every = -(-len(curve) // STEPS) or 1
    return curve[(len(curve) - 1) % every :: every]
