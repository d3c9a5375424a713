"""What the correlator asks of a detector; shipped.py has the real ones."""

from typing import Any, Protocol

from pipeline.decide.orders import Decisions, Ruling, Stance
from pipeline.wire.partials import Partial, UpdateId


class DetectorLike(Protocol):
    """Decides for one fleet. Deterministic: the same partials give the same decisions, also after a restore."""

    def step(self, partial: Partial) -> Decisions:
        """What this partial makes news."""

    def rule(self, ruling: Ruling) -> Decisions:
        """What people have decided, which holds from the next partial on."""

    def stance(self, update: UpdateId) -> Stance:
        """What those who rule on an update have to know. Changes nothing."""

    def snapshot(self) -> bytes:
        """The complete state."""

    def summary(self) -> dict[str, Any]:
        """For people, JSON-able: at least `stream_time` (unix ms) and `live_updates` (how many)."""


class Detectors(Protocol):
    """Makes detectors."""

    def new(self, fleet: str) -> DetectorLike:
        """One that has seen nothing."""

    def restore(self, fleet: str, raw: bytes) -> DetectorLike:
        """The one whose snapshot this is. Raises ValueError when this code cannot read it."""
