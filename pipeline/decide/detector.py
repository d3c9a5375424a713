"""One fleet's detector: a step takes a partial and returns the verdicts that are news and the halts that follow.

Pure: time is stream time (event time as far as it has been seen), state is a value that can be packed and restored.
"""

import numpy as np

from pipeline.decide import attribution, notes, rulings, spreading, verdicts
from pipeline.decide.arrays import Floats, Ints, int_columns
from pipeline.decide.book import MAX_RINGS
from pipeline.decide.buckets import (
    ARCHIVE_MS,
    HOUR_BUCKETS,
    MINUTE_BUCKETS,
    OPEN_BUCKETS,
    Bucket,
    recent_reports,
    stream_bucket,
)
from pipeline.decide.conditional import Separation, among_remaining, share_factor
from pipeline.decide.crash_columns import crash_columns
from pipeline.decide.explain import Explained, Historical, explain
from pipeline.decide.history import HISTORY_BUCKETS, shock_factor, upper_exposure
from pipeline.decide.intake import FORGET_AFTER_BUCKETS, Intake
from pipeline.decide.orders import Decisions, Ruling, Stance
from pipeline.decide.policy import Policy, PolicySet
from pipeline.decide.samples import BIN_MS
from pipeline.decide.state import ARCHIVED, DetectorState, unpack_state
from pipeline.decide.trials import DECAY_PER_BUCKET
from pipeline.wire.partials import BUCKET_MS, TRIAL_COLUMNS, Partial, UpdateId
from pipeline.wire.spans import HOUR_MS

ARCHIVE_AFTER = 2  # shares from the start of a crash's 10 minutes to 20 minutes later: an estimate lags behind a push
HALTED_BINS = 3  # how far back samples tell who has no halted update
APART_BUCKETS = MINUTE_BUCKETS  # how long that survey holds


