"""The local ClickHouse endpoint of a scenario, and what can befall it."""

import secrets
import threading
import time
from pathlib import Path

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from consumers.clickhouse.connect import ClickHouseConfig, connect
from consumers.clickhouse.schema.migrate import Migrator
from consumers.clickhouse.schema.migration import shipped
from pipeline.bench.faults.line import READY_SECONDS, Line
from pipeline.bench.faults.stage import Stage
from pipeline.bench.faults.watch import Pulse
from pipeline.local.machine.ports import free_port
from pipeline.runtime.errors import AndonError

WRITER = "andon_write"
LOOK_SECONDS = 0.25
SLOW_PAUSE_SECONDS, SLOW_WORK_SECONDS = 0.9, 0.1
# A repeat must not be merged away before it is counted; and so many parts must not stop the inserts.
NO_MERGES = (
    "ALTER TABLE events MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1, "
    "max_bytes_to_merge_at_min_space_in_pool = 1, parts_to_delay_insert = 100000, parts_to_throw_insert = 100000"
)
VIEWED = ("stratum_days", "update_hours")
CRASHES = """
SELECT (SELECT uniqExact(id) FROM events WHERE kind = 'crash'), (SELECT uniqExactMerge(crashes) FROM stratum_days)"""


class ClickHouse:
    """The endpoint as a process with the schema in place; the archive comes to it as a user who may only insert."""

    def __init__(self, line: Line, data_dir: Path) -> None:
        self._line, self._data_dir = line, data_dir
        self._password, self.write_password = secrets.token_hex(16), secrets.token_hex(16)
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.server = ClickHouseConfig(self.url, password=self._password)
        self._stage: Stage | None = None
        self.crashes_ahead = 0  # of the tables behind `events`, at the end of `half_full`
        self.start()
        Migrator(connect(self.server), self.server.database).up(shipped())
        self.client().command(NO_MERGES)

    @property
    def stage(self) -> Stage:
        """The process."""
        if self._stage is None:
            raise AndonError("ClickHouse was not started")
        return self._stage

    def start(self, read_only: bool = False) -> None:
        """Start it; read-only, the archive's user is one who may not insert."""
        users = ("--write-user", "nobody", "--read-user", WRITER) if read_only else ()
        name = "READ" if read_only else "WRITE"
        environ = {
            "ANDON_ENGINE_PASSWORD": self._password,
            f"ANDON_ENGINE_{name}_PASSWORD": self.write_password,
        }
        options = ("--data-dir", str(self._data_dir), "--port", str(self._port), *users)
        self._stage = Stage("clickhouse", self._line.logs, options, environ).start()
        self._line.stages.append(self._stage)
        self._line.until("ClickHouse is ready", lambda: self.stage.said("clickhouse ready"), READY_SECONDS)

    def client(self) -> Client:
        """The owner's."""
        return connect(self.server, database=self.server.database)

    # -- faults: each returns when it is over

    def gone(self, seconds: float) -> None:
        """Killed, and back after so long."""
        self.stage.kill()
        self._line.run_for(seconds)
        self.start()

    def slow(self, seconds: float) -> None:
        """A tenth of its speed."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.stage.freeze()
            self._line.run_for(SLOW_PAUSE_SECONDS)
            self.stage.thaw()
            self._line.run_for(SLOW_WORK_SECONDS)

    def read_only(self, seconds: float) -> None:
        """It answers, and takes no insert."""
        self.stage.stop()
        self.start(read_only=True)
        self._line.run_for(seconds)
        self.stage.stop()
        self.start()

    def full(self, seconds: float) -> None:
        """Less room on the disk than it has to keep free: it refuses every insert, as before a disk is full."""
        self._keep_free(1 << 60, "events")
        self._line.run_for(seconds)
        self._keep_free(0, "events")

    def half_full(self, seconds: float) -> None:
        """The same for tables behind materialized views only: `events` takes a block, then its insert fails."""
        self._keep_free(1 << 60, *VIEWED)
        self._line.run_for(seconds)
        self.crashes_ahead = self._crashes_ahead()
        self._keep_free(0, *VIEWED)

    def _keep_free(self, size_bytes: int, *tables: str) -> None:
        for table in tables:
            command = f"ALTER TABLE {table} MODIFY SETTING min_free_disk_bytes_to_perform_insert = {size_bytes}"
            self.client().command(command)

    def _crashes_ahead(self) -> int:
        """How many crashes `events` has that a table behind it has not."""
        there, viewed = self.client().query(CRASHES).first_row
        return int(there) - int(viewed)


class Stored(threading.Thread):
    """Asks ClickHouse again and again how many events it has; beats whenever they are more."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        super().__init__(name="stored", daemon=True)
        self._clickhouse = clickhouse
        self._stop_asked = threading.Event()
        self.pulse = Pulse()
        self.count = 0

    def run(self) -> None:
        """Until `close`."""
        client: Client | None = None
        while not self._stop_asked.wait(LOOK_SECONDS):
            try:
                client = client or self._clickhouse.client()
                found = int(client.query("SELECT count() FROM events").first_row[0])
            except (Error, OSError):
                client = None
                continue
            if found > self.count:
                self.count = found
                self.pulse.beat()

    def close(self) -> None:
        """Stop asking."""
        self._stop_asked.set()
        self.join()
