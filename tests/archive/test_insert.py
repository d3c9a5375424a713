"""What the archive says of inserts that fail: which, how many rows, into which table; and not a thousand times."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from prometheus_client import REGISTRY
from structlog.testing import CapturingLogger
from support.waiting import DEADLINE_SECONDS, until

from consumers.clickhouse.archive import insert
from consumers.clickhouse.archive.insert import CannotInsert, Inserter
from consumers.clickhouse.archive.intent import Intent, Range
from consumers.clickhouse.archive.lanes import Batch
from consumers.clickhouse.connect import ClickHouseConfig
from consumers.clickhouse.refused import REASONS, refusal

ROWS = pa.RecordBatch.from_pydict({"a": [1, 2, 3]})


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
    future = inserter.submit(Batch("fleet.events", Intent(rows=3, ranges=(Range(0, 7, 10, 0),)), {"events": [ROWS]}))
    error = future.exception(DEADLINE_SECONDS)
    inserter.close()
    return error, [call.kwargs for call in log.calls]


def test_a_full_disk_is_said_once_and_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty attempts, one warning: table, rows, records and the server's reason."""
    error, (said,) = inserted(monkeypatch, Full(50))
    assert error is None
    assert (said["table"], said["rows"], "not enough space" in said["error"]) == ("events", 3, True)
    assert said["of"] == "fleet.events [0] 7 to 10"
    assert (said["why"], "andon forget" in said["do"]) == ("its disk is full", True)


def test_while_it_fails_readiness_and_metric_have_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """In words with what to do, and as a label; once it is over nothing is said."""
    monkeypatch.setattr(insert, "FIRST_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(insert, "MAX_BACKOFF_SECONDS", 0.001)
    inserter, server = Inserter(ClickHouseConfig(), CapturingLogger()), Full(1_000_000)  # type: ignore[arg-type]
    monkeypatch.setattr(inserter, "_client", lambda: server)
    labels = {"table": "events", "reason": "disk_full"}
    before = REGISTRY.get_sample_value("andon_archive_insert_failures_total", labels) or 0
    future = inserter.submit(Batch("fleet.events", Intent(rows=1, ranges=(Range(0, 7, 8, 0),)), {"events": [ROWS]}))
    until("it is said", inserter.trouble)
    (said,) = inserter.trouble()
    assert said.startswith("inserts into ClickHouse have failed for 0 s: its disk is full: give it more")
    assert (REGISTRY.get_sample_value("andon_archive_insert_failures_total", labels) or 0) > before
    server.attempts = 0
    assert future.exception(DEADLINE_SECONDS) is None
    assert inserter.trouble() == []
    inserter.close()


# Of ClickHouse 25 and 26, as the client hands them on; what is in brackets differs by server.
SAID = {
    "disk_full": [
        "Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE)",
        "Code: 75. DB::ErrnoException: Cannot write to file: , errno: 28, strerror: No space left on device. (CANNOT…)",
        "HTTP driver received HTTP status 500, server response: error code: 243, not enough space",
    ],
    "too_many_parts": ["Code: 252. DB::Exception: Too many parts (3000). Merges are processing … (TOO_MANY_PARTS)"],
    "memory_limit": ["Code: 241. DB::Exception: (total) memory limit exceeded: … (MEMORY_LIMIT_EXCEEDED)"],
    "read_only_table": ["Code: 242. DB::Exception: Table is in readonly mode (TABLE_IS_READ_ONLY)"],
    "read_only_user": ["Code: 164. DB::Exception: andon_read: Cannot execute query in readonly mode. (READONLY)"],
    "no_right": ["Code: 497. DB::Exception: andon_read: Not enough privileges. (ACCESS_DENIED)"],
    "login": ["Code: 516. DB::Exception: andon: Authentication failed (AUTHENTICATION_FAILED)"],
    "schema": ["Code: 60. DB::Exception: Table andon.events does not exist. (UNKNOWN_TABLE)"],
    "other": ["Code: 36. DB::Exception: … (BAD_ARGUMENTS)"],
}


@pytest.mark.parametrize("reason", SAID)
def test_each_reason_has_a_word_of_its_own(reason: str) -> None:
    """By the number in the server's words, or by those of the system behind it."""
    for words in SAID[reason]:
        assert refusal(DatabaseError(words)).reason == reason


def test_who_does_not_answer_has_given_no_number() -> None:
    """Refused, unknown, or too late."""
    assert refusal(ConnectionRefusedError(111, "Connection refused")).reason == "unreachable"
    assert refusal(DatabaseError("Error … executing HTTP request: timed out")).reason == "unreachable"


def test_the_runbook_has_every_reason() -> None:
    """What the alert names can be looked up."""
    runbook = (Path(__file__).parents[2] / "deploy/runbooks/AndonInsertsFailing.md").read_text("utf-8")
    assert all(f"`{reason}`" in runbook for reason in REASONS)
    assert {*SAID, "unreachable"} == set(REASONS)


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
