"""What the archive says of inserts that fail: which, how many rows, into which table; and not a thousand times."""

from typing import Any

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from structlog.testing import CapturingLogger
from support.waiting import DEADLINE_SECONDS

from consumers.clickhouse.archive import insert
from consumers.clickhouse.archive.insert import CannotInsert, Inserter
from consumers.clickhouse.archive.intent import Intent, Range
from consumers.clickhouse.archive.lanes import Batch
from consumers.clickhouse.connect import ClickHouseConfig


class Full:
    """A server whose disk is full for so many attempts; then, if it is to, it fails otherwise."""

    def __init__(self, attempts: int, then: Exception | None = None) -> None:
        self.attempts, self.then = attempts, then

    def insert_arrow(self, *_: Any, **__: Any) -> None:
        """An attempt."""
        self.attempts -= 1
        if self.attempts >= 0:
            raise DatabaseError("Code: 243. Cannot reserve 1.00 MiB, not enough space")
        if self.then is not None:
            raise self.then


def inserted(monkeypatch: pytest.MonkeyPatch, server: Full) -> tuple[BaseException | None, list[dict[str, Any]]]:
    """How it ended, and the warnings."""
    monkeypatch.setattr(insert, "FIRST_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(insert, "MAX_BACKOFF_SECONDS", 0.001)
    log = CapturingLogger()
    inserter = Inserter(ClickHouseConfig(), log)  # type: ignore[arg-type]
    monkeypatch.setattr(inserter, "_client", lambda: server)
    rows = pa.RecordBatch.from_pydict({"a": [1, 2, 3]})
    future = inserter.submit(Batch("fleet.events", Intent(rows=3, ranges=(Range(0, 7, 10, 0),)), {"events": [rows]}))
    error = future.exception(DEADLINE_SECONDS)
    inserter.close()
    return error, [call.kwargs for call in log.calls]


def test_a_full_disk_is_said_once_and_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty attempts, one warning: table, rows, records and the server's reason."""
    error, (said,) = inserted(monkeypatch, Full(50))
    assert error is None
    assert (said["table"], said["rows"], "not enough space" in said["error"]) == ("events", 3, True)
    assert said["of"] == "fleet.events [0] 7 to 10"


class Gone(Full):
    """One that cannot be reached after its disk was full."""

    def insert_arrow(self, *_: Any, **__: Any) -> None:
        """An attempt."""
        self.attempts -= 1
        if self.attempts >= 0:
            raise DatabaseError("Code: 243. not enough space") if self.attempts > 5 else OSError("refused")


def test_another_reason_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the table has failed all the while."""
    error, said = inserted(monkeypatch, Gone(10))
    assert error is None
    assert [one["error"].partition(". ")[0] for one in said] == ["Code: 243", "refused"]


def test_what_no_attempt_changes_names_the_insert(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error that ends the stage says how many rows, into which table, of which records."""
    error, _ = inserted(monkeypatch, Full(0, TypeError("no such type")))
    assert isinstance(error, CannotInsert)
    assert str(error).startswith("3 rows into events, of fleet.events [0] 7 to 10: ")
    assert "no such type" in str(error)
