"""One fleet's detector: a step takes a partial and returns the verdicts that are news and the halts that follow.

Pure: time is stream time (event time as far as it has been seen), state is a value that can be packed and restored.
"""

import numpy as np

from pipeline.decide import attribution, verdicts
from pipeline.decide.apart import among_remaining, share_factor
from pipeline.decide.arrays import Floats, Ints
from pipeline.decide.buckets import OPEN_BUCKETS, Bucket
from pipeline.decide.conditional import Separation
from pipeline.decide.explain import Explained, Historical, explain
from pipeline.decide.fleet import ARCHIVE_MS, ARCHIVED, Fleet, unpack_fleet
from pipeline.decide.history import HISTORY_BUCKETS, shock_factor, upper_exposure
from pipeline.decide.intake import FORGET_AFTER_BUCKETS, Intake, columns_of
from pipeline.decide.ledger import MAX_RINGS
from pipeline.decide.orders import Decisions
from pipeline.decide.policy import Policy, PolicySet
from pipeline.decide.samples import BIN_MS
from pipeline.decide.stream_time import recent_reports, stream_bucket
from pipeline.decide.tally import tally
from pipeline.decide.trials import DECAY_PER_BUCKET
from pipeline.wire.partials import BUCKET_MS, TRIAL_COLUMNS, Partial

MINUTE_BUCKETS = 6
ARCHIVE_AFTER = 2  # shares from the start of a crash's 10 minutes to 20 minutes later: an estimate lags behind a push
HALTED_BINS = 3  # how far back samples tell who has no halted update
APART_BUCKETS = 6  # how long that survey holds


