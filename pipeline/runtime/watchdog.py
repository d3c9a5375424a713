"""Ends the process when a call hangs, so that its supervisor can start it anew.

librdkafka does not keep its own timeouts in every case: `send_offsets_to_transaction` can wait for ever for a group
coordinator that has left the cluster (its issues 5456 and 5511).
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.runtime.errors import FatalStageError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

LOOK_SECONDS = 0.25


class Watchdog:
    """Watches one call at a time, from a thread of its own. `end` is called once, with an exit code."""

    def __init__(self, log: "FilteringBoundLogger", end: Callable[[int], object] = os._exit) -> None:
        self._log, self._end = log, end
        self._watched: tuple[str, float] | None = None  # the call, and when it is overdue (monotonic seconds)
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @contextmanager
    def within(self, name: str, seconds: float) -> Iterator[None]:
        """The block must end in time."""
        self._watched = (name, time.monotonic() + seconds)
        try:
            yield
        finally:
            self._watched = None

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            watched = self._watched
            if watched is not None and time.monotonic() > watched[1]:
                self._log.error("a call hangs: the process ends, and wants to be started again", call=watched[0])
                self._end(FatalStageError.exit_code)
                return
