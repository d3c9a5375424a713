"""What the evidence is at a moment: shares of now, buckets entered for good, and everything weighed together."""

from typing import NamedTuple

import numpy as np

from pipeline.decide.arrays import Floats, Ints
from pipeline.decide.book import NEW_PLACES, Totals
from pipeline.decide.buckets import ARCHIVE_MS, HOUR_BUCKETS, MINUTE_BUCKETS, Bucket, crash_columns
from pipeline.decide.conditional import Separation, among_remaining, separate
from pipeline.decide.evidence import THETA, common_crashes, log_mixture, upper_exposure
from pipeline.decide.explain import Explained, Historical, explain
from pipeline.decide.policy import PolicyTable
from pipeline.decide.silence.silence import YOUNG_HOURS, Arrived
from pipeline.decide.state import DetectorState
from pipeline.decide.trials import Shares
from pipeline.wire.partials import BUCKET_MS, Partial

MOST_ARRIVED = 256  # updates: those on the most hosts
RING_TRIALS = 10.0  # of its ring that are counted among a stratum's own, where an update may have come


class Weighed(NamedTuple):
    """The evidence of a moment, and what it rests on; `state` and `policies` are only read.

    What was found of pairs of updates is kept until it is weighed anew: it is asked for again and again.
    """

    state: DetectorState
    policies: PolicyTable
    explained: Explained
    totals: Totals
    past: Historical
    rivals: dict[int, list[int]]
    separations: dict[tuple[int, int], Separation]
    among: dict[tuple[int, int], Separation]
    pairs: dict[str, list[tuple[int, int]]]

    def without(self, update: int, rival: int) -> Separation:
        """Evidence about `update` on hosts without `rival`."""
        if (update, rival) not in self.separations:
            self.separations[update, rival] = self._separate(update, rival)
        return self.separations[update, rival]

    def among_hosts_of(self, update: int, rival: int) -> Separation:
        """Evidence about `update` on hosts that have `rival`, since it came."""
        if (update, rival) not in self.among:
            self.among[update, rival] = self._separate(update, rival, int(self.state.ages.since[update]) * BUCKET_MS)
        return self.among[update, rival]

    def _separate(self, update: int, rival: int, with_since_ms: int = 0) -> Separation:
        state, risk = self.state, self.policies.of(update).tolerated_risk
        signature, strata = self.leading_signature(update), len(state.groups.ring_of)
        return separate(state.crashes, state.samples, update, rival, signature, risk, strata, with_since_ms)

    def leading_signature(self, update: int) -> int:
        """The signature that explains most of the evidence, or -1."""
        concurrent = self.explained.of("signature")[update]
        place = int(concurrent.argmax())
        return int(self.state.book.slots[update, place]) if np.isfinite(concurrent[place]) else -1


def shares_now(state: DetectorState, strata: Ints, updates: Ints | None = None) -> Shares:
    """What a harmless update's share of the crashes would be; (len(strata), len(updates)), None for all updates.

    Hosts with a halted update are in no comparison but that update's own: the others' shares are then those among the
    hosts that remain, by a survey that is made anew when it is due.
    """
    shares = state.trials.shares(strata, state.groups.pools, updates)
    if not state.standing.halted or not len(strata):
        return shares
    if updates is None:
        updates = np.arange(len(state.ages.since))
    return Shares(*[_compared(state, share, strata, updates) for share in shares])


def _compared(state: DetectorState, share: Floats, strata: Ints, updates: Ints) -> Floats:
    """Among the hosts that are compared: `share` (len(strata), len(updates)) is that of all."""
    pools, halted = state.groups.pools, state.standing.halted
    if state.apart.is_due(state.bucket, state.past.rates.shape):
        all_strata, in_order = np.arange(len(state.past.rates)), np.array(sorted(halted), dtype=np.int64)
        room = 1.0 - state.trials.shares(all_strata, pools, in_order).upper.max(axis=1)
        state.apart.survey(state.bucket, in_order, room, state.samples, state.book.active)
    return among_remaining(share, state.apart.factor[strata[:, None], updates], np.isin(updates, list(halted)))


