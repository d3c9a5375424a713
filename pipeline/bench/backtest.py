"""`andon bench backtest`: recorded events from a file through `andon backtest`.

Three cases: a good hour of a million hosts, into the incident; hosts that list 16 updates, half a percent of whose
events are crashes; and a month of a fleet of 5,000 of them.
"""

import json
import os
import tempfile
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
import zstandard

from pipeline.bench.backtest_load import FleetLoad, lines
from pipeline.bench.brokers import python
from pipeline.local.machine.process import Process, andon
from pipeline.runtime.errors import AndonError
from pipeline.simulate import scenario as scenarios
from pipeline.simulate.run import Run
from pipeline.simulate.simulation import Simulation
from pipeline.simulate.sinks import FileSink

SCENARIO = "crowdstrike-2024-07-19"
BEFORE = timedelta(minutes=65)  # ordinary life before the incident: what the bulk of any file is
RUN_SECONDS = 1800.0
SHARED_MEMORY = Path("/dev/shm")


CASES = {
    "listed": FleetLoad(hosts=100_000, hours=6, beat_minutes=60, updates=16, crash_share=0.005, seed=1),
    "month": FleetLoad(hosts=5_000, hours=720, beat_minutes=60, updates=16, crash_share=0.005, seed=1),
}


class FileLoad(NamedTuple):
    """What is read: so much of the scenario, in this form."""

    hosts: int
    minutes: int
    seed: int
    suffix: str


def write(load: FileLoad, path: Path) -> int:
    """Write the load's events; how many there are."""
    whole = scenarios.load(SCENARIO, load.hosts)
    starts = datetime.fromtimestamp(whole.incident_at.timestamp(), UTC) - BEFORE
    ends = starts + timedelta(minutes=load.minutes)
    part = msgspec.structs.replace(whole, starts=starts, ends=ends, account_at=ends)
    with FileSink(path) as sink:
        run = Run(Simulation(part, load.seed), sink)
        run.until(run.simulation.end_ms)
        run.settle()
    return run.sent


def write_fleet(load: FleetLoad, path: Path) -> int:
    """The same of a fleet as fleets look, zstd."""
    sent = 0
    with path.open("wb") as file, zstandard.ZstdCompressor(1).stream_writer(file) as writer:
        for line in lines(load):
            writer.write(line)
            sent += 1
    return sent


def run_backtest(path: Path) -> tuple[dict[str, Any], float, int]:
    """One run in its own process: its summary, CPU seconds (start-up included) and peak RSS in bytes."""
    output = path.parent / "summary.json"
    with Process(andon("backtest", path, "--json"), path.parent / "backtest.log", output=output) as process:
        code = process.start().wait(RUN_SECONDS)
    if code:
        raise AndonError(f"andon backtest ended with {code}: {process.last_words()}")
    return json.loads(output.read_bytes().splitlines()[-1]), process.cpu_seconds(), process.peak_rss_bytes()


def measure(load: FileLoad | FleetLoad) -> dict[str, Any]:
    """Write the file, which is not timed, and read it."""
    memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="andon-bench-", dir=memory) as scratch:
        path = Path(scratch) / f"events.ndjson{load.suffix if isinstance(load, FileLoad) else '.zst'}"
        sent = write(load, path) if isinstance(load, FileLoad) else write_fleet(load, path)
        size = path.stat().st_size
        summary, cpu_seconds, peak_rss_bytes = run_backtest(path)
    return {
        "events": summary["events"],
        "events_per_second": round(summary["events"] / summary["seconds"]),
        "events_per_cpu_second": round(summary["events"] / cpu_seconds),
        "peak_rss_bytes": peak_rss_bytes,
        "lost": sent - summary["events"],
        "bytes_per_event": round(size / sent, 1),
        "halts": summary["halts"],
        "seconds": summary["seconds"],
        "cpu_seconds": round(cpu_seconds, 3),
        "on": {
            **python(),
            "msgspec": version("msgspec"),
            "numpy": version("numpy"),
            "cpus": os.cpu_count(),
            "scenario": SCENARIO if isinstance(load, FileLoad) else "plant",
            **load._asdict(),
        },
    }


@click.command("backtest")
@click.option(
    "--hosts", type=click.IntRange(min=1_000), default=1_000_000, show_default=True, help="Size of the fleet."
)
@click.option("--minutes", type=click.IntRange(min=1), default=75, show_default=True, help="Of event time.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--suffix", type=click.Choice(["", ".gz", ".zst"]), default=".zst", show_default=True)
@click.option(
    "--case",
    type=click.Choice(["incident", *CASES]),
    default="incident",
    show_default=True,
    help="What is read; the options above are of the incident.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def command(hosts: int, minutes: int, seed: int, suffix: str, case: str, as_json: bool) -> None:
    """Events per second of `andon backtest`: 65 ordinary minutes of a fleet, then the incident; or a fleet that lists
    many updates and crashes every day, for six hours or a month."""
    figures = measure(CASES[case] if case in CASES else FileLoad(hosts, minutes, seed, suffix))
    if as_json:
        click.echo(json.dumps(figures))
        return
    for name in ("events", "events_per_second", "events_per_cpu_second", "peak_rss_bytes", "lost", "halts"):
        click.echo(f"{name:24}{figures[name]:>16,}")
