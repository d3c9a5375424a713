"""One fleet's detector: a step takes a partial and returns the verdicts that are news and the halts that follow.

Pure: time is stream time (event time as far as it has been seen), state is a value that can be packed and restored.
"""

from typing import NamedTuple

import numpy as np

from pipeline.decide.arrays import int_columns
from pipeline.decide.attribution import alarm_of, alarm_threshold, bar_after_resume, judge
from pipeline.decide.buckets import ARCHIVE_MS, HOUR_BUCKETS, MINUTE_BUCKETS, OPEN_BUCKETS, by_bucket
from pipeline.decide.intake import FORGET_AFTER_BUCKETS, name, take_in
from pipeline.decide.orders import Decisions, FleetAlarm, HaltOrder, Ruling, Stance
from pipeline.decide.policy import PolicySet, PolicyTable
from pipeline.decide.state import DetectorState, unpack_state
from pipeline.decide.trials import DECAY_PER_BUCKET
from pipeline.decide.verdicts import impose, news, summary, tell, told_evidence
from pipeline.decide.weighing import Weighed, archive, archived, close, weigh
from pipeline.wire.partials import TRIAL_COLUMNS, Partial, UpdateId
from pipeline.wire.spans import HOUR_MS, MINUTE_MS

NOTHING = Decisions((), ())


class Passed(NamedTuple):
    """What came with the time that has passed."""

    closed: bool  # whether buckets were entered for good
    minute: bool
    alarm: str = ""  # what has changed of the fleet's alarm


class Concluded(NamedTuple):
    """What a step came to."""

    weighed: Weighed
    news: list[int]  # updates whose verdicts are told now
    halts: tuple[HaltOrder, ...]
    alarm: FleetAlarm | None


class Brief(NamedTuple):
    """Decisions without verdicts: of the updates that they would be on, the evidence (log10) that they would give."""

    evidence: dict[UpdateId, float]
    halts: tuple[HaltOrder, ...]
    alarms: tuple[FleetAlarm, ...] = ()


