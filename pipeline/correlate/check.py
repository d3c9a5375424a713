"""Whether a partial that decoded also makes sense: its columns are whole and its indices point inside it. Pure.

A detector may rely on it, so one bad message cannot leave a fleet's state half changed.
"""

from collections.abc import Iterable

import numpy as np

from pipeline.wire.cells import cell_count
from pipeline.wire.partials import CUT_COLUMNS, EXPOSURE_COLUMNS, TRIAL_COLUMNS, Partial
from pipeline.wire.reasons import MalformedMessage, Reason


def check_partial(partial: Partial) -> None:
    """Raises MalformedMessage (MALFORMED_PARTIAL) naming the field."""
    strata, updates = len(partial.strata), len(partial.updates)
    cells = cell_count(strata)
    _columns("trials", partial.trials, TRIAL_COLUMNS, {1: cells})
    _columns("exposures", partial.exposures, EXPOSURE_COLUMNS, {1: cells, 2: updates})
    _columns("cut", partial.cut, CUT_COLUMNS, {1: strata})
    _columns("cut_exposures", partial.cut_exposures, EXPOSURE_COLUMNS, {1: strata, 2: updates})
    for crash in partial.crashes:
        _indices("crashes", (crash.stratum,), strata)
        _indices("crashes", crash.exposed + crash.excluded, updates)
    for sample in partial.samples:
        _indices("samples", (sample.cell,), cells)
        _indices("samples", sample.exposed + sample.excluded, updates)
    if min(partial.events, partial.repeats, partial.undated) < 0:
        raise MalformedMessage(Reason.MALFORMED_PARTIAL, "a negative count of events")


def _columns(name: str, raw: bytes, columns: int, limits: dict[int, int]) -> None:
    if len(raw) % (4 * columns):
        raise MalformedMessage(Reason.MALFORMED_PARTIAL, f"{name}: {len(raw)} bytes are no rows of {columns} int32")
    rows = np.frombuffer(raw, "<i4").reshape(-1, columns)
    if rows.size and int(rows.min()) < 0:
        raise MalformedMessage(Reason.MALFORMED_PARTIAL, f"{name}: a negative number")
    for column, limit in limits.items():
        if rows.size and int(rows[:, column].max()) >= limit:
            raise MalformedMessage(Reason.MALFORMED_PARTIAL, f"{name}: column {column} points past its {limit} entries")


def _indices(name: str, indices: Iterable[int], limit: int) -> None:
    if not all(0 <= index < limit for index in indices):
        raise MalformedMessage(Reason.MALFORMED_PARTIAL, f"{name}: an index outside 0…{limit - 1}")
