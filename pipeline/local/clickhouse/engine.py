"""The embedded ClickHouse engine (chdb): one process owns a path; every request gets a connection of its own.

A connection costs well under a millisecond, keeps one request's settings from the next, and runs beside the others.
"""

import fcntl
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.local.clickhouse.agreement import require_agreement
from pipeline.local.clickhouse.failure import EngineError
from pipeline.local.clickhouse.statement import Statement
from pipeline.runtime.errors import AndonError

SESSION_SECONDS = 60.0  # an idle session is closed after this long, as a server does by default
MAX_SESSIONS = 64
INSERT_CHUNK_BYTES = 4 * 1024 * 1024
MAX_KNOWN, MAX_KNOWN_BYTES = 256, 4096  # statements that were asked about, and how long one may be to be remembered
PIECE_BYTES = 256 * 1024  # of an answer, on its way out

_FAILED_INSERTS = "SELECT sum(value) FROM system.events WHERE event = 'FailedInsertQuery'"
_OUTCOME = """SELECT type, exception_code, exception FROM system.query_log
WHERE query_kind = 'Insert' AND endsWith(log_comment, '{mark}')"""
_KILL = """KILL QUERY WHERE query_kind IN ('Select', 'Explain', 'Show', 'Describe')
AND endsWith(Settings['log_comment'], '{mark}') ASYNC"""
_UNKNOWN = "Code: 1002. DB::Exception: An INSERT failed, and the log does not say whose. (UNKNOWN_EXCEPTION)"
_SETTING_NAME = re.compile(r"[A-Za-z_]\w*")


class Request(NamedTuple):
    """One statement with everything that belongs to it: `data` of an INSERT … FORMAT; `readonly` as ClickHouse's
    setting of that name, `role` "" for all that there are; `profile`: the settings profile whose constraints hold for
    the statement, "" for none; `mark`: by what it is found when it is to be cancelled."""

    statement: Statement
    data: memoryview
    default_format: str
    database: str
    settings: dict[str, str]
    params: dict[str, str]
    role: str
    profile: str
    readonly: int
    session: str
    mark: str


class Answer(NamedTuple):
    """`chunks` yields the result's bytes and must be exhausted or closed; the counts are of an INSERT."""

    chunks: Iterator[bytes | memoryview]
    rows_written: int = 0
    bytes_written: int = 0


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _set_statement(settings: dict[str, str]) -> str:
    for name in settings:
        if not _SETTING_NAME.fullmatch(name):
            raise EngineError(
                115, "Code: 115. DB::Exception: Setting with such a name does not exist. (UNKNOWN_SETTING)"
            )
    return "SET " + ", ".join(f"{name} = {quoted(value)}" for name, value in settings.items())


def _query(connection: Any, request: Request) -> Answer:
    result = connection.query(request.statement.sql, request.default_format, params=request.params)
    return Answer(_pieces(result), result.rows_written(), result.bytes_written())


def _pieces(result: Any) -> Iterator[memoryview]:
    """Of the engine's own memory, without a copy of the whole."""
    view = result.get_memview().view()
    for start in range(0, len(view), PIECE_BYTES):
        yield view[start : start + PIECE_BYTES]


def _insert(connection: Any, request: Request) -> Answer:
    """INSERT … FORMAT, its data apart from the statement, in pieces."""
    statement, data = request.statement, request.data
    with connection.send_insert(statement.sql.decode("utf-8", "replace"), statement.format) as insert:
        for start in range(0, len(data), INSERT_CHUNK_BYTES):
            insert.append(data[start : start + INSERT_CHUNK_BYTES])
        result = insert.finish()
    return Answer(iter(()), result.rows_written, result.bytes_written)


