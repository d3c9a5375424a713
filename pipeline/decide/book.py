"""The evidence book: log evidence per update, by stratum, ring, all strata, and signature; closed buckets only.

What is still open is added for the moment by `with_open`; what closes is entered by `close`. Both go through the same
increment, so a bucket's evidence is the same whether it is judged early or late. Open crashes are added only to updates
that one of them was exposed to: evidence can rise for no other, and stands as it did when the last bucket closed.

Strata are gone through a few at a time: all bets on all updates of all strata would be 7 MB an array, and the time of a
step would be that of fetching and clearing memory.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, NamedTuple

import numpy as np

from pipeline.decide import evidence as ev
from pipeline.decide.arrays import BLOCK_STRATA, Bools, Column, Floats, Ints, Part, add_at, distinct
from pipeline.decide.buckets import CrashColumns, Entries
from pipeline.decide.name_index import MAX_RINGS

BETS = len(ev.THETA)
SIGNATURE_PLACES = 16  # per update: the first half for signatures never seen before it, the second for known ones
NEW_PLACES = _HALF = SIGNATURE_PLACES // 2
# of which the first half goes to whatever appears, the rest to what hits its hosts
_QUARTER = _HALF // 2


class Start(NamedTuple):
    """What is known when a signature gets a place: its rate from history, and each update's trials until then."""

    rate: float  # crashes per trial
    trials: Floats  # (U,) exposed ones
    control: Floats  # (U,)


Starting = Callable[[int], Start]  # of a signature, when a place is free for it


class Totals(NamedTuple):
    """What the evidence is at a moment: natural logs of each explanation's mixture, and the counts behind it."""

    pooled: Floats  # (U,)
    rings: Floats  # (R, U)
    strata: Floats  # (S, U)
    signatures: Floats  # (U, K)
    exposed: Floats  # (U,) crashed hosts that had the update
    expected: Floats  # (U,) as a harmless update would have, at the plain share
    crashes: Floats  # (U,) all that were compared
    signature_exposed: Floats  # (U, K)
    signature_expected: Floats  # (U, K)
    signature_crashes: Floats  # (U, K)


def normalisers(share: Floats, tolerated: Floats, active: Bools) -> Iterator[tuple[slice, Floats]]:
    """ln(1 - p + theta*p), a block of strata after the other: which rows, and (rows, T, U); 0 where not active.

    `share` (C, U) is what harmless updates would get, `tolerated` (U,), `active` (C, U).
    """
    null = ev.null_share(share, tolerated) * active
    for first in range(0, len(null), BLOCK_STRATA):
        rows = slice(first, first + BLOCK_STRATA)
        yield rows, ev.log_normaliser(null[rows, None], ev.THETA[:, None])


class Increment:
    """Evidence and counts of some updates (U) by group: first each ring's crashes, then each signature's (R + G)."""

    def __init__(self, columns: CrashColumns, plain: Floats, active: Bools, ring_of: Ints) -> None:
        """`plain` shares and `active` (C, U) are of the updates and in the strata of `columns`."""
        self.rings, of_row = distinct(ring_of[columns.strata])
        self.signatures = columns.signatures
        self._shape = len(self.rings) + len(self.signatures), plain.shape[1]
        self._crashes = np.zeros((self._shape[0], len(columns.strata)))
        self._crashes[of_row, np.arange(len(columns.strata))] = columns.crashes[0]
        self._crashes[len(self.rings) :] = columns.crashes[1:]
        self._excluded = self._placed(columns.excluded, of_row)
        exposed = self._placed(columns.exposed, of_row)
        self.exposed: Floats = np.zeros(self._shape)
        add_at(self.exposed, (exposed.group, exposed.update), exposed.hosts)
        self.expected = self._over_strata(plain * active)
        self.crashes = self._over_strata(active.astype(np.float64))
        self.evidence: Floats = self.exposed[:, None] * ev.LOG_THETA[:, None]  # (R + G, T, U)

    def _placed(self, entries: Entries, of_row: Ints) -> Entries:
        """Entries by group of this class."""
        group = np.where(entries.group == 0, of_row[entries.row], len(self.rings) - 1 + entries.group)
        return Entries(group, entries.row, entries.update, entries.hosts)

    def _over_strata(self, values: Floats) -> Floats:
        """The sum of `values` (C, U) over the crashes that count for each update; (R + G, U)."""
        result: Floats = self._crashes @ values
        group, row, column, hosts = self._excluded
        add_at(result, (group, column), -hosts * values[row, column])
        return result

    def add(self, rows: slice, normaliser: Floats) -> None:
        """Take in a block of strata."""
        block = self._crashes[:, rows] @ normaliser.reshape(len(normaliser), -1)
        self.evidence -= block.reshape(self.evidence.shape)
        mine = (self._excluded.row >= rows.start) & (self._excluded.row < rows.stop)
        if mine.any():
            group, row, column, hosts = (values[mine][:, None] for values in self._excluded)
            bets = np.arange(BETS)
            add_at(self.evidence, (group, bets, column), hosts * normaliser[row - rows.start, bets, column])


