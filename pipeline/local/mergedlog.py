"""One readable log of all stages: `HH:MM:SS combine  | line`, to <data_dir>/logs/andon.log and to the terminal.

What stages print may contain text from endpoints: control characters are escaped, long lines are cut.
"""

import logging
import queue
import re
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

from pipeline.runtime.errors import OutputError
from pipeline.runtime.logging import printable
from pipeline.runtime.seldom import Seldom

SUPERVISOR = "andon"  # the name of its lines
MAX_LINE_BYTES = 4096
FILE_BYTES = 16 << 20
OLD_FILES = 2
TERMINAL_LINES = 10_000  # waiting for a terminal that does not take them (Ctrl-S); more are left out there
FLUSH_SECONDS = 1.0
UNWRITTEN_SECONDS = 60.0  # between two words about a file that cannot be written
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]{8,15}Z ")  # of a stage's own: to the microsecond, for the file
# The levels of our stages' lines and of Apache Kafka's. On a terminal a line of lower level is left out.
_LEVEL = re.compile(r"^\S+Z? \[(\w+) *\] |^\[[^\]]+\] ([A-Z]+) ")
_CALM = {"debug", "info", "DEBUG", "INFO", "TRACE"}
_ALARM = re.compile(r"^(andon: |Traceback |Fatal |Error)")
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


class _File(RotatingFileHandler):
    """The log file; what keeps a line out of it is told, not printed with a traceback for each line."""

    def __init__(self, file: Path, tell: Callable[[str], None]) -> None:
        super().__init__(file, maxBytes=FILE_BYTES, backupCount=OLD_FILES, encoding="utf-8")
        self._tell = tell

    def handleError(self, record: logging.LogRecord) -> None:
        """Called where the line could not be written."""
        error = sys.exc_info()[1]
        self._tell(getattr(error, "strerror", None) or str(error))


class MergedLog:
    """Writes to the file at once, and to the terminal through a bounded queue, so that a stopped terminal
    (Ctrl-S) never stops the line."""

    def __init__(self, file: Path, terminal: TextIO | None, width: int) -> None:
        self._file = _File(file, self._unwritten)
        self._unwritten_seldom = Seldom(UNWRITTEN_SECONDS)
        self._width = width
        self._terminal = terminal
        self._colours = terminal is not None and terminal.isatty()
        self._waiting: queue.Queue[str | None] = queue.Queue(TERMINAL_LINES)
        self._left_out = 0
        self._assigned: dict[str, int] = {}
        self._is_calm: dict[str, bool] = {}  # by stage: whether what it said last belongs in the file only
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()

    def line(self, stage: str, text: str) -> None:
        """Log one line of a stage; `text` is printable already."""
        clock, name = self._begin(stage)
        plain = f"{clock} {name} | {text}"
        self._file.emit(logging.makeLogRecord({"msg": plain}))
        if self._terminal is not None and not self._belongs_in_file_only(stage, text):
            text = _STAMP.sub("", text)
            self._on_terminal(stage, text)

    def line_seldom(self, stage: str, text: str) -> None:
        """What would be said again and again while it lasts, as of a full disk: the same at most once a minute."""
        if self._unwritten_seldom.turn(text) is not None:
            self.line(stage, text)

    def _begin(self, stage: str) -> tuple[str, str]:
        return time.strftime("%H:%M:%S"), stage.ljust(self._width)

    def _unwritten(self, why: str) -> None:
        """A full disk would fill the terminal with one traceback for every line."""
        if self._terminal is not None and (more := self._unwritten_seldom.turn("")) is not None:
            lost = f", {more['left_out']} lines lost since this was last said" if more else ""
            self._on_terminal(SUPERVISOR, f"the log file cannot be written: {why}{lost}")

    def _on_terminal(self, stage: str, text: str) -> None:
        clock, name = self._begin(stage)
        plain = f"{clock} {name} | {text}"
        colour = self._assigned.setdefault(stage, COLOURS[len(self._assigned) % len(COLOURS)])
        self._show(f"\x1b[2m{clock}\x1b[0m \x1b[{colour}m{name} |\x1b[0m {text}" if self._colours else plain)

    def _belongs_in_file_only(self, stage: str, text: str) -> bool:
        """What a stage says of itself while all is well, its configuration above all; the supervisor's lines, warnings
        and errors do not. A line without a level belongs where the one before it does."""
        if stage == SUPERVISOR:
            return False
        if found := _LEVEL.match(text):
            self._is_calm[stage] = (found[1] or found[2]) in _CALM
        elif _ALARM.match(text):
            self._is_calm[stage] = False
        return self._is_calm.get(stage, True)

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
            except (
                OSError,
                ValueError,
                OutputError,
            ):  # the reader of our output went away; the file still gets everything
                self._terminal = None

    def close(self) -> None:
        """Write what waits, as far as the terminal takes it within a second."""
        try:
            self._waiting.put(None, timeout=FLUSH_SECONDS)
            self._writer.join(FLUSH_SECONDS)
        except queue.Full:
            pass
        with suppress(OSError):  # a full disk
            self._file.close()
