"""From nothing nothing follows: whether a backtest rests on enough of its input to say that there was no halt. Pure."""

from collections import Counter
from collections.abc import Mapping

from pipeline.runtime.errors import AndonError

SHOWN_FLEETS = 5


class Unusable(AndonError):
    """Nothing of the input, or less than half of it, was an event; or nothing of it could be judged."""


def check_judged(judged_nothing: bool, not_judged: Mapping[str, str]) -> None:
    """Why nothing, or not most, could be judged, by fleet.

    Raises:
        Unusable: when that is so of every fleet: that nothing was found is no pass.
    """
    if judged_nothing:
        raise Unusable(f"nothing could be judged: {said(not_judged)}")


def said(not_judged: Mapping[str, str]) -> str:
    """The same for people: fleets whose reason is the same together."""
    fleets: dict[str, list[str]] = {}
    for fleet, reason in not_judged.items():
        fleets.setdefault(reason, []).append(fleet)
    shown = [(reason, names[:SHOWN_FLEETS], len(names)) for reason, names in list(fleets.items())[:SHOWN_FLEETS]]
    return "; ".join(
        f"fleet {', '.join(names)}{' …' if count > len(names) else ''}: {reason}" for reason, names, count in shown
    )


def check(events: int, refused: Counter[str]) -> None:
    """Events that were used, and lines that were not, by reason.

    Raises:
        Unusable: when there was no event, or more lines were refused than used: whatever was found then, it is no pass.
    """
    if events and refused.total() <= events:
        return
    why = ", ".join(f"{count:,} {reason}" for reason, count in refused.most_common())
    if not refused:
        raise Unusable("the input holds no event and no line: nothing was judged")
    if not events:
        raise Unusable(f"no line of {refused.total():,} was an event ({why}): nothing was judged")
    lines = events + refused.total()
    raise Unusable(f"only {events:,} of {lines:,} lines were events ({why}): too few to judge by")
