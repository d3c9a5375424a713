"""`andon clickhouse` as a process of its own, for benches and tests; and an archive that writes into it."""

import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.local.clickhouse.accounts import OWNER, WRITER, unconfined
from pipeline.local.clickhouse.config import READY
from pipeline.local.machine.ports import LOOPBACK, free_port
from pipeline.local.machine.process import Process, andon
from pipeline.wire.topics import EVENTS


class ClickHouseProcess:
    """A context manager: the local endpoint on a free port, each account with a password of its own, data in
    `directory`, and logs as well unless they have a place of their own. What an earlier one stored there is taken over;
    the schema is for others to bring."""

    def __init__(self, directory: Path, logs: Path | None = None) -> None:
        self.directory, self._logs = directory, logs or directory
        self.password, self.read_password = secrets.token_hex(16), secrets.token_hex(16)
        self.grafana_password, self.write_password = secrets.token_hex(16), secrets.token_hex(16)
        self._port = free_port()
        self.url = f"http://{LOOPBACK}:{self._port}"
        self.stage = Process([], self._logs / "clickhouse.log", name="clickhouse", ready=READY)

    def start(self, read_only: bool = False) -> None:
        """Start it, also again. Read-only, the archive's user is one who may not insert.

        Raises:
            AndonError: when it does not get ready.
        """
        names = ("password", "read_password", "grafana_password", "write_password")
        environ = {f"ANDON_ENGINE_{name}".upper(): str(getattr(self, name)) for name in names}
        where = ("--data-dir", self.directory / "clickhouse", "--port", self._port)
        users = ("--write-user", "nobody", "--read-user", WRITER) if read_only else ()
        if read_only:
            environ["ANDON_ENGINE_READ_PASSWORD"] = self.write_password
        self.stage.argv, self.stage.environ = andon("clickhouse", *where, *users), dict(environ)
        self.stage.start()

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.stage.is_running:
            self.stage.stop()

    def archive(self, bootstrap_servers: str, topic_prefix: str = "", **options: object) -> Process:
        """Start an archive from this broker into this ClickHouse, as the user who may only insert, or the owner where
        that is the only one, like `andon up`; it has its partitions when this returns."""
        user, password = (OWNER, self.password) if unconfined() else (WRITER, self.write_password)
        words = ["--bootstrap-servers", bootstrap_servers, "--topic-prefix", topic_prefix]
        words += ["--clickhouse-url", self.url, "--clickhouse-user", user]
        for name, value in options.items():
            words += ["--" + name.replace("_", "-"), str(value)]
        environ = {"ANDON_CLICKHOUSE_PASSWORD": password}
        ready = f"topic={topic_prefix}{EVENTS.name}"
        log = self._logs / "archive.log"
        return Process(andon("archive", *words), log, environ, name="archive", ready=ready).start()
