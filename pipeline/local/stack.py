"""A running local line, seen from outside: `stack.json` says where everything is, `LocalStack` starts and stops one."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Literal

import msgspec

from pipeline.local import datadir
from pipeline.local.machine.leash import leash
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.logging import printable

STACK_FILE = "stack.json"
START_SECONDS = 180.0
STOP_SECONDS = 60.0  # the stages' own limits add up to less
POLL_SECONDS = 0.02
SHARED_MEMORY = Path("/dev/shm")

StageState = Literal["waiting", "starting", "up", "restarting", "failing", "stopped"]


class StageInfo(msgspec.Struct, kw_only=True):
    """One supervised process. `started_at` in unix ms; `last_line` is already escaped for a terminal."""

    state: StageState = "waiting"
    pid: int = 0
    restarts: int = 0
    started_at: int = 0
    metrics_port: int = 0
    exit_code: int | None = None
    last_line: str = ""


class StackInfo(msgspec.Struct, kw_only=True):
    """Where everything is. Addresses of what was not started are empty. Rewritten at each restart of a stage."""

    version: Literal[1] = 1
    supervisor_pid: int
    started_at: int
    data_dir: str
    fleet: str
    bootstrap_servers: str
    gateway_url: str = ""
    gateway_token_file: str = ""
    gateway_tokens_file: str = ""
    correlate_url: str = ""
    clickhouse_url: str = ""
    clickhouse_user: str = ""
    clickhouse_password_file: str = ""
    clickhouse_reader: str = ""  # may only read
    clickhouse_reader_password_file: str = ""
    log_file: str = ""
    stages: dict[str, StageInfo]

    @property
    def pids(self) -> dict[str, int]:
        """Process id by stage, of those that run."""
        return {name: stage.pid for name, stage in self.stages.items() if stage.pid}

    @property
    def metrics_ports(self) -> dict[str, int]:
        """Port of /metrics by stage, of those that serve it."""
        return {name: stage.metrics_port for name, stage in self.stages.items() if stage.metrics_port}


def save(info: StackInfo) -> None:
    """Write `stack.json` at once."""
    path = Path(info.data_dir) / STACK_FILE
    datadir.write_private(path, msgspec.json.format(msgspec.json.encode(info)).decode() + "\n")


def remove(data_dir: Path) -> None:
    """The line is no longer ready. Raises ConfigError when the directory cannot be written to."""
    with datadir.writable(data_dir):
        (data_dir / STACK_FILE).unlink(missing_ok=True)


def meant(data_dir: Path, kafka: KafkaConfig, named: bool) -> bool:
    """Whether these settings mean the local line: none are given, or just its address. `named`: by an option."""
    if kafka == KafkaConfig():
        return not named
    info = running(data_dir)
    return info is not None and kafka == KafkaConfig(bootstrap_servers=info.bootstrap_servers)


def running(data_dir: Path) -> StackInfo | None:
    """The line that runs in this directory and is ready, if one does; a killed supervisor's leavings do not count."""
    try:
        info = msgspec.json.decode((data_dir / STACK_FILE).read_bytes(), type=StackInfo)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise AndonError(f"{data_dir / STACK_FILE} cannot be read: {error}") from None
    return info if datadir.is_locked(data_dir) and _alive(info.supervisor_pid) else None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class LocalStack:
    """`andon up` as a context manager: the line is ready inside the block and wholly gone after it.

    It runs in a process of its own, which stops cleanly when this one dies, however it dies. Enter it on the main
    thread, or on one that outlives it: the kernel ties the line to the thread that started it.

    `stages`: names out of the stage table, all by default; the broker always runs.
    `data_dir`: kept; by default a temporary one (in memory where there is /dev/shm), removed at the end.
    `options`: more options of `andon up`, e.g. `fleet="acme"`, `gateway_port=8080`.
    """

    def __init__(
        self, data_dir: Path | None = None, stages: Sequence[str] | None = None, **options: str | int | Path
    ) -> None:
        self._kept = data_dir
        self._options = dict(options)
        if stages is not None:
            self._options["stages"] = ",".join(stages)
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes]
        self.data_dir = Path()
        self.info: StackInfo

    def __enter__(self) -> "LocalStack":
        memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
        self.data_dir = (self._kept or Path(tempfile.mkdtemp(prefix="andon-", dir=memory))).absolute()
        self._errors = tempfile.TemporaryFile()
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self) -> None:
        argv = [sys.executable, "-P", "-m", "pipeline", "up", "--data-dir", str(self.data_dir)]
        for key, value in self._options.items():
            argv += ["--" + key.replace("_", "-"), str(value)]
        if self._kept is None:
            argv += ["--ephemeral", "true"]
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the log is in the data directory
            stderr=self._errors,
            env={key: value for key, value in os.environ.items() if not key.startswith("ANDON_UP_")},
            start_new_session=True,
            preexec_fn=leash(signal.SIGTERM),
        )
        deadline = time.monotonic() + START_SECONDS
        while (info := running(self.data_dir)) is None or info.supervisor_pid != self._process.pid:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AndonError(f"the local line did not start: {self.last_words()}")
            time.sleep(POLL_SECONDS)
        self.info = info

    def refresh(self) -> StackInfo:
        """Read `stack.json` again: process ids change when stages are restarted.

        Raises:
            AndonError: when the line runs no longer.
        """
        info = running(self.data_dir)
        if info is None:
            raise AndonError(f"the local line has stopped: {self.last_words()}")
        self.info = info
        return info

    def last_words(self) -> str:
        """What `andon up` said on standard error, as one line."""
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").splitlines()
        return " | ".join(printable(line) for line in lines[-5:])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._errors.close()
        if self._kept is None:
            shutil.rmtree(self.data_dir, ignore_errors=True)