def archive(state: DetectorState) -> None:
    """Keep the shares of every 10 minutes, for crashes that are reported late."""
    number, strata = state.clock.now_ms // ARCHIVE_MS, len(state.names.strata)
    if strata and state.archive.wants(number):
        state.archive.add(number, shares_now(state, np.arange(strata)).upper)


def archived(state: DetectorState, number: int) -> Floats:
    """The largest share around those 10 minutes; (S, U), S all strata."""
    return state.archive.largest(number, shares_now(state, np.arange(len(state.names.strata))).upper)


def close(state: DetectorState, policies: PolicyTable, bucket: Bucket, share: Floats | None) -> None:
    """Enter a bucket for good: at the shares of now (None), or at those of its time."""
    crashes = crash_columns([bucket])
    if not len(crashes.strata):
        return
    if share is None:
        share, plain = shares_now(state, crashes.strata)
    else:
        plain = share = share[crashes.strata]
    ring_of, updates = state.groups.ring_of, share.shape[1]
    state.book.close(crashes, share, plain, policies.tolerated[:updates], ring_of)
    lower = np.minimum(state.trials.lower_share(crashes.strata), share)
    state.clearing.close(crashes, lower, policies.clear_risks[:, :updates], ring_of)


def watch(state: DetectorState) -> None:
    """How far crash rates may have risen for all, as the control hosts tell; and who has gone silent."""
    past = state.past
    usual = np.fmax(past.rates, 0.0) * state.book.active  # 0 without history
    expected = np.empty((2, usual.shape[1]))
    for scales, trials, exposed, excluded in state.trials.middle_and_slow():
        control = trials[..., None] - exposed
        control -= excluded
        np.maximum(control, 0.0, out=control)
        control *= usual
        np.add.reduce(control, axis=1, out=expected[scales])
    # the last one was the slow scale
    eligible = np.add.reduce(trials[-1, :, None] - excluded[-1], axis=0)
    state.clearing.watch(np.add.reduce(exposed[-1], axis=0), eligible)
    past.watch(expected)
    some = past.of_a_day(state.bucket)
    with_it = exposed[-1][:, some]
    without = np.maximum(trials[-1, :, None] - with_it - excluded[-1][:, some], 0.0)
    past.watch_elsewhere(some, without, np.add.reduce(with_it, axis=0))


def hear(state: DetectorState, policies: PolicyTable, partial: Partial, strata: Ints) -> bool:
    """Take note of who was heard, and judge the minutes that are over; whether evidence has changed. `strata` are the
    positions of the partial's."""
    minute = state.bucket // MINUTE_BUCKETS
    if not partial.samples and state.silence.rests(minute):
        return False
    state.silence.take_in(partial, strata)
    return state.silence.advance(minute, lambda: _arrived(state, policies), THETA)


def _arrived(state: DetectorState, policies: PolicyTable) -> Arrived:
    """What has come to a ring lately, and its share among those that were heard of: a stratum's, shrunk to its ring's.
    Where one of these is halted, it alone is asked."""
    since, ring_of = state.past.ring_since, state.groups.ring_of[: len(state.names.strata)]
    is_young = (since > 0) & (state.bucket - since < YOUNG_HOURS * HOUR_BUCKETS)
    updates = np.flatnonzero(is_young.any(axis=1))
    if len(updates) > MOST_ARRIVED:
        hosts = state.counts.exposed_trials[updates].sum(axis=1)
        updates = np.sort(updates[np.argsort(-hosts, kind="stable")[:MOST_ARRIVED]])
    trials = state.trials.trials[2].sum(axis=0)[: len(ring_of)]
    exposed = state.trials.exposed[2][..., updates].sum(axis=0)[: len(ring_of)]
    alike = (ring_of[:, None] == ring_of).astype(np.float64)
    by_ring = (alike @ exposed) / np.maximum(alike @ trials, 1.0)[:, None]
    shares = (exposed + RING_TRIALS * by_ring) / (trials + RING_TRIALS)[:, None]
    shares = np.minimum(shares, 1.0) * is_young[updates][:, ring_of].T
    halted = np.isin(updates, list(state.standing.halted))
    shares[:, ~halted] *= ~(shares[:, halted] > 0).any(axis=1)[:, None]
    return Arrived(updates, shares, policies.tolerated[updates])


