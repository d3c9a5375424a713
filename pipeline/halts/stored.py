"""What ClickHouse adds, where one is configured: models, signatures, who obeyed, the last installation, evidence over
time. Asked in a thread of its own while Kafka is read; what does not come in time is unknown, and nothing waits."""

import threading
from datetime import UTC
from typing import TYPE_CHECKING, Any

import msgspec

from consumers.clickhouse.ask.named import queries
from consumers.clickhouse.connect import ClickHouseConfig, connect
from pipeline.extras import missing
from pipeline.halts.facts import UNANSWERED, Obeyed, Row
from pipeline.runtime.errors import AndonError
from pipeline.runtime.waiting import Deadline
from pipeline.wire.record_keys import parse_key

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

ANSWER_SECONDS = 8.0  # for all of it, from when it is asked
UNUSED = ("cluster", "timeout_seconds")  # of the configuration
_UPDATE = (
    "fleet = {fleet:String} AND vendor = {vendor:String} AND product = {product:String} AND version = {version:String}"
)
MODELS = (
    f"SELECT model, crashed_hosts, hosts FROM crash_rate_by_update_model WHERE {_UPDATE} AND crashed_hosts > 0 "
    "ORDER BY crashed_hosts DESC LIMIT 3"
)
SIGNATURES = (
    "SELECT signature_code, signature_module, uniqExact(host) AS hosts FROM crashes "
    "WHERE fleet = {fleet:String} AND kind = 'crash' AND arrayExists((v, p, n, at) -> v = {vendor:String} "
    "AND p = {product:String} AND n = {version:String} AND at <= ts, `updates.vendor`, `updates.product`, "
    "`updates.version`, `updates.installed_at`) "
    "GROUP BY signature_code, signature_module ORDER BY hosts DESC, signature_code LIMIT 3"
)
EVIDENCE = (
    "SELECT toUnixTimestamp64Milli(at) AS at_ms, max(verdicts.log10_evidence) AS log10 FROM verdicts "
    f"WHERE {_UPDATE} GROUP BY at ORDER BY at DESC LIMIT 2000"
)
HEARD = "SELECT toUnixTimestamp64Milli(max(last_seen)) FROM hosts WHERE fleet = {fleet:String}"
SILENT = ("silent_hosts", "silent_in_line", "silent_that_listed_it", "silent_in_as_long_before")
CLAIMS = (
    "SELECT countIf(state = 'booted') AS booted, countIf(state = 'went_on') AS went_on, "
    "countIf(state = 'silent') AS silent, countIf(state = 'no_boots') AS no_boots, "
    "countIf(NOT heard_before) AS unheard_before, uniqExact(ring) AS rings, uniqExact((region, site)) AS sites"
)  # of the named query
OBEDIENCE = (
    "SELECT epoch, action, subscriber, status, detail, "
    "seconds_to_requested, seconds_to_confirmed, seconds_to_effective "
    f"FROM obedience WHERE {_UPDATE} AND subscriber != '' ORDER BY subscriber"
)


class Stored(msgspec.Struct, kw_only=True):
    """What came; None of each that did not. `why_not` is in words, "" when all came."""

    why_not: str = ""
    models: list[tuple[str, int, int]] | None = None  # model, crashed hosts, hosts
    signatures: list[tuple[str, str, int]] | None = None  # code, module, crashed hosts
    evidence: list[tuple[int, float]] | None = None  # unix ms, log10; oldest first
    obedience: list[dict[str, Any]] | None = None
    last_install: dict[str, Any] | None = None
    heard_until: int | None = None  # unix ms: newest report of the fleet
    claims: dict[str, int] | None = None  # hosts that told of a crash with it, by what they did next: see CLAIMS
    silent: dict[str, int] | None = None  # a row of the named query, hosts
    silent_why_not: str = "ClickHouse has not answered"


