"""Events that ClickHouse has stored, as the lines they once were, in the order in which they came in; and the halts
that went out then, to compare with."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from consumers.clickhouse import known
from consumers.clickhouse.ask.answer import Reading
from pipeline.backtest.lines import Advance, split
from pipeline.decide.orders import HaltOrder
from pipeline.runtime.errors import AndonError

DAY_SECONDS = 3600  # for the answer of one day
SETTINGS = {
    "max_execution_time": DAY_SECONDS,
    "max_bytes_before_external_sort": 1 << 30,
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_named_tuples_as_objects": 1,
}

# An event of wire format 1. Fields of other kinds are in it too, and are ignored like any that a decoder does not know.
_MILLIS = "toUnixTimestamp64Milli({})"
_LINES = f"""
SELECT 1 AS v, id, kind, fleet, host, {_MILLIS.format("events.ts")} AS ts, ring, os, model, region, site, prior,
    {_MILLIS.format("events.prior_ended_at")} AS prior_ended_at,
    CAST((signature_code, signature_module), 'Tuple(code String, module String)') AS signature,
    arrayMap((vendor, product, version, at) ->
        CAST((vendor, product, version, {_MILLIS.format("at")}),
            'Tuple(vendor String, product String, version String, installed_at Int64)'),
        `updates.vendor`, `updates.product`, `updates.version`, `updates.installed_at`) AS updates
FROM events FINAL
WHERE WHICH AND toDate(ingested_at) = {{day:Date32}}
ORDER BY ingested_at, events.ts, id
"""

# Also those before the span: what stood when it began is not new.
_HALTS = """
SELECT fleet, vendor, product, version, action, toInt64(toUnixTimestamp64Milli(min(decided))) AS decided_ms
FROM (SELECT fleet, vendor, product, version, epoch, action, ifNull(stream_time, issued_at) AS decided
      FROM halts WHERE action = 'resume' OR decided_by = 'andon')
WHERE WHICH
GROUP BY fleet, vendor, product, version, epoch, action
ORDER BY epoch, decided_ms
"""

Key = tuple[str, str, str, str]


class Span(NamedTuple):
    """Which events: by their own time, from `since` to before `until`; `fleet` "" is every one."""

    since: datetime
    until: datetime
    fleet: str = ""

    def where(self, column: str) -> str:
        """The condition on a column of time."""
        return f"{column} >= {{since:DateTime64(3, 'UTC')}} AND {self.before_its_end(column)}"

    def before_its_end(self, column: str) -> str:
        """The same without `since`."""
        fleet = " AND fleet = {fleet:String}" if self.fleet else ""
        return f"{column} < {{until:DateTime64(3, 'UTC')}}{fleet}"

    def __str__(self) -> str:
        fleet = f"fleet {self.fleet!r}" if self.fleet else "any fleet"
        return f"{fleet} from {self.since:%Y-%m-%d %H:%M:%S} to before {self.until:%Y-%m-%d %H:%M:%S} (UTC)"

    @property
    def parameters(self) -> dict[str, object]:
        """Of every query about the span."""
        return {"since": self.since, "until": self.until, "fleet": self.fleet}

    @property
    def since_ms(self) -> int:
        """`since` as unix ms."""
        return round(self.since.timestamp() * 1000)


class Difference(NamedTuple):
    """One update that was halted then, or would be. `seconds`: how much later than then; None unless both were in the
    span."""

    key: Key
    what: str  # new, missing, same, earlier, later; standing: was halted before the span
    then_ms: int | None
    now_ms: int | None
    seconds: float | None


def batches(client: Client, span: Span, advance: Advance) -> Iterator[list[bytes]]:
    """The lines, some thousand at a time; held is one block of one day's answer.

    Raises:
        CutOff: when the answer broke off.
        AndonError: when there are none: from nothing nothing follows.
    """
    days = _days(client, span)
    if not days:
        if span.fleet:
            known.check(client, {"fleet": span.fleet})
        raise AndonError(f"ClickHouse has no event of {span}")
    for day in days:
        sql = _LINES.replace("WHICH", span.where("events.ts"))
        parameters = {**span.parameters, "day": day}
        with client.raw_stream(sql, parameters=parameters, settings=SETTINGS, fmt="JSONEachRow") as stream:
            yield from split(Reading(stream), advance)


def _days(client: Client, span: Span) -> list[date]:
    sql = f"SELECT DISTINCT toDate(ingested_at) AS day FROM events WHERE {span.where('ts')} ORDER BY day"
    return [row[0] for row in client.query(sql, parameters=span.parameters, settings=SETTINGS).result_rows]


def halts_then(client: Client, span: Span) -> dict[Key, int]:
    """The first halt of each update within the span, by the time (unix ms) of the crash that decided; of one without
    any, the halt that stood when the span began."""
    sql = _HALTS.replace("WHICH", span.before_its_end("decided"))
    found: dict[Key, int] = {}
    for fleet, vendor, product, version, action, at_ms in client.query(sql, parameters=span.parameters).result_rows:
        key = (fleet, vendor, product, version)
        if action == "resume":
            if at_ms < span.since_ms:
                found.pop(key, None)
        elif key not in found or found[key] < span.since_ms <= at_ms:
            found[key] = at_ms
    return found


def differences(then: dict[Key, int], orders: list[HaltOrder], since_ms: int) -> list[Difference]:
    """What the policy would have changed, by update. Only orders that would have gone out count; halts that stood
    before `since_ms` only where the policy would halt too: their crashes have not been read."""
    now: dict[Key, int] = {}
    for order in orders:
        if order.mode == "enforce":
            now.setdefault((order.fleet, order.vendor, order.product, order.version), order.evidence.stream_time)
    keys = now.keys() | {key for key, at_ms in then.items() if at_ms >= since_ms}
    return [_difference(key, then.get(key), now.get(key), since_ms) for key in sorted(keys)]


def _difference(key: Key, then_ms: int | None, now_ms: int | None, since_ms: int) -> Difference:
    if then_ms is None:
        return Difference(key, "new", None, now_ms, None)
    if now_ms is None:
        return Difference(key, "missing", then_ms, None, None)
    if then_ms < since_ms:
        return Difference(key, "standing", then_ms, now_ms, None)
    seconds = (now_ms - then_ms) / 1000
    what = "same" if abs(seconds) < 1 else "earlier" if seconds < 0 else "later"
    return Difference(key, what, then_ms, now_ms, seconds)