class Engine:
    """Owns the engine at `data_dir` while open. Thread-safe."""

    def __init__(self, data_dir: Path, max_execution_seconds: int, max_memory_bytes: int = 0) -> None:
        self._lock_file = _lock(data_dir)
        config = _write_config(data_dir, max_execution_seconds, max_memory_bytes)
        self._address = f"{data_dir.resolve() / 'data'}?config-file={config.resolve()}"
        self._sessions: dict[str, tuple[float, Any]] = {}
        self._busy: set[str] = set()
        self._agreed: set[tuple[bytes, bool]] = set()
        self._guard = threading.Lock()
        self._keeper = self._connect()  # the engine lives while any connection does
        self.version = self._keeper.query("SELECT version()", "TSVRaw").bytes().decode().strip()
        self.timezone = self._keeper.query("SELECT timezone()", "TSVRaw").bytes().decode().strip()

    def _connect(self) -> Any:
        import chdb

        try:
            return chdb.connect(self._address)
        except RuntimeError as error:
            raise AndonError(f"the ClickHouse engine does not start: {error}") from None

    def names(self, sql: str) -> list[str]:
        """The values of a query's one column: names that the engine knows."""
        with self._guard:
            found: bytes = self._keeper.query(sql, "TSVRaw").bytes()
        return found.decode().splitlines()

    def run(self, request: Request) -> Answer:
        """Run a statement; blocking.

        Raises:
            EngineError: also while the answer's chunks are read.
        """
        connection = self._session(request.session) if request.session else self._connect()
        try:
            if request.role:
                self._agree(connection, request)
            self._prepare(connection, request)
            if request.statement.streams(request.default_format):
                return Answer(self._stream(connection, request))
            answer = self._insert(connection, request) if request.statement.data_at else _query(connection, request)
        except EngineError:
            self._release(connection, request)
            raise
        except RuntimeError as error:
            self._release(connection, request)
            raise EngineError.of(error) from None
        self._release(connection, request)
        return answer

    def _agree(self, connection: Any, request: Request) -> None:
        """Ask once of each statement: the archive's are always the same."""
        asked = (_parsed(request), not request.readonly)
        if asked in self._agreed:
            return
        require_agreement(connection, *asked)
        if len(asked[0]) <= MAX_KNOWN_BYTES:
            with self._guard:
                if len(self._agreed) >= MAX_KNOWN:
                    self._agreed.clear()
                self._agreed.add(asked)

    def _prepare(self, connection: Any, request: Request) -> None:
        comment = f"{request.settings.get('log_comment', '')} {request.mark}".strip()
        connection.query(_set_statement(request.settings | {"log_comment": comment}))
        if request.database:
            connection.query("USE `" + request.database.replace("\\", "\\\\").replace("`", "\\`") + "`")
        connection.query(f"SET ROLE {request.role or 'ALL'}")
        if request.profile:
            connection.query(f"SET profile = '{request.profile}'")
        if request.readonly:  # last: from here on the request can no longer change it
            connection.query(f"SET readonly = {request.readonly}")

    def _insert(self, connection: Any, request: Request) -> Answer:
        """As `_insert` below, and an error when it failed: of rows that it can read and that the table then refuses (no
        space left, a constraint) the binding says nothing. The engine's counters do, and its log says who it was."""
        before = self._failed_inserts()
        answer = _insert(connection, request)
        if self._failed_inserts() != before:
            self._check(request.mark)
        return answer

    def _failed_inserts(self) -> bytes:
        with self._guard:
            counted: bytes = self._keeper.query(_FAILED_INSERTS, "TSVRaw").bytes()
        return counted

    def _check(self, mark: str) -> None:
        """An insert counts as stored only if the log says so."""
        with self._guard:
            self._keeper.query("SYSTEM FLUSH LOGS query_log")
            found = self._keeper.query(_OUTCOME.format(mark=mark), "JSONCompact").bytes()
        ends = [(code, text) for kind, code, text in json.loads(found)["data"] if kind != "QueryStart"]
        code, text = ends[0] if ends else (1002, _UNKNOWN)
        if code:
            raise EngineError(code, text)

    def _stream(self, connection: Any, request: Request) -> Iterator[bytes]:
        try:
            with connection.send_query(request.statement.sql, request.default_format, params=request.params) as blocks:
                for block in blocks:
                    yield block.bytes()
        except RuntimeError as error:
            raise EngineError.of(error) from None
        finally:
            self._release(connection, request)

    def _session(self, name: str) -> Any:
        """The session's connection: SET, USE and temporary tables last until it has been idle for SESSION_SECONDS."""
        with self._guard:
            self._close_idle_sessions()
            if name in self._busy:
                raise EngineError(
                    373, "Code: 373. DB::Exception: Session is locked by a concurrent client. (SESSION_IS_LOCKED)"
                )
            if name not in self._sessions and len(self._sessions) >= MAX_SESSIONS:
                idle = min(self._sessions.keys() - self._busy, key=lambda known: self._sessions[known][0], default=None)
                if idle is None:
                    raise EngineError(
                        202, "Code: 202. DB::Exception: Too many sessions. (TOO_MANY_SIMULTANEOUS_QUERIES)"
                    )
                self._sessions.pop(idle)[1].close()
            _, connection = self._sessions.get(name) or (0.0, self._connect())
            self._sessions[name] = (time.monotonic(), connection)
            self._busy.add(name)
            return connection

    def _close_idle_sessions(self) -> None:
        oldest = time.monotonic() - SESSION_SECONDS
        for name in [name for name, (used, _) in self._sessions.items() if used < oldest and name not in self._busy]:
            self._sessions.pop(name)[1].close()

    def _release(self, connection: Any, request: Request) -> None:
        if not request.session:
            connection.close()
            return
        with suppress(RuntimeError):  # what came with one request must not stay for the session's next
            names = request.settings.keys() | {"log_comment"}
            connection.query("SET " + ", ".join(f"{name} = DEFAULT" for name in sorted(names)))
        with self._guard:
            self._busy.discard(request.session)
            if request.readonly:  # cannot be lifted again, so a read-only session starts anew each time
                self._sessions.pop(request.session)[1].close()

    def cancel_reads(self, mark: str = "") -> None:
        """Ask running SELECTs to end, all or the one of a request; inserts go on."""
        connection = self._connect()
        with suppress(RuntimeError):
            connection.query(_KILL.format(mark=mark))
        connection.close()

    def close(self) -> None:
        """Close every connection, and with the last one the engine."""
        for _, connection in self._sessions.values():
            connection.close()
        self._keeper.close()
        self._lock_file.close()


def _lock(data_dir: Path) -> Any:
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = (data_dir / "owner.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise AndonError(
            f"another process already owns the ClickHouse engine in {data_dir}: use its HTTP endpoint, or stop it first"
        ) from None
    return file


def _parsed(request: Request) -> bytes:
    """What the engine's parser is asked about: of an INSERT whose data comes apart, with the format again."""
    statement = request.statement
    return statement.sql + f" FORMAT {statement.format}".encode() if statement.data_at else statement.sql


def _write_config(data_dir: Path, max_execution_seconds: int, max_memory_bytes: int) -> Path:
    values = {"@DIR@": str(data_dir.resolve()), "@MAX_EXECUTION_TIME@": str(max_execution_seconds)}
    values["@MAX_MEMORY@"] = str(max_memory_bytes)
    for name in ("config.xml", "users.xml"):
        text = resources.files("pipeline.local.clickhouse").joinpath(name).read_text("utf-8")
        for mark, value in values.items():
            text = text.replace(mark, value)
        (data_dir / name).write_text(text, "utf-8")
    return data_dir / "config.xml"
