"""Keeps processes running: starts them, merges what they print, starts them anew when they end, stops them in order."""

import asyncio
import contextlib
import re
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from pipeline.local.child import Child, describe
from pipeline.local.machine.listeners import strangers
from pipeline.local.mergedlog import MergedLog
from pipeline.local.stack import StageInfo
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.metrics import PROCESS_UP, RESTARTS
from pipeline.runtime.waiting import Deadline

PROBE_SECONDS = 0.05
WATCH_SECONDS, UNREADY_LOOKS = 5.0, 3  # of what was ready once
KILLED_SECONDS = 10.0
NOT_STARTED = 127
FAILING_AFTER = 3  # ends in a row before a stage counts as failing rather than restarting
# The loader's word, at each start of the embedded broker, for what that can do without.
NOISE = re.compile(r": weak version `\S+' not found \(required by ")
BAD_CONFIGURATION = ConfigError.exit_code

Probe = Callable[[], Awaitable[bool]]


class ProcessSpec(NamedTuple):
    """A process to keep running. `phase`: lower ones start first and stop last. `death_signal` is what it gets when
    the supervisor dies; `stop_seconds` is how long SIGTERM may take before SIGKILL (0: SIGKILL at once).
    `takes_along`: processes that are to begin anew with it when it ends by itself."""

    name: str
    argv: Sequence[str]
    ready: Probe
    phase: int
    stop_seconds: float
    death_signal: int = signal.SIGKILL
    metrics_port: int = 0
    ports: Sequence[int] = ()  # that the process itself listens on: whoever else does is asked nothing
    keep: Sequence[int] = ()  # descriptors that it inherits beside those of all
    takes_along: tuple[str, ...] = ()


class Backoff(NamedTuple):
    """How long to wait before starting a process anew: doubling, capped, forgotten after a healthy run."""

    first_seconds: float = 0.25
    cap_seconds: float = 30.0
    healthy_seconds: float = 30.0

    def failures(self, before: int, ran_seconds: float) -> int:
        """Ends in a row, counting this one."""
        return 1 if ran_seconds >= self.healthy_seconds else before + 1

    def delay_seconds(self, failures: int) -> float:
        """Wait before the next start, after so many ends in a row."""
        return min(self.cap_seconds, self.first_seconds * 2.0 ** min(failures - 1, 30))


