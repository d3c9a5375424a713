"""`Gate` and `AsyncGate`: the gate's answers at once, from topics that are followed all the time."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from consumers.rollout.follower import Follower, Source
from consumers.rollout.gate import Decision, OnSilence, Question, Shadow
from consumers.rollout.reading import READ_SECONDS
from consumers.rollout.settings import load_settings
from consumers.rollout.watch import LOOK_SECONDS, SETTLED
from pipeline.runtime.clock import Clock, wall_clock_ms
from pipeline.runtime.waiting import Deadline

CLIENT = "andon-gate"
ASYNC_LOOK_SECONDS = 0.1


class _Gate:
    """How both are made, and how they decide."""

    def __init__(
        self,
        source: Source,
        shadow: Shadow = "watching",
        on_silence: OnSilence = "hold",
        clock: Clock = wall_clock_ms,
    ) -> None:
        """`on_silence` is what the caller chooses for the time when nobody knows: "proceed" lets `may_proceed` be True
        then, but never for an update of which a halt stands, be it expired, or of which the record cannot be trusted.
        """
        self._follower = Follower(source, CLIENT, shadow, on_silence)
        self._fleets, self._clock = list(source.named()), clock

    @classmethod
    def configured(cls, fleets: str = "", shadow: Shadow = "watching", on_silence: OnSilence = "hold") -> Self:
        """From the environment (`ANDON_…`, docs/rollout.md); `fleets`, comma-separated, if given, instead of the
        setting.

        Raises:
            ConfigError: naming key, value, source and what would be right.
        """
        return cls(load_settings().source(fleets), shadow, on_silence)

    def start(self) -> Self:
        """Begin to read.

        Raises:
            ConfigError: for settings that no client can be made with.
        """
        self._begun = Deadline(READ_SECONDS)
        self._follower.start()
        return self

    def close(self) -> None:
        """Stop reading."""
        self._follower.close()

    def _question(self, vendor: str, product: str, version: str, fleet: str, ring: str) -> Question:
        if fleet not in self._fleets:
            raise ValueError(f"fleet = {fleet!r}: this gate follows {', '.join(self._fleets)}")
        return Question(fleet, vendor, product, version, ring)

    def _decide(self, asked: Question) -> Decision:
        with self._follower.news:
            return self._follower.knowledge.decide(asked, self._clock())


class Gate(_Gate):
    """For plain threads; a context manager. Every method is safe to call from any of them."""

    def decision(self, vendor: str, product: str, version: str, *, fleet: str, ring: str) -> Decision:
        """The answer as of now. The first ones wait until the topics have been read to their end, for some seconds at
        most, and are DETECTOR_SILENT when they cannot be.

        Raises:
            ValueError: for a fleet that is not followed.
        """
        asked = self._question(vendor, product, version, fleet, ring)
        self._follower.ready.wait(self._begun.left_seconds)
        return self._decide(asked)

    def wait(self, vendor: str, product: str, version: str, *, fleet: str, ring: str, seconds: float) -> Decision:
        """The answer as soon as it is CLEARED or HALTED, at the latest after so many seconds."""
        asked, deadline = self._question(vendor, product, version, fleet, ring), Deadline(seconds)
        while True:
            wakes = self._follower.wakes
            decision = self._decide(asked)
            if decision.state in SETTLED or deadline.has_passed:
                return decision
            with self._follower.news:
                self._follower.news.wait_for(_others(self._follower, wakes), min(LOOK_SECONDS, deadline.left_seconds))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _others(follower: Follower, wakes: int) -> Callable[[], bool]:
    return lambda: follower.wakes != wakes


class AsyncGate(_Gate):
    """The same for coroutines; `async with`."""

    async def decision(self, vendor: str, product: str, version: str, *, fleet: str, ring: str) -> Decision:
        """As `Gate.decision`."""
        asked = self._question(vendor, product, version, fleet, ring)
        while not self._follower.ready.is_set() and not self._begun.has_passed:
            await asyncio.sleep(ASYNC_LOOK_SECONDS)
        return self._decide(asked)

    async def wait(self, vendor: str, product: str, version: str, *, fleet: str, ring: str, seconds: float) -> Decision:
        """As `Gate.wait`."""
        asked, deadline = self._question(vendor, product, version, fleet, ring), Deadline(seconds)
        while (decision := self._decide(asked)).state not in SETTLED and not deadline.has_passed:
            await asyncio.sleep(min(ASYNC_LOOK_SECONDS, deadline.left_seconds))
        return decision

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)
