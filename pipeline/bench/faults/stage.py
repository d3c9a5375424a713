"""A stage of the line as a process: killed, frozen, and started again when it ends by itself, as `andon up` does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from pipeline.local.machine.leash import leash
from pipeline.runtime.errors import AndonError, FatalStageError

RESTART_SECONDS = 0.5
STOP_SECONDS = 30.0


class Stage:
    """One `andon NAME …`. Call everything from one thread, and `tend` often."""

    def __init__(self, name: str, directory: Path, options: tuple[str, ...], environ: Mapping[str, str] = {}) -> None:
        self.name, self._options, self._environ = name, options, dict(environ)
        self.log = directory / f"{name}-{time.monotonic_ns()}.log"
        self.kills = 0
        self.own_ends = 0  # that it ended by itself, to be started anew
        self.peak_rss_bytes = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._start_at = 0.0

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> "Stage":
        """Start it."""
        with self.log.open("ab") as stream:
            self._log_start = stream.tell()
            argv = [sys.executable, "-m", "pipeline", self.name, *self._options]
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=os.environ | self._environ,
                preexec_fn=leash(signal.SIGKILL),
            )
        return self

    def said(self, words: str) -> bool:
        """Whether this life's log has these words."""
        with self.log.open("rb") as stream:
            stream.seek(self._log_start)
            return words.encode() in stream.read()

    def tend(self) -> None:
        """Note its memory; start it anew if it ended by itself.

        Raises:
            AndonError: when it ended otherwise than a stage does that asks for a restart.
        """
        if self._process is None:
            return
        code = self._process.poll()
        if code is None:
            self._note_memory()
        elif code != FatalStageError.exit_code:
            raise AndonError(f"andon {self.name} ended with {code}: {self.last_words()}")
        elif not self._start_at:
            self.own_ends += 1
            self._start_at = time.monotonic() + RESTART_SECONDS
        elif time.monotonic() > self._start_at:
            self._start_at = 0.0
            self.start()

    def freeze(self) -> None:
        """SIGSTOP: nothing moves, so one can look."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and gone."""
        if self._process is not None:
            self._note_memory()
            self._process.kill()
            self._process.wait()
            self._process = None
            self.kills += 1

    def stop(self) -> None:
        """SIGTERM, and gone.

        Raises:
            AndonError: when it does not stop cleanly.
        """
        if self._process is None:
            return
        self._note_memory()
        self._signal(signal.SIGTERM)
        process, self._process = self._process, None
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = -signal.SIGKILL
        if code not in (0, FatalStageError.exit_code):
            raise AndonError(f"andon {self.name} did not stop: {code}, {self.last_words()}")

    def end(self) -> None:
        """Whatever it does: away with it, and not counted."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text("utf-8", "replace")[-1500:] if self.log.exists() else ""

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _note_memory(self) -> None:
        try:
            status = Path(f"/proc/{self._process.pid if self._process else 0}/status").read_text("ascii", "replace")
        except OSError:
            return
        if "VmHWM:" in status:
            peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
            self.peak_rss_bytes = max(self.peak_rss_bytes, peak)

    def count(self, words: str) -> int:
        """How often its log says this, over all its lives."""
        return self.log.read_text("utf-8", "replace").count(words) if self.log.exists() else 0
