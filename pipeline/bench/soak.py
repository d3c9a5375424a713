"""`andon bench soak`: a constant load on the whole line, and whether anything grows that should not.

Every few seconds: the memory of each process, the lag of each consumer group, the size of the detector's changelog.
What is printed of a process is the slope of its memory after the warm-up, by least squares.
"""

import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from pipeline.bench.brokers import broker_option, described
from pipeline.bench.latency import get
from pipeline.bench.soak_load import FLEET, PRODUCTS, SoakLoad
from pipeline.local.demo_archive import ask, wait_for_events
from pipeline.local.kafka_line import BrokerKind
from pipeline.local.snapshot import Snapshot
from pipeline.local.stack import LocalStack, StackInfo
from pipeline.local.status import Watcher
from pipeline.runtime.kafka import KafkaConfig

LOOK_SECONDS = 5.0
WARM_UP_SHARE = 1 / 3  # of the time: caches, arenas and ClickHouse's merges find their size
DRAIN_SECONDS = 120.0
TOP_VERDICTS = 1
GROWTH_LIMIT = 0.10  # memory may drift by this share of itself from warm-up to the end
LAG_LIMIT_SECONDS = 5.0  # of events, in the middle of the last third

TABLE_BYTES = """
SELECT table, sum(rows) AS rows, sum(bytes_on_disk) AS bytes, count() AS parts FROM system.parts
WHERE active AND database = 'andon' GROUP BY table ORDER BY table FORMAT JSONEachRow"""


class Soak(NamedTuple):
    """What is run."""

    minutes: float
    events_per_second: int
    hosts: int
    seed: int


class Look(NamedTuple):
    """One moment: seconds since the start, memory by process, lag by group."""

    at: float
    rss_bytes: dict[str, int]
    lag_messages: dict[str, int]


def look_of(seen: Snapshot, at: float) -> Look:
    """What a look keeps of a snapshot."""
    lag: dict[str, int] = {}
    for row in seen.groups:
        lag[row.group] = lag.get(row.group, 0) + row.lag_messages
    return Look(at, {row.name: row.rss_bytes for row in seen.stages if row.rss_bytes}, lag)


def watch(watcher: Watcher, load: SoakLoad, seconds: float) -> list[Look]:
    """Look until the time is over."""
    started = time.monotonic()
    looks: list[Look] = []
    while (at := time.monotonic() - started) < seconds:
        looks.append(look_of(watcher.look(), at))
        time.sleep(max(0.0, min(LOOK_SECONDS, seconds - (time.monotonic() - started))))
        if not load.is_alive():
            break
    return looks


def memory(looks: list[Look], name: str) -> dict[str, float]:
    """Of one process, after the warm-up: bytes at its beginning and end, and slope."""
    settled = [look for look in looks if look.at >= looks[-1].at * WARM_UP_SHARE and name in look.rss_bytes]
    if len(settled) < 2:
        return {"rss_bytes": 0, "slope_bytes_per_minute": 0, "growth": 0.0}
    at = np.array([look.at for look in settled])
    rss = np.array([look.rss_bytes[name] for look in settled], dtype=np.float64)
    slope = float(np.polyfit(at, rss, 1)[0])
    return {
        "rss_bytes": round(float(rss.mean())),
        "peak_rss_bytes": round(float(rss.max())),
        "slope_bytes_per_minute": round(slope * 60),
        "growth": round(slope * float(at[-1] - at[0]) / float(rss.mean()), 4),
    }


def measure(soak: Soak, kind: BrokerKind) -> dict[str, Any]:
    """One run of the whole line, in a temporary directory on disk."""
    with (
        tempfile.TemporaryDirectory(prefix="andon-soak-") as scratch,
        LocalStack(Path(scratch) / "line", fleet=FLEET, broker=kind) as line,
    ):
        watcher = Watcher(KafkaConfig(), line.data_dir, TOP_VERDICTS)
        load = SoakLoad(KafkaConfig(line.info.bootstrap_servers), soak.hosts, soak.events_per_second, soak.seed)
        started = time.monotonic()
        load.start()
        try:
            looks = watch(watcher, load, soak.minutes * 60)
        finally:
            sent = load.stop()
            seconds = time.monotonic() - started
            watcher.close()
        stored = wait_for_events(line.info, FLEET, sent, time.monotonic() + DRAIN_SECONDS)
        info = line.refresh()
        shown = get(info.correlate_url + "/state") or {}
        return figures(soak, kind, looks, info) | {
            "events": sent,
            "events_per_second": round(sent / seconds),
            "lost": max(0, sent - stored),
            "repeated": max(0, stored - sent),
            "changelog_bytes_per_second": round(shown.get("changelog_bytes_per_second", 0.0)),
            "tables": [json.loads(line) for line in ask(info, TABLE_BYTES).splitlines()],
        }


def figures(soak: Soak, kind: BrokerKind, looks: list[Look], info: StackInfo) -> dict[str, Any]:
    """What the looks say."""
    late = [look for look in looks if look.at >= looks[-1].at * (1 - WARM_UP_SHARE)]
    groups = sorted({group for look in looks for group in look.lag_messages})
    return {
        "seconds": round(looks[-1].at, 1),
        "stages": {name: memory(looks, name) | {"restarts": stage.restarts} for name, stage in info.stages.items()},
        "lag_messages": {
            group: {
                "median_at_the_end": round(float(np.median([look.lag_messages.get(group, 0) for look in late]))),
                "max": max(look.lag_messages.get(group, 0) for look in looks),
            }
            for group in groups
        },
        "on": {
            "python": platform.python_version(),
            "broker": described(kind),
            "cpus": os.cpu_count(),
            "products": PRODUCTS,
            **soak._asdict(),
        },
    }


def troubles(found: dict[str, Any]) -> list[str]:
    """What has grown, lagged or got lost."""
    said = [f"{name} grew by {of['growth']:.0%}" for name, of in found["stages"].items() if of["growth"] > GROWTH_LIMIT]
    said += [f"{name} was restarted" for name, of in found["stages"].items() if of["restarts"]]
    limit = LAG_LIMIT_SECONDS * found["on"]["events_per_second"]
    said += [
        f"{group} lags by {of['median_at_the_end']} messages"
        for group, of in found["lag_messages"].items()
        if of["median_at_the_end"] > limit
    ]
    return said + [f"{found[name]} events {name}" for name in ("lost", "repeated") if found[name]]


@click.command("soak")
@click.option("--minutes", type=click.FloatRange(min=0.2), default=20.0, show_default=True)
@click.option("--events-per-second", type=click.IntRange(min=1), default=20_000, show_default=True)
@click.option("--hosts", type=click.IntRange(min=1), default=400_000, show_default=True, help="at a time")
@click.option("--seed", default=1, show_default=True)
@broker_option
@click.option("--json", "as_json", is_flag=True, help="one JSON object on standard output")
def command(minutes: float, events_per_second: int, hosts: int, seed: int, broker: BrokerKind, as_json: bool) -> None:
    """A constant load on the whole line; fails when memory or lag grow, or an event is lost or stored twice."""
    found = measure(Soak(minutes, events_per_second, hosts, seed), broker)
    found["troubles"] = troubles(found)
    if as_json:
        click.echo(json.dumps(found))
    else:
        for name, value in found.items():
            click.echo(f"{name:28} {value}")
    if found["troubles"]:
        sys.exit(1)
