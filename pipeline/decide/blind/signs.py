"""What telemetry does not show, although it looks whole: signs of it, gathered while partials are taken in.

Nothing of it decides anything. It says of which updates the figures say less than they seem to, and why; what each
costs is told in words (`pipeline.wire.words.HALF_BLIND`), and read off in `flags.py`. By the positions of updates and
strata, and bounded.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.wire.partials import (
    BUCKET_MS,
    CUT_COLUMNS,
    INSTALL_COLUMNS,
    CrashRecord,
    Partial,
    UpdateId,
)
from pipeline.wire.spans import DAY_MS, MINUTE_MS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DAY_BUCKETS = DAY_MS // BUCKET_MS
MOST_INSTALLERS = 8  # hosts remembered that installed an update
MOST_MACHINES = 20_000  # crashed hosts whose model is remembered
MOST_SHARED = 1_000  # host names remembered, for a day, under which several models report
MOST_MINUTES = 1_000
OF_A_MINUTE = 3  # such dirty boots count as evidence
FEWEST_TRIALS = 0.5  # of a stratum that speaks for itself

# Crashed hosts with an update, counted by what makes them say less.
BLIND_STRATUM = "strata_without_trials"  # no boot and no heartbeat is like them
BURST = "dirty_boot_burst"  # dirty boots beyond the cap of those that name neither site nor signature
SHARED = "shared_host_names"  # under a name that several machines have
CHANGED = "changed_before_report"  # another version may have been there
COUNTED = (BLIND_STRATUM, BURST, SHARED, CHANGED)


V = TypeVar("V")


class Live(Protocol):
    """What is asked of an index of names."""

    def live(self) -> list[tuple[int, UpdateId]]:
        """Positions and names."""


class Named(Protocol):
    """What is asked of a fleet's names."""

    @property
    def updates(self) -> Live:
        """Those of the updates."""


class Seen(NamedTuple):
    """What is to know of a partial's crashes: by its own numbers positions of updates, and trials in strata."""

    partial: Partial
    updates: Sequence[int]
    trials: Sequence[float]
    names: Named

    def others(self, record: CrashRecord) -> list[int]:
        """Positions of the versions that a host may have had of the products that it changed after its crash."""
        later = {self.partial.updates[each] for each in record.later}
        known = later | {self.partial.updates[each] for each in record.exposed}
        products = {name[:2] for name in later}
        return [at for at, name in self.names.updates.live() if name[:2] in products and name not in known]


