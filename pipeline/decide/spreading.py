"""Whether hosts still receive what is halted, from the installations that the combiner saw. Pure; it decides nothing.

A host's installation is known with its first report that counts after it: a crash or a boot at once, a heartbeat up to
an hour later, and of a host that died in silence never. So the rate is at least this, and *flat* is as far as reported.
"""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import numpy as np

from pipeline.decide.arrays import Column, Ints, Part, Plain, int_columns
from pipeline.decide.buckets import MINUTE_BUCKETS
from pipeline.wire.partials import BUCKET_MS, INSTALL_COLUMNS, INSTALL_HASH_BITS, INSTALLS_PER_MINUTE, Partial
from pipeline.wire.spans import MINUTE_MS

WINDOW_MINUTES = 5  # over which the rate is taken
QUIET_MS = 10 * MINUTE_MS  # without an installation, and it is flat
_HASHES = float(1 << INSTALL_HASH_BITS)


class Spread(NamedTuple):
    """Of a halted update, the fields of its verdicts of these names."""

    spreading_hosts_per_minute: float | None = None
    flat_since: int = 0
    last_install: int = 0


UNKNOWN = Spread()


class Spreading(Part):
    """Installations of halted updates. `halted` below is the bucket of each one's halt, `bucket` stream time."""

    told: Annotated[bool, Plain("installs_told", bool, "whether combiners tell of installations")]
    last: Annotated[Ints, Column("last_install", ("updates",), "bucket of the newest", dtype=np.int64)]
    # halted update → minute → the smallest hashes of its hosts
    hashes: Annotated[dict[int, dict[int, list[int]]], Plain("installs", dict, "hashes", by_update=True)]
    said: Annotated[dict[int, str], Plain("spread_told", dict, '"spreading" or "flat", as last published', True)]

    def take_in(self, partial: Partial, updates: Ints, halted: Mapping[int, int], bucket: int) -> None:
        """Take note of a partial's installations; `updates` are the positions of its updates, -1 without one."""
        raw = partial.notes.installs
        if not raw:
            return
        self.told = True
        buckets, listed, hosts = int_columns(raw, INSTALL_COLUMNS)
        positions = updates[listed]
        known = positions >= 0
        np.maximum.at(self.last, positions[known], np.minimum(buckets[known], bucket))
        if not halted:
            return
        oldest = bucket // MINUTE_BUCKETS - WINDOW_MINUTES
        for place in np.flatnonzero(np.isin(positions, list(halted))).tolist():
            minute = min(int(buckets[place]), bucket) // MINUTE_BUCKETS
            if minute <= oldest:
                continue
            kept = self.hashes.setdefault(int(positions[place]), {}).setdefault(minute, [])
            if (host := int(hosts[place])) not in kept:
                kept.append(host)
                kept.sort()
                del kept[INSTALLS_PER_MINUTE:]

    def of(self, update: int, halted: Mapping[int, int], bucket: int) -> Spread:
        """Whether a halted update still spreads; UNKNOWN of one that is not halted, or where combiners tell of no
        installations."""
        if update not in halted or not self.told:
            return UNKNOWN
        began, last = halted[update], int(self.last[update])
        first = max(began // MINUTE_BUCKETS, bucket // MINUTE_BUCKETS - WINDOW_MINUTES) + 1  # no minute before it
        passed = (bucket + 1 - first * MINUTE_BUCKETS) / MINUTE_BUCKETS
        if passed <= 0:
            return Spread(None, 0, last * BUCKET_MS)
        hosts = sum(_count(kept) for minute, kept in self.hashes.get(update, {}).items() if minute >= first)
        if (bucket - max(last, began)) * BUCKET_MS >= QUIET_MS:
            return Spread(0.0, (last or began) * BUCKET_MS, last * BUCKET_MS)
        return Spread(float(f"{hosts / passed:.3g}"), 0, last * BUCKET_MS)

    def turned(self, halted: Mapping[int, int], bucket: int) -> list[int]:
        """Halted updates of which it is news whether they spread or are flat; from now on it is said. Once a minute:
        what is past is forgotten."""
        oldest, news = bucket // MINUTE_BUCKETS - WINDOW_MINUTES, []
        for update in halted:
            if minutes := self.hashes.get(update):
                self.hashes[update] = {minute: kept for minute, kept in minutes.items() if minute > oldest}
            spread = self.of(update, halted, bucket)
            now = "flat" if spread.flat_since else "spreading" if spread.spreading_hosts_per_minute else ""
            if now and self.said.get(update) != now:
                self.said[update] = now
                news.append(update)
        return news


def _count(hashes: list[int]) -> float:
    """How many hosts there are, of which these are the smallest hashes, in order."""
    if len(hashes) < INSTALLS_PER_MINUTE:
        return float(len(hashes))
    return (INSTALLS_PER_MINUTE - 1) * _HASHES / max(hashes[-1], 1)
