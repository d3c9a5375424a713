"""What is noted about a batch's events, by fleet: what was mended in them, and whose clock is ahead. Pure."""

import numpy as np
import numpy.typing as npt

from pipeline.wire.mending import Mends
from pipeline.wire.noted import Noted
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

    def notes(self, not_yet: dict[str, int]) -> dict[str, Notes]:
        """By fleet; `not_yet` is how many of its updates were listed before they were installed. Of more hosts than
        may be named those furthest ahead."""
        found: dict[str, Notes] = {}
        for fleet in self._counts.keys() | self._ahead.keys() | not_yet.keys():
            hosts = sorted(self._ahead.get(fleet, {}).items(), key=lambda item: (-item[1], item[0]))
            counts = {what.value: times for what, times in sorted(self._counts.get(fleet, {}).items())}
            if fleet in not_yet:
                counts[Noted.EXPOSURES_NOT_YET.value] = not_yet[fleet]
            found[fleet] = Notes(counts, dict(hosts[:MAX_CLOCKS_AHEAD]))
        return found


def furthest(owners: int, owner: Ints, ahead_ms: Ints) -> Ints:
    """Of each owner, the largest of its values; 0 of one that has none above."""
    worst = np.zeros(owners, np.int64)
    np.maximum.at(worst, owner, ahead_ms)
    return worst
