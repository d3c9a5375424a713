"""`andon size`: what a deployment for so many endpoints has to have."""

from collections.abc import Sequence
from typing import Any

import click

from pipeline.runtime.say import say, say_json
from pipeline.size.model import MEASURED, MOST_STRATA, PARTIALS, PARTIALS_COMMAND, Load, Plan, Prices, Stage, plan

MB, GB, TB = 1e6, 1e9, 1e12
ASSUMED = (
    "Kafka's own cores and memory, and ClickHouse's memory, are in none of this: nobody has measured them here.",
    "Sizes are of reports of 380 bytes that list one to three updates; of longer ones Kafka holds more.",
    "ClickHouse is one copy of its default retention: raw events and minutes 90 days, the rest taken for a year.",
)
_count = click.IntRange(min=1)
_share = click.FloatRange(min=0, min_open=True)


def _defaults(name: str) -> dict[str, Any]:
    return {"default": Load._field_defaults[name], "show_default": True}


@click.command("size")
@click.option(
    "--endpoints",
    type=_count,
    required=True,
    multiple=True,
    help="Hosts that report. Several times: side by side, in Markdown.",
)
@click.option("--fleets", type=_count, **_defaults("fleets"), help="Tenants that share them evenly.")
@click.option(
    "--reports-per-day", type=_share, **_defaults("reports_per_day"), help="Of an endpoint; one an hour counts."
)
@click.option("--peak", type=click.FloatRange(min=1), **_defaults("peak"), help="Rate at its highest, times the mean.")
@click.option("--crashes-per-day", type=click.FloatRange(min=0), **_defaults("crashes_per_day"), help="Of an endpoint.")
@click.option("--updates", type=_count, **_defaults("updates"), help="Live versions of a fleet.")
@click.option("--strata", type=_count, **_defaults("strata"), help=f"Of a fleet; at most {MOST_STRATA} are kept apart.")
@click.option(
    "--busy", type=click.FloatRange(0, 1, min_open=True), **_defaults("busy"), help="Of a core at the peak, at most."
)
@click.option("--replication", type=_count, **_defaults("replication"), help="Copies in Kafka.")
@click.option("--no-gateways", is_flag=True, help="Events come straight into Kafka, not over HTTP.")
@click.option("--price-core", type=click.FloatRange(min=0), help="Of a core for a month. With the other two: a cost.")
@click.option("--price-memory", type=click.FloatRange(min=0), help="Of a GiB of memory for a month.")
@click.option("--price-disk", type=click.FloatRange(min=0), help="Of a GiB on disk for a month.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: load, plan, cost, and every measured figure.")
def command(
    endpoints: tuple[int, ...],
    no_gateways: bool,
    price_core: float | None,
    price_memory: float | None,
    price_disk: float | None,
    as_json: bool,
    **assumed: Any,
) -> None:
    """What so many endpoints need: partitions, processes, cores, memory, disk; from figures that were measured."""
    prices = _prices(price_core, price_memory, price_disk)
    loads = [Load(each, gateways=not no_gateways, **assumed) for each in endpoints]
    if as_json:
        plans = [_object(load, plan(load), prices) for load in loads]
        say_json({"plans": plans, "measured": _measured(), "assumed": ASSUMED})
        return
    lines = shown(loads[0], plan(loads[0]), prices) if len(loads) == 1 else table(loads, prices)
    for line in lines:
        say(line)


def _prices(*given: float | None) -> Prices | None:
    known = [price for price in given if price is not None]
    if known and len(known) < len(given):
        raise click.UsageError("a cost takes all of --price-core, --price-memory and --price-disk")
    return Prices(*known) if known else None


def _measured() -> dict[str, object]:
    """Every figure with its command."""
    partials = {"command": PARTIALS_COMMAND, "figures": [row._asdict() for row in PARTIALS]}
    return {**{name: figure._asdict() for name, figure in MEASURED.items()}, "partials": partials}


