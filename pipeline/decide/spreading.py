"""Whether hosts still receive what is halted, from the installations that the combiner saw. Pure; it decides nothing.

A host's installation is known with its first report that counts after it: a crash or a boot at once, a heartbeat up to
an hour later, and of a host that died in silence never. So the rate is at least this, and *flat* is as far as reported.
"""

from typing import NamedTuple

import numpy as np

from pipeline.decide.arrays import Ints, int_columns
from pipeline.decide.buckets import MINUTE_BUCKETS
from pipeline.decide.state import DetectorState
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


def take_in(state: DetectorState, partial: Partial, updates: Ints) -> None:
    """Take note of a partial's installations; `updates` are the positions of its updates, -1 without one."""
    raw = partial.notes.installs
    if not raw:
        return
    state.installs_told = True
    buckets, listed, hosts = int_columns(raw, INSTALL_COLUMNS)
    positions = updates[listed]
    known = positions >= 0
    np.maximum.at(state.last_install, positions[known], np.minimum(buckets[known], state.bucket))
    if not state.halted:
        return
    oldest = state.bucket // MINUTE_BUCKETS - WINDOW_MINUTES
    for place in np.flatnonzero(np.isin(positions, list(state.halted))).tolist():
        minute = min(int(buckets[place]), state.bucket) // MINUTE_BUCKETS
        if minute <= oldest:
            continue
        kept = state.installs.setdefault(int(positions[place]), {}).setdefault(minute, [])
        if (host := int(hosts[place])) not in kept:
            kept.append(host)
            kept.sort()
            del kept[INSTALLS_PER_MINUTE:]


def spread_of(state: DetectorState, update: int) -> Spread:
    """Whether a halted update still spreads, as of stream time; UNKNOWN of one that is not halted, or where combiners
    tell of no installations."""
    if update not in state.halted or not state.installs_told:
        return UNKNOWN
    halted, last = state.halted[update], int(state.last_install[update])
    first = max(halted // MINUTE_BUCKETS, state.bucket // MINUTE_BUCKETS - WINDOW_MINUTES) + 1  # no minute before it
    passed = (state.bucket + 1 - first * MINUTE_BUCKETS) / MINUTE_BUCKETS
    if passed <= 0:
        return Spread(None, 0, last * BUCKET_MS)
    hosts = sum(_count(kept) for minute, kept in state.installs.get(update, {}).items() if minute >= first)
    if (state.bucket - max(last, halted)) * BUCKET_MS >= QUIET_MS:
        return Spread(0.0, (last or halted) * BUCKET_MS, last * BUCKET_MS)
    return Spread(float(f"{hosts / passed:.3g}"), 0, last * BUCKET_MS)


def turned(state: DetectorState) -> list[int]:
    """Halted updates of which it is news whether they spread or are flat; once a minute. What is past is forgotten."""
    oldest, news = state.bucket // MINUTE_BUCKETS - WINDOW_MINUTES, []
    for update in state.halted:
        if minutes := state.installs.get(update):
            state.installs[update] = {minute: kept for minute, kept in minutes.items() if minute > oldest}
        spread = spread_of(state, update)
        now = "flat" if spread.flat_since else "spreading" if spread.spreading_hosts_per_minute else ""
        if now and state.spread_told.get(update) != now:
            state.spread_told[update] = now
            news.append(update)
    return news


def _count(hashes: list[int]) -> float:
    """How many hosts there are, of which these are the smallest hashes, in order."""
    if len(hashes) < INSTALLS_PER_MINUTE:
        return float(len(hashes))
    return (INSTALLS_PER_MINUTE - 1) * _HASHES / max(hashes[-1], 1)
