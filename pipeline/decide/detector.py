"""One fleet's detector: a step takes a partial and returns the verdicts that are news and the halts that follow.

Pure: time is stream time (event time as far as it has been seen), state is a value that can be packed and restored.
"""

from bisect import bisect_right
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np

from pipeline.decide.arrays import Ints, int_columns
from pipeline.decide.attribution import bar_after_resume, judge
from pipeline.decide.buckets import (
    ARCHIVE_MS,
    HOUR_BUCKETS,
    MINUTE_BUCKETS,
    OPEN_BUCKETS,
    Columns,
    Reached,
    Slice,
    by_part,
    slice_edges,
)
from pipeline.decide.intake import FORGET_AFTER_BUCKETS, take_in
from pipeline.decide.orders import Brief, Decisions, FleetAlarm, HaltOrder, Ruling, Stance
from pipeline.decide.policy import PolicySet, PolicyTable
from pipeline.decide.state import DetectorState, Named, name, unpack_state
from pipeline.decide.trials import DECAY_PER_BUCKET
from pipeline.decide.verdicts import (
    alarm_of,
    doubtful,
    half_blind,
    impose,
    news,
    summary,
    tell,
    told_evidence,
    watch_fleet,
)
from pipeline.decide.weighing import Weighed, archive, archived, close, hear, watch, weigh
from pipeline.wire.partials import BUCKET_MS, EXPOSURE_COLUMNS, NO_NOTES, TRIAL_COLUMNS, CrashRecord, Partial, UpdateId
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


class Detector:
    """Judges every live update of one fleet. Not safe for concurrent use."""

    def __init__(self, fleet: str, policies: PolicySet) -> None:
        self.policies = PolicyTable(policies)
        self.state = DetectorState(fleet)
        self._named: Named | None = None  # of the last slice
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

    def _slices(self, partial: Partial) -> list[Slice]:
        """As if each bucket of it were one, where there is anything to be judged by how many trials there were when."""
        clock = self.state.clock
        by_bucket = bool(partial.crashes or self.state.open.by_number)
        return slices_of(partial, Reached(clock.bucket, clock.recent), by_bucket)

    def _step(self, mine: Slice) -> Decisions:
        concluded = self._conclude(mine)
        if concluded is None:
            return NOTHING
        return Decisions(tell(concluded.weighed, concluded.news), concluded.halts, concluded.alarm)

    def _conclude(self, mine: Slice) -> Concluded | None:
        state, policies, partial = self.state, self.policies, mine.partial
        self._read_policies()
        passed = advance(state, policies, mine)
        self._named = named = name(state, mine, self._named)
        self._read_policies()
        for number, bucket in take_in(state, policies, named):
            close(state, policies, bucket, archived(state, number))
            state.alarm.enter_crashes((2 * number + 1) * ARCHIVE_MS // (2 * MINUTE_MS), bucket.crashes)
        state.alarm.enter_trials(*mine.columns.trials[:, mine.trials][[0, 2]])
        state.alarm.hear(partial, named.updates, state.standing.halted.keys())
        heard = hear(state, policies, partial, named.strata)
        if named.made_room:
            self.weighed = None  # it speaks of others
        if not (partial.crashes or passed.closed or passed.minute or heard):
            return None  # clean trials alone can only lower the evidence
        self.weighed = weighed = weigh(state, policies)
        due = judge(weighed, partial, passed.minute) if partial.crashes or passed.closed or heard else []
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
            "half_blind": half_blind(state),
            "remembered_crashes": len(state.hosts.seen) + len(state.host_signatures.seen),
            "alarm": state.alarm.summary(),
            "doubtful": doubtful(state),
            "history_ready": state.history.ready(),
            "silence": state.silence.summary(),
            "baseline": state.history.by_ring(state.names.strata.live()),
            "updates": summary(self.weighed),
        }


