"""For whoever rolls out updates: may this one go on in this ring, and what is to be stopped? docs/rollout.md.

`Halts` and `AsyncHalts` hand over every halt and resume, and acknowledge; `Gate` and `AsyncGate` answer. All names are
loaded when they are used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consumers.rollout.acknowledging import Subscriber as Subscriber
    from consumers.rollout.duties import Pace as Pace
    from consumers.rollout.follower import Source as Source
    from consumers.rollout.gate import Decision as Decision
    from consumers.rollout.halts import AsyncHalts as AsyncHalts
    from consumers.rollout.halts import Halts as Halts
    from consumers.rollout.handlers import Done as Done
    from consumers.rollout.live import AsyncGate as AsyncGate
    from consumers.rollout.live import Gate as Gate
    from consumers.rollout.orders import Order as Order

_WHERE = {
    "AsyncGate": "live",
    "AsyncHalts": "halts",
    "Decision": "gate",
    "Done": "handlers",
    "Gate": "live",
    "Halts": "halts",
    "Order": "orders",
    "Pace": "duties",
    "Source": "follower",
    "Subscriber": "acknowledging",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
