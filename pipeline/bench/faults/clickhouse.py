"""The local ClickHouse endpoint of a scenario, and what can befall it."""

import threading
from typing import Self

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from pipeline.bench.clickhouse import LocalClickHouse
from pipeline.bench.faults.under_test import LineUnderTest
from pipeline.bench.faults.watch import Pulse
from pipeline.runtime.waiting import Deadline

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


class ClickHouse(LocalClickHouse):
    """One that is tended and killed with the other stages of a line."""

    def __init__(self, line: LineUnderTest) -> None:
        super().__init__(line.directory)
        self._line = line
        self.crashes_ahead = 0  # of the tables behind `events`, at the end of `half_full`

    def __enter__(self) -> Self:
        super().__enter__()
        self._line.keep(self.stage)
        self.client().command(NO_MERGES)
        return self

    # -- faults: each returns when it is over

    def gone(self, seconds: float) -> None:
        """Killed, and back after so long."""
        self.stage.kill()
        self._line.run_for(seconds)
        self.start()

    def slow(self, seconds: float) -> None:
        """A tenth of its speed."""
        end = Deadline(seconds)
        while not end.has_passed:
            self.stage.freeze()
            self._line.run_for(SLOW_PAUSE_SECONDS)
            self.stage.thaw()
            self._line.run_for(SLOW_WORK_SECONDS)

    def read_only(self, seconds: float) -> None:
        """It answers, and takes no insert."""
        self._line.stop(self.stage)
        self.start(read_only=True)
        self._line.run_for(seconds)
        self._line.stop(self.stage)
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
