"""A backtest from its first line to its last: a bar while it runs, every halt when it is decided, then the summary."""

import gc
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from pipeline.backtest import usable
from pipeline.backtest.lines import Advance
from pipeline.backtest.noted import InputNotes
from pipeline.backtest.report import halt_row, show_halt, show_summary, summary_of, summary_row
from pipeline.backtest.run import Backtest
from pipeline.decide.orders import HaltOrder
from pipeline.decide.policy import PolicySet
from pipeline.runtime.console import stderr_console, stdout_console
from pipeline.runtime.say import say_json

ReadLines = Callable[[Advance], Iterable[list[bytes]]]  # batches of lines; it says how many bytes each took to read
_COLLECT_EVERY = 100_000  # events are not tracked by the collector, and hardly anything else is made


def follow(
    policies: PolicySet, read: ReadLines, total_bytes: int | None, as_json: bool, notes: InputNotes | None = None
) -> list[HaltOrder]:
    """Decide, and say what was decided when it is, and what was noted about the input; returns the orders.

    Raises:
        Unusable: when all is said, and too little of the input was events.
    """
    backtest = Backtest(policies, notes)
    orders = []
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY)
    out = stdout_console()
    started = time.perf_counter()
    with _progress(backtest, total_bytes) as advance:
        for halt in _halts(backtest, read(advance)):
            orders.append(halt)
            if as_json:
                say_json(halt_row(halt))
            else:
                show_halt(out, halt)
    summary = summary_of(backtest, time.perf_counter() - started)
    if as_json:
        say_json(summary_row(summary) | backtest.notes.row())
    else:
        show_summary(out, summary)
        backtest.notes.show(out)
    usable.check(backtest.events, backtest.refused)
    return orders


def _halts(backtest: Backtest, batches: Iterable[list[bytes]]) -> Iterator[HaltOrder]:
    for batch in batches:
        yield from backtest.take(batch)
    yield from backtest.finish()


@contextmanager
def _progress(backtest: Backtest, total_bytes: int | None) -> Iterator[Advance]:
    """A bar on standard error when that is a terminal; `total_bytes` None: nobody knows how much there is."""
    columns = (TextColumn("backtest"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[events]} events"))
    to_people = stderr_console()
    with Progress(*columns, TimeRemainingColumn(), console=to_people, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=total_bytes, events="0")
        yield lambda size: progress.update(task, advance=size, events=f"{backtest.events:,}")
