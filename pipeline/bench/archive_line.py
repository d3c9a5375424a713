"""What `andon bench archive` and the tests start: the ClickHouse endpoint and the archive, each its own process."""

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from consumers.clickhouse.connect import ClickHouseConfig, connect
from consumers.clickhouse.schema.migrate import Migrator
from consumers.clickhouse.schema.migration import shipped
from pipeline.local.machine.leash import leash
from pipeline.local.machine.ports import free_port
from pipeline.local.plan import CLICKHOUSE_WRITER
from pipeline.runtime.errors import AndonError
from pipeline.wire.topics import EVENTS

START_SECONDS = 60.0
STOP_SECONDS = 30.0


class Stage:
    """One `andon …` process; its standard error goes to a file, where `ready` is looked for."""

    def __init__(self, arguments: list[str], log: Path, ready: str, environ: dict[str, str]) -> None:
        self.log = log
        self._stream: IO[bytes] = log.open("ab")
        start = log.stat().st_size
        argv = [sys.executable, "-m", "pipeline", *arguments]
        leashed = leash(signal.SIGTERM)  # nothing is left behind, whatever becomes of us
        self.process = subprocess.Popen(argv, stderr=self._stream, env=os.environ | environ, preexec_fn=leashed)
        deadline = time.monotonic() + START_SECONDS
        while ready not in log.read_text("utf-8")[start:]:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AndonError(f"andon {arguments[0]} did not start: {log.read_text('utf-8')[-2000:]}")
            time.sleep(0.002)
        self.start_cpu_seconds = self.cpu_seconds()

    def cpu_seconds(self) -> float:
        """CPU time of the running process, all threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_rss_bytes(self) -> int:
        """The most memory that the running process has held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait()
        self._stream.close()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        finally:
            self.kill()


class LocalClickHouse:
    """A context manager: the local endpoint on a free port, with the schema in place."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.password = secrets.token_hex(16)
        self.read_password = secrets.token_hex(16)
        self.grafana_password = secrets.token_hex(16)
        self.write_password = secrets.token_hex(16)
        self.server = ClickHouseConfig(f"http://127.0.0.1:{free_port()}", password=self.password)
        self.stage: Stage | None = None

    def start(self) -> None:
        """Start the process; the data of an earlier one is taken over."""
        port = self.server.url.rpartition(":")[2]
        arguments = ["clickhouse", "--data-dir", str(self._directory / "clickhouse"), "--port", port]
        passwords = ("password", "read_password", "grafana_password", "write_password")
        environ = {f"ANDON_ENGINE_{name}".upper(): getattr(self, name) for name in passwords}
        self.stage = Stage(arguments, self._directory / "clickhouse.log", "clickhouse ready", environ)

    def __enter__(self) -> "LocalClickHouse":
        self._directory.mkdir(parents=True, exist_ok=True)
        self.start()
        Migrator(connect(self.server), self.server.database).up(shipped())
        return self

    def client(self) -> Client:
        """A client whose database is Andon's."""
        return connect(self.server, database=self.server.database)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.stage is not None and self.stage.process.poll() is None:
            self.stage.stop()

    def archive(self, bootstrap_servers: str, topic_prefix: str = "", **options: Any) -> Stage:
        """Start an archive from this broker into this ClickHouse, as the user who may only insert, like `andon up`; it
        has its partitions when this returns."""
        arguments = ["archive", "--bootstrap-servers", bootstrap_servers, "--topic-prefix", topic_prefix]
        arguments += ["--clickhouse-url", self.server.url, "--clickhouse-user", CLICKHOUSE_WRITER]
        for name, value in options.items():
            arguments += ["--" + name.replace("_", "-"), str(value)]
        environ = {"ANDON_CLICKHOUSE_PASSWORD": self.write_password}
        return Stage(arguments, self._directory / "archive.log", f"topic={topic_prefix}{EVENTS.name}", environ)


def value(client: Client, sql: str) -> Any:
    """The first column of the first row; None while the server cannot say."""
    try:
        return client.query(sql).result_rows[0][0]
    except (Error, OSError):
        return None


def wait_for(client: Client, sql: str, wanted: int, timeout_seconds: float) -> float:
    """Poll until `sql` gives at least `wanted`; the monotonic time of that.

    Raises:
        AndonError: when it does not in time.
    """
    deadline = time.monotonic() + timeout_seconds
    while (found := value(client, sql) or 0) < wanted:
        if time.monotonic() > deadline:
            raise AndonError(f"{sql} gave {found} after {timeout_seconds} s, not {wanted}")
        time.sleep(0.02)
    return time.monotonic()