class Asking:
    """The questions about one update, under way. Without a configuration, or the client, nothing is asked."""

    def __init__(self, config: ClickHouseConfig | None, key: str) -> None:
        absent = missing("clickhouse_connect", "line")
        self._config = None if absent else config
        self._given = dict(zip(("fleet", "vendor", "product", "version"), parse_key(key), strict=True))
        why_not = f"ClickHouse is not asked: {absent}" if absent else "ClickHouse has not answered"
        self._found = Stored(why_not="no ClickHouse is configured" if config is None else why_not)
        self._deadline = Deadline(ANSWER_SECONDS)
        self._thread: threading.Thread | None = None

    def start(self) -> "Asking":
        """Begin."""
        if self._config is not None:
            self._thread = threading.Thread(target=self._ask, args=(self._config,), name="clickhouse", daemon=True)
            self._thread.start()
        return self

    def wait(self) -> Stored:
        """What has come, at the latest in time."""
        if self._thread is not None:
            self._thread.join(self._deadline.left_seconds)
        return msgspec.structs.replace(self._found)

    def _ask(self, config: ClickHouseConfig) -> None:
        from clickhouse_connect.driver.exceptions import Error

        found = self._found
        try:
            client = connect(config, database=config.database, timeout_seconds=int(ANSWER_SECONDS))
            found.models = [(r[0], r[1], r[2]) for r in self._rows(client, MODELS)]
            found.signatures = [(r[0], r[1], r[2]) for r in self._rows(client, SIGNATURES)]
            found.evidence = [(r[0], r[1]) for r in reversed(self._rows(client, EVIDENCE))]
            found.obedience = list(client.query(OBEDIENCE, parameters=self._given).named_results())
            found.last_install = self._last_install(client)
            found.heard_until = self._heard_until(client)
            found.claims = self._claims(client)
            found.why_not = ""
            found.silent = self._silent(client)  # last, for it takes longest
            found.silent_why_not = "" if found.silent else "`andon query silent` looks at newer updates only"
        except (Error, AndonError, OSError) as error:
            why = f"ClickHouse did not answer: {(str(error).strip().splitlines() or [''])[0][:200]}"
            found.why_not, found.silent_why_not = found.why_not and why, why  # if all but the last has come

    def _heard_until(self, client: "Client") -> int | None:
        ((heard,),) = self._rows(client, HEARD)
        return int(heard) or None

    def _claims(self, client: "Client") -> dict[str, int]:
        sql = f"{CLAIMS} FROM (\n{queries()['crash-claims'].sql}\n)"
        (row,) = client.query(sql, parameters=self._given).named_results()
        return {name: int(value) for name, value in row.items()}

    def _silent(self, client: "Client") -> dict[str, int] | None:
        answer = client.query(queries()["silent"].sql, parameters={"fleet": self._given["fleet"]})
        row = next((r for r in answer.named_results() if self._is_it(r)), None)
        return None if row is None else {name: int(row[name]) for name in SILENT}

    def _is_it(self, row: dict[str, Any]) -> bool:
        return all(row[name] == self._given[name] for name in ("vendor", "product", "version"))

    def _rows(self, client: "Client", sql: str) -> list[Any]:
        return list(client.query(sql, parameters=self._given).result_rows)

    def _last_install(self, client: "Client") -> dict[str, Any] | None:
        answer = client.query(queries()["last-install"].sql, parameters={"fleet": self._given["fleet"]})
        return next((row for row in answer.named_results() if self._is_it(row)), None)


def complete(row: Row, stored: Stored) -> Row:
    """The row with what ClickHouse knows better: it has every record, and each installation to the second."""
    halt = row.halt
    if halt is not None and stored.obedience:
        mine = [r for r in stored.obedience if (r["epoch"], r["action"]) == (halt.epoch, halt.action)]
        known = {each["subscriber"]: _obeyed(each) for each in mine if each["status"] != UNANSWERED}
        there = {each.subscriber: each for each in row.obeyed}
        row.obeyed = [(known | {n: o for n, o in there.items() if n not in known})[n] for n in sorted(known | there)]
    if (last := stored.last_install) is not None:
        row.last_install = int(last["last_install_at"].replace(tzinfo=UTC).timestamp() * 1000)
        if row.flat_since:  # the detector's, to ten seconds
            row.flat_since = max(row.flat_since, row.last_install)
        row.seconds_decision_to_last_install = last["seconds_decision_to_last_install"]
    return row


def _obeyed(row: dict[str, Any]) -> Obeyed:
    names = ("subscriber", "status", "seconds_to_requested", "seconds_to_confirmed", "seconds_to_effective", "detail")
    return Obeyed(**{name: row[name] for name in names})
