"""From nothing nothing follows: whether a backtest rests on enough of its input to say that there was no halt. Pure."""

from collections import Counter

from pipeline.runtime.errors import AndonError


class Unusable(AndonError):
    """Nothing of the input, or less than half of it, was an event."""


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
