"""Things that could be said a thousand times a second: each kind now and then, with how many were left out."""

import time
from collections.abc import Callable

EVERY_SECONDS = 15.0
MAX_KINDS = 100  # past it all further kinds are one: what is held is bounded, whoever thinks of kinds


class Seldom:
    """Each kind at most once in `every_seconds`; those left out since are counted. Safe to call from any thread."""

    def __init__(self, every_seconds: float = EVERY_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_seconds, self._clock = every_seconds, clock
        self._silent_until: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def turn(self, kind: str) -> dict[str, int] | None:
        """None: say nothing. Else what to say along: {} or {"left_out": how many since this kind was last said}."""
        if kind not in self._silent_until and len(self._silent_until) >= MAX_KINDS:
            kind = ""
        now = self._clock()
        if now < self._silent_until.get(kind, now):
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return None
        self._silent_until[kind] = now + self._every_seconds
        left_out = self._left_out.pop(kind, 0)
        return {"left_out": left_out} if left_out else {}

    def over(self, start: str) -> None:
        """Of all kinds that begin so: what was said is not so any more; when it is again, that is said at once."""
        for kind in [kind for kind in list(self._silent_until) if kind.startswith(start)]:
            self._silent_until.pop(kind, None)
            self._left_out.pop(kind, None)
