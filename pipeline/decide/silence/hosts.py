"""The hosts that are followed: when each was last heard of, and the longest that it has let us wait.

Of each stratum at most HOSTS_PER_STRATUM, those with the smallest hashes, in 41 bytes each: no more than 3 MB a fleet.
They are known from the samples of partials, which hold every clean trial of a small fleet, and of a large one those
with the smallest hashes of each cell and minute. Who is not always among these is not followed. All moments are minutes
(unix ms // 60,000).
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.wire.cells import site_of
from pipeline.wire.partials import SAMPLES_PER_CELL_MINUTE
from pipeline.wire.spans import DAY_MS, MINUTE_MS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]

HOSTS_PER_STRATUM = 1_024
MAX_STRATA = 64
DAY = DAY_MS // MINUTE_MS
HABIT = 4 * DAY  # a host's longest pause is that of the last four to eight days, a weekend among them
FORGET_AFTER = 8 * DAY
LONGEST_PAUSE = 180  # who pauses for longer, as for a night, is not missed
GRACE, GRACE_SHARE = 10, 0.25  # a host is due that has let us wait for so much more than ever
# A site that has so many of the fleet, when so many are followed: as large a share of its hosts has an update as of
# all, within one in a hundred.
LONE_SHARE, FEWEST_AT_SITE = 0.99, 50
_ALL = np.uint64(2**64 - 1)

# Names and types of the columns, one row a host, in the order of their hashes.
_COLUMNS: dict[str, type] = {
    "hash": np.uint64, "stratum": np.int32, "place": np.int32, "slot": np.int32, "since": np.int32, "last": np.int32,
    "pause": np.int32, "pause_before": np.int32, "silent_since": np.int32, "counted": np.bool_,
}  # fmt: skip


class Heard(NamedTuple):
    """Samples, one a row: when, in which cell, of which host, where, and by which combiner."""

    minute: Ints
    stratum: Ints
    kind: Ints
    hash: Hashes
    place: Ints
    slot: Ints

    def take(self, chosen: Any) -> "Heard":
        """Some of them."""
        return Heard(*(column[chosen] for column in self))


class Hosts:
    """Those that are followed.

    >>> hosts = Hosts()
    >>> zero, one = np.zeros(1, np.int64), np.ones(1, np.uint64)
    >>> for minute in range(0, 1_500, 60):
    ...     back = hosts.hear(Heard(zero + minute, zero, zero, one, zero, zero), minute)
    >>> hosts.due(1_440 + 85).tolist(), hosts.due(1_440 + 86).tolist()
    ([], [0])
    """

    def __init__(self) -> None:
        self.columns: dict[str, npt.NDArray[Any]] = {name: np.zeros(0, kind) for name, kind in _COLUMNS.items()}
        # the largest hash that every minute's sample could have held: today's, and the day before
        self.limits: Hashes = np.full((2, MAX_STRATA), _ALL)
        self.day, self.habit = 0, 0

    def __len__(self) -> int:
        return len(self.columns["hash"])

    def __getattr__(self, name: str) -> Any:
        """A column."""
        if name in _COLUMNS:
            return self.columns[name]
        raise AttributeError(name)

    def hear(self, heard: Heard, now: int) -> Hashes:
        """Take in what came by this minute; the hashes of those that had fallen silent and are back."""
        self._turn(now)
        self._limit(heard)
        order = np.lexsort((heard.minute, heard.hash))
        heard = heard.take(order)
        if not len(heard.hash):
            return heard.hash
        newest = np.append(heard.hash[1:] != heard.hash[:-1], True)
        heard = heard.take(newest)
        at = np.minimum(np.searchsorted(self.hash, heard.hash), max(len(self) - 1, 0))
        known = self.hash[at] == heard.hash if len(self) else np.zeros(len(heard.hash), np.bool_)
        back = self._again(at[known], heard.take(known))
        self._follow(heard.take(~known))
        return back

    def _turn(self, now: int) -> None:
        """Days and habits pass."""
        if now // DAY != self.day:
            self.day = now // DAY
            self.limits = np.stack((np.full(MAX_STRATA, _ALL), self.limits[0]))
            self._keep(self.last > now - FORGET_AFTER)
        if now // HABIT != self.habit:
            self.habit = now // HABIT
            self.columns["pause_before"], self.columns["pause"] = self.pause, np.zeros_like(self.pause)

    def _limit(self, heard: Heard) -> None:
        """Of a cell and minute that was full, larger hashes may be missing: their hosts are followed no more."""
        order = np.lexsort((heard.hash, heard.kind, heard.stratum, heard.minute))
        minute, stratum, kind, hashes, *_ = heard.take(order)
        last = SAMPLES_PER_CELL_MINUTE - 1
        if len(hashes) <= last:
            return
        cell = (minute * MAX_STRATA + stratum) * 4 + kind
        full = np.flatnonzero(cell[last:] == cell[: len(cell) - last])
        if not len(full):
            return
        first = full[np.append(True, cell[full[1:]] != cell[full[:-1]])]  # of each cell the smallest ones
        before = self.limits.min(axis=0)
        np.minimum.at(self.limits[0], stratum[first], hashes[first + last])
        if (self.limits.min(axis=0) < before).any():
            self._keep(self.hash <= self.limits.min(axis=0)[self.stratum])

    def _again(self, at: Ints, heard: Heard) -> Hashes:
        moved = heard.minute > self.last[at]
        at, heard = at[moved], heard.take(moved)
        self.pause[at] = np.maximum(self.pause[at], heard.minute - self.last[at])
        back: Bools = self.counted[at]
        for name, column in (("stratum", heard.stratum), ("place", heard.place), ("slot", heard.slot)):
            self.columns[name][at] = column
        self.last[at], self.silent_since[at], self.counted[at] = heard.minute, 0, False
        return heard.hash[back]

    def _follow(self, heard: Heard) -> None:
        fits = heard.hash <= self.limits.min(axis=0)[heard.stratum]
        if not fits.any():
            return
        heard = heard.take(fits)
        fresh: dict[str, Any] = {
            "hash": heard.hash, "stratum": heard.stratum, "place": heard.place, "slot": heard.slot,
            "since": heard.minute, "last": heard.minute,
        }  # fmt: skip
        size = len(heard.hash)
        joined = {
            name: np.concatenate((column, np.asarray(fresh.get(name, np.zeros(size)), column.dtype)))
            for name, column in self.columns.items()
        }
        order = np.argsort(joined["hash"], kind="stable")
        self.columns = {name: column[order] for name, column in joined.items()}
        by_stratum = np.argsort(self.stratum, kind="stable")  # within one still by hash
        starts = np.searchsorted(self.stratum[by_stratum], np.arange(MAX_STRATA))
        rank = np.empty(len(self), np.int64)
        rank[by_stratum] = np.arange(len(self)) - starts[self.stratum[by_stratum]]
        self._keep(rank < HOSTS_PER_STRATUM)

    def _keep(self, chosen: Bools) -> None:
        if not chosen.all():
            self.columns = {name: column[chosen] for name, column in self.columns.items()}

    def waits(self) -> Ints:
        """The longest that each has let us wait."""
        result: Ints = np.maximum(self.pause, self.pause_before).astype(np.int64)
        return result

    def steady(self, now: int) -> Bools:
        """Who was followed for a day, a night among it, and never paused for long."""
        waits = self.waits()
        result: Bools = (self.since <= now - DAY) & (waits > 0) & (waits <= LONGEST_PAUSE)
        return result

    def due(self, now: int) -> Ints:
        """The steady ones of whom nothing has come for longer than ever, and that are not known as silent."""
        overdue = now > self.last + self.waits() * (1.0 + GRACE_SHARE) + GRACE
        return np.flatnonzero(overdue & (self.silent_since == 0) & self.steady(now))

    def lone_site(self, trials: Floats) -> int:
        """The site (`pipeline.wire.cells`) that nearly all hosts of the fleet are at; 0 for none, or while too few are
        followed. Each stratum counts by its `trials` (S,), one of which no host is followed as if it were elsewhere.
        """
        if len(self) < FEWEST_AT_SITE:
            return 0
        sites = site_of(self.place)
        site = int(np.bincount(sites).argmax())
        hosts, there = (
            np.bincount(strata, minlength=len(trials)) for strata in (self.stratum, self.stratum[sites == site])
        )
        share = float((trials * there[: len(trials)] / np.maximum(hosts[: len(trials)], 1)).sum())
        return site if share >= LONE_SHARE * float(trials.sum()) else 0

    def pack(self) -> dict[str, Any]:
        """What a snapshot holds of it."""
        return {**self.columns, "limits": self.limits, "day": self.day, "habit": self.habit}

    def restore(self, stored: dict[str, Any]) -> None:
        """The inverse."""
        self.columns = {name: stored[name] for name in _COLUMNS}
        self.limits, self.day, self.habit = stored["limits"], stored["day"], stored["habit"]
