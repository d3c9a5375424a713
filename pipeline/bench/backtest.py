"""`andon bench backtest`: a good hour of a million hosts, into the incident, from a file through `andon backtest`."""

import json
import os
import tempfile
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from pipeline.bench.brokers import python
from pipeline.local.machine.process import Process, andon
from pipeline.runtime.errors import AndonError
from pipeline.simulate import scenario as scenarios
from pipeline.simulate.run import Run
from pipeline.simulate.simulation import Simulation
from pipeline.simulate.sinks import FileSink

SCENARIO = "crowdstrike-2024-07-19"
BEFORE = timedelta(minutes=65)  # ordinary life before the incident: what the bulk of any file is
RUN_SECONDS = 600.0
SHARED_MEMORY = Path("/dev/shm")


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


def run_backtest(path: Path) -> tuple[dict[str, Any], float, int]:
    """One run in its own process: its summary, CPU seconds (start-up included) and peak RSS in bytes."""
    output = path.parent / "summary.json"
    with Process(andon("backtest", path, "--json"), path.parent / "backtest.log", output=output) as process:
        code = process.start().wait(RUN_SECONDS)
    if code:
        raise AndonError(f"andon backtest ended with {code}: {process.last_words()}")
    return json.loads(output.read_bytes().splitlines()[-1]), process.cpu_seconds(), process.peak_rss_bytes()


def measure(load: FileLoad) -> dict[str, Any]:
    """Write the file, which is not timed, and read it."""
    memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="andon-bench-", dir=memory) as scratch:
        path = Path(scratch) / f"events.ndjson{load.suffix}"
        sent = write(load, path)
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
            "scenario": SCENARIO,
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
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def command(hosts: int, minutes: int, seed: int, suffix: str, as_json: bool) -> None:
    """Events per second of `andon backtest`: 65 ordinary minutes of a fleet, then the incident."""
    figures = measure(FileLoad(hosts, minutes, seed, suffix))
    if as_json:
        click.echo(json.dumps(figures))
        return
    for name in ("events", "events_per_second", "events_per_cpu_second", "peak_rss_bytes", "lost", "halts"):
        click.echo(f"{name:24}{figures[name]:>16,}")
