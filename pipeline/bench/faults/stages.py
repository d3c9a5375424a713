"""The stages of a scenario, as processes that are killed and frozen, and kept running as `andon up` does."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.local.machine.process import Process, andon
from pipeline.runtime.errors import AndonError, FatalStageError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.waiting import Deadline, wait_for

READY_SECONDS = 60.0
RESTART_SECONDS = 0.5


class Kept:
    """One process, started anew when it ends by itself."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.own_ends = 0
        self._rest: Deadline | None = None

    def tend(self) -> None:
        """Start it anew if it ended by itself, some moments later.

        Raises:
            AndonError: when it ended otherwise than a stage does that asks for a restart.
        """
        code = self.process.own_end()
        if code is None:
            return
        if code != FatalStageError.exit_code:
            raise AndonError(f"{self.process.name} ended with {code}: {self.process.last_words()}")
        if self._rest is None:
            self.own_ends += 1
            self._rest = Deadline(RESTART_SECONDS)
        elif self._rest.has_passed:
            self._rest = None
            self.process.start(wait=False)  # it may have to wait for others, and they for it


class Stages:
    """All that runs in a scenario. Call everything from one thread, and `tend` often."""

    def __init__(self, scenario: str, kafka: KafkaConfig, logs: Path) -> None:
        self.scenario, self.kafka, self.logs = scenario, kafka, logs
        self._kept: list[Kept] = []
        self._started = time.monotonic()

    def keep(self, process: Process) -> Process:
        """From now on this one is tended, counted, and ended in the end."""
        self._kept.append(Kept(process))
        return process

    def stage(self, name: str, *options: object, prefix: str = "", ready: str = "") -> Process:
        """Start one on this scenario's topics, or on those of another prefix; when it says so, it is ready."""
        servers = ("--bootstrap-servers", self.kafka.bootstrap_servers)
        where = (*servers, "--topic-prefix", prefix or self.kafka.topic_prefix)
        log = self.logs / f"{name}-{len(self._kept)}.log"
        return self.keep(Process(andon(name, *where, *options), log, name=name, ready=ready)).start()

    def tend(self) -> None:
        """What a supervisor does between two looks. Raises AndonError when something cannot go on."""
        for kept in self._kept:
            kept.tend()

    def until(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """Wait for it, tending the stages. Raises AndonError when it does not come true in time."""

        def look() -> bool:
            self.tend()
            return condition()

        if not wait_for(look, seconds):
            words = "\n".join(f"{kept.process.name}: {kept.process.last_words()}" for kept in self._kept)
            raise AndonError(f"{self.scenario}: not within {seconds:.0f} s: {what}\n{words}")

    def run_for(self, seconds: float) -> None:
        """Let it run."""
        over = Deadline(seconds)
        self.until("time passes", lambda: over.has_passed, seconds + 60)

    def stop(self, process: Process) -> None:
        """Raises AndonError when it does not stop cleanly."""
        if (code := process.stop()) not in (0, FatalStageError.exit_code):
            raise AndonError(f"andon {process.name} did not stop: {code}, {process.last_words()}")

    def end(self) -> None:
        """Whatever they do: away with them."""
        for kept in self._kept:
            kept.process.kill()

    def figures(self) -> dict[str, Any]:
        """What every scenario says of its stages."""
        return {
            "seconds": round(time.monotonic() - self._started, 1),
            "kills": sum(kept.process.kills for kept in self._kept),
            "restarts_of_their_own": sum(kept.own_ends for kept in self._kept),
            "peak_rss_bytes": {kept.process.name: kept.process.peak_rss_bytes() for kept in self._kept},
        }
