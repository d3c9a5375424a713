"""Two correlators' states, compared to the last bit. Pure."""

from typing import Any

import numpy as np

from pipeline.correlate.checkpoint import FleetState
from pipeline.decide import arrays
from pipeline.wire.halts import decode_halt


def different(ours: dict[str, FleetState], theirs: dict[str, FleetState]) -> list[str]:
    """What differs between the states of two correlators, as "fleet: what"."""
    found = []
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            found.append(f"{name}: there is one only")
            continue
        left, right = _facts(ours[name]), _facts(theirs[name])
        found += [f"{name}: {what}" for what in left if not same(left[what], right[what])]
    return found


def _facts(state: FleetState) -> dict[str, Any]:
    """All that a state says, but for what is a run's own: offsets, signatures and the wall clock."""
    halts = [decode_halt(raw) for raw in state.halts]
    said = [(h.key, h.action, h.epoch, h.rings, h.policy, h.reason, h.evidence) for h in halts]
    return {
        "partials": state.partials,
        "events": state.events,
        "halts": said,
        "detector": arrays.unpack(state.detector),
    }


def same(left: Any, right: Any) -> bool:
    """Whether two unpacked states are equal, arrays to the last bit; NaN equals NaN."""
    if isinstance(left, np.ndarray):
        return (
            isinstance(right, np.ndarray) and left.dtype == right.dtype and np.array_equal(left, right, equal_nan=True)
        )
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)
