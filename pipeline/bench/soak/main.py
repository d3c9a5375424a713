"""`andon bench soak`: a constant load on the whole line, and whether anything grows that should not.

Every few seconds: the memory of each process, the lag of each consumer group, the size of each table, and what the
detector has written to its changelog. What is made of that is in judge.py.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import click

from pipeline.bench.brokers import broker_option, described, python
from pipeline.bench.soak.judge import Look, changelog, lag, memory, tables, troubles
from pipeline.bench.soak.load import FLEET, PRODUCTS, SoakLoad
from pipeline.bench.soak.looks import watch
from pipeline.local.kafka.kinds import BrokerKind
from pipeline.local.kafka.node import HEAP_MIB
from pipeline.local.query import ask
from pipeline.local.stack import LocalStack, StackInfo
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.waiting import Deadline
from pipeline.status.watcher import Watcher

DRAIN_SECONDS = 120.0
COUNT_SECONDS = 120.0  # for counting every id
POLL_SECONDS = 0.5
TOP_VERDICTS = 1
BESIDE_HEAP_MIB = 200  # of a JVM: classes, code, stacks, mapped indexes

# Rows as they lie there, not as FINAL or a view shows them: those never show a repeat. One that a merge has dropped by
# then does not show here either; `andon bench faults` stops merges for that.
ROWS = "SELECT count() FROM andon.events WHERE fleet = {fleet:String}"
IDS = "SELECT count(), uniqExact(id) FROM andon.events WHERE fleet = {fleet:String} FORMAT TSV"


class Soak(NamedTuple):
    """What is run."""

    minutes: float
    events_per_second: int
    hosts: int
    seed: int


def stored(info: StackInfo, sent: int) -> tuple[int, int]:
    """Rows and distinct ids, once there are as many ids as were sent, or at the deadline."""
    deadline = Deadline(DRAIN_SECONDS)
    while True:
        if int(ask(info, ROWS, fleet=FLEET)) >= sent or deadline.has_passed:
            rows, ids = map(int, ask(info, IDS, COUNT_SECONDS, fleet=FLEET).split())
            if ids >= sent or deadline.has_passed:
                return rows, ids
        time.sleep(POLL_SECONDS)


def measure(soak: Soak, kind: BrokerKind) -> dict[str, Any]:
    """One run of the whole line, in a temporary directory on disk."""
    with (
        tempfile.TemporaryDirectory(prefix="andon-soak-") as scratch,
        LocalStack(Path(scratch) / "line", fleet=FLEET, broker=kind) as line,
    ):
        watcher = Watcher(KafkaConfig(), line.data_dir, TOP_VERDICTS)
        load = SoakLoad(line.info.kafka, soak.hosts, soak.events_per_second, soak.seed)
        started = time.monotonic()
        load.start()
        try:
            looks = watch(watcher, line.info, load, soak.minutes * 60)
        finally:
            seconds = time.monotonic() - started
            sent = load.stop()
            watcher.close()
        if not looks:
            raise AndonError(f"the load never ran: {load.error}")
        rows, ids = stored(line.info, sent)
        return figures(soak, kind, looks, line.refresh()) | {
            "seconds": round(seconds, 1),
            "events": sent,
            "events_per_second": round(sent / seconds),
            "load_error": load.error,
            "lost": max(0, sent - ids),
            "repeated": rows - ids,
        }


def figures(soak: Soak, kind: BrokerKind, looks: list[Look], info: StackInfo) -> dict[str, Any]:
    """What the looks say."""
    groups = sorted({group for look in looks for group in look.lag_messages})
    stages = {name: memory(looks, name) | {"restarts": stage.restarts} for name, stage in info.stages.items()}
    if kind == "kafka":
        stages["broker"]["bound_bytes"] = (HEAP_MIB + BESIDE_HEAP_MIB) << 20
    return {
        "stages": stages,
        "lag_messages": {group: lag(looks, group) for group in groups},
        "tables": tables(looks),
        **changelog(looks),
        "on": {
            **python(),
            "broker": described(kind),
            "cpus": os.cpu_count(),
            "products": PRODUCTS,
            **soak._asdict(),
        },
    }


@click.command("soak")
@click.option("--minutes", type=click.FloatRange(min=0.2), default=20.0, show_default=True)
@click.option("--events-per-second", type=click.IntRange(min=1), default=20_000, show_default=True)
@click.option("--hosts", type=click.IntRange(min=1), default=400_000, show_default=True, help="at a time")
@click.option("--seed", default=1, show_default=True)
@broker_option
@click.option("--json", "as_json", is_flag=True, help="one JSON object on standard output")
def command(minutes: float, events_per_second: int, hosts: int, seed: int, broker: BrokerKind, as_json: bool) -> None:
    """A constant load on the whole line; fails when anything grows, an event is lost or stored twice, or the load was
    not what was asked for."""
    found = measure(Soak(minutes, events_per_second, hosts, seed), broker)
    found["troubles"] = troubles(found)
    if as_json:
        click.echo(json.dumps(found))
    else:
        for name, value in found.items():
            click.echo(f"{name:28} {value}")
    if found["troubles"]:
        sys.exit(1)
