"""A backtest from its first line to its last: a bar while it runs, every halt when it is decided, then the summary."""

import gc
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from pipeline.backtest import usable
from pipeline.backtest.judging import Judging
from pipeline.backtest.lines import Advance
from pipeline.backtest.recorded import Ruled
from pipeline.backtest.report import row, show, show_not_judged, show_summary, summary_of, summary_row
from pipeline.backtest.usable import said
from pipeline.decide.orders import HaltOrder
from pipeline.runtime.console import stderr_console, stdout_console
from pipeline.runtime.say import say_json

ReadLines = Callable[[Advance], Iterable[list[bytes]]]  # batches of lines; it says how many bytes each took to read
T = TypeVar("T")
T_in = TypeVar("T_in", contravariant=True)


class Run(Protocol[T_in]):
    """What takes the input in."""

    judging: Judging

    def take(self, batch: T_in, /) -> Iterator[HaltOrder | Ruled]:
        """What follows from it, in its order."""

    def finish(self) -> Iterator[HaltOrder | Ruled]:
        """What follows from its end."""


_COLLECT_EVERY = 100_000  # events are not tracked by the collector, and hardly anything else is made


def follow(
    run: Run[T], read: Callable[[Advance], Iterable[T]], total_bytes: int | None, as_json: bool
) -> list[HaltOrder]:
    """Decide, and say what was decided when it is, and what was noted about the input; returns the orders.

    Raises:
        Unusable: when all is said, and too little of the input was events, or nothing could be judged.
    """
    judging, orders = run.judging, list[HaltOrder]()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY)
    out = stdout_console()
    started = time.perf_counter()
    with _progress(judging, total_bytes) as advance:
        for found in _decided(run, read(advance)):
            if isinstance(found, HaltOrder):
                orders.append(found)
            if as_json:
                say_json(row(found))
            else:
                show(out, found)
    summary = summary_of(judging, time.perf_counter() - started)
    not_judged = judging.not_judged()
    if as_json:
        say_json(summary_row(summary) | judging.notes.row() | _judged_row(judging))
    else:
        if not_judged or judging.notes.cut_off:
            show_not_judged(out, judging.judged_nothing, said(not_judged), judging.notes.cut_off)
        show_summary(out, summary, judging.judged_nothing)
        judging.notes.show(out)
    usable.check(judging.events, judging.notes.refused, judging.notes.beginning)
    usable.check_judged(judging.judged_nothing, not_judged)
    return orders


def _judged_row(judging: Judging) -> dict[str, Any]:
    """What of the summary of `--json` says how much was judged."""
    partly = judging.not_judged() or judging.notes.cut_off or judging.notes.refused
    judged = "nothing" if judging.judged_nothing else "part" if partly else "all"
    return {"judged": judged, "not_judged": judging.not_judged(), "cut_off": judging.notes.cut_off}


def _decided(run: Run[T], batches: Iterable[T]) -> Iterator[HaltOrder | Ruled]:
    for batch in batches:
        yield from run.take(batch)
    yield from run.finish()


@contextmanager
def _progress(judging: Judging, total_bytes: int | None) -> Iterator[Advance]:
    """A bar on standard error when that is a terminal; `total_bytes` None: nobody knows how much there is."""
    columns = (TextColumn("backtest"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[events]} events"))
    to_people = stderr_console()
    with Progress(*columns, TimeRemainingColumn(), console=to_people, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=total_bytes, events="0")
        yield lambda size: progress.update(task, advance=size, events=f"{judging.events:,}")
