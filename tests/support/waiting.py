"""Waiting for what must come, with a deadline that only a broken machine misses."""

from collections.abc import Callable
from typing import TypeVar

from pipeline.runtime.waiting import wait_for

T = TypeVar("T")

DEADLINE_SECONDS = 120.0  # for all that must come; on an idle machine it comes in moments


def until(what: str, look: Callable[[], T], seconds: float = DEADLINE_SECONDS) -> T:
    """What `look` finds, once it finds something.

    Raises:
        AssertionError: when it does not in time.
    """
    found = wait_for(look, seconds)
    assert found, f"not within {seconds:.0f} s: {what}"
    return found