class Detector:
    """Judges every live update of one fleet. Not safe for concurrent use."""

    def __init__(self, fleet: str, policies: PolicySet) -> None:
        self.policies = policies
        self.state = Fleet(fleet)
        self._policy: list[Policy] = []
        self._policies_read = (-1, -1)  # at which state of the registries of updates and rings
        self._tolerated: Floats = np.ones(8)
        self._clear_risks: Floats = np.ones((MAX_RINGS, 8))  # the relative risks to rule out
        self.explained: Explained | None = None
        self.totals = self.state.ledger.totals()
        self.past = self._past(len(self.state.since))  # what history expects as of this step
        self.separations: dict[tuple[int, int], Separation] = {}  # of this step: update on hosts without a rival
        self.rivals: dict[int, list[int]] = {}  # of this step

    @classmethod
    def restore(cls, raw: bytes, policies: PolicySet) -> "Detector":
        """The detector that `snapshot` packed, under these policies. Raises ValueError for foreign bytes."""
        detector = cls("", policies)
        detector.state = unpack_fleet(raw)
        return detector

    def snapshot(self) -> bytes:
        """The whole state."""
        return self.state.pack()

    def step(self, partial: Partial) -> Decisions:
        """Take in one partial and decide."""
        fleet = self.state
        trials = columns_of(partial.trials, TRIAL_COLUMNS)
        before = fleet.bucket
        fleet.recent = recent_reports(fleet.recent, partial, trials)
        fleet.bucket = max(before, stream_bucket(fleet.recent))
        closed = fleet.bucket > before and self._advance(before)
        intake = Intake(fleet, self.policies, partial)
        self._read_policies()
        intake.take_in(self._tolerated)
        if intake.made_room:
            self.explained = None  # it speaks of others
        for at, bucket in sorted(intake.late.items()):
            self._close(bucket, self._archived(at))
        minute_passed = fleet.bucket // MINUTE_BUCKETS > before // MINUTE_BUCKETS
        if not (partial.crashes or closed or minute_passed):
            return Decisions((), ())  # clean trials alone can only lower the evidence
        self.explained = self._explain()
        self.separations.clear()
        self.rivals.clear()
        halts = attribution.decide(self, partial) if partial.crashes or closed else []
        orders = tuple(verdicts.order(self, *halt) for halt in halts)
        return Decisions(verdicts.news(self, minute_passed), orders)

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
        fleet = self.state
        self._read_policies()
        due = sorted(b for b in fleet.open if b <= fleet.bucket - OPEN_BUCKETS)
        for bucket in due:
            self._close(fleet.open.pop(bucket), None)
        fleet.trials.advance(fleet.bucket)
        fleet.trials.survey(fleet.pools)
        for scale in range(3):
            fleet.control_crashes[scale] *= DECAY_PER_BUCKET[scale] ** (fleet.bucket - before) if before else 0.0
        fleet.history.advance(fleet.bucket * BUCKET_MS)
        self._watch_history()
        self._archive()
        if fleet.bucket // 360 > before // 360:
            self._forget_updates()
        return bool(due)

    def _watch_history(self) -> None:
        """How far crash rates may have risen for all, as the control hosts tell; and who has gone silent."""
        fleet = self.state
        trials, exposed, excluded = fleet.trials.slow()
        if trials.shape[0] != fleet.rates.shape[0] or exposed.shape[1] != fleet.rates.shape[1]:
            return
        expected = fleet.trials.control(np.where(fleet.ledger.active & ~np.isnan(fleet.rates), fleet.rates, 0.0))
        fleet.shock = shock_factor(fleet.control_crashes[1:].sum(axis=1), expected)
        eligible = (trials[:, None] - excluded).sum(axis=0)
        fleet.clearing.watch(exposed.sum(axis=0), eligible)

    def _archive(self) -> None:
        """Keep the shares of every 10 minutes, for crashes that are reported late."""
        fleet = self.state
        number = fleet.bucket * BUCKET_MS // ARCHIVE_MS
        if len(fleet.strata) and (not fleet.archive or fleet.archive[-1][0] < number):
            share = self.shares(np.arange(len(fleet.strata)))
            fleet.archive = [*fleet.archive[-ARCHIVED + 1 :], (number, share)]

    def _archived(self, number: int) -> Floats:
        """The largest share around that time; the largest of all when it is longer ago. (S, U), S all strata."""
        fleet = self.state
        share = self.shares(np.arange(len(fleet.strata)))
        near = [old for at, old in fleet.archive if number <= at <= number + ARCHIVE_AFTER]
        settled = len(near) == ARCHIVE_AFTER + 1  # else what came after that time is not all archived: now counts too
        for place, old in enumerate(near if settled else [old for _, old in fleet.archive]):
            rows, columns = old.shape  # an update that is younger than the archive keeps its share of now
            now = share[:rows, :columns]
            now[:] = np.where(np.isnan(old), now, old if settled and place == 0 else np.maximum(now, old))
        return share

    def shares(self, strata: Ints, updates: Ints | None = None) -> Floats:
        """What a harmless update's share of the crashes would be now; (len(strata), len(updates)), None for all.

        Hosts with a halted update are in no comparison but that update's own: the others' shares are then those among
        the hosts that remain.
        """
        fleet = self.state
        if updates is None:
            updates = np.arange(len(fleet.since))
        if not len(strata):
            return np.zeros((0, len(updates)))
        share = fleet.trials.upper_share(strata, fleet.pools, updates)
        if not fleet.halted:
            return share
        if fleet.apart_bucket <= fleet.bucket - APART_BUCKETS or fleet.apart.shape != fleet.rates.shape:
            self._survey_apart()
        return among_remaining(share, fleet.apart[np.ix_(strata, updates)], np.isin(updates, list(fleet.halted)))

    def _survey_apart(self) -> None:
        """How the shares among the hosts without any halted update differ from those among all."""
        fleet = self.state
        since = fleet.bucket * BUCKET_MS // BIN_MS - HALTED_BINS + 1
        strata, updates = fleet.rates.shape
        halted = np.array(sorted(fleet.halted), dtype=np.int64)
        most = fleet.trials.upper_share(np.arange(strata), fleet.pools, halted).max(axis=1)
        sampled = fleet.samples.remaining(frozenset(fleet.halted), strata, updates, since)
        factor = share_factor(*sampled, 1.0 - most)
        untouched = ~fleet.ledger.active[:, halted].any(axis=1)
        factor[untouched] = 1.0
        fleet.apart = factor
        fleet.apart_bucket = fleet.bucket

    def _close(self, bucket: Bucket, share: Floats | None) -> None:
        """Enter a bucket for good: at the shares of now, or at those of its time."""
        fleet, crashes = self.state, tally([bucket])
        if not len(crashes.strata):
            return
        share = self.shares(crashes.strata) if share is None else share[crashes.strata]
        fleet.ledger.close(crashes, share, self._tolerated[: share.shape[1]], fleet.ring_of)
        lower = np.minimum(fleet.trials.lower_share(crashes.strata), share)
        fleet.clearing.close(crashes, lower, self._clear_risks[:, : share.shape[1]], fleet.ring_of)

    def _explain(self) -> Explained:
        fleet, crashes = self.state, tally(self.state.open.values())
        updates = crashes.reached()
        share = self.shares(crashes.strata, updates)
        self.totals = fleet.ledger.with_open(crashes, updates, share, self._tolerated[updates], fleet.ring_of)
        self.past = self._past(len(fleet.since))
        return explain(self.totals, self.past)

    def _past(self, updates: int) -> Historical:
        """What history expects, from an upper limit of the exposed trials: a crash may come before any is seen."""
        fleet = self.state
        seen = fleet.exposed_trials.sum(axis=1)
        most = upper_exposure(seen)
        with np.errstate(invalid="ignore", divide="ignore"):
            worst = np.where(np.isfinite(fleet.rates), fleet.rates, 0.0).max(axis=0)
            allowed = self._tolerated[:updates] * fleet.shock
            expected = np.where(seen > 0, fleet.past_expected / seen, worst * allowed) * most
            exposure = np.where(seen > 0, fleet.past_exposure / seen, allowed) * most
            expected = np.where(np.isfinite(fleet.past_expected), expected, np.inf)
            by_slot = (
                np.where(np.isfinite(fleet.past_exposure), exposure, np.inf)[:, None] * fleet.ledger.signature_rate
            )
        young = (fleet.since > 0) & (fleet.bucket - fleet.since < HISTORY_BUCKETS)
        return Historical(expected, np.where(np.isnan(by_slot), np.inf, by_slot), young, fleet.settled)

    def _forget_updates(self) -> None:
        """Once an hour: free the places of updates that no host has listed for a week."""
        fleet = self.state
        stale = (fleet.seen > 0) & (fleet.bucket - fleet.seen > FORGET_AFTER_BUCKETS)
        if gone := [update for update, _ in fleet.updates.live() if stale[update]]:
            fleet.forget(gone)

    def summary(self) -> dict[str, object]:
        """What people may look at, fit for JSON."""
        fleet = self.state
        return {
            "fleet": fleet.name,
            "stream_time": fleet.bucket * BUCKET_MS,
            "events": fleet.events,
            "live_updates": len(fleet.updates.live()),
            "strata": len(fleet.strata.live()),
            "crashes_too_late": fleet.too_late,
            "updates_unwatched": fleet.unwatched,
            "remembered_crashes": len(fleet.hosts.seen) + len(fleet.host_signatures.seen),
            "history_ready": fleet.history.ready(),
            "updates": verdicts.summary(self),
        }
