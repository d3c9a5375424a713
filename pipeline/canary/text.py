"""A plan as lines of text."""

import textwrap
from collections.abc import Iterator, Sequence

from pipeline.bakeoff.limits import Figure
from pipeline.canary.advice import Advice, hours_text
from pipeline.canary.asked import BACKGROUND, Asked
from pipeline.canary.cells import Cell, Wish

HEAD = (
    "fault", "canary", "hosts", "go on after", "halted", "chance", "hours to a halt", "crashed by then", "most",
    "cleared", "",
)  # fmt: skip
WIDTH = 120  # of lines
LEFT = {0, 1, len(HEAD) - 1}


def head(asked: Asked, wish: Wish, seeds: int, first_seed: int) -> Iterator[str]:
    """What was simulated."""
    yield (
        f"{asked.hosts:,} hosts; of each a day: boots {asked.boots_per_day:g}, heartbeats "
        f"{asked.heartbeats_per_day:g}, ordinary crashes {asked.crashes_per_day:g}."
    )
    yield (
        f"Watched for {hours_text(asked.history_hours)} before; then the canary gets the update within "
        f"{hours_text(asked.install_minutes / 60)}, beside {BACKGROUND} harmless rollouts."
    )
    silent = f"; {asked.silent_share:.0%} of the hosts that it crashes never report again" if asked.silent_share else ""
    yield f"Crashes of the fault look like {'none before' if asked.signature else 'any'}{silent}."
    yield f"{seeds} runs of each, seeds from {first_seed}; limits at {wish.confidence:.0%}, in brackets."
    yield ""


def table(found: Sequence[Cell]) -> Iterator[str]:
    """A row a cell, aligned."""
    rows = [HEAD, *map(_row, found)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEAD))]
    for row in rows:
        sized = enumerate(zip(row, widths, strict=True))
        yield "  ".join(text.ljust(width) if at in LEFT else text.rjust(width) for at, (text, width) in sized).rstrip()


def advised(found: Sequence[Advice]) -> Iterator[str]:
    """A paragraph a fault."""
    for each in found:
        yield ""
        yield from textwrap.wrap(each.text, WIDTH)


def _row(cell: Cell) -> tuple[str, ...]:
    low, high = cell.chance.low or 0.0, cell.chance.high or 0.0
    return (
        cell.kind.harm.name, cell.kind.layout, f"{cell.kind.canary:,}", hours_text(cell.hours),
        f"{cell.halted}/{cell.runs}", f"({low:.0%} to {high:.0%})", _short(cell.hours_to_halt), _short(cell.crashed),
        f"{cell.crashed_most:,}", f"{cell.cleared}/{cell.runs}", cell.answer,
    )  # fmt: skip


def _short(figure: Figure) -> str:
    """A median with its limits."""
    if figure.value is None:
        return "–"
    low, high = ("?" if limit is None else f"{limit:.3g}" for limit in (figure.low, figure.high))
    return f"{figure.value:.3g} ({low} to {high})"