class Detector:
    """Judges every live update of one fleet. Not safe for concurrent use."""

    def __init__(self, fleet: str, policies: PolicySet) -> None:
        self.policies = policies
        self.state = DetectorState(fleet)
        self._policy: list[Policy] = []
        self._policies_read = (-1, -1)  # at which state of the registries of updates and rings
        self._tolerated: Floats = np.ones(8)
        self._clear_risks: Floats = np.ones((MAX_RINGS, 8))  # the relative risks to rule out
        self.explained: Explained | None = None
        self.totals = self.state.book.totals()
        self.past = self._past(len(self.state.since))  # what history expects as of this step
        self.separations: dict[tuple[int, int], Separation] = {}  # of this step: update on hosts without a rival
        self.rivals: dict[int, list[int]] = {}  # of this step

    @classmethod
    def restore(cls, raw: bytes, policies: PolicySet) -> "Detector":
        """The detector that `snapshot` packed, under these policies. Raises ValueError for foreign bytes."""
        detector = cls("", policies)
        detector.state = unpack_state(raw)
        return detector

    def snapshot(self) -> bytes:
        """The whole state."""
        return self.state.pack()

    def step(self, partial: Partial) -> Decisions:
        """Take in one partial and decide."""
        state = self.state
        trials = int_columns(partial.trials, TRIAL_COLUMNS)
        before = state.bucket
        state.recent = recent_reports(state.recent, partial, trials)
        state.bucket = max(before, stream_bucket(state.recent))
        closed = state.bucket > before and self._advance(before)
        intake = Intake(state, self.policies, partial)
        self._read_policies()
        intake.take_in(self._tolerated)
        spreading.take_in(state, partial, intake.updates)
        if intake.made_room:
            self.explained = None  # it speaks of others
        for at, bucket in sorted(intake.late.items()):
            self._close(bucket, self._archived(at))
        minute_passed = state.bucket // MINUTE_BUCKETS > before // MINUTE_BUCKETS
        if not (partial.crashes or closed or minute_passed):
            return Decisions((), ())  # clean trials alone can only lower the evidence
        self.explained = self._explain()
        self.separations.clear()
        self.rivals.clear()
        halts = attribution.decide(self, partial) if partial.crashes or closed else []
        orders = tuple(verdicts.order(self, *halt) for halt in halts)
        rulings.keep_waiting(state, halts, orders)
        return Decisions(verdicts.news(self, minute_passed), orders)

    def rule(self, ruling: Ruling) -> Decisions:
        """Take in what people have decided; it holds from the next partial on. The verdicts that are news."""
        update = self.state.updates.get(ruling.update)
        if update < 0:
            return Decisions((), ())  # no host has it yet: there is nothing to judge
        self._read_policies()
        self.explained = self._explain()  # as of the state alone, which a restored detector has as well
        self.separations.clear()
        self.rivals.clear()
        rulings.take(self, update, ruling)
        return Decisions(verdicts.news(self, False), ())

    def stance(self, update: UpdateId) -> Stance:
        """What those who rule on an update have to know. Changes nothing."""
        policy = self.policies.for_update(update)
        waiting = rulings.waiting_order(self.state, self.state.updates.get(update))
        return Stance(policy.digest, round(policy.max_resume_hours * HOUR_MS), waiting)

    def policy(self, update: int) -> Policy:
        """The policy of an update by its position."""
        return self._policy[update]

    def _read_policies(self) -> None:
        updates, rings = self.state.updates, self.state.rings
        if self._policies_read == (updates.changes, rings.changes):
            return
        self._policies_read, names = (updates.changes, rings.changes), updates.names
        self._policy = [self.policies.for_update(n) if n else self.policies.default for n in names]
        size = len(self.state.since)
        risks = [p.tolerated_risk for p in self._policy]
        self._tolerated = np.array(risks + [self.policies.default.tolerated_risk] * (size - len(risks)))
        self._clear_risks = np.full((MAX_RINGS, size), self.policies.default.clear_risk)
        for ring, name in rings.live():
            self._clear_risks[ring, : len(names)] = [p.clear_risk_in(name) for p in self._policy]

    def _advance(self, before: int) -> bool:
        """Stream time moves on: close what is past, let counts decay, archive shares. Whether a bucket closed."""
        state = self.state
        self._read_policies()
        due = sorted(b for b in state.open if b <= state.bucket - OPEN_BUCKETS)
        for bucket in due:
            self._close(state.open.pop(bucket), None)
        state.trials.advance(state.bucket)
        state.trials.survey(state.pools)
        for scale in range(3):
            state.control_crashes[scale] *= DECAY_PER_BUCKET[scale] ** (state.bucket - before) if before else 0.0
        state.history.advance(state.bucket * BUCKET_MS)
        self._watch_history()
        self._archive()
        if state.bucket // HOUR_BUCKETS > before // HOUR_BUCKETS:
            self._forget_updates()
        return bool(due)

    def _watch_history(self) -> None:
        """How far crash rates may have risen for all, as the control hosts tell; and who has gone silent."""
        state = self.state
        trials, exposed, excluded = state.trials.slow()
        if trials.shape[0] != state.rates.shape[0] or exposed.shape[1] != state.rates.shape[1]:
            return
        expected = state.trials.control(np.where(state.book.active & ~np.isnan(state.rates), state.rates, 0.0))
        state.shock = shock_factor(state.control_crashes[1:].sum(axis=1), expected)
        eligible = (trials[:, None] - excluded).sum(axis=0)
        state.clearing.watch(exposed.sum(axis=0), eligible)

    def _archive(self) -> None:
        """Keep the shares of every 10 minutes, for crashes that are reported late."""
        state = self.state
        number = state.bucket * BUCKET_MS // ARCHIVE_MS
        if len(state.strata) and (not state.archive or state.archive[-1][0] < number):
            share = self.shares(np.arange(len(state.strata)))
            state.archive = [*state.archive[-ARCHIVED + 1 :], (number, share)]

    def _archived(self, number: int) -> Floats:
        """The largest share around that time; the largest of all when it is longer ago. (S, U), S all strata."""
        state = self.state
        share = self.shares(np.arange(len(state.strata)))
        near = [old for at, old in state.archive if number <= at <= number + ARCHIVE_AFTER]
        settled = len(near) == ARCHIVE_AFTER + 1  # else what came after that time is not all archived: now counts too
        for place, old in enumerate(near if settled else [old for _, old in state.archive]):
            rows, columns = old.shape  # an update that is younger than the archive keeps its share of now
            now = share[:rows, :columns]
            now[:] = np.where(np.isnan(old), now, old if settled and place == 0 else np.maximum(now, old))
        return share

    def shares(self, strata: Ints, updates: Ints | None = None) -> Floats:
        """What a harmless update's share of the crashes would be now; (len(strata), len(updates)), None for all.

        Hosts with a halted update are in no comparison but that update's own: the others' shares are then those among
        the hosts that remain.
        """
        state = self.state
        if updates is None:
            updates = np.arange(len(state.since))
        if not len(strata):
            return np.zeros((0, len(updates)))
        share = state.trials.upper_share(strata, state.pools, updates)
        if not state.halted:
            return share
        if state.apart_bucket <= state.bucket - APART_BUCKETS or state.apart.shape != state.rates.shape:
            self._survey_apart()
        return among_remaining(share, state.apart[np.ix_(strata, updates)], np.isin(updates, list(state.halted)))

    def _survey_apart(self) -> None:
        """How the shares among the hosts without any halted update differ from those among all."""
        state = self.state
        since = state.bucket * BUCKET_MS // BIN_MS - HALTED_BINS + 1
        strata, updates = state.rates.shape
        halted = np.array(sorted(state.halted), dtype=np.int64)
        most = state.trials.upper_share(np.arange(strata), state.pools, halted).max(axis=1)
        sampled = state.samples.remaining(frozenset(state.halted), strata, updates, since)
        factor = share_factor(*sampled, 1.0 - most)
        untouched = ~state.book.active[:, halted].any(axis=1)
        factor[untouched] = 1.0
        state.apart = factor
        state.apart_bucket = state.bucket

    def _close(self, bucket: Bucket, share: Floats | None) -> None:
        """Enter a bucket for good: at the shares of now, or at those of its time."""
        state, crashes = self.state, crash_columns([bucket])
        if not len(crashes.strata):
            return
        share = self.shares(crashes.strata) if share is None else share[crashes.strata]
        state.book.close(crashes, share, self._tolerated[: share.shape[1]], state.ring_of)
        lower = np.minimum(state.trials.lower_share(crashes.strata), share)
        state.clearing.close(crashes, lower, self._clear_risks[:, : share.shape[1]], state.ring_of)

    def _explain(self) -> Explained:
        state, crashes = self.state, crash_columns(self.state.open.values())
        updates = crashes.reached()
        share = self.shares(crashes.strata, updates)
        self.totals = state.book.with_open(crashes, updates, share, self._tolerated[updates], state.ring_of)
        self.past = self._past(len(state.since))
        return explain(self.totals, self.past)

    def _past(self, updates: int) -> Historical:
        """What history expects, from an upper limit of the exposed trials: a crash may come before any is seen."""
        state = self.state
        seen = state.exposed_trials.sum(axis=1)
        most = upper_exposure(seen)
        with np.errstate(invalid="ignore", divide="ignore"):
            worst = np.where(np.isfinite(state.rates), state.rates, 0.0).max(axis=0)
            allowed = self._tolerated[:updates] * state.shock
            expected = np.where(seen > 0, state.past_expected / seen, worst * allowed) * most
            exposure = np.where(seen > 0, state.past_exposure / seen, allowed) * most
            expected = np.where(np.isfinite(state.past_expected), expected, np.inf)
            by_place = np.where(np.isfinite(state.past_exposure), exposure, np.inf)[:, None] * state.book.signature_rate
        young = (state.since > 0) & (state.bucket - state.since < HISTORY_BUCKETS)
        return Historical(expected, np.where(np.isnan(by_place), np.inf, by_place), young, state.settled)

    def _forget_updates(self) -> None:
        """Once an hour: free the places of updates that no host has listed for a week; and of clocks set right."""
        state = self.state
        stale = (state.seen > 0) & (state.bucket - state.seen > FORGET_AFTER_BUCKETS)
        if gone := [update for update, _ in state.updates.live() if stale[update]]:
            state.forget(gone)
        notes.forget_clocks(state)

    def summary(self) -> dict[str, object]:
        """What people may look at, fit for JSON."""
        state = self.state
        return {
            "fleet": state.name,
            "stream_time": state.bucket * BUCKET_MS,
            "events": state.events,
            "live_updates": len(state.updates.live()),
            "strata": len(state.strata.live()),
            "updates_unwatched": state.unwatched,
            **notes.summary(state),
            "remembered_crashes": len(state.hosts.seen) + len(state.host_signatures.seen),
            "history_ready": state.history.ready(),
            "baseline": verdicts.baseline(self),
            "updates": verdicts.summary(self),
        }