class Supervised:
    """One process and its restarts; `info` is what the world sees of it."""

    def __init__(self, spec: ProcessSpec, home: "Supervisor") -> None:
        self.spec = spec
        self.info = StageInfo(metrics_port=spec.metrics_port)
        self.is_ready = asyncio.Event()
        self.failures = 0
        self._was_ready = False
        self._taken: dict[int, int] = {}
        self._home = home
        self._stopping = asyncio.Event()
        self._child: Child | None = None
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to keep it running."""
        self._keeper = asyncio.create_task(self._keep(), name=self.spec.name)

    async def _keep(self) -> None:
        while not self._stopping.is_set():
            begun = time.monotonic()
            code = await self._run_once()
            if self._stopping.is_set():
                break
            if code == BAD_CONFIGURATION and not self._was_ready:
                self._say(f"refuses its configuration ({describe(code)})")
                self._change("failing", pid=0, exit_code=code)
                return  # whoever starts the line gives up, and says why
            ran_seconds = time.monotonic() - begun
            self.failures = self._home.backoff.failures(self.failures, ran_seconds)
            delay = self._home.backoff.delay_seconds(self.failures)
            self._say(f"ended with {describe(code)} after {ran_seconds:.1f} s; starts again in {delay:.2g} s")
            self.info.restarts += 1
            RESTARTS.labels(self.spec.name).inc()
            self._change("failing" if self.failures >= FAILING_AFTER else "restarting", pid=0, exit_code=code)
            for name in self._home.stages.keys() & set(self.spec.takes_along):
                self._home.stages[name].end_with(self.spec.name)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
        self._change("stopped", pid=0)

    def end_with(self, other: str) -> None:
        """Killed, because this other process ended by itself; it starts again as always."""
        self._say(f"begins anew with {other}")
        self._signal(signal.SIGKILL)

    async def _run_once(self) -> int:
        """One life of the process; returns its exit code."""
        try:
            self._child = child = await self._home.spawn(self.spec, self._line)
        except OSError as error:
            self._say(f"cannot be started: {error}")
            return NOT_STARTED
        self._change("starting", pid=child.pid, started_at=wall_clock_ms())
        probing = asyncio.create_task(self._probe())
        if self._stopping.is_set():  # asked to stop while it was being started
            self._ask_to_stop()
        code = await child.wait()
        probing.cancel()
        self.is_ready.clear()
        return code

    def _line(self, line: str) -> None:
        if NOISE.search(line):
            return
        if line.strip():
            self.info.last_line = line
        self._home.log.line(self.spec.name, line)

    async def _probe(self) -> None:
        while not (self._is_itself() and await self.spec.ready()):
            await asyncio.sleep(PROBE_SECONDS)
        self._was_ready = True
        self.is_ready.set()
        self._change("up")
        await self._watch()

    async def _watch(self) -> None:
        """It may cease to be what it says, or stand still: then it is not shown as up."""
        failed = 0
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            failed = 0 if self._is_itself() and await self.spec.ready() else failed + 1
            state = "unready" if failed >= UNREADY_LOOKS else "up"
            if failed in (0, UNREADY_LOOKS) and state != self.info.state:
                self._say("is not ready any more" if failed else "is ready again")
                self._change(state)

    def _is_itself(self) -> bool:
        """Whether it listens on its ports, and nobody else does: a stranger's word is not taken for its own."""
        found = {port: strangers(self._child.pid if self._child else 0, port) for port in self.spec.ports}
        taken = {port: others[0].uid for port, others in found.items() if others}
        if taken and taken != self._taken:
            words = ", ".join(f"port {port} by a process of user {uid}" for port, uid in taken.items())
            self.info.last_line = f"taken by others: {words}"
            self._say(self.info.last_line)
        self._taken = taken
        return all(others == [] for others in found.values())

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL when it takes too long; returns when the process is gone."""
        self._stopping.set()
        if self._keeper is None:
            return
        self._ask_to_stop()
        waiting = asyncio.create_task(self._home.hurry.wait())
        await asyncio.wait(
            {self._keeper, waiting}, timeout=self.spec.stop_seconds or KILLED_SECONDS, return_when="FIRST_COMPLETED"
        )
        waiting.cancel()
        if not self._keeper.done():
            self._say("does not stop: killed")
            self._signal(signal.SIGKILL)
            await asyncio.wait({self._keeper}, timeout=KILLED_SECONDS)

    def _ask_to_stop(self) -> None:
        self._signal(signal.SIGTERM if self.spec.stop_seconds else signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._child is not None:
            self._child.signal(number)

    def _say(self, text: str) -> None:
        self._home.log.line("andon", f"{self.spec.name}: {text}")

    def _change(self, state: str, **more: object) -> None:
        if state != self.info.state:
            self.info.since = wall_clock_ms()
        for key, value in {"state": state, **more}.items():
            setattr(self.info, key, value)
        PROCESS_UP.labels(self.spec.name).set(state == "up")
        self._home.on_change()


class Supervisor:
    """All processes of a line. `keep` are descriptors that every child inherits; `hurry` cuts every wait at stop."""

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        log: MergedLog,
        environ: Mapping[str, str],
        *,
        keep: Sequence[int] = (),
        backoff: Backoff | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.log = log
        self.backoff = backoff or Backoff()
        self.on_change = on_change
        self.hurry = asyncio.Event()
        self._environ = dict(environ)
        self._keep = tuple(keep)
        self.stages = {spec.name: Supervised(spec, self) for spec in specs}

    def phase(self, number: int) -> list[Supervised]:
        """The processes of one phase."""
        return [stage for stage in self.stages.values() if stage.spec.phase == number]

    async def spawn(self, spec: ProcessSpec, on_line: Callable[[str], None]) -> Child:
        """Start one process. Raises OSError when it cannot be started."""
        return await Child.start(
            spec.argv, on_line, environ=self._environ, keep=(*self._keep, *spec.keep), death_signal=spec.death_signal
        )

    async def start(self, stages: Sequence[Supervised], timeout_seconds: float) -> None:
        """Start these and wait until all are ready.

        Raises:
            ConfigError: when one refuses its configuration, with its last words.
            AndonError: when one keeps failing or is not ready in time, with its last words.
        """
        for stage in stages:
            stage.start()
        deadline = Deadline(timeout_seconds)
        for stage in stages:
            while not stage.is_ready.is_set():
                said = stage.info.last_line or "it said nothing"
                if stage.info.exit_code == BAD_CONFIGURATION:
                    raise ConfigError(f"{stage.spec.name} refuses its configuration: {said.removeprefix('andon: ')}")
                given_up = stage.failures >= FAILING_AFTER
                if given_up or deadline.has_passed:
                    why = "ends at once" if given_up else f"is not ready after {timeout_seconds:.0f} s"
                    raise AndonError(f"{stage.spec.name} {why}: {said}")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stage.is_ready.wait(), PROBE_SECONDS)

    async def run_to_end(self, name: str, argv: Sequence[str], timeout_seconds: float) -> None:
        """Run a command once and log what it prints.

        Raises:
            AndonError: when it fails or takes too long, with its last words.
        """
        said: list[str] = []

        def on_line(line: str) -> None:
            said[:] = [line]
            self.log.line(name, line)

        child = await Child.start(argv, on_line, environ=self._environ, keep=self._keep)
        try:
            code = await asyncio.wait_for(child.wait(), timeout_seconds)
        except BaseException as error:
            child.signal(signal.SIGKILL)
            await child.wait()
            if isinstance(error, TimeoutError):
                raise AndonError(f"{name} took more than {timeout_seconds:.0f} s") from None
            raise
        if code:
            raise AndonError(f"{name} failed: {said[0] if said else describe(code)}")

    async def stop(self) -> None:
        """Stop everything, last phase first; the members of a phase together."""
        for number in sorted({stage.spec.phase for stage in self.stages.values()}, reverse=True):
            await asyncio.gather(*(stage.stop() for stage in self.phase(number)))