def advance(state: DetectorState, policies: PolicyTable, mine: Slice) -> Passed:
    """Stream time moves on to that of the slice: close what is past, let counts decay, archive shares."""
    before = state.clock.advance(mine.reached)
    now = state.bucket
    if now == before:
        return Passed(False, False)
    due = state.open.close(now - OPEN_BUCKETS)
    for number, bucket in due:
        close(state, policies, bucket, None)
        state.alarm.enter_crashes(number // MINUTE_BUCKETS, bucket.crashes)
    passed = Passed(bool(due), now // MINUTE_BUCKETS > before // MINUTE_BUCKETS)
    state.trials.advance(now)
    if state.trials.listen(*state.history.settled()):
        state.begin_anew()
    if shares_are_asked(state, mine, passed):
        state.trials.survey(state.groups.pools)
    state.past.decay([each ** (now - before) if before else 0.0 for each in DECAY_PER_BUCKET])
    state.history.advance(state.clock.now_ms)
    state.past.settle(state.book.active)
    watch(state)
    archive(state)
    if now // HOUR_BUCKETS > before // HOUR_BUCKETS:
        _forget(state)
    return passed._replace(alarm=watch_fleet(state, policies)) if passed.minute else passed


def shares_are_asked(state: DetectorState, mine: Slice, passed: Passed) -> bool:
    """Whether anybody asks for shares before stream time moves on again: crashes that come, those of open buckets when
    they are weighed or closed, the archive."""
    if mine.crashes_until or mine.until < 0 or state.archive.wants(state.clock.now_ms // ARCHIVE_MS):
        return True
    numbers = state.open.by_number
    return bool(numbers) and (any(passed) or min(numbers) <= mine.until - OPEN_BUCKETS)


def _forget(state: DetectorState) -> None:
    """Once an hour: free the places of updates that no host has listed for a week; and of clocks set right."""
    seen = state.ages.seen
    stale = (seen > 0) & (state.bucket - seen > FORGET_AFTER_BUCKETS)
    if gone := [update for update, _ in state.names.updates.live() if stale[update]]:
        state.forget(gone)
    state.notes.forget_clocks(state.bucket)
    state.signs.expire()


def slices_of(partial: Partial, begun: Reached, by_bucket: bool) -> list[Slice]:
    """The partial by event-time bucket, in order; what lies before or at stream time goes with the first. All of it at
    once unless `by_bucket`.

    Trials, exposures and crashes are divided; samples go with the first, all else with the last.
    """
    trials, exposures = int_columns(partial.trials, TRIAL_COLUMNS), int_columns(partial.exposures, EXPOSURE_COLUMNS)
    crashed = [crash.at // BUCKET_MS for crash in partial.crashes]
    reports = Counter[int](crashed)
    for bucket, many in zip(trials[0].tolist(), trials[2].tolist(), strict=True):
        reports[bucket] += many
    edges = slice_edges(reports, begun.bucket) if by_bucket else []
    if not edges:
        whole = slice(0, trials.shape[1]), slice(0, exposures.shape[1])
        return [Slice(partial, Columns(trials, exposures), *whole, begun.after(reports), -1, bool(crashed))]
    (trials, of_trials), (exposures, of_exposures) = (_divided(rows, edges) for rows in (trials, exposures))
    columns, slices = Columns(trials, exposures), list[Slice]()
    divided = zip(_parted(partial, crashed, edges), of_trials, of_exposures, by_part(reports, edges), strict=True)
    for part, trial_rows, exposure_rows, mine in divided:
        begun = begun.after(mine)
        slices.append(Slice(part, columns, trial_rows, exposure_rows, begun, -1, False))
    return _looking_ahead(slices)


def _divided(columns: Ints, edges: list[int]) -> tuple[Ints, list[slice]]:
    """The rows, those of a bucket together, and where each slice's are."""
    part = np.searchsorted(edges, columns[0], side="right")
    if (part[1:] < part[:-1]).any():  # not as a combiner writes them
        order = np.argsort(part, kind="stable")
        columns, part = columns[:, order], part[order]
    ends = np.searchsorted(part, np.arange(len(edges) + 1), side="right").tolist()
    return columns, [slice(start, end) for start, end in pairwise([0, *ends])]


def _parted(partial: Partial, crashed: list[int], edges: list[int]) -> list[Partial]:
    """The partial for each slice, as far as it is not columns; `crashed` are the buckets of its crashes."""
    crashes: list[list[CrashRecord]] = [[] for _ in range(len(edges) + 1)]
    for crash, bucket in zip(partial.crashes, crashed, strict=True):
        crashes[bisect_right(edges, bucket)].append(crash)
    nothing = {"events": 0, "repeats": 0, "undated": 0, "cut": b"", "cut_exposures": b"", "tail": NO_NOTES}
    partial = msgspec.structs.replace(partial, trials=b"", exposures=b"")
    between = msgspec.structs.replace(partial, crashes=(), samples=(), **nothing)
    parts = [msgspec.structs.replace(between, crashes=tuple(some)) if some else between for some in crashes]
    parts[0] = msgspec.structs.replace(parts[0], samples=partial.samples)
    parts[-1] = msgspec.structs.replace(partial, crashes=tuple(crashes[-1]), samples=())
    return parts


def _looking_ahead(slices: list[Slice]) -> list[Slice]:
    """What each one can know of those after it."""
    until, crashes, found = -1, False, list[Slice]()
    for place, each in reversed(list(enumerate(slices))):
        if place + 1 < len(slices) and slices[place + 1].reached.bucket != each.reached.bucket:
            until, crashes = slices[place + 1].reached.bucket, False
        crashes |= bool(each.partial.crashes)
        found.append(each._replace(until=until, crashes_until=crashes))
    return found[::-1]
