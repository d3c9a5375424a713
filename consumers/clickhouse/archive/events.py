"""Messages of `fleet.events` become columns of table `events`. Pure.

What a host is (fleet, ring, os, model, …) and which updates it lists recur endlessly: each combination is looked up
once per event and its columns are dictionaries over the few that occur, which ClickHouse takes as LowCardinality.
"""

from collections.abc import Hashable, Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from consumers.clickhouse.archive.rows import MILLIS, Rows
from pipeline.wire.decode import moment_of
from pipeline.wire.events import ANCIENT_MS, MAX_SKEW_MS, AnyEvent, Boot, Crash, Heartbeat, check_not_future
from pipeline.wire.hosts import HostNames
from pipeline.wire.learned import LearnedDecoder
from pipeline.wire.reasons import MalformedMessage

Ints = npt.NDArray[np.int64]

KIND = {Boot: 1, Crash: 2, Heartbeat: 3}  # the enums of migration 0001
PRIOR = {"": 0, "clean": 1, "crash": 2, "unknown": 3}

_PLACE = ("fleet", "ring", "os", "model", "region", "site")
_UPDATE = ("vendor", "product", "version")


class EventRows:
    """Turns messages of `fleet.events` into rows; keeps the words that its decoder has learned. A host is stored under
    its one name, under which the combiner counts it."""

    def __init__(self, hosts: HostNames | None = None) -> None:
        self._decoder = LearnedDecoder()
        self._hosts = hosts or HostNames()

    def __call__(self, values: Sequence[bytes], ingested_at_ms: Sequence[int]) -> Rows:
        """What the combiner refuses is dead-lettered there; here it is left out, by the same rules."""
        refused: dict[int, str] = {}
        events = self._decoder.decode_all(
            values, lambda index, error: refused.__setitem__(index, error.reason), lambda _, event, __: _left(event)
        )
        times = ingested_at_ms
        if refused:
            times = [at for index, at in enumerate(ingested_at_ms) if index not in refused]
        reasons = list(refused.values())
        events, times = _without_future(events, times, reasons)
        tables = {"events": event_columns(events, times, self._hosts)} if events else {}
        return Rows(tables, reasons)


def _left(event: AnyEvent) -> None:
    """Aggregates count what a report lists as installed: what had been taken off again is not."""
    at = moment_of(event)
    gone = {(each.vendor, each.product, each.version) for each in event.removed if each.removed_at <= at}
    if gone:
        left = [u for u in event.updates if u.installed_at > ANCIENT_MS or (u.vendor, u.product, u.version) not in gone]
        msgspec.structs.force_setattr(event, "updates", tuple(left))


def _without_future(
    events: list[AnyEvent], times: Sequence[int], reasons: list[str]
) -> tuple[list[AnyEvent], Sequence[int]]:
    ts = np.fromiter((event.ts for event in events), np.int64, len(events))
    suspects = np.flatnonzero(ts > np.asarray(times, np.int64) + MAX_SKEW_MS)
    if not len(suspects):
        return events, times
    dropped = set()
    for index in suspects.tolist():
        try:
            check_not_future(events[index], times[index])
        except MalformedMessage as error:
            dropped.add(index)
            reasons.append(error.reason)
    kept = [index for index in range(len(events)) if index not in dropped]
    return [events[index] for index in kept], [times[index] for index in kept]


class _Codes(dict[Hashable, int]):
    """Numbers things in order of first appearance."""

    def __missing__(self, thing: Hashable) -> int:
        code = self[thing] = len(self)
        return code


def event_columns(
    events: Sequence[AnyEvent],
    ingested_at_ms: Sequence[int],
    hosts: HostNames | None = None,
) -> pa.RecordBatch:
    """Rows of table `events` as an Arrow record batch, in the order given."""
    names = hosts or HostNames()
    places = _Codes()
    # Comprehensions, here and below: Python reads a field by name in half the time that an attrgetter takes.
    place = _ints([places[type(e), e.fleet, e.ring, e.os, e.model, e.region, e.site] for e in events])
    classes, *words = zip(*places, strict=True)
    kind = np.array([KIND[cls] for cls in classes], np.int8)[place]
    columns = {
        **{name: _words(column, place) for name, column in zip(_PLACE, words, strict=True)},
        "host": pa.array(names.of([event.host for event in events]), pa.string()),
        "kind": pa.array(kind),
        "ts": _millis([event.ts for event in events]),
        "ingested_at": _millis(ingested_at_ms),
        "id": pa.array([event.id for event in events], pa.string()),
        **_boots(events, np.flatnonzero(kind == KIND[Boot])),
        **_crashes(events, np.flatnonzero(kind == KIND[Crash])),
        **_updates([event.updates for event in events]),
    }
    return pa.RecordBatch.from_pydict(columns)


def _words(values: Sequence[str], codes: Ints) -> pa.DictionaryArray:
    """`values` by code, as a dictionary over those that differ."""
    distinct = _Codes()
    short = _ints([distinct[value] for value in values])
    return pa.DictionaryArray.from_arrays(short[codes].astype(np.int32), pa.array(distinct, pa.string()))


def _ints(values: Sequence[int]) -> Ints:
    return np.fromiter(values, np.int64, len(values))


def _millis(values: Sequence[int]) -> pa.Array:
    return pa.array(_ints(values)).view(MILLIS)


def _boots(events: Sequence[AnyEvent], where: Ints) -> dict[str, pa.Array]:
    boots: Any = [events[index] for index in where]
    prior = np.zeros(len(events), np.int8)
    prior[where] = [PRIOR[boot.prior] for boot in boots]
    ended, unknown = np.zeros(len(events), np.int64), np.ones(len(events), np.bool_)
    ended[where] = [boot.prior_ended_at or 0 for boot in boots]
    unknown[where] = [boot.prior_ended_at is None for boot in boots]
    return {"prior": pa.array(prior), "prior_ended_at": pa.array(ended, mask=unknown).view(MILLIS)}


def _crashes(events: Sequence[AnyEvent], where: Ints) -> dict[str, pa.Array]:
    crashes: Any = [events[index] for index in where]
    signatures = _Codes({("", ""): 0})
    code = np.zeros(len(events), np.int64)
    code[where] = [signatures[crash.signature.code, crash.signature.module] for crash in crashes]
    codes, modules = zip(*signatures, strict=True)
    return {"signature_code": _words(codes, code), "signature_module": _words(modules, code)}


def _updates(lists: Sequence[tuple[Any, ...]]) -> dict[str, pa.Array]:
    offsets = np.zeros(len(lists) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, lists), np.int32, len(lists)), out=offsets[1:])
    flat = list(chain.from_iterable(lists))
    known = _Codes()
    update = _ints([known[each.vendor, each.product, each.version] for each in flat])
    words = zip(*known, strict=True) if known else ((), (), ())
    arrays = {name: _words(column, update) for name, column in zip(_UPDATE, words, strict=True)}
    arrays["installed_at"] = _millis([each.installed_at for each in flat])
    return {f"updates.{name}": pa.ListArray.from_arrays(offsets, array) for name, array in arrays.items()}
