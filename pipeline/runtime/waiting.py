"""Waiting for a condition, with a deadline on the monotonic clock."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

BETWEEN_SECONDS = 0.02  # short beside what is waited for, long beside a look


class Deadline:
    """A moment some seconds from now; `seconds` may be infinite."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left_seconds(self) -> float:
        """How long it still is; never negative."""
        return max(0.0, self._end - time.monotonic())

    @property
    def has_passed(self) -> bool:
        """Whether nothing is left."""
        return time.monotonic() >= self._end


def wait_for(look: Callable[[], T], seconds: float, between_seconds: float = BETWEEN_SECONDS) -> T:
    """Look until something true is found, or time is up: what was found last. At least one look; what it raises ends
    the waiting."""
    deadline = Deadline(seconds)
    while not (found := look()) and not deadline.has_passed:
        time.sleep(min(between_seconds, deadline.left_seconds))
    return found
