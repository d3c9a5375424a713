"""What people have decided of an update, and what it changes: evidence is kept, a resume only raises the bar."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from pipeline.decide import attribution
from pipeline.decide.evidence import LN10
from pipeline.decide.orders import HaltOrder, Ruling

if TYPE_CHECKING:
    from pipeline.decide.detector import Detector
    from pipeline.decide.state import DetectorState

EVERY_RING = "*"


def take(detector: "Detector", update: int, ruling: Ruling) -> None:
    """A ruling on the update at this position, on the evidence of now."""
    state = detector.state
    if ruling.effect == "resumed":
        _resume(detector, update, ruling.rings)
    elif ruling.effect == "forced":
        # It stays in the comparisons of the others: nobody has shown that its hosts crash because of it.
        state.forced[update] = sorted({*state.forced.get(update, ()), *ruling.rings})
    elif ruling.effect == "released":
        state.states[update] = {ring: "halted" for ring, _ in state.rings.live()}
    elif EVERY_RING in ruling.rings:
        state.resumed.pop(update, None)
        state.halted[update] = state.bucket
        state.states[update] = {ring: "halted" for ring, _ in state.rings.live()}
        state.apart_bucket = 0
    else:
        state.resumed.pop(update, None)
        state.forced[update] = sorted(ruling.rings)
    state.waiting.pop(update, None)
    state.news.append(update)


def _resume(detector: "Detector", update: int, rings: Iterable[str]) -> None:
    """Evidence since then, a supermartingale of its own, has to reach `resumed_bar` by itself."""
    state, explained = detector.state, detector.explained
    assert explained is not None, "a ruling follows explain"
    state.resumed.pop(update, None)
    reached = max(attribution.bar_of(detector, update), float(explained.total[update]) / LN10)
    state.resumed[update] = [reached + detector.policy(update).resumed_bar, sorted(rings)]
    state.halted.pop(update, None)
    state.forced.pop(update, None)
    state.states.pop(update, None)
    state.spread_told.pop(update, None)
    state.apart_bucket = 0


def standing_of(state: "DetectorState", update: int, ring: int) -> str:
    """The state of an update in a ring, by their positions."""
    name = state.rings.names[ring] or ""
    if _names(state.forced.get(update, ()), name):
        return "halted"
    if update in state.resumed and update not in state.halted:
        return "resumed" if _names(state.resumed[update][1], name) else "halted"
    return state.states.get(update, {}).get(ring, "halted" if update in state.halted else "watching")


def _names(rings: Sequence[str], name: str) -> bool:
    return EVERY_RING in rings or name in rings


def told_everywhere(state: "DetectorState", update: int) -> bool:
    """Whether every ring has a verdict on it, reached or not."""
    return update in state.halted or update in state.resumed or update in state.forced


def judged_rings(state: "DetectorState", update: int) -> list[int]:
    """Rings in which it is more than watched."""
    if update in state.resumed or update in state.forced:
        return [ring for ring, _ in state.rings.live()]
    return list(state.states.get(update, {}))


def keep_waiting(state: "DetectorState", due: Sequence["attribution.Due"], orders: Sequence[HaltOrder]) -> None:
    """Remember the orders that wait for a person, as they were when they were decided."""
    for each, order in zip(due, orders, strict=True):
        if order.mode == "pending":
            state.waiting[each.update] = msgspec.to_builtins(order)


def waiting_order(state: "DetectorState", update: int) -> HaltOrder | None:
    """The order that waits for a person, if one does."""
    if update not in state.waiting:
        return None
    return msgspec.convert(state.waiting[update], HaltOrder)
