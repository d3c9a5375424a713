"""Start and stop: SIGTERM and SIGINT ask a stage to finish what it holds and leave."""

import signal
import threading
from types import FrameType


class StopSignal:
    """Set once by SIGTERM or SIGINT; the stage's loop looks at it between batches."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def install(self) -> "StopSignal":
        """Take over SIGTERM and SIGINT in the main thread."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, _signum: int, _frame: FrameType | None) -> None:
        self._event.set()

    def set(self) -> None:
        """Ask for the stop."""
        self._event.set()

    def is_set(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for the stop, at most so long; True when it was asked for."""
        return self._event.wait(timeout_seconds)
