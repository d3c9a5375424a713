"""The combiner's own admission, sieve, fold and writer, for trials that are columns already. A test compares."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.combine.admit import trial_keys
from pipeline.combine.admitted import UNDATED, Admitted, CrashReport, Names, Part, Rows, products_of
from pipeline.combine.emit import partials_of
from pipeline.combine.event_batch import DEFAULT_WINDOW_MS
from pipeline.combine.fold import fold_of
from pipeline.combine.hashing import Hashes, hash_names
from pipeline.combine.memory import Memory
from pipeline.combine.noting import Noting
from pipeline.wire.partials import Partial, UpdateId

Ints = npt.NDArray[np.int64]
MEMORY_ENTRIES = 1 << 20


class ColumnFold:
    """Folds one fleet's micro-batches, one after the other; `strata` begin with the fleet's name, as in the fold."""

    def __init__(self, fleet: str, strata: tuple[tuple[str, ...], ...], updates: tuple[UpdateId, ...]) -> None:
        self._names = Names((fleet,), strata, updates)
        self._products = products_of(updates)
        self._fleet = hash_names([fleet])[0]
        self._memory = Memory(MEMORY_ENTRIES)

    def admit(self, kinds: Ints, times_ms: Ints, hosts: Hashes) -> npt.NDArray[np.bool_]:
        """Which clean trials count (at most one of a host, kind and hour)."""
        keys = trial_keys(np.broadcast_to(self._fleet, hosts.shape), hosts, kinds.astype(np.uint64))
        return self._memory.admission.admit(keys, times_ms)

    def fold(
        self, rows: Rows, reports: Sequence[CrashReport], repeats: int, newest_ms: int, now_ms: int
    ) -> list[Partial]:
        """The partials of a batch: `rows` that count, those of the crash `reports` last; `repeats` did not count."""
        undated = int((rows.kind == UNDATED).sum())
        totals = np.array([[rows.kind.size + repeats], [repeats], [undated]], np.int64)
        part = Part(self._names, rows.kind.size - len(reports), tuple(reports), totals, newest_ms, Noting())
        admitted = Admitted(rows, self._products[rows.update], (part,))
        fold = fold_of(admitted, self._memory.sieve.candidates(admitted), DEFAULT_WINDOW_MS)
        self._memory.commit(fold)
        return partials_of(fold, self._names.fleets[0], now_ms)
