"""What rehearsals add up to: a cell for each fault, canary and time. Pure."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from pipeline.bakeoff.limits import Figure, quantile, rate
from pipeline.canary.asked import Harm, Layout
from pipeline.canary.rehearsal import Outcome

Answer = Literal["enough", "likely", "open", "too little", ""]


class Wish(NamedTuple):
    """With what chance a halt is to come before the rollout goes on, and how sure limits are to be."""

    chance: float = 0.9
    confidence: float = 0.95


class Kind(NamedTuple):
    """What was rehearsed, under many seeds."""

    harm: Harm
    layout: Layout
    canary: int


class Cell(NamedTuple):
    """A fault, a canary, and a time after which one would go on. `chance` that it stands halted by then, with limits;
    `hours_to_halt` of the runs that were halted, the median; `crashed` hosts by the halt, or by then where none came,
    the median and (`crashed_most`) the largest of the runs. `cleared`: runs in which the gate had said yes by then."""

    kind: Kind
    hours: float
    runs: int
    halted: int
    cleared: int
    innocents: int
    chance: Figure
    hours_to_halt: Figure
    crashed: Figure
    crashed_most: int
    answer: Answer

    def row(self) -> dict[str, object]:
        """For JSON."""
        fields = {name: value.row() if isinstance(value, Figure) else value for name, value in self._asdict().items()}
        del fields["kind"]
        return {"fault": self.kind.harm.row(), "layout": self.kind.layout, "canary": self.kind.canary, **fields}


def cells_of(kind: Kind, hours: Sequence[float], outcomes: Sequence[Outcome], wish: Wish) -> Iterator[Cell]:
    """The cells of the same rehearsals, looked at after each of these times."""
    for until in hours:
        halted = [o.halted_hours for o in outcomes if o.halted_hours is not None and o.halted_hours <= until]
        crashed = [o.crashed_by(until) for o in outcomes]
        chance = rate(len(halted), len(outcomes), confidence=wish.confidence)
        yield Cell(
            kind=kind,
            hours=until,
            runs=len(outcomes),
            halted=len(halted),
            cleared=sum(o.cleared_hours is not None and o.cleared_hours <= until for o in outcomes),
            innocents=sum(o.innocents for o in outcomes),
            chance=chance,
            hours_to_halt=quantile(halted, confidence=wish.confidence),
            crashed=quantile(crashed, confidence=wish.confidence),
            crashed_most=max(crashed),
            answer=_answer(chance, wish.chance) if kind.harm.is_harmful else "",
        )


def _answer(chance: Figure, wanted: float) -> Answer:
    """What the runs say of the chance that is wanted: beyond doubt, by the look of it, not yet; or no."""
    value, low, high = chance.value or 0.0, chance.low or 0.0, 1.0 if chance.high is None else chance.high
    if low >= wanted:
        return "enough"
    if value >= wanted:
        return "likely"
    return "open" if high >= wanted else "too little"
