"""One readable log of all stages: `HH:MM:SS combine  | line`, to <data_dir>/logs/andon.log and to the terminal.

What stages print may contain text from endpoints: control characters are escaped, long lines are cut.
"""

import logging
import queue
import re
import threading
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

from pipeline.runtime.logging import printable

MAX_LINE_BYTES = 4096
FILE_BYTES = 16 << 20
OLD_FILES = 2
TERMINAL_LINES = 10_000  # waiting for a terminal that does not take them (Ctrl-S); more are left out there
FLUSH_SECONDS = 1.0
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]{8,15}Z ")  # of a stage's own: to the microsecond, for the file
COLOURS = (36, 33, 35, 32, 34, 96, 93, 95)


class LineSplitter:
    """Cuts a byte stream into printable lines of bounded length."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        lines = []
        for raw in whole:
            if not self._skipping:
                lines.append(_clean(raw))
            self._skipping = False
        if len(self._rest) > MAX_LINE_BYTES:
            if not self._skipping:
                lines.append(_clean(self._rest))
            self._rest, self._skipping = b"", True
        return lines

    def end(self) -> list[str]:
        """The unfinished line, if there is one."""
        rest, self._rest = self._rest, b""
        return [_clean(rest)] if rest and not self._skipping else []


def _clean(raw: bytes) -> str:
    cut = raw[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip("\r")
    return printable(cut.expandtabs(4)) + (" … (cut)" if len(raw) > MAX_LINE_BYTES else "")


class MergedLog:
    """Writes to the file at once, and to the terminal through a bounded queue, so that a stopped terminal
    (Ctrl-S) never stops the line."""

    def __init__(self, file: Path, terminal: TextIO | None, width: int) -> None:
        self._file = RotatingFileHandler(file, maxBytes=FILE_BYTES, backupCount=OLD_FILES, encoding="utf-8")
        self._width = width
        self._terminal = terminal
        self._colours = terminal is not None and terminal.isatty()
        self._waiting: queue.Queue[str | None] = queue.Queue(TERMINAL_LINES)
        self._left_out = 0
        self._assigned: dict[str, int] = {}
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()

    def line(self, stage: str, text: str) -> None:
        """Log one line of a stage; `text` is printable already."""
        clock, name = time.strftime("%H:%M:%S"), stage.ljust(self._width)
        plain = f"{clock} {name} | {text}"
        self._file.emit(logging.makeLogRecord({"msg": plain}))
        if self._terminal is not None:
            text = _STAMP.sub("", text)
            plain = f"{clock} {name} | {text}"
            colour = self._assigned.setdefault(stage, COLOURS[len(self._assigned) % len(COLOURS)])
            self._show(f"\x1b[2m{clock}\x1b[0m \x1b[{colour}m{name} |\x1b[0m {text}" if self._colours else plain)

    def show(self, text: str) -> None:
        """Print for a person, on the terminal only."""
        if self._terminal is not None:
            self._show(text)

    def _show(self, text: str) -> None:
        try:
            if self._left_out:
                self._waiting.put_nowait(f"… {self._left_out} lines left out here; all are in the log file")
                self._left_out = 0
            self._waiting.put_nowait(text)
        except queue.Full:
            self._left_out += 1

    def _write(self) -> None:
        while (text := self._waiting.get()) is not None:
            terminal = self._terminal
            if terminal is None:
                continue
            try:
                terminal.write(text + "\n")
                if self._waiting.empty():
                    terminal.flush()
            except (OSError, ValueError):  # the reader of our output went away; the file still gets everything
                self._terminal = None

    def close(self) -> None:
        """Write what waits, as far as the terminal takes it within a second."""
        try:
            self._waiting.put(None, timeout=FLUSH_SECONDS)
            self._writer.join(FLUSH_SECONDS)
        except queue.Full:
            pass
        self._file.close()