class EvidenceBook(Part):
    """Arrays over (stratum, bet, update) and their sums.

    >>> from pipeline.decide.buckets import Bucket, crash_columns
    >>> book, bucket, share = EvidenceBook(), Bucket(), np.full((1, 8), 0.01)
    >>> book.active[0, 0] = True
    >>> for _ in range(3):
    ...     bucket.add(0, exposed=(0,), excluded=())
    >>> book.close(crash_columns([bucket]), share, share, np.ones(8), np.zeros(8, dtype=np.int64))
    >>> bool(book.totals().pooled[0] > np.log(10_000))  # three hosts of a hundredth
    True
    """

    strata: Annotated[Floats, Column("strata", ("strata", BETS, "updates"), "ln")]
    stratum_log: Annotated[Floats, Column("stratum_log", ("strata", "updates"), "ln")]
    pooled: Annotated[Floats, Column("pooled", (BETS, "updates"), "ln")]
    rings: Annotated[Floats, Column("rings", (MAX_RINGS, BETS, "updates"), "ln")]
    ring_log: Annotated[Floats, Column("ring_log", (MAX_RINGS, "updates"), "ln")]
    active: Annotated[Bools, Column("active", ("strata", "updates"), "whether hosts have it", dtype=np.bool_)]
    exposed: Annotated[Floats, Column("exposed", ("updates",), "crashed hosts")]
    expected: Annotated[Floats, Column("expected", ("updates",), "crashed hosts")]
    crashes: Annotated[Floats, Column("crashes", ("updates",), "crashed hosts")]
    # the signature in each of an update's places: -1 for none yet, -2 for a place that stays spent
    slots: Annotated[Ints, Column("slots", ("updates", SIGNATURE_PLACES), "signature", -1, np.int64)]
    signatures: Annotated[Floats, Column("signatures", ("updates", SIGNATURE_PLACES, BETS), "ln")]
    signature_log: Annotated[Floats, Column("signature_log", ("updates", SIGNATURE_PLACES), "ln")]
    signature_exposed: Annotated[Floats, Column("signature_exposed", ("updates", SIGNATURE_PLACES), "crashed hosts")]
    signature_expected: Annotated[Floats, Column("signature_expected", ("updates", SIGNATURE_PLACES), "crashed hosts")]
    signature_crashes: Annotated[Floats, Column("signature_crashes", ("updates", SIGNATURE_PLACES), "crashed hosts")]
    # of an update when the place was given: exposed trials, control trials
    place_trials: Annotated[Floats, Column("place_trials", ("updates", SIGNATURE_PLACES), "trials")]
    place_control: Annotated[Floats, Column("place_control", ("updates", SIGNATURE_PLACES), "trials")]
    # from history; NaN or infinite without one
    signature_rate: Annotated[Floats, Column("signature_rate", ("updates", SIGNATURE_PLACES), "crashes per trial")]

    def assign(self, signature: int, is_new: Bools, live: Ints, start: Starting) -> None:
        """Give `signature` the next free place, for whatever appears, of each live update that has none for it yet.

        Order of first appearance after the update is what makes the weights legitimate. `is_new` (updates,): the fleet
        had never seen it before the update. Updates whose quarter is full wait for a hit: `assign_hit`. `rate` is asked
        only where it gets a place.
        """
        missing = live[~(self.slots[live] == signature).any(axis=1)]
        for first, updates in ((0, missing[is_new[missing]]), (_HALF, missing[~is_new[missing]])):
            self._fill(signature, updates, first, start)

    def assign_hit(self, signature: int, is_new: Bools, listed: Ints, start: Starting) -> Ints:
        """The same when a crashed host was exposed to `listed`: those of them that get a place by this very crash.

        It may be no evidence for them, for they would have no place had it hit a control host instead.
        """
        missing = listed[~(self.slots[listed] == signature).any(axis=1)]
        given = [
            self._fill(signature, updates, first + _QUARTER, start)
            for first, updates in ((0, missing[is_new[missing]]), (_HALF, missing[~is_new[missing]]))
        ]
        return np.concatenate(given)

    def _fill(self, signature: int, updates: Ints, first: int, start: Starting) -> Ints:
        """Those of these updates with a free place in the quarter that begins at `first`, filled in order."""
        if not len(updates):
            return updates
        used = (self.slots[updates, first : first + _QUARTER] != -1).sum(axis=1)
        updates, places = updates[used < _QUARTER], first + used[used < _QUARTER]
        if len(updates):
            known = start(signature)
            self.slots[updates, places] = signature
            self.signature_rate[updates, places] = known.rate
            self.place_trials[updates, places] = known.trials[updates]
            self.place_control[updates, places] = known.control[updates]
        return updates

    def close(self, columns: CrashColumns, share: Floats, plain: Floats, tolerated: Floats, ring_of: Ints) -> None:
        """Enter a bucket for good; `share` and `plain` (C, U) of all updates in the strata of `columns`: the limit that
        evidence takes, and the share that is expected."""
        active = self.active[columns.strata]
        added = Increment(columns, plain, active, ring_of)
        crashes, exposed = columns.dense(share.shape[1])
        for rows, normaliser in normalisers(share, tolerated, active):
            added.add(rows, normaliser)
            normaliser *= crashes[rows, None]
            for lost, won, stratum in zip(normaliser, exposed[rows], columns.strata[rows], strict=True):
                log, hit = self.strata[stratum], np.flatnonzero(won)
                log -= lost
                log[:, hit] += won[hit] * ev.LOG_THETA[:, None]
                self.stratum_log[stratum] = _mixture(log)
        rings = len(added.rings)
        self.pooled += added.evidence[:rings].sum(axis=0)
        self.rings[added.rings] += added.evidence[:rings]
        self.ring_log[added.rings] = _mixture(self.rings[added.rings])
        self.exposed += added.exposed[:rings].sum(axis=0)
        self.expected += added.expected[:rings].sum(axis=0)
        self.crashes += added.crashes[:rings].sum(axis=0)
        for group, signature in enumerate(added.signatures, rings):
            updates, places = np.nonzero(self.slots == signature)
            self.signatures[updates, places] += added.evidence[group, :, updates]
            self.signature_log[updates, places] = ev.log_mixture(self.signatures[updates, places])
            self.signature_exposed[updates, places] += added.exposed[group, updates]
            self.signature_expected[updates, places] += added.expected[group, updates]
            self.signature_crashes[updates, places] += added.crashes[group, updates]

    def with_open(
        self, columns: CrashColumns, updates: Ints, share: Floats, plain: Floats, tolerated: Floats, ring_of: Ints
    ) -> Totals:
        """The evidence with what is still open; nothing is entered. `updates` are those that `columns` reaches, `share`
        and `plain` (C, U) theirs in its strata."""
        totals, columns = Totals(*[array.copy() for array in self.totals()]), columns.among(updates)
        active = self.active[columns.strata[:, None], updates]
        added = Increment(columns, plain, active, ring_of)
        crashes, exposed = columns.dense(len(updates))
        for rows, normaliser in normalisers(share, tolerated, active):
            added.add(rows, normaliser)
            row, column = np.nonzero(exposed[rows])
            where = columns.strata[rows][row], updates[column]
            lost = crashes[rows][row, column][:, None] * normaliser[row, :, column]
            won = exposed[rows][row, column][:, None] * ev.LOG_THETA
            totals.strata[where] = ev.log_mixture(self.strata[where[0], :, where[1]] - lost + won)
        rings = len(added.rings)
        for group, ring in enumerate(added.rings):
            totals.rings[ring, updates] = _mixture(self.rings[ring][:, updates] + added.evidence[group])
        totals.pooled[updates] = _mixture(self.pooled[:, updates] + added.evidence[:rings].sum(axis=0))
        totals.exposed[updates] += added.exposed[:rings].sum(axis=0)
        totals.expected[updates] += added.expected[:rings].sum(axis=0)
        totals.crashes[updates] += added.crashes[:rings].sum(axis=0)
        self._open_signatures(added, updates, totals)
        return totals

    def _open_signatures(self, added: Increment, updates: Ints, totals: Totals) -> None:
        for group, signature in enumerate(added.signatures, len(added.rings)):
            columns = np.flatnonzero(added.exposed[group])
            found, places = np.nonzero(self.slots[updates[columns]] == signature)
            columns = columns[found]
            at = updates[columns], places
            totals.signatures[at] = ev.log_mixture(self.signatures[at] + added.evidence[group, :, columns])
            totals.signature_exposed[at] += added.exposed[group, columns]
            totals.signature_expected[at] += added.expected[group, columns]
            totals.signature_crashes[at] += added.crashes[group, columns]

    def totals(self) -> Totals:
        """The evidence of closed buckets."""
        return Totals(
            _mixture(self.pooled),
            self.ring_log,
            self.stratum_log,
            self.signature_log,
            self.exposed,
            self.expected,
            self.crashes,
            self.signature_exposed,
            self.signature_expected,
            self.signature_crashes,
        )


def _mixture(evidence: Floats) -> Floats:
    """ln of the mixture over the bets of (..., T, U)."""
    return ev.log_mixture(evidence.swapaxes(-1, -2))
