"""What follows from a plan's cells, in sentences. Pure."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipeline.canary.asked import Harm
from pipeline.canary.cells import Cell, Kind, Wish
from pipeline.wire.words import counted

PLACES = {"spread": "spread over the fleet's rings", "ring": "that is a ring of its own"}


class Advice(NamedTuple):
    """What to do about a fault: the smallest canary that is enough by these runs, and the shortest time for it; None
    where none is."""

    harm: Harm
    best: Cell | None
    text: str

    def row(self) -> dict[str, object]:
        """For JSON."""
        best = self.best
        return {
            "fault": self.harm.row(),
            "layout": best and best.kind.layout,
            "canary": best and best.kind.canary,
            "hours": best and best.hours,
            "text": self.text,
        }


def advice(cells: Sequence[Cell], wish: Wish, least_hosts: int) -> Advice:
    """Of the cells of one fault. `least_hosts`: crashed hosts without which the policy halts nothing."""
    harm = cells[0].kind.harm
    if not harm.is_harmful:
        return Advice(harm, None, _harmless(cells))
    enough = [cell for cell in cells if cell.answer in ("enough", "likely")]
    if not enough:
        return Advice(harm, None, " ".join([*_none(cells, wish, least_hosts), *_alone(cells)]))
    best = min(enough, key=lambda cell: (cell.kind.canary, cell.hours))
    return Advice(harm, best, " ".join([*_best(best, wish), *_beside(cells, enough, best), *_alone(cells)]))


def _best(best: Cell, wish: Wish) -> Iterator[str]:
    yield (
        f"Against {best.kind.harm.name}: {_canary(best.kind)} and {hours_text(best.hours)} of waiting. "
        f"{_halted(best)}, in the median {hours_text(best.hours_to_halt.value)} after the rollout began; by then "
        f"{counted(round(best.crashed.value or 0), 'host')} had crashed in the median, {best.crashed_most:,} at most."
    )
    if best.answer == "likely":
        more = more_seeds(best.runs, wish)
        yield f"So few runs do not show beyond doubt that it is {wish.chance:.0%} or more: --seeds {more} may."


def _beside(cells: Sequence[Cell], enough: Sequence[Cell], best: Cell) -> Iterator[str]:
    """A larger canary is quicker; a smaller one cannot."""
    quick = min(enough, key=lambda cell: (cell.hours, cell.kind.canary))
    if quick.hours < best.hours:
        yield f"{hours_text(quick.hours)} would do with {_canary(quick.kind)}."
    longest = max(cell.hours for cell in cells)
    small = {
        cell.kind.canary: cell.answer == "too little"
        for cell in cells
        if cell.hours == longest and cell.kind.layout == best.kind.layout and cell.kind.canary < best.kind.canary
    }
    if too_small := [f"{size:,}" for size, is_so in small.items() if is_so]:
        yield f"No canary of {' or '.join(too_small)} can show it within {hours_text(longest)}."


def _none(cells: Sequence[Cell], wish: Wish, least_hosts: int) -> Iterator[str]:
    best = max(cells, key=lambda cell: (cell.halted, cell.kind.canary, -cell.hours))
    last = max(cells, key=lambda cell: (cell.hours, cell.kind.canary))
    name, found = best.kind.harm.name, f"{_canary(best.kind)} and {hours_text(best.hours)}: {_halted(best)}."
    if all(cell.answer == "too little" for cell in cells):
        yield (
            f"Against {name}: no canary of up to {counted(last.kind.canary, 'host')} can show it within "
            f"{hours_text(last.hours)} with a chance of {wish.chance:.0%}. The best was {found}"
        )
    else:
        more = more_seeds(best.runs, wish)
        yield f"Against {name}: none of these is enough by these runs, but some may be (--seeds {more} tells). {found}"
    crashed = round(last.crashed.value or 0)
    if crashed < 2 * least_hosts:
        yield (
            f"It crashes {counted(crashed, 'host')} of {last.kind.canary:,} in that time, in the median, and the "
            f"policy halts for {least_hosts} at least."
        )


def _alone(cells: Sequence[Cell]) -> Iterator[str]:
    """A ring of its own has nobody to compare with, where the same hosts within a ring would have."""
    halted = {(cell.kind.layout, cell.kind.canary): cell.halted for cell in cells}  # the longest time is the last
    worse = [
        size for layout, size in halted if layout == "ring" and halted.get(("spread", size), 0) > halted[layout, size]
    ]
    if worse:
        runs = cells[0].runs
        yield (
            f"A ring of its own of {worse[-1]:,} is halted in {halted['ring', worse[-1]]} of {runs}: nobody in it is "
            f"left to compare with; spread, in {halted['spread', worse[-1]]} of {runs}."
        )


def _harmless(cells: Sequence[Cell]) -> str:
    halted = sum({cell.kind: cell.halted for cell in cells}.values())
    runs = sum({cell.kind: cell.runs for cell in cells}.values())
    cleared = [cell for cell in cells if 2 * cell.cleared >= cell.runs]
    first = min(cleared, key=lambda cell: (cell.kind.canary, cell.hours), default=None)
    last = max(cells, key=lambda cell: (cell.cleared, cell.kind.canary, cell.hours))
    chosen = first or last
    return (
        f"A harmless update was halted in {halted} of {counted(runs, 'run')}. The gate had said yes in "
        f"{chosen.cleared} of {chosen.runs} with {_canary(chosen.kind)} within {hours_text(chosen.hours)}."
    )


def _canary(kind: Kind) -> str:
    return f"a canary of {counted(kind.canary, 'host')} {PLACES[kind.layout]}"


def _halted(cell: Cell) -> str:
    low, high = cell.chance.low or 0.0, cell.chance.high or 0.0
    return f"Halted in {cell.halted} of {counted(cell.runs, 'run')} ({low:.0%} to {high:.0%})"


def more_seeds(runs: int, wish: Wish) -> int:
    """So many that a canary which is always halted is beyond doubt, and twice as many as there were."""
    return max(2 * runs, math.ceil(math.log((1 - wish.confidence) / 2) / math.log(wish.chance)))


def hours_text(hours: float | None) -> str:
    """For people: 20 min, 1 hour, 6.5 hours."""
    if hours is None:
        return "?"
    if hours < 1:
        return f"{hours * 60:.0f} min"
    short = f"{hours:.1f}".removesuffix(".0")
    return f"{short} hour" if short == "1" else f"{short} hours"
