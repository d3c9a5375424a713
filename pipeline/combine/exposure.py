"""From events to columns: which trial or crash each is, and which of its updates it is exposed to. Pure.

For a host at time t, an update is *exposed* when installed_at <= t < installed_at + window and no other version of the
same product has a later installed_at <= t; *excluded* when installed_at <= t and it is not exposed. With the same
installed_at the later in the list wins; the same version listed twice counts once, with its latest installed_at <= t.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.combine.hashing import Hashes, hash_names
from pipeline.wire.events import AnyEvent, Boot, Crash, Heartbeat
from pipeline.wire.partials import BOOT, HEARTBEAT

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Statuses = npt.NDArray[np.int8]
Exposure = tuple[tuple[int, ...], tuple[int, ...]]  # exposed and excluded updates, by number
Position = Callable[[int], tuple[int, int]]  # of the event's index: its Kafka partition and offset

CRASH, UNDATED = 2, 3  # kinds of a row beside BOOT and HEARTBEAT

EXPOSED, EXCLUDED, NEITHER = 0, 1, 2


class Index(dict[tuple[str, ...], int]):
    """Numbers for names, in order of first appearance."""

    def __missing__(self, name: tuple[str, ...]) -> int:
        self[name] = number = len(self)
        return number


class CrashSource(NamedTuple):
    """What a crash's row does not hold."""

    row: int
    event: Boot | Crash
    partition: int
    offset: int


class Rows:
    """Events taken apart into lists, one entry an event and, in the `update_` lists, one per update listed."""

    def __init__(self, strata: Index, updates: Index) -> None:
        self.strata, self.updates = strata, updates
        self.kinds: list[tuple[int, int]] = []  # runs: kind and how many
        self.stratum: list[int] = []
        self.time_ms: list[int] = []
        self.host: list[str] = []
        self.listed: list[int] = []
        self.update: list[int] = []
        self.installed_ms: list[int] = []
        self.crashes: list[CrashSource] = []

    def __len__(self) -> int:
        return len(self.host)

    def add(self, events: Sequence[AnyEvent], position: Position) -> None:
        """Take in events; their order among clean trials of one kind is kept, and that is all that matters."""
        boots: list[Boot] = []
        heartbeats: list[Heartbeat] = []
        for index, event in enumerate(events):
            if type(event) is Heartbeat:
                heartbeats.append(event)
            elif type(event) is Boot and event.prior != "crash":
                boots.append(event)
            else:
                assert not isinstance(event, Heartbeat)
                self._add_crash(event, *position(index))
        self._add_clean(BOOT, boots)
        self._add_clean(HEARTBEAT, heartbeats)

    def _add_clean(self, kind: int, events: Sequence[Boot] | Sequence[Heartbeat]) -> None:
        strata, updates = self.strata, self.updates
        listed = [event.updates for event in events]
        flat = [update for some in listed for update in some]
        self.kinds.append((kind, len(events)))
        self.stratum += [strata[event.fleet, event.ring, event.os, event.model] for event in events]
        self.time_ms += [event.ts for event in events]
        self.host += [event.host for event in events]
        self.listed += map(len, listed)
        self.update += [updates[update.vendor, update.product, update.version] for update in flat]
        self.installed_ms += [update.installed_at for update in flat]

    def _add_crash(self, event: Boot | Crash, partition: int, offset: int) -> None:
        kind, time_ms = CRASH, event.ts
        if isinstance(event, Boot):
            if event.prior_ended_at is None:
                kind = UNDATED
            else:
                time_ms = min(event.prior_ended_at, event.ts)
        self.crashes.append(CrashSource(len(self.host), event, partition, offset))
        self.kinds.append((kind, 1))
        self.stratum.append(self.strata[event.fleet, event.ring, event.os, event.model])
        self.time_ms.append(time_ms)
        self.host.append(event.host)
        self.listed.append(len(event.updates))
        for update in event.updates:
            self.update.append(self.updates[update.vendor, update.product, update.version])
            self.installed_ms.append(update.installed_at)


class Columns(NamedTuple):
    """Rows as arrays; `owner` is the row that lists an update, `status` EXPOSED, EXCLUDED or NEITHER."""

    kind: Ints
    stratum: Ints
    time_ms: Ints
    host_hash: Hashes
    first_update: Ints  # where a row's updates begin; one entry more than rows
    owner: Ints
    update: Ints
    status: Statuses

    def updates_of(self, rows: Ints) -> list[Exposure]:
        """The exposed and the excluded updates of each of some rows."""
        starts, ends = self.first_update[rows], self.first_update[rows + 1]
        listed = ends - starts
        places = np.repeat(starts - np.cumsum(listed) + listed, listed) + np.arange(listed.sum())
        pairs = list(zip(self.update[places].tolist(), self.status[places].tolist(), strict=True))
        result: list[Exposure] = []
        end = 0
        for length in listed.tolist():
            mine = pairs[end : end + length]
            end += length
            exposed = tuple([update for update, status in mine if status == EXPOSED])
            result.append((exposed, tuple([update for update, status in mine if status == EXCLUDED])))
        return result


def columns_of(rows: Rows, window_ms: int) -> Columns:
    """Arrays of the rows, with each update's status decided."""
    time_ms = np.array(rows.time_ms, np.int64)
    kind = np.repeat(*np.array(rows.kinds, np.int64).reshape(-1, 2).T)
    listed = np.array(rows.listed, np.int64)
    update = np.array(rows.update, np.int64)
    owner = np.repeat(np.arange(listed.size), listed)
    installed = np.array(rows.installed_ms, np.int64)
    status = _status(time_ms[owner] - installed, window_ms)
    if (undated := kind == UNDATED).any():
        status[undated[owner]] = EXCLUDED
    _keep_newest(status, listed, installed, update, _products(rows.updates))
    return Columns(
        kind=kind,
        stratum=np.array(rows.stratum, np.int64),
        time_ms=time_ms,
        host_hash=hash_names(rows.host),
        first_update=np.concatenate(([0], np.cumsum(listed))),
        owner=owner,
        update=update,
        status=status,
    )


def _products(updates: Index) -> Ints:
    products = Index()
    return np.array([products[name[:2]] for name in updates], np.int64)


def _status(age_ms: Ints, window_ms: int) -> Statuses:
    """The status of updates installed so long before, each taken for itself."""
    status = (age_ms >= window_ms).astype(np.int8)  # EXPOSED or EXCLUDED
    status[age_ms < 0] = NEITHER
    return status


def _keep_newest(status: Statuses, listed: Ints, installed: Ints, update: Ints, products: Ints) -> None:
    """Among a row's updates of one product: older versions are excluded, older mentions of one version dropped."""
    from_end = np.repeat(np.cumsum(listed), listed) - np.arange(update.size) - 1  # updates after this one in its row
    product = products[update] if update.size else update
    installed_here = status != NEITHER
    left = np.flatnonzero(from_end > 0)
    dropped = np.zeros(update.size, np.bool_)
    distance = 1
    while left.size:
        right = left + distance
        pair = (product[left] == product[right]) & installed_here[left] & installed_here[right]
        first, second = left[pair], right[pair]
        older = np.where(installed[second] >= installed[first], first, second)
        same = update[first] == update[second]
        dropped[older[same]] = True
        status[older[~same]] = EXCLUDED
        distance += 1
        left = left[from_end[left] >= distance]
    status[dropped] = NEITHER