class Detector:
    """Judges every live update of one fleet. Not safe for concurrent use."""

    def __init__(self, fleet: str, policies: PolicySet) -> None:
        self.policies = PolicyTable(policies)
        self.state = DetectorState(fleet)
        self.weighed: Weighed | None = None  # as of the last step that could change evidence

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
        """Take in one partial and decide: bucket by bucket, so that it does not matter how much is in a partial."""
        decided = [self._step(each) for each in self._slices(partial)]
        if len(decided) == 1:
            return decided[0]
        newest = {verdict.key: verdict for each in decided for verdict in each.verdicts}  # they are said side by side
        alarm = next((each.alarm for each in reversed(decided) if each.alarm), None)
        return Decisions(tuple(newest.values()), tuple([halt for each in decided for halt in each.halts]), alarm)

    def step_briefly(self, partial: Partial) -> Brief:
        """The same, for whoever keeps no verdicts: most of a step without a halt goes into writing them."""
        evidence, halts, alarms = dict[UpdateId, float](), list[HaltOrder](), list[FleetAlarm]()
        for each in self._slices(partial):
            if concluded := self._conclude(each):
                evidence |= told_evidence(concluded.weighed, concluded.news)
                halts += concluded.halts
                alarms += [concluded.alarm] if concluded.alarm else []
        return Brief(evidence, tuple(halts), tuple(alarms))

    def _slices(self, partial: Partial) -> list[Partial]:
        """As if each bucket of it were one, where there is anything to be judged by how many trials there were when."""
        return by_bucket(partial, self.state.bucket) if partial.crashes or self.state.open.by_number else [partial]

    def _step(self, partial: Partial) -> Decisions:
        concluded = self._conclude(partial)
        if concluded is None:
            return NOTHING
        return Decisions(tell(concluded.weighed, concluded.news), concluded.halts, concluded.alarm)

    def _conclude(self, partial: Partial) -> Concluded | None:
        state, policies = self.state, self.policies
        trials = int_columns(partial.trials, TRIAL_COLUMNS)
        self._read_policies()
        passed = advance(state, policies, state.clock.advance(partial, trials))
        named = name(state, partial, trials)
        self._read_policies()
        for number, bucket in take_in(state, policies, named):
            close(state, policies, bucket, archived(state, number))
            state.alarm.enter_crashes((2 * number + 1) * ARCHIVE_MS // (2 * MINUTE_MS), bucket.crashes)
        state.alarm.enter_trials(trials[0], trials[2])
        state.alarm.hear(partial, named.updates, state.standing.halted.keys())
        if named.made_room:
            self.weighed = None  # it speaks of others
        if not (partial.crashes or passed.closed or passed.minute):
            return None  # clean trials alone can only lower the evidence
        self.weighed = weighed = weigh(state, policies)
        due = judge(weighed, partial, passed.minute) if partial.crashes or passed.closed else []
        orders = impose(weighed, due)
        alarm = alarm_of(weighed) if passed.alarm else None
        return Concluded(weighed, news(weighed, passed.minute), orders, alarm)

    def rule(self, ruling: Ruling) -> Decisions:
        """Take in what people have decided; it holds from the next partial on. The verdicts that are news."""
        state = self.state
        update = state.names.updates.get(ruling.update)
        if update < 0:
            return NOTHING  # no host has it yet: there is nothing to judge
        self._read_policies()
        self.weighed = weighed = weigh(state, self.policies)  # as of the state alone, which a restored one has as well
        rings = [ring for ring, _ in state.names.rings.live()]
        if state.standing.take(update, ruling, rings, state.bucket, bar_after_resume(weighed, update)):
            state.apart.surveyed_at = 0
        if ruling.effect == "resumed":
            state.spreading.said.pop(update, None)
        return Decisions(tell(weighed, news(weighed, False)), ())

    def stance(self, update: UpdateId) -> Stance:
        """What those who rule on an update have to know. Changes nothing."""
        policy = self.policies.policies.for_update(update)
        waiting = self.state.standing.waiting_order(self.state.names.updates.get(update))
        return Stance(policy.digest, round(policy.max_resume_hours * HOUR_MS), waiting)

    def look_for_doubt(self) -> None:
        """Of every halt, whether later evidence speaks against it, as verdicts on all of them would tell."""
        if self.weighed is not None:
            tell(self.weighed, sorted(self.state.standing.halted))

    def _doubted(self) -> list[tuple[str, list[str]]]:
        names = self.state.names.updates.names
        return [("/".join(names[update] or ()), found) for update, found in self.state.standing.doubted.items()]

    def _read_policies(self) -> None:
        self.policies.read(self.state.names, len(self.state.ages.since))

    def summary(self) -> dict[str, object]:
        """What people may look at, fit for JSON."""
        state = self.state
        return {
            "fleet": state.fleet,
            "stream_time": state.clock.now_ms,
            "events": state.clock.events,
            "live_updates": len(state.names.updates.live()),
            "strata": len(state.names.strata.live()),
            "updates_unwatched": state.ages.unwatched,
            **state.notes.summary(),
            "remembered_crashes": len(state.hosts.seen) + len(state.host_signatures.seen),
            "alarm": state.alarm.summary(),
            "doubtful": {name: list(found) for name, found in self._doubted()},
            "history_ready": state.history.ready(),
            "baseline": state.history.by_ring(state.names.strata.live()),
            "updates": summary(self.weighed),
        }


def advance(state: DetectorState, policies: PolicyTable, before: int) -> Passed:
    """Stream time has moved on from that bucket: close what is past, let counts decay, archive shares."""
    now = state.bucket
    if now == before:
        return Passed(False, False)
    due = state.open.close(now - OPEN_BUCKETS)
    for number, bucket in due:
        close(state, policies, bucket, None)
        state.alarm.enter_crashes(number // MINUTE_BUCKETS, bucket.crashes)
    state.trials.advance(now)
    state.trials.survey(state.groups.pools)
    state.past.decay([each ** (now - before) if before else 0.0 for each in DECAY_PER_BUCKET])
    state.history.advance(state.clock.now_ms)
    state.past.settle(state.book.active)
    _watch(state)
    archive(state)
    if now // HOUR_BUCKETS > before // HOUR_BUCKETS:
        _forget(state)
    is_new = now // MINUTE_BUCKETS > before // MINUTE_BUCKETS
    return Passed(bool(due), is_new, _watch_fleet(state, policies) if is_new else "")


def _watch_fleet(state: DetectorState, policies: PolicyTable) -> str:
    """A minute has passed: what has changed of the fleet's alarm."""
    state.alarm.explain(state.standing.halted.keys(), ((c.at, c.exposed) for c in state.crashes.crashes))
    return state.alarm.pass_minute(state.bucket // MINUTE_BUCKETS, alarm_threshold(policies))


def _watch(state: DetectorState) -> None:
    """How far crash rates may have risen for all, as the control hosts tell; and who has gone silent."""
    past = state.past
    usual = np.where(state.book.active & ~np.isnan(past.rates), past.rates, 0.0)
    expected = np.empty((2, usual.shape[1]))
    for row, (trials, exposed, excluded) in enumerate(state.trials.middle_and_slow()):
        control = trials[:, None] - exposed
        control -= excluded
        expected[row] = (np.maximum(control, 0.0, out=control) * usual).sum(axis=0)
        if row:  # the slow scale
            state.clearing.watch(exposed.sum(axis=0), (trials[:, None] - excluded).sum(axis=0))
    past.watch(expected)


def _forget(state: DetectorState) -> None:
    """Once an hour: free the places of updates that no host has listed for a week; and of clocks set right."""
    seen = state.ages.seen
    stale = (seen > 0) & (state.bucket - seen > FORGET_AFTER_BUCKETS)
    if gone := [update for update, _ in state.names.updates.live() if stale[update]]:
        state.forget(gone)
    state.notes.forget_clocks(state.bucket)
