"""Standard output and standard error of a command, as its process begins.

An error of standard output is an OutputError wherever it comes up, so that none is taken for a socket's or a file's
that the command writes besides. What standard error does not take is lost: a full disk behind a log is no reason for
a stage to end.
"""

import io
import os
import sys

from pipeline.runtime.errors import OutputError

STANDARD_OUTPUT, STANDARD_ERROR = 1, 2  # descriptors


class _Output(io.FileIO):
    """Standard output, unbuffered."""

    def write(self, data, /):  # type: ignore[no-untyped-def]  # as io.RawIOBase has it
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(error) from None


class _Errors(io.FileIO):
    """Standard error, unbuffered."""

    def write(self, data, /):  # type: ignore[no-untyped-def]  # as io.RawIOBase has it
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def guard() -> None:
    """From now on. What takes no character that it should (an arrow, on an old terminal) gets another; one that is
    closed takes everything, and a file that is opened later does not come to be standard output."""
    sys.stdout = _text(sys.stdout, _Output, STANDARD_OUTPUT, "replace")
    sys.stderr = _text(sys.stderr, _Errors, STANDARD_ERROR, "backslashreplace")


def _text(given: object, kind: type[io.FileIO], descriptor: int, errors: str) -> io.TextIOWrapper:
    if not isinstance(given, io.TextIOWrapper):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        if nowhere != descriptor:
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
        return _over(kind, descriptor, "utf-8", errors)
    if not _is_over(given, descriptor):  # somebody's who calls us, not the process's
        given.reconfigure(errors=errors)
        return given
    return _over(kind, descriptor, given.encoding, errors)


def _over(kind: type[io.FileIO], descriptor: int, encoding: str, errors: str) -> io.TextIOWrapper:
    is_lined = descriptor == STANDARD_ERROR or os.isatty(descriptor)
    raw = io.BufferedWriter(kind(descriptor, "wb", closefd=False))
    return io.TextIOWrapper(raw, encoding=encoding, errors=errors, line_buffering=is_lined)


def _is_over(stream: io.TextIOWrapper, descriptor: int) -> bool:
    try:
        return stream.fileno() == descriptor
    except OSError:  # a buffer in memory
        return False


def finish() -> None:
    """All that was said is written; Python would do so after the last word on what went wrong.

    Raises:
        OutputError: it cannot be.
    """
    sys.stdout.flush()
