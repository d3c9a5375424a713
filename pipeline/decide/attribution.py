"""Who is to blame when several updates travel together, and whether it is enough to halt."""

from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from pipeline.decide.book import MAX_RINGS, SIGNATURE_PLACES
from pipeline.decide.conditional import Separation, separate
from pipeline.decide.evidence import LN10
from pipeline.decide.explain import Explained
from pipeline.decide.history import LIMIT_ERRORS, control_rises
from pipeline.wire.partials import BUCKET_MS, Partial
from pipeline.wire.spans import HOUR_MS

if TYPE_CHECKING:
    from pipeline.decide.detector import Detector

SUSPECT = 2.0  # log10 evidence from which an update is a suspect
MAX_SUSPECTS = 8
LEAD = 0.5  # log10 by which one must explain the separating hosts better than the other
INSEPARABLE_CRASHES = 20  # crashed hosts after which waiting for one on a separating host ends


class Due(NamedTuple):
    """A halt that is due: the update's position, how, the moment of the event that decided (unix ms), flags."""

    update: int
    mode: Literal["enforce", "shadow", "pending"]
    decided_at: int
    flags: list[str]


def decide(detector: "Detector", partial: Partial) -> list[Due]:
    """The halts that are due; from here on they are in force."""
    explained = detector.explained
    assert explained is not None, "decide follows explain"
    under_suspicion = suspects(detector, explained)
    orders: list[Due] = []
    guilty: list[tuple[int, list[str]]] = []
    for update in under_suspicion:
        if update not in detector.state.halted and len(guilty) < MAX_SUSPECTS:
            flags = judge(detector, explained, update)
            if flags is not None:
                guilty.append((update, flags))
    for update, flags in _together(guilty):
        orders.append(_impose(detector, update, flags, _decided_at(detector, update, partial)))
    return orders


def _together(guilty: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Judged before any is halted, so that two that cannot be told apart halt both; a clear culprit halts alone."""
    clear = [found for found in guilty if not found[1]]
    return clear or guilty


def suspects(detector: "Detector", explained: Explained) -> list[int]:
    """Updates under suspicion, the most suspect first."""
    total = explained.total / LN10
    live = [int(u) for u in np.flatnonzero(total >= SUSPECT) if detector.state.updates.names[u] is not None]
    return sorted(live, key=lambda u: -total[u])


def rivals_of(detector: "Detector", explained: Explained, update: int) -> list[int]:
    """The other suspects and halted updates with which this suspect shares crashed hosts, most shared first."""
    if explained.total[update] < SUSPECT * LN10:
        return []
    if update not in detector.rivals:
        shared: Counter[int] = Counter()
        for crash in detector.state.crashes.crashes:
            if update in crash.exposed:
                shared.update(crash.exposed)
        del shared[update]
        others = {*suspects(detector, explained), *detector.state.halted}
        found = [rival for rival, _ in shared.most_common() if rival in others]
        detector.rivals[update] = found[:MAX_SUSPECTS]
    return detector.rivals[update]


def judge(detector: "Detector", explained: Explained, update: int) -> list[str] | None:
    """The flags of a halt that is due, or None."""
    policy, state = detector.policy(update), detector.state
    threshold = bar_of(detector, update)
    if state.crashed[update].sum() < policy.minimum_crashed_hosts or explained.total[update] < threshold * LN10:
        return None
    if explained.concurrent[update] < threshold * LN10 and not _history_may(detector, update):
        return None
    flags: list[str] = []
    for rival in rivals_of(detector, explained, update):
        mine = evidence_without(detector, update, rival)
        if mine.log_evidence >= threshold * LN10:
            continue
        if rival in state.halted:
            return None
        theirs = evidence_without(detector, rival, update)
        lead = (mine.log_evidence - theirs.log_evidence) / LN10
        if lead >= LEAD:
            continue
        shared = min(state.crashed[update].sum(), state.crashed[rival].sum())
        if lead <= -LEAD or shared < INSEPARABLE_CRASHES:
            return None
        flags = ["inseparable"]
    return flags


def bar_of(detector: "Detector", update: int) -> float:
    """The evidence (log10) at which an update halts: what alpha asks for; after a resume, more than there was then."""
    needed = float(-np.log10(detector.policy(update).alpha))
    resumed = detector.state.resumed.get(update)
    return needed if resumed is None else max(needed, resumed[0])


def _history_may(detector: "Detector", update: int) -> bool:
    """Whether evidence against history alone may halt: policy allows it, and control hosts do not crash more too."""
    if not detector.policy(update).historical_may_halt:
        return False
    return not shock_seen(detector, update)


def shock_seen(detector: "Detector", update: int) -> bool:
    """Whether hosts without the update crash more than history allows: over all strata, or clearly in one."""
    state = detector.state
    trials, exposed, excluded = state.trials.slow_of(update)
    control = np.maximum(trials - exposed - excluded, 0.0)
    expected = np.nan_to_num(control * state.rates[:, update])
    crashes = state.control_crashes[2, :, update]
    tolerated = detector.policy(update).tolerated_risk
    pooled = control_rises(crashes.sum(keepdims=True), expected.sum(keepdims=True), 1.0, LIMIT_ERRORS)
    return bool(pooled.any() or control_rises(crashes, expected, tolerated, 4.0).any())


def evidence_without(detector: "Detector", update: int, rival: int) -> Separation:
    """Evidence about `update` on hosts without `rival`."""
    state = detector.state
    if (update, rival) not in detector.separations:
        signature = leading_signature(detector, update)
        risk = detector.policy(update).tolerated_risk
        strata = len(state.ring_of)
        found = separate(state.crashes, state.samples, update, rival, signature, risk, strata)
        detector.separations[update, rival] = found
    return detector.separations[update, rival]


def leading_signature(detector: "Detector", update: int) -> int:
    """The signature that explains most of the evidence, or -1."""
    explained = detector.explained
    if explained is None:
        return -1
    first = 1 + MAX_RINGS + detector.state.book.stratum_log.shape[0]
    concurrent = explained.terms[update, first : first + SIGNATURE_PLACES]
    place = int(concurrent.argmax())
    return int(detector.state.book.slots[update, place]) if np.isfinite(concurrent[place]) else -1


def _decided_at(detector: "Detector", update: int, partial: Partial) -> int:
    """The moment (unix ms) of the newest crash with the update in this partial; stream time when there is none."""
    name = detector.state.updates.names[update]
    index = next((i for i, u in enumerate(partial.updates) if u == name), -1)
    moments = [c.at for c in partial.crashes if index in c.exposed]
    return max(moments, default=detector.state.bucket * BUCKET_MS)


def _impose(detector: "Detector", update: int, flags: list[str], decided_at: int) -> Due:
    state, policy = detector.state, detector.policy(update)
    now = state.bucket * BUCKET_MS
    state.halt_times = [at for at in state.halt_times if at > now - HOUR_MS]
    mode: Literal["enforce", "shadow", "pending"] = "shadow" if policy.mode == "shadow" else "enforce"
    if mode == "enforce" and len(state.halt_times) >= policy.max_halts_per_hour:
        mode = "pending"
    if mode == "enforce":
        state.halt_times.append(now)
    state.halted[update] = state.bucket
    state.apart_bucket = 0
    standing = {"enforce": "halted", "shadow": "shadow_halted", "pending": "pending"}[mode]
    state.states[update] = {ring: standing for ring, _ in state.rings.live()}
    state.news.append(update)
    return Due(update, mode, decided_at, flags)
