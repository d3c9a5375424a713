"""From nothing nothing follows: whether a backtest rests on enough of its input to say that there was no halt. Pure."""

from collections import Counter
from collections.abc import Mapping

from pipeline.runtime.errors import AndonError
from pipeline.wire.looks import hint, is_utf_16

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


def _hint(beginning: bytes) -> str:
    if is_utf_16(beginning[:16]):
        return "; the file is UTF-16 without its mark: save it as UTF-8"
    words = hint(beginning, "the file")
    return f"; {words}" if words else ""


def check(events: int, refused: Counter[str], beginning: bytes = b"") -> None:
    """Events that were used, and lines that were not, by reason; how the input begins.

    Raises:
        Unusable: when there was no event, or more lines were refused than used: whatever was found then, it is no pass.
    """
    if events and refused.total() <= events:
        return
    why = ", ".join(f"{count:,} {reason}" for reason, count in refused.most_common())
    if not refused:
        raise Unusable("the input holds no event and no line: nothing was judged")
    if not events:
        raise Unusable(f"no line of {refused.total():,} was an event ({why}): nothing was judged{_hint(beginning)}")
    lines = events + refused.total()
    raise Unusable(f"only {events:,} of {lines:,} lines were events ({why}): too few to judge by")
