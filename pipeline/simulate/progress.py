"""A replay under way, with a word on how far it has come."""

import time
from datetime import UTC, datetime

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from pipeline.runtime.console import stderr_console
from pipeline.runtime.lifecycle import StopSignal
from pipeline.runtime.say import say
from pipeline.simulate.run import Run
from pipeline.simulate.scenario import unix_ms

PIPE_SECONDS = 10.0  # between two lines of progress where there is no terminal for a bar


def play(run: Run, speed: float, stop: StopSignal) -> None:
    """At this speed, until its end or the stop."""
    simulation = run.simulation
    fields = TextColumn("{task.fields[date]}"), TextColumn("{task.fields[sent]}")
    columns = (TextColumn("{task.description}"), BarColumn(20), TaskProgressColumn(), *fields)
    told = time.monotonic()
    shift = simulation.end_ms - unix_ms(simulation.scenario.ends)
    with Progress(*columns, TimeRemainingColumn(), console=stderr_console()) as progress:
        total = simulation.end_ms - simulation.now_ms
        task = progress.add_task(simulation.scenario.name, total=total, sent="", date="")

        def on_slice() -> bool:
            done = total - (simulation.end_ms - simulation.now_ms)
            date = datetime.fromtimestamp((simulation.now_ms - shift) / 1000, UTC)
            progress.update(task, completed=done, sent=f"{run.sent:,} events", date=f"{date:%Y-%m-%d %H:%M} UTC")
            nonlocal told
            if not progress.console.is_terminal and time.monotonic() - told >= PIPE_SECONDS:
                told = time.monotonic()
                say(f"{date:%Y-%m-%d %H:%M} UTC, {100 * done // max(1, total)} %, {run.sent:,} events", err=True)
            return stop.is_set()

        run.until(simulation.end_ms, speed, on_slice)
