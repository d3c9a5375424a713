"""A running local line, seen from outside: `stack.json` says where everything is, `LocalStack` starts and stops one."""

import os
import re
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

import msgspec

from pipeline.local import datadir
from pipeline.local.machine.files import write_private
from pipeline.local.machine.ports import LOOPBACK
from pipeline.local.machine.process import Process, andon
from pipeline.local.machine.usage import is_alive
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.logging import printable
from pipeline.runtime.waiting import wait_for

STACK_FILE = "stack.json"
START_SECONDS = 180.0
STOP_SECONDS = 60.0  # the stages' own limits add up to less
SHARED_MEMORY = Path("/dev/shm")

StageState = Literal["waiting", "starting", "up", "unready", "restarting", "failing", "stopped"]


class StageInfo(msgspec.Struct, kw_only=True):
    """One supervised process. Times in unix ms: `since` when it has been in this state, `started_at` when its process
    was started; `last_line` is already escaped for a terminal."""

    state: StageState = "waiting"
    pid: int = 0
    restarts: int = 0
    started_at: int = 0
    since: int = 0
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
    kafka_username: str = ""  # "" where the broker asks nobody who they are
    kafka_password_file: str = ""
    kafka_client_file: str = ""  # for clients of librdkafka: kcat -F
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
    metrics_port: int = 0  # the supervisor's own
    prometheus_file: str = ""  # its configuration, for what runs here
    stages: dict[str, StageInfo]

    @property
    def keys_dir(self) -> str:
        """Where the line's correlator keeps its signing key, and the public keys that are trusted."""
        return str(Path(self.data_dir) / "correlate" / "keys")

    @property
    def kafka(self) -> KafkaConfig:
        """How to reach the broker, with its account where it has one."""
        if not self.kafka_username:
            return KafkaConfig(bootstrap_servers=self.bootstrap_servers)
        return KafkaConfig(
            bootstrap_servers=self.bootstrap_servers,
            security_protocol="SASL_PLAINTEXT",
            sasl_username=self.kafka_username,
            sasl_password_file=self.kafka_password_file,
        )

    def metrics_url(self, name: str) -> str:
        """Where a stage serves its metrics, and whether it is ready; "" when it does not run or serves none."""
        port = self.stages[name].metrics_port if name in self.stages else 0
        return f"http://{LOOPBACK}:{port}" if port else ""

    @property
    def pids(self) -> dict[str, int]:
        """Process id by stage, of those that run."""
        return {name: stage.pid for name, stage in self.stages.items() if stage.pid}


def save(info: StackInfo) -> None:
    """Write `stack.json` at once."""
    path = Path(info.data_dir) / STACK_FILE
    write_private(path, msgspec.json.format(msgspec.json.encode(info)).decode() + "\n")


def remove(data_dir: Path) -> None:
    """The line is no longer ready. Raises ConfigError when the directory cannot be written to."""
    with datadir.writable(data_dir):
        (data_dir / STACK_FILE).unlink(missing_ok=True)


def meant(data_dir: Path, kafka: KafkaConfig, named: bool) -> bool:
    """Whether these settings mean the local line: none are given, or its address, in whatever words. `named`: by an
    option."""
    if kafka == KafkaConfig() and not named:
        return True
    info = running(data_dir)
    if info is None or _addresses(kafka.bootstrap_servers) != _addresses(info.bootstrap_servers):
        return False
    asked = msgspec.structs.replace(kafka, bootstrap_servers=info.bootstrap_servers)
    return asked in (info.kafka, KafkaConfig(bootstrap_servers=info.bootstrap_servers))


def _addresses(bootstrap_servers: str) -> set[str]:
    """Each by its number, where it is a name of this machine."""
    given = (each.strip().lower() for each in bootstrap_servers.split(","))
    return {re.sub(r"^(localhost|\[::1\]):", "127.0.0.1:", each) for each in given if each}


def running(data_dir: Path) -> StackInfo | None:
    """The line that runs in this directory and is ready, if one does; a killed supervisor's leavings do not count."""
    try:
        info = msgspec.json.decode((data_dir / STACK_FILE).read_bytes(), type=StackInfo)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise AndonError(f"{data_dir / STACK_FILE} cannot be read: {error}") from None
    return info if datadir.is_locked(data_dir) and is_alive(info.supervisor_pid) else None


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
        self._process: Process
        self.data_dir = Path()
        self.info: StackInfo

    def __enter__(self) -> "LocalStack":
        memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
        self._scratch = tempfile.TemporaryDirectory(prefix="andon-", dir=memory, ignore_cleanup_errors=True)
        scratch = Path(self._scratch.name)
        self.data_dir = (self._kept or scratch / "line").absolute()
        self._process = Process(
            self._command(),
            scratch / "up.log",
            dict.fromkeys(key for key in os.environ if key.startswith("ANDON_UP_")),
            output=Path(os.devnull),  # the log is in the data directory
            death_signal=signal.SIGTERM,
            own_session=True,
        )
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _command(self) -> list[str]:
        options = self._options | ({} if self._kept else {"ephemeral": "true"})
        words = [word for key, value in options.items() for word in ("--" + key.replace("_", "-"), value)]
        return andon("up", "--data-dir", self.data_dir, *words)

    def _start(self) -> None:
        self._process.start()

        def ready() -> StackInfo | None:
            info = running(self.data_dir)
            return info if info is not None and info.supervisor_pid == self._process.pid else None

        wait_for(lambda: ready() or not self._process.is_running, START_SECONDS)
        info = ready()
        if info is None:
            raise AndonError(f"the local line did not start: {self.last_words()}")
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
        return " | ".join(printable(line) for line in self._process.heard().splitlines()[-5:])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.is_running:
            self._process.stop(STOP_SECONDS)
        self._scratch.cleanup()
