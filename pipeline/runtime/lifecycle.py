"""Start and stop: SIGTERM, SIGINT and SIGHUP ask a stage to finish what it holds and leave."""

import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

from pipeline.runtime.errors import OutputError


def stop_signals() -> tuple[signal.Signals, ...]:
    """The signals that stop a stage in order. SIGHUP, the end of a terminal, unless `nohup` has it ignored."""
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGTERM, signal.SIGINT) if is_ignored else (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def hangup_stops() -> None:
    """From now on SIGHUP is SIGTERM, unless `nohup` has it ignored."""
    if signal.SIGHUP in stop_signals():
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


def end_within(seconds: float, code: int) -> None:
    """The process ends by itself in that time, or is ended with this exit code: Python waits for ever for threads of
    libraries that hang, and a supervisor sees nothing but a process that lives."""

    def end() -> None:
        time.sleep(seconds)
        os._exit(code)

    threading.Thread(target=end, name="end", daemon=True).start()


def leave(code: int) -> NoReturn:
    """The end, without what Python and the libraries in C do at theirs: clients that nobody has closed, for they hang,
    go on in threads of their own meanwhile, in memory that is being given back."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(
            OSError, ValueError, OutputError
        ):  # a pipe that nobody reads, a stream that was closed
            stream.flush()
    os._exit(code)


class StopSignal:
    """Set once by one of these; the stage's loop looks at it between batches."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def install(self) -> "StopSignal":
        """Take them over in the main thread."""
        for number in stop_signals():
            signal.signal(number, self._handle)
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
