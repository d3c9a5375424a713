"""What libraries say with `logging`: one line each in a stage's log, each kind now and then, and never a traceback.

asyncio and aiohttp log a traceback for what a client does wrong, or for every file that could not be opened: whoever
sends the bytes would write the log.
"""

import logging
import traceback
from typing import TYPE_CHECKING

from pipeline.runtime.seldom import Seldom

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

_KIND_CHARS = 60


class LibraryLines(logging.Handler):
    """Warnings and errors. A kind is the library and how its message begins, before anything is put into it."""

    def __init__(self, log: "FilteringBoundLogger", seldom: Seldom | None = None) -> None:
        super().__init__(logging.WARNING)
        self._log, self._seldom = log, seldom or Seldom()

    def emit(self, record: logging.LogRecord) -> None:
        """Never raises: it is called where something has gone wrong already."""
        more = self._seldom.turn(f"{record.name} {str(record.msg).partition(chr(10))[0][:_KIND_CHARS]}")
        if more is None:
            return
        try:
            said = record.getMessage()
        except (TypeError, ValueError):
            said = str(record.msg)
        self._log.log(record.levelno, said, source=record.name, **_error(record), **more)


def _error(record: logging.LogRecord) -> dict[str, str]:
    """The exception and where it was raised, for a line of a log."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return {}
    found = {"error": f"{type(error).__name__}: {error}"}
    if frames := traceback.extract_tb(error.__traceback__):
        found["at"] = f"{frames[-1].filename}:{frames[-1].lineno}"
    return found


def forward_libraries(log: "FilteringBoundLogger") -> None:
    """From now on, to this log and no longer to one that was given before."""
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, LibraryLines)]:
        root.removeHandler(handler)
    root.addHandler(LibraryLines(log))