def weigh(state: DetectorState, policies: PolicyTable) -> Weighed:
    """The evidence with what is still open. What history says is settled by it for updates that are young."""
    totals = _with_open(state, policies) if state.open.by_number else state.book.totals()
    past = _past(state, totals, policies.tolerated[: len(state.ages.since)])
    silence: Floats = np.zeros(len(state.ages.since))
    for update, log in state.silence.logs.items():
        silence[update] = log_mixture(log)
    explained = explain(totals, past, silence)
    return Weighed(state, policies, explained, totals, past, {}, {}, {}, {})


def _with_open(state: DetectorState, policies: PolicyTable) -> Totals:
    crashes = crash_columns(state.open.by_number.values())
    updates = crashes.reached()
    if not len(updates):  # evidence can rise for none
        return state.book.totals()
    shares = shares_now(state, crashes.strata, updates)
    return state.book.with_open(crashes, updates, *shares, policies.tolerated[updates], state.groups.ring_of)


def _past(state: DetectorState, totals: Totals, tolerated: Floats) -> Historical:
    """What history expects, from an upper limit of the exposed trials: a crash may come before any is seen."""
    past, book = state.past, state.book
    known = np.isfinite(past.expected) & (not state.trials.silent().any())  # who has it such trials do not tell
    seen, every = past.trials, state.counts.exposed_trials.sum(axis=1)
    most = upper_exposure(seen)
    with np.errstate(invalid="ignore", divide="ignore"):
        worst = np.fmax.reduce(past.rates, axis=0, initial=0.0)
        allowed = tolerated * past.shock
        expected = np.where(seen > 0, past.expected / seen, worst * allowed) * most
        surge = past.surge()
        expected = np.where(known, expected * surge, np.inf)
        each = np.where(every > 0, past.exposure / every, allowed) * surge
        new = (tolerated * surge * upper_exposure(every))[:, None] * book.signature_rate[:, :NEW_PLACES]
        old = (each * most)[:, None] * book.signature_rate[:, NEW_PLACES:]
        usual = np.where(seen > 0, past.usual / seen, worst)
        seen_new = np.flatnonzero((past.named[:, :NEW_PLACES] > 0).any(axis=1))
        new[seen_new] = np.maximum(
            new[seen_new], _for_all(state, totals, seen_new, usual[seen_new], tolerated[seen_new])
        )
    by_place = np.concatenate([new, old], axis=1)
    by_place[~known] = np.inf
    return Historical(past.crashed, expected, past.named, np.where(np.isnan(by_place), np.inf, by_place))


def _for_all(state: DetectorState, totals: Totals, updates: Ints, usual: Floats, tolerated: Floats) -> Floats:
    """How many exposed hosts would crash with each new signature if it came to all hosts alike; (len(updates), K)."""
    book, where = state.book, (updates, slice(0, NEW_PLACES))
    crashes = np.maximum(totals.signature_crashes[where] - totals.signature_exposed[where], 0.0)
    control = np.maximum(state.past.control[updates, None] - book.place_control[where], 0.0)
    every = state.counts.exposed_trials[updates].sum(axis=1)
    exposed = np.maximum(every[:, None] - book.place_trials[where], 0.0)
    odds = np.maximum(state.trials.slow_odds(updates, book.active)[:, None], exposed / (control + 1.0))
    return tolerated[:, None] * common_crashes(crashes, exposed, control, odds, usual[:, None])
