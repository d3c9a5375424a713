"""Which hashes can still be among the smallest of their cell and minute, given what this process has written. Pure.

Without it every micro-batch would write a whole sample. It never changes which sample the partials add up to: what it
holds back is larger than SAMPLES_PER_CELL_MINUTE hashes that were handed out already. Soft: it may forget at any time.
"""

from bisect import insort

from pipeline.wire.partials import SAMPLES_PER_CELL_MINUTE

MAX_CELL_MINUTES = 1 << 16
UNLIMITED = (1 << 64) - 1

CellMinute = tuple[tuple[str, ...], int, int]  # stratum with its fleet, kind, minute


class SampleSieve:
    """The smallest hashes handed out, by stratum, kind and minute."""

    def __init__(self) -> None:
        self._smallest: dict[CellMinute, list[int]] = {}

    def clear(self) -> None:
        """Forget: what was handed out may not have been written."""
        self._smallest.clear()

    def limit(self, where: CellMinute) -> int:
        """A hash above this is not wanted."""
        kept = self._smallest.get(where)
        return kept[-1] if kept is not None and len(kept) == SAMPLES_PER_CELL_MINUTE else UNLIMITED

    def note(self, where: CellMinute, host_hash: int) -> None:
        """This hash was handed out."""
        if len(self._smallest) >= MAX_CELL_MINUTES:
            self._smallest.clear()
        kept = self._smallest.setdefault(where, [])
        if host_hash not in kept:
            insort(kept, host_hash)
            del kept[SAMPLES_PER_CELL_MINUTE:]
