"""`andon bench scale`: fleets of ten thousand to a hundred million hosts through the real fold into the real
correlator, and what of it grows with them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import chain
from typing import IO, Any

import click
import zstandard

from pipeline.bench.brokers import python
from pipeline.bench.scale.fleet import START_MS, FleetSize, ScaleFleet
from pipeline.bench.scale.taking import PHASES, Frame, put
from pipeline.combine.emit import partials_of
from pipeline.combine.event_batch import EventBatch
from pipeline.combine.memory import Memory
from pipeline.runtime.errors import AndonError
from pipeline.wire.events import AnyEvent
from pipeline.wire.partials import encode_partial
from pipeline.wire.spans import HOUR_MS

SIZES = (10_000, 1_000_000, 100_000_000)
BATCH_MS = 50  # `combine.batch_ms`: what a combiner that keeps up waits for
WARM_MS, WARM_STEP_MS, WARM_REPORTS = 4 * HOUR_MS, 10_000, 300
WARM, STEADY, INCIDENT = range(len(PHASES))
END_SECONDS = 600.0
Reports = Iterable[tuple[int, AnyEvent]]


class Combiners:
    """Real folds, with real memories; hosts go to them by number, where Kafka takes a hash. What they write goes to
    `out`, where it is told by its phase."""

    def __init__(self, count: int, out: IO[bytes]) -> None:
        self._memories = [Memory() for _ in range(count)]
        self._out = out
        self._zstd = zstandard.ZstdCompressor(3)
        self.events = [0] * len(PHASES)
        self.partials = [0] * len(PHASES)
        self.bytes = [0] * len(PHASES)
        self.zstd_bytes = [0] * len(PHASES)
        self.largest = [0] * len(PHASES)
        self.fold_seconds = [0.0] * len(PHASES)

    def fold(self, phase: int, at_ms: int, reports: Reports) -> None:
        """A micro-batch of each."""
        shares: list[list[AnyEvent]] = [[] for _ in self._memories]
        for host, event in reports:
            shares[host % len(shares)].append(event)
        for slot, events in enumerate(shares):
            if events:
                self._one(phase, at_ms, slot, events)

    def _one(self, phase: int, at_ms: int, slot: int, events: list[AnyEvent]) -> None:
        began, memory = time.process_time(), self._memories[slot]
        batch = EventBatch(memory)
        batch.add(events, lambda index: (slot, index))
        fold = batch.fold()
        raws = [encode_partial(partial) for partial in partials_of(fold, str(slot), at_ms)]
        memory.commit(fold)
        self.fold_seconds[phase] += time.process_time() - began
        self.events[phase] += len(events)
        for raw in raws:
            self.partials[phase] += 1
            self.bytes[phase] += len(raw)
            self.zstd_bytes[phase] += len(self._zstd.compress(raw))
            self.largest[phase] = max(self.largest[phase], len(raw))
            put(self._out, Frame(phase, at_ms, raw))


def play(fleet: ScaleFleet, combiners: Combiners, seconds: float) -> None:
    """Four hours of which every ten seconds a few hundred hosts are heard, so that the detector has a past; then the
    fleet at its real rate; then as long again, while what has the guilty update crashes."""
    in_all = fleet.size.events_per_second * WARM_STEP_MS / 1000
    heard = min(1.0, WARM_REPORTS / in_all)
    for at_ms in range(START_MS - WARM_MS, START_MS, WARM_STEP_MS):
        crashes = fleet.crashes(at_ms, WARM_STEP_MS / 1000 * heard)
        combiners.fold(WARM, at_ms, chain(fleet.reports(at_ms, round(in_all * heard)), crashes))
    due = 0.0
    for at_ms, phase in _ticks(seconds):
        due += fleet.size.events_per_second * BATCH_MS / 1000
        count, due = int(due), due - int(due)
        crashes = fleet.crashes(at_ms, BATCH_MS / 1000)
        struck = fleet.struck(at_ms, count) if phase == INCIDENT else ()
        combiners.fold(phase, at_ms, chain(fleet.reports(at_ms, count), crashes, struck))


def _ticks(seconds: float) -> Iterator[tuple[int, int]]:
    ticks = round(seconds * 1000 / BATCH_MS)
    for tick in range(2 * ticks):
        yield START_MS + tick * BATCH_MS, STEADY if tick < ticks else INCIDENT


def measure(size: FleetSize, combiners: int, seconds: float) -> dict[str, Any]:
    """One fleet; the correlator's part runs in a process of its own."""
    argv = [sys.executable, "-m", "pipeline.bench.scale.taking"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as taking:
        assert taking.stdin is not None
        made = Combiners(combiners, taking.stdin)
        play(ScaleFleet(size), made, seconds)
        output, _ = taking.communicate(timeout=END_SECONDS)
    if taking.returncode:
        raise AndonError(f"the correlator's part ended with {taking.returncode}")
    taken = json.loads(output)
    if taken["events"] != sum(made.events):
        raise AndonError(f"{sum(made.events)} events were folded, {taken['events']} counted")
    return _figures(size, made, taken, seconds)


def _figures(size: FleetSize, made: Combiners, taken: dict[str, Any], seconds: float) -> dict[str, Any]:
    phases = {}
    for phase in (STEADY, INCIDENT):
        name, partials = PHASES[phase], made.partials[phase]
        phases[name] = {
            "events_per_second": round(made.events[phase] / seconds, 1),
            "partials_per_second": round(partials / seconds, 1),
            "bytes_per_second": round(made.bytes[phase] / seconds),
            "zstd_bytes_per_second": round(made.zstd_bytes[phase] / seconds),
            "bytes_per_partial": round(made.bytes[phase] / partials) if partials else 0,
            "largest_partial_bytes": made.largest[phase],
            "fold_events_per_cpu_second": round(made.events[phase] / made.fold_seconds[phase]) if partials else 0,
            **taken[name],
            "correlator_cores": round(taken[name].get("cpu_seconds", 0) / seconds, 4),
        }
    kept = (
        "seconds_to_halt", "crashed_hosts_at_halt", "state_bytes", "checkpoint_bytes", "checkpoint_seconds",
        "peak_rss_bytes",
    )  # fmt: skip
    return {"hosts": size.hosts, **phases, **{name: taken[name] for name in kept}}


@click.command("scale")
@click.option("--hosts", multiple=True, type=click.IntRange(min=1_000), default=SIZES, show_default=True)
@click.option("--combiners", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--updates", type=click.IntRange(min=2), default=40, show_default=True, help="Live versions.")
@click.option(
    "--report-minutes", type=click.FloatRange(min=1), default=60.0, show_default=True, help="Between a host's reports."
)
@click.option("--seconds", type=click.FloatRange(min=1), default=10.0, show_default=True, help="Of each phase.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    hosts: tuple[int, ...],
    combiners: int,
    updates: int,
    report_minutes: float,
    seconds: float,
    seed: int,
    as_json: bool,
) -> None:
    """What of a fleet reaches the correlator, by its size: partials a second, their bytes, CPU time of a step, memory;
    in ordinary life, and while an update crashes all that have it."""
    rows = [measure(FleetSize(each, report_minutes, updates, seed), combiners, seconds) for each in hosts]
    result = {
        "fleets": rows,
        "on": {
            **python(),
            "msgspec": version("msgspec"),
            "numpy": version("numpy"),
            "cpus": os.cpu_count(),
            "combiners": combiners,
            "updates": updates,
            "report_minutes": report_minutes,
            "seconds": seconds,
            "seed": seed,
        },
    }
    if as_json:
        click.echo(json.dumps(result))
        return
    for row in rows:
        _print(row)


def _print(row: dict[str, Any]) -> None:
    click.echo(
        f"{row['hosts']:,} hosts: a state of {row['state_bytes']:,} B, {row['peak_rss_bytes'] / 1e6:.0f} MB in all"
    )
    for name in ("steady", "incident"):
        phase = row[name]
        click.echo(
            f"  {name:9}{phase['events_per_second']:>11,.0f} events/s {phase['partials_per_second']:>6,.0f} partials/s"
            f" {phase['bytes_per_second'] / 1e3:>8,.0f} kB/s, {phase['correlator_cores']:.3f} of a core"
        )
    if row["seconds_to_halt"] is not None:
        click.echo(f"  halted {row['seconds_to_halt']:.1f} s into it, {row['crashed_hosts_at_halt']} crashed hosts")