def _object(load: Load, needed: Plan, prices: Prices | None) -> dict[str, object]:
    whole = {"cores": needed.cores, "memory_bytes": needed.memory_bytes, "disk_bytes": needed.disk_bytes}
    stages = {name: stage._asdict() for name, stage in needed.stages.items()}
    return {
        "load": load._asdict(),
        "plan": {**needed._asdict(), **whole, "stages": stages},
        "cost_per_month": None if prices is None else needed.cost(prices),
    }


def shown(load: Load, needed: Plan, prices: Prices | None) -> list[str]:
    """For people."""
    lines = [
        f"{load.endpoints:,} endpoints in {load.fleets:,} fleets, {load.reports_per_day:g} reports a day each:",
        f"  events           {needed.events_per_second:,.1f}/s, {needed.peak_events_per_second:,.1f}/s at the peak",
        f"  events a day     {needed.events_per_day:,}: {_size(needed.kafka_bytes_per_day)} in Kafka, "
        f"{_size(needed.clickhouse_bytes_per_day)} in ClickHouse",
        f"  partials         {needed.partials_per_second:,.1f}/s at the peak, "
        f"{_size(needed.partial_bytes_per_second)}/s",
        f"  partitions       fleet.events: {needed.events_partitions}, fleet.partials: {needed.partials_partitions}",
        f"  admission        combine.admission_entries = {needed.admission_entries}",
    ]
    lines += [f"  {name:15}  {_stage(stage)}" for name, stage in needed.stages.items()]
    lines += [
        f"  clickhouse       {needed.clickhouse_cores:.2f} cores, {_size(needed.clickhouse_disk_bytes)} on disk",
        f"  kafka            {_size(needed.kafka_disk_bytes)} on disk, {load.replication} copies",
        f"  in all           {needed.cores:.1f} cores, {_size(needed.memory_bytes)} of memory, "
        f"{_size(needed.disk_bytes)} on disk",
    ]
    if prices is not None:
        lines.append(f"  a month          {needed.cost(prices):,.2f}, at the prices given")
    lines += [f"  limit: {limit}" for limit in needed.limits]
    return [*lines, *ASSUMED]


def table(loads: Sequence[Load], prices: Prices | None) -> list[str]:
    """Deployments side by side."""
    plans = [plan(load) for load in loads]
    rows: dict[str, list[str]] = {
        "events a second, at the peak": [
            f"{each.events_per_second:,.0f}, {each.peak_events_per_second:,.0f}" for each in plans
        ],
        "a day in Kafka, one copy": [_size(each.kafka_bytes_per_day) for each in plans],
        "a day in ClickHouse": [_size(each.clickhouse_bytes_per_day) for each in plans],
        "partitions of `fleet.events`": [str(each.events_partitions) for each in plans],
        "partials a second, at the peak": [
            f"{each.partials_per_second:,.0f}, {_size(each.partial_bytes_per_second)}" for each in plans
        ],
        **{f"`{name}`": [_stage(each.stages[name]) for each in plans] for name in plans[0].stages},
        "ClickHouse, on disk": [
            f"{each.clickhouse_cores:.2f} cores, {_size(each.clickhouse_disk_bytes)}" for each in plans
        ],
        "Kafka, all copies": [_size(each.kafka_disk_bytes) for each in plans],
        "in all": [
            f"{each.cores:.1f} cores, {_size(each.memory_bytes)}, {_size(each.disk_bytes)} on disk" for each in plans
        ],
    }
    if prices is not None:
        rows["a month, at the prices given"] = [f"{each.cost(prices):,.2f}" for each in plans]
    rows["limits met"] = ["; ".join(each.limits) or "none" for each in plans]
    head = "| endpoints | " + " | ".join(f"{load.endpoints:,}" for load in loads) + " |"
    return [
        head,
        "|---" * (1 + len(loads)) + "|",
        *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()),
    ]


def _stage(stage: Stage) -> str:
    return f"{stage.processes} × {stage.cores:.2f} cores, {_size(stage.memory_bytes)}"


def _size(number: float) -> str:
    for unit, factor in (("TB", TB), ("GB", GB), ("MB", MB)):
        if number >= factor:
            return f"{number / factor:,.1f} {unit}"
    return f"{number / 1e3:,.1f} kB"
