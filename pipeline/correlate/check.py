"""Whether a partial that decoded also makes sense: its columns are whole, its indices point inside it, its times and
counts are such as one micro-batch can have. Pure, and of the record alone: read again, it is judged alike.

A detector may rely on it, so one bad message cannot leave a fleet's state half changed, nor drag stream time ahead.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from pipeline.wire.cells import cell_count
from pipeline.wire.events import (
    ANCIENT_MS,
    LATEST_MS,
    MAX_MESSAGE_BYTES,
    MAX_SKEW_MS,
    MAX_TEXT_CHARS,
    MAX_UPDATES,
)
from pipeline.wire.partials import (
    BUCKET_MS,
    CUT_COLUMNS,
    EXPOSURE_COLUMNS,
    INSTALL_COLUMNS,
    INSTALL_HASH_BITS,
    MAX_CLOCKS_AHEAD,
    MAX_PARTIAL_BYTES,
    MAX_PARTIAL_CRASHES,
    MAX_PARTIAL_EVENTS,
    TRIAL_COLUMNS,
    Partial,
)
from pipeline.wire.reasons import MalformedMessage, Reason
from pipeline.wire.seal import SEAL_BYTES
from pipeline.wire.spans import MINUTE_MS

Rows = npt.NDArray[np.int32]

BROKERS_APART_MS = MINUTE_MS  # the broker of the events may be ahead of the one of the partials by this much
LARGEST_HASH = 2**64 - 1
LARGEST_OFFSET = 2**63 - 1
MAX_NOTED_WORDS = 64  # a later version may have more of them than this one


def check_size(raw: bytes) -> None:
    """Raises MalformedMessage for what no combiner writes, before it is decoded."""
    if len(raw) >= MAX_PARTIAL_BYTES + SEAL_BYTES:
        raise _malformed(f"{len(raw)} bytes, fewer than {MAX_PARTIAL_BYTES} and a seal make a partial")


def check_partial(partial: Partial, appended_at_ms: int) -> None:
    """`appended_at_ms` is when the record was written: nothing in it is later than an event may be ahead of its own
    ingestion, which came before. Raises MalformedMessage (MALFORMED_PARTIAL) naming the field."""
    latest_ms = appended_at_ms + MAX_SKEW_MS + BROKERS_APART_MS
    _check_totals(partial, latest_ms)
    _check_texts(partial)
    _check_rows(partial, latest_ms)
    _check_crashes(partial, latest_ms)
    _check_samples(partial, latest_ms)
    _check_notes(partial)
    _check_installs(partial, latest_ms)


def _check_totals(partial: Partial, latest_ms: int) -> None:
    _within("ingested_at_ms", (partial.ingested_at_ms,), 0, latest_ms)
    _within("events", (partial.events,), 0, MAX_PARTIAL_EVENTS)
    _within("repeats, undated", (partial.repeats, partial.undated), 0, partial.events)


def _check_texts(partial: Partial) -> None:
    texts = [partial.fleet, partial.slot]
    texts += [text for names in (*partial.updates, *partial.strata) for text in names]
    texts += [text for crash in partial.crashes for text in (crash.host, crash.code, crash.module, crash.site)]
    _within("characters of a text", (max(map(len, texts)),), 0, MAX_TEXT_CHARS)


def _check_rows(partial: Partial, latest_ms: int) -> None:
    strata, updates, cells = len(partial.strata), len(partial.updates), cell_count(len(partial.strata))
    trials = _rows("trials", partial.trials, TRIAL_COLUMNS, {1: cells}, latest_ms)
    exposures = _rows("exposures", partial.exposures, EXPOSURE_COLUMNS, {1: cells, 2: updates}, latest_ms)
    cut = _rows("cut", partial.cut, CUT_COLUMNS, {1: strata}, latest_ms)
    cut_exposures = _rows("cut_exposures", partial.cut_exposures, EXPOSURE_COLUMNS, {1: strata, 2: updates}, latest_ms)
    counted = _sum(trials, 2) + _sum(cut, 2) + len(partial.crashes)
    _within("trials and crashes", (counted,), 0, MAX_PARTIAL_EVENTS)
    listed = sum(_sum(rows, column) for rows in (exposures, cut_exposures) for column in (3, 4))
    _within("exposures", (listed,), 0, MAX_UPDATES * MAX_PARTIAL_EVENTS)


def _rows(name: str, raw: bytes, columns: int, limits: dict[int, int], latest_ms: int) -> Rows:
    """The rows, of which the first column is a bucket."""
    if len(raw) % (4 * columns):
        raise _malformed(f"{name}: {len(raw)} bytes are no rows of {columns} int32")
    rows = np.frombuffer(raw, "<i4").reshape(-1, columns)
    if not rows.size:
        return rows
    if int(rows.min()) < 0:
        raise _malformed(f"{name}: a negative number")
    for column, limit in limits.items():
        if int(rows[:, column].max()) >= limit:
            raise _malformed(f"{name}: column {column} points past its {limit} entries")
    _within(f"{name}: bucket", _ends(rows[:, 0]), ANCIENT_MS // BUCKET_MS, latest_ms // BUCKET_MS)
    if len(limits) + 1 < columns:
        _within(f"{name}: count", _ends(rows[:, len(limits) + 1 :]), 0, MAX_PARTIAL_EVENTS)
    return rows


def _check_crashes(partial: Partial, latest_ms: int) -> None:
    crashes, strata, updates = partial.crashes, len(partial.strata), len(partial.updates)
    _within("crashes: how many", (len(crashes),), 0, MAX_PARTIAL_CRASHES)
    _within("crashes: at", [crash.at for crash in crashes], ANCIENT_MS, latest_ms)
    _within("crashes: place", [n for crash in crashes for n in (crash.partition, crash.offset)], 0, LARGEST_OFFSET)
    for crash in crashes:
        _within("crashes: stratum", (crash.stratum,), 0, strata - 1)
        _check_listed("crashes", crash.exposed + crash.excluded + crash.later, updates)


def _check_samples(partial: Partial, latest_ms: int) -> None:
    samples, cells, updates = partial.samples, cell_count(len(partial.strata)), len(partial.updates)
    _within("samples: how many", (len(samples),), 0, MAX_PARTIAL_EVENTS)
    minutes = [sample.minute for sample in samples]
    _within("samples: minute", minutes, ANCIENT_MS // MINUTE_MS, latest_ms // MINUTE_MS)
    _within("samples: host_hash", [sample.host_hash for sample in samples], 0, LARGEST_HASH)
    for sample in samples:
        _within("samples: cell", (sample.cell,), 0, cells - 1)
        _check_listed("samples", sample.exposed + sample.excluded, updates)


def _check_notes(partial: Partial) -> None:
    notes = partial.notes
    _within("notes: words", (len(notes.counts),), 0, MAX_NOTED_WORDS)
    _within("notes: counts", notes.counts.values(), 0, MAX_MESSAGE_BYTES * MAX_PARTIAL_EVENTS)
    _within("notes: hosts", (len(notes.clocks_ahead),), 0, MAX_CLOCKS_AHEAD)
    _within("notes: ahead", notes.clocks_ahead.values(), 0, LATEST_MS)
    _within("notes: characters", map(len, (*notes.counts, *notes.clocks_ahead)), 0, MAX_TEXT_CHARS)


def _check_installs(partial: Partial, latest_ms: int) -> None:
    raw, updates = partial.notes.installs, len(partial.updates)
    rows = _rows("installs", raw, INSTALL_COLUMNS, {1: updates, 2: 1 << INSTALL_HASH_BITS}, latest_ms)
    _within("installs: how many", (len(rows),), 0, MAX_UPDATES * MAX_PARTIAL_EVENTS)


def _check_listed(name: str, listed: tuple[int, ...], updates: int) -> None:
    if len(listed) > MAX_UPDATES:
        raise _malformed(f"{name}: {len(listed)} updates on a host, at most {MAX_UPDATES}")
    _within(f"{name}: update", listed, 0, updates - 1)


def _ends(numbers: Rows) -> tuple[int, int]:
    return int(numbers.min()), int(numbers.max())


def _sum(rows: Rows, column: int) -> int:
    return int(rows[:, column].sum(dtype=np.int64))


def _within(name: str, numbers: Iterable[int], least: int, most: int) -> None:
    for number in numbers:
        if not least <= number <= most:
            raise _malformed(f"{name}: {number} is outside {least}…{most}")


def _malformed(detail: str) -> MalformedMessage:
    return MalformedMessage(Reason.MALFORMED_PARTIAL, detail)
