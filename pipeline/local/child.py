"""One child process: in a session of its own, leashed to this one, everything it prints read line by line.

Not a `machine.process.Process`, whose output is a file: many children's lines are merged here as they come, by asyncio.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence

from pipeline.local.machine.leash import leash
from pipeline.local.mergedlog import LineSplitter

READ_BYTES = 64 * 1024
DRAIN_SECONDS = 1.0  # for what was printed last


class Child:
    """A running process. `on_line` gets its standard output and error, as printable lines."""

    def __init__(self, process: asyncio.subprocess.Process, printing: asyncio.Task[None]) -> None:
        self._process = process
        self._printing = printing
        self.pid = process.pid

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        on_line: Callable[[str], None],
        *,
        environ: Mapping[str, str],
        keep: Sequence[int] = (),
        death_signal: int = signal.SIGKILL,
    ) -> "Child":
        """Start it. Its own session keeps Ctrl-C from it; `keep` are descriptors that it inherits.

        Raises:
            OSError: when it cannot be started.
        """
        # Our own pipe rather than asyncio's, whose wait() also waits for grandchildren to close theirs.
        reading, writing = os.pipe()
        output = os.fdopen(reading, "rb", buffering=0)
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                env=dict(environ),
                pass_fds=tuple(keep),
                start_new_session=True,
                preexec_fn=leash(death_signal),
            )
        except BaseException:
            output.close()
            raise
        finally:
            os.close(writing)
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), output
        )
        return cls(process, asyncio.create_task(_pump(reader, transport, on_line)))

    async def wait(self) -> int:
        """Its exit code, once it and whatever it started are gone and all it printed is read."""
        code = await self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await asyncio.wait({self._printing}, timeout=DRAIN_SECONDS)
        self._printing.cancel()
        await asyncio.gather(self._printing, return_exceptions=True)
        return code

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


async def _pump(reader: asyncio.StreamReader, transport: asyncio.BaseTransport, on_line: Callable[[str], None]) -> None:
    splitter = LineSplitter()
    try:
        while data := await reader.read(READ_BYTES):
            for line in splitter.feed(data):
                on_line(line)
    finally:
        transport.close()
        for line in splitter.end():
            on_line(line)


def describe(code: int) -> str:
    """An exit code for people."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
