"""One run of a hook's command: words on its standard input, a bounded time, the end of its output, and nothing of it
left behind."""

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.runtime.waiting import Deadline

MAX_OUTPUT_BYTES = 16_384  # of its end; what came before is dropped
TERM_SECONDS = 2.0  # between SIGTERM and SIGKILL
LOOK_SECONDS = 0.05


class Ran(NamedTuple):
    """`code` is None when its time was up, negative for a signal; `output` the end of standard output and error."""

    code: int | None
    output: bytes
    seconds: float


def run(argv: Sequence[str], stdin: bytes, environ: Mapping[str, str], seconds: float) -> Ran:
    """Run it in a process group of its own, which is killed at the end, whoever is left in it.

    Raises:
        OSError: when it cannot be started.
    """
    began, deadline = time.monotonic(), Deadline(seconds)
    with tempfile.TemporaryFile() as given:  # a pipe would stop a command that does not read
        given.write(stdin)
        given.seek(0)
        process = subprocess.Popen(
            argv,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environ),
            start_new_session=True,
        )
    assert process.stdout is not None
    with process.stdout as output:
        try:
            tail = _read(process, output.fileno(), deadline)
            code = process.poll()
        finally:
            _end(process)
    return Ran(code, tail, time.monotonic() - began)


def _read(process: "subprocess.Popen[bytes]", descriptor: int, deadline: Deadline) -> bytes:
    """The end of what it says, until it has ended or its time is up."""
    tail, is_open = b"", True
    while not deadline.has_passed:
        if is_open and select.select([descriptor], [], [], min(LOOK_SECONDS, deadline.left_seconds))[0]:
            chunk = os.read(descriptor, 65_536)
            tail, is_open = (tail + chunk)[-MAX_OUTPUT_BYTES:], bool(chunk)
            continue
        if process.poll() is not None:
            break  # whoever it left behind may hold the pipe for ever
        if not is_open:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(min(LOOK_SECONDS, deadline.left_seconds))
    return tail


def _end(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM if it still runs, then SIGKILL to the whole group."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TERM_SECONDS)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