class Signs:
    """Of one fleet. `crashed` are hosts, by COUNTED and by update; `strata` says in which bucket each was first heard
    of."""

    def __init__(self) -> None:
        self.crashed: dict[str, dict[int, int]] = {what: {} for what in COUNTED}
        # product → version's update → hashes of hosts that have installed it since the detector watches
        self.installers: dict[str, dict[int, list[int]]] = {}
        self.strata: dict[int, int] = {}
        self.began = 0  # the bucket of the first partial: strata of its first hour were there before
        self.cut_at = 0  # bucket in which crashes were last cut off a partial's list; 0: never
        self.shared: dict[str, int] = {}  # host → bucket of its newest crash
        self.bucket = 0  # stream time
        self._machines: dict[int, tuple[int, int]] = {}  # hash of a crashed host → hash of its model, bucket
        self._nowhere: dict[int, int] = {}  # minute → dirty boots that name neither site nor signature

    def take_in(self, partial: Partial, strata: Ints, updates: Ints, bucket: int, trials: Floats, names: Named) -> None:
        """Take note of a partial as of a bucket; `strata` and `updates` are the positions of what it names, -1 without
        one, `trials` (KINDS, S) those of the last hours, the partial's among them."""
        self.bucket, self.began = bucket, self.began or bucket
        for stratum in strata.tolist():
            self.strata.setdefault(stratum, self.bucket)
        if partial.cut:
            self.cut_at = max(self.cut_at, int(np.frombuffer(partial.cut, "<i4")[::CUT_COLUMNS].max()))
        rows = np.frombuffer(partial.notes.installs, "<i4").reshape(-1, INSTALL_COLUMNS)
        if rows.size:
            self._install(partial, updates, rows)
        if partial.crashes:
            seen = Seen(partial, updates.tolist(), trials.sum(axis=0)[strata].tolist(), names)
            for record in partial.crashes:
                self._crash(record, seen)

    def _install(self, partial: Partial, updates: Ints, rows: NDArray[np.int32]) -> None:
        for listed in np.unique(rows[:, 1]).tolist():
            update = int(updates[listed])
            if update < 0:
                continue
            known = self.installers.setdefault(product_of(partial.updates[listed]), {}).setdefault(update, [])
            if len(known) < MOST_INSTALLERS:
                fresh = dict.fromkeys(rows[rows[:, 1] == listed, 2].tolist())
                known += [host for host in fresh if host not in known][: MOST_INSTALLERS - len(known)]

    def _crash(self, record: CrashRecord, seen: Seen) -> None:
        exposed = [at for each in record.exposed if (at := seen.updates[each]) >= 0]
        is_first = self._meet(record, seen.partial.strata[record.stratum].model)
        if record.host in self.shared:
            self._count(SHARED, exposed)
        if not is_first:
            return
        if seen.trials[record.stratum] < FEWEST_TRIALS:
            self._count(BLIND_STRATUM, exposed)
        if record.later:
            self._count(CHANGED, seen.others(record))
        if not (record.site or record.code or record.module):
            minute = record.at // MINUTE_MS
            self._nowhere[minute] = self._nowhere.pop(minute, 0) + 1
            if self._nowhere[minute] > OF_A_MINUTE:
                self._count(BURST, exposed)
            if len(self._nowhere) > MOST_MINUTES:
                del self._nowhere[next(iter(self._nowhere))]

    def _meet(self, record: CrashRecord, model: str) -> bool:
        """Whether it is the host's first crash of a day; if not, and it was of another model then, its name is that of
        several machines."""
        host, told = _hash(record.host), _hash(model)
        before = self._machines.pop(host, None)
        self._machines[host] = (told, self.bucket)
        if len(self._machines) > MOST_MACHINES:
            del self._machines[next(iter(self._machines))]
        if before is None or self.bucket - before[1] >= DAY_BUCKETS:
            return True
        if before[0] != told and (record.host in self.shared or len(self.shared) < MOST_SHARED):
            self.shared[record.host] = self.bucket
        return False

    def _count(self, what: str, updates: Iterable[int]) -> None:
        counts = self.crashed[what]
        for update in updates:
            counts[update] = counts.get(update, 0) + 1

    def forget(self, updates: Ints) -> None:
        """Whoever has these positions next begins anew."""
        gone = set(updates.tolist())
        left = ((product, _without(versions, gone)) for product, versions in self.installers.items())
        self.installers = {product: versions for product, versions in left if versions}
        self.crashed = {what: _without(counts, gone) for what, counts in self.crashed.items()}

    def expire(self) -> None:
        """Forget the names that several machines had a day ago."""
        self.shared = {host: seen for host, seen in self.shared.items() if self.bucket - seen < DAY_BUCKETS}

    def pack(self) -> dict[str, Any]:
        """What a snapshot holds of it."""
        return {name.removeprefix("_"): value for name, value in vars(self).items()}

    def restore(self, stored: dict[str, Any]) -> None:
        """The inverse."""
        self.crashed = {what: stored["crashed"].get(what, {}) for what in COUNTED}
        self.installers, self.strata, self.shared = stored["installers"], stored["strata"], stored["shared"]
        self.began, self.cut_at, self.bucket = stored["began"], stored["cut_at"], stored["bucket"]
        self._machines = {host: (model, seen) for host, (model, seen) in stored["machines"].items()}
        self._nowhere = stored["nowhere"]


def product_of(name: UpdateId) -> str:
    """One text for it."""
    return f"{name.vendor}\x1f{name.product}"


def _without(counts: dict[int, V], gone: set[int]) -> dict[int, V]:
    return {update: count for update, count in counts.items() if update not in gone}


def _hash(text: str) -> int:
    """63 bits: a snapshot names no host that is not shown."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1
