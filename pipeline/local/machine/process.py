"""A child process: leashed, what it prints in a file where one looks for words, stopped or killed, and measured."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.local.machine.leash import leash
from pipeline.local.machine.usage import peak_rss_bytes, usage
from pipeline.runtime.errors import AndonError
from pipeline.runtime.waiting import wait_for

START_SECONDS = 60.0
STOP_SECONDS = 30.0
LAST_WORDS = 2000  # characters


def andon(*words: object) -> list[str]:
    """The command that runs `andon WORDS`, with this Python."""
    return [sys.executable, "-P", "-m", "pipeline", *map(str, words)]


class Process:
    """A command, started again as often as one likes; all its lives print into one file. It dies with the thread that
    started it, so start it from one that stays.

    `environ` is added to ours; None takes a variable away. It and `argv` may be changed between two lives. `ready`:
    what it says once it works. `output`: a file of its own for its standard output.
    """

    def __init__(
        self,
        argv: Sequence[str],
        log: Path,
        environ: Mapping[str, str | None] | None = None,
        *,
        name: str = "",
        ready: str = "",
        output: Path | None = None,
        death_signal: int = signal.SIGKILL,
        own_session: bool = False,
    ) -> None:
        self.name = name or Path(argv[0]).name
        self.log = log
        self.kills = 0
        self.argv, self.environ = list(argv), dict(environ or {})
        self._ready, self._output = ready, output or log
        self._death_signal, self._own_session = death_signal, own_session
        self._popen: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._cpu_seconds, self._peak_rss_bytes = 0.0, 0
        self._is_ended = False  # by us

    # -- life

    def start(self, *, wait: bool = True) -> Self:
        """Start it; returns once it says that it is ready, if it is one that says so, unless told not to `wait`.

        Raises:
            AndonError: when it runs already; when it ends instead or is not ready in time: it is killed then.
            OSError: when it cannot be run.
        """
        if self.is_running:
            raise AndonError(f"{self.name} runs already")
        with self.log.open("ab") as log, self._output.open("ab") as output:
            self._log_start = log.tell()
            self._popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env={key: value for key, value in (os.environ | self.environ).items() if value is not None},
                start_new_session=self._own_session,
                preexec_fn=leash(self._death_signal),
            )
        self._is_ended, self._cpu_seconds = False, 0.0
        if self._ready and wait:
            self.wait_said(self._ready)
        return self

    def kill(self) -> None:
        """SIGKILL, and gone, as a power cut would. Nothing when it has gone before."""
        self._is_ended = True
        if self._popen is not None and self.is_running:
            self.kills += 1
            self._popen.kill()
            self._popen.wait()

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """SIGTERM, and SIGKILL when it takes longer; the exit code."""
        self.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Until it is gone: killed when it takes longer; the exit code."""
        self._is_ended = True
        if self._popen is None:
            raise AndonError(f"{self.name} was not started")
        if wait_for(lambda: not self.is_running, seconds):
            return self._popen.returncode
        self._popen.kill()
        return self._popen.wait()

    def send_signal(self, number: int) -> None:
        """Nothing when it has gone."""
        if self._popen is not None and self.is_running:
            self._popen.send_signal(number)

    def freeze(self) -> None:
        """SIGSTOP: nothing moves, so one can look."""
        self.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    # -- questions

    @property
    def pid(self) -> int:
        """Of this life, or the last.

        Raises:
            AndonError: when it was never started.
        """
        if self._popen is None:
            raise AndonError(f"{self.name} was not started")
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._popen is not None and self.poll() is None

    def poll(self) -> int | None:
        """The exit code of this life, or the last; None while it runs, and before the first. Notes what it uses."""
        if self._popen is None:
            return None
        if self._popen.returncode is None:
            self._note()  # also of one that has just ended and was not waited for
        return self._popen.poll()

    def own_end(self) -> int | None:
        """The exit code, when it has ended and nobody here had stopped or killed it."""
        return None if self._is_ended else self.poll()

    def cpu_seconds(self) -> float:
        """CPU time of this life so far, or of all of the last, all threads."""
        self.poll()
        return self._cpu_seconds

    def peak_rss_bytes(self) -> int:
        """The most memory that any of its lives has held, as far as they were looked at."""
        self.poll()
        return self._peak_rss_bytes

    def _note(self) -> None:
        if used := usage(self.pid):
            self._cpu_seconds = used.cpu_seconds
        self._peak_rss_bytes = max(self._peak_rss_bytes, peak_rss_bytes(self.pid))

    # -- what it prints

    def heard(self) -> str:
        """What this life has printed, on standard error at least."""
        with self.log.open("rb") as stream:
            stream.seek(self._log_start)
            return stream.read().decode("utf-8", "replace")

    def said(self, words: str) -> bool:
        """Whether this life has printed these words."""
        return words in self.heard()

    def wait_said(self, words: str, seconds: float = START_SECONDS) -> None:
        """Returns once this life has said so.

        Raises:
            AndonError: when it ends instead or does not say so in time: it is killed then.
        """
        wait_for(lambda: not self.is_running or self.said(words), seconds)
        if not self.said(words):
            self.kill()
            raise AndonError(f"{self.name} did not say {words!r}: {self.last_words()}")

    def count(self, words: str) -> int:
        """How often all its lives have said this."""
        return self.log.read_text("utf-8", "replace").count(words) if self.log.exists() else 0

    def last_words(self) -> str:
        """The end of what all its lives have printed."""
        return self.log.read_text("utf-8", "replace")[-LAST_WORDS:] if self.log.exists() else ""
