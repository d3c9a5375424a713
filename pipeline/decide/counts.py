"""What is known of each update and each signature besides evidence: since when, and how many hosts crashed with it."""

from typing import Annotated

import numpy as np

from pipeline.decide.arrays import Bools, Column, Floats, Ints, Part, Plain, Sizes
from pipeline.decide.book import EvidenceBook, Start
from pipeline.decide.history import History, Past
from pipeline.decide.name_index import MAX_RINGS, NameIndex


class Ages(Part):
    """Since when updates are there, and how many found no place."""

    since: Annotated[Ints, Column("since", ("updates",), "bucket of the first exposure", dtype=np.int64)]
    seen: Annotated[Ints, Column("seen", ("updates",), "bucket of the newest", dtype=np.int64)]
    room_made_at: Annotated[int, Plain("room_made_at", int, "bucket")]
    # times that a partial named an update without a place; what was noted has the exposures
    unwatched: Annotated[int, Plain("unwatched", int, "times")]


class SignatureAges(Part):
    """Since when signatures are there, and how often they come."""

    since: Annotated[Ints, Column("signature_since", ("signatures",), "bucket", dtype=np.int64)]
    seen: Annotated[Ints, Column("signature_seen", ("signatures",), "bucket", dtype=np.int64)]
    crashes: Annotated[Floats, Column("signature_crashes", ("signatures",), "crashed hosts")]

    def __init__(self) -> None:
        super().__init__()
        # derived: to offer a place again changes nothing, but while there are the same updates it need not be tried
        self.offered: set[int] = set()  # signatures that have their places with every update
        self.offered_hit: dict[int, set[int]] = {}  # signature → updates that it was offered a place of by a hit

    def leave(self, position: int) -> None:
        """The signature gives its position up."""
        self.crashes[position], self.since[position] = 0.0, 0
        self.offered.discard(position)
        self.offered_hit.pop(position, None)

    def forget(self, updates: Ints) -> None:
        """Whoever has their positions next was offered nothing."""
        super().forget(updates)
        self.offered.clear()
        self.offered_hit.clear()


class Counts(Part):
    """Distinct crashed hosts by update and ring, and the trials they are to be seen against."""

    crashed: Annotated[Floats, Column("crashed", ("updates", MAX_RINGS), "crashed hosts, exposed")]
    counted: Annotated[Floats, Column("counted", ("updates", MAX_RINGS), "those of them that count as evidence")]
    expected: Annotated[Floats, Column("expected", ("updates", MAX_RINGS), "as many as control's rate would give")]
    control: Annotated[Floats, Column("control", ("updates", MAX_RINGS), "crashed control hosts")]
    exposed_trials: Annotated[Floats, Column("exposed_trials", ("updates", MAX_RINGS), "trials")]
    capped: Annotated[Floats, Column("capped", ("updates",), "0 or 1")]
    masked: Annotated[Floats, Column("masked", ("updates",), "crashed hosts that had another, halted update")]

    def fewest_first(self, updates: list[int], since: Ints) -> list[int]:
        """Those of which no crash is known, from the fewest trials to the most."""
        crashed, trials = self.crashed.sum(axis=1), self.exposed_trials.sum(axis=1)
        return sorted([u for u in updates if not crashed[u]], key=lambda u: (trials[u], since[u]))


class SignaturePlaces:
    """Gives signatures their places in the book, while one partial is taken in."""

    def __init__(
        self, names: NameIndex[tuple[str, str]], ages: SignatureAges, since: Ints, book: EvidenceBook,
        history: History, past: Past, counts: Counts,
    ) -> None:  # fmt: skip
        """`since` (U,) are the buckets of the updates' first exposures, kept up to date by the caller."""
        self._names, self._ages, self._since, self._book, self._history = names, ages, since, book, history
        self._past, self._counts = past, counts

    def begin_anew(self) -> None:
        """There are updates that no signature has a place with yet."""
        self._ages.offered.clear()

    def seen(self, code: str, module: str, bucket: int, now: int) -> int:
        """A crash with it, in a bucket, as of `now`; the signature's position. The one unseen for longest gives way
        when there are too many."""
        known, ages = len(self._names), self._ages
        position = self._names.add((code, module))
        if position < 0:
            self._displace(int(ages.seen[:known].argmin()))
            position = self._names.add((code, module))
        if len(self._names) > known:
            ages.resize(Sizes(0, 0, len(self._names)))
        if not ages.since[position]:
            ages.since[position] = max(now, 1)
        if position not in ages.offered:
            ages.offered.add(position)
            self._book.assign(position, self._new_to(position), np.flatnonzero(self._since > 0), self._start)
        ages.seen[position] = max(int(ages.seen[position]), bucket)
        ages.crashes[position] += 1.0
        return position

    def _displace(self, oldest: int) -> None:
        self._names.remove(oldest)
        self._book.slots[self._book.slots == oldest] = -2  # the place stays spent
        self._ages.leave(oldest)

    def hit(self, signature: int, listed: tuple[int, ...]) -> frozenset[int]:
        """The listed updates that give the signature a place because of this crash."""
        offered = self._ages.offered_hit.setdefault(signature, set())
        fresh = [update for update in listed if update not in offered]
        if not fresh:
            return frozenset()
        offered.update(fresh)
        updates = np.array(fresh, dtype=np.int64)
        given = self._book.assign_hit(signature, self._new_to(signature), updates, self._start)
        return frozenset(given.tolist())

    def _new_to(self, signature: int) -> Bools:
        """(U,) whether the fleet had never seen the signature before the update."""
        result: Bools = self._since <= self._ages.since[signature]
        return result

    def _start(self, signature: int) -> Start:
        ready = self._history.ready()
        rate = self._history.signature_rate(float(self._ages.crashes[signature])) if ready else np.inf
        return Start(rate, self._counts.exposed_trials.sum(axis=1), self._past.control)
