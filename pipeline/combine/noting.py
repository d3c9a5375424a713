"""What is noted about a batch's events, by fleet: what was mended in them, and whose clock is ahead. Pure."""

from collections.abc import Mapping
from itertools import chain

import numpy as np
import numpy.typing as npt

from pipeline.wire.mending import Mends
from pipeline.wire.partials import MAX_CLOCKS_AHEAD, Notes

Ints = npt.NDArray[np.int64]


class Noting:
    """Gathers notes; hardly any batch has some."""

    def __init__(self) -> None:
        self._counts: dict[str, Mends] = {}
        self._ahead: dict[str, dict[str, int]] = {}

    def count(self, fleet: str, noted: Mends) -> None:
        """So often each of these."""
        counts = self._counts.setdefault(fleet, {})
        for what, times in noted.items():
            counts[what] = counts.get(what, 0) + times

    def clock_ahead(self, fleet: str, host: str, ahead_ms: int) -> None:
        """A host's report names a moment that has not been yet."""
        hosts = self._ahead.setdefault(fleet, {})
        hosts[host] = max(ahead_ms, hosts.get(host, 0))

    def notes(self, *more: Mapping[str, Mends]) -> dict[str, Notes]:
        """By fleet, with what was noted elsewhere. Of more hosts than may be named those furthest ahead."""
        found: dict[str, Notes] = {}
        sources = (self._counts, *more)
        for fleet in self._ahead.keys() | set().union(*sources):
            hosts = sorted(self._ahead.get(fleet, {}).items(), key=lambda item: (-item[1], item[0]))
            counts: dict[str, int] = {}
            for what, times in chain.from_iterable(source.get(fleet, {}).items() for source in sources):
                counts[what.value] = counts.get(what.value, 0) + times
            found[fleet] = Notes(counts, dict(hosts[:MAX_CLOCKS_AHEAD]))
        return found


def furthest(owners: int, owner: Ints, ahead_ms: Ints) -> Ints:
    """Of each owner, the largest of its values; 0 of one that has none above."""
    worst = np.zeros(owners, np.int64)
    np.maximum.at(worst, owner, ahead_ms)
    return worst
