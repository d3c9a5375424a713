"""The figures that a person needs to judge an update: counts, relative risk, explanation, conditional evidence."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from pipeline.decide.alarm.telling import Clues, record_of, threshold_of
from pipeline.decide.arrays import Floats
from pipeline.decide.attribution import SUSPECT, bar_of, better_culprits, rivals_of
from pipeline.decide.blind.flags import View, is_sampled
from pipeline.decide.evidence import LN10, MAX_ODDS, odds_of
from pipeline.decide.name_index import MAX_RINGS
from pipeline.decide.policy import PolicyTable
from pipeline.decide.state import DetectorState
from pipeline.decide.weighing import Weighed
from pipeline.wire.spans import MINUTE_MS
from pipeline.wire.verdicts import AlarmRing, AlarmSignature, Basis, Conditional, Explanation, FleetAlarm, Suspect

ERRORS_95 = 1.96
CLUES = 5  # signatures, rings and suspects that an alarm names
MAX_RELATIVE_RISK = 10_000.0  # a larger one tells a reader no more


class Counts(NamedTuple):
    """Crashed hosts that had the update, and as many as control's rate gives; 95 % limits of the relative risk."""

    observed: float
    expected: float
    limits: tuple[float, float]


class Figures(NamedTuple):
    """What a verdict and a halt have in common, by the names of their fields; over one ring, or over all."""

    log10_evidence: float
    threshold: float  # log10
    basis: Basis
    observed: int
    expected: float
    relative_risk: tuple[float, float]
    crashed_hosts: int
    exposed_trials: int
    explanation: Explanation
    conditional: tuple[Conditional, ...]


class Facts(NamedTuple):
    """What verdicts and halts on an update have in common, whichever rings they are about."""

    log10_evidence: float
    threshold: float
    basis: Basis
    explanation: Explanation
    conditional: tuple[Conditional, ...]
    odds: tuple[float, ...]  # (R,) exposed trials per control trial
    all_odds: float
    rings: tuple[int, ...]  # all there are
    crash_rate: float  # crashed hosts per trial
    doubted_for: tuple[str, ...]  # updates that later evidence speaks for instead of this one, which is halted


def relative_risk(observed: float, expected: float, control: float, odds: float) -> tuple[float, float]:
    """95 % limits of the relative risk from exposed crashes, control crashes weighted to the exposed, and control ones.

    Log-normal: variance 1/x + 1/(c + 1/2); with no control crash half of one is assumed. (0, 0) without a crash, and
    never above MAX_RELATIVE_RISK.
    """
    if observed <= 0:
        return (0.0, 0.0)
    base = expected * (control + 0.5) / control if control else 0.5 * odds
    ratio = observed / max(base, 1e-9)
    spread = np.exp(ERRORS_95 * np.sqrt(1.0 / observed + 1.0 / (control + 0.5)))
    low, high = np.minimum((ratio / spread, ratio * spread), MAX_RELATIVE_RISK)
    return (float(f"{low:.4g}"), float(f"{high:.4g}"))


def basis_of(weighed: Weighed, update: int) -> Basis:
    """Concurrent when the comparison with control hosts carries the evidence by itself."""
    explained, threshold = weighed.explained, -np.log(weighed.policies.of(update).alpha)
    if update in weighed.state.standing.resumed:
        threshold = bar_of(weighed, update) * LN10
    concurrent = explained.concurrent[update]
    weightier = concurrent >= explained.historical[update]
    return "concurrent" if concurrent >= threshold or weightier else "historical"


def explanation_of(weighed: Weighed, update: int) -> Explanation:
    """The heaviest explanation in words; `pooled` where that is a place that nothing has a name for, as of an update
    without evidence."""
    entry, row = weighed.explained.heaviest_of(update)
    places = weighed.state.book.slots[update]
    return entry.words(weighed.state.names, row, int(places[row]) if row < len(places) else -1)


def view_of(state: DetectorState) -> View:
    """What says how much of the fleet telemetry shows."""
    trials, counts = state.trials, state.counts
    return View(
        signs=state.signs,
        bucket=state.bucket,
        updates=state.names.updates.names,
        strata=state.names.strata.names,
        since=state.ages.since,
        crashed=counts.crashed,
        exposed_trials=counts.exposed_trials,
        trials=trials.trials[2].sum(axis=0),
        slow=lambda update: trials.slow_of(update)[1],
    )


def half_blind(state: DetectorState) -> dict[str, object]:
    """Where telemetry says less than it seems to, for people, fit for JSON."""
    return view_of(state).summary()


def rests_on_samples(weighed: Weighed, update: int) -> bool:
    """Whether the evidence is told apart from another update's by hosts of which only some were kept."""
    halted = weighed.state.standing.halted
    return bool((halted.keys() - {update}) or rivals_of(weighed, update)) and is_sampled(weighed.state.samples.kept())


def conditionals(weighed: Weighed, update: int) -> tuple[Conditional, ...]:
    """Evidence without each other suspect, for updates under suspicion."""
    found = []
    for rival in rivals_of(weighed, update):
        name = weighed.state.names.updates.names[rival]
        if rival != update and name is not None:
            alone = weighed.without(update, rival)
            found.append(Conditional("/".join(name), round(alone.log_evidence / LN10, 3)))
    return tuple(found)


def own_evidence(weighed: Weighed, update: int, conditional: tuple[Conditional, ...]) -> float:
    """log10 of the update's own evidence: on hosts without any halted update, where that is less."""
    halted, total = weighed.state.standing.halted, float(weighed.explained.total[update]) / LN10
    if update in halted:
        return total
    names = {"/".join(weighed.state.names.updates.names[u] or ()) for u in halted}
    return min([total, *(c.log10_evidence for c in conditional if c.on_without in names)])


def counts_of(weighed: Weighed, update: int, rings: tuple[int, ...], odds: float) -> Counts:
    """The counts behind the heaviest explanation: of its signature, against history, or of these rings, where exposed
    trials stand to control ones as `odds`."""
    entry, row = weighed.explained.heaviest_of(update)
    if entry.counts == "history" and np.isfinite(weighed.state.past.expected[update]):
        return _against_history(weighed, update, row if entry.name == "history signature" else -1)
    if entry.counts == "silence":
        told = weighed.state.silence.of(update)
        return _compared(told.observed, told.expected, max(told.expected, 0.5), 1.0)
    if entry.counts == "signature":
        return _of_signature(weighed, update, row)
    counts = weighed.state.counts
    observed, expected = _sum(counts.counted, update, rings), _sum(counts.expected, update, rings)
    control = _sum(counts.control, update, rings)
    return _compared(observed, expected, control, odds)


def _sum(counts: Floats, update: int, rings: tuple[int, ...]) -> float:
    """Over these rings; nearly always it is one."""
    return float(counts[update, rings[0]] if len(rings) == 1 else counts[update, list(rings)].sum())


def _of_signature(weighed: Weighed, update: int, place: int) -> Counts:
    """Crashes with the signature in that place."""
    totals = weighed.totals
    observed, crashes = float(totals.signature_exposed[update, place]), float(totals.signature_crashes[update, place])
    share = float(totals.signature_expected[update, place]) / crashes if crashes else 0.0
    odds = float(odds_of(np.array(share)))
    return _compared(observed, (crashes - observed) * odds, crashes - observed, odds)


def _compared(observed: float, expected: float, control: float, odds: float) -> Counts:
    limits = relative_risk(observed, expected, control, odds)
    return Counts(observed, expected if control else 0.5 * odds, limits)


def _against_history(weighed: Weighed, update: int, place: int) -> Counts:
    """What was usual before the release, for as many hosts as may have been exposed by now."""
    observed, past = weighed.past.observed[update], weighed.past.expected[update]
    if place >= 0:
        observed = weighed.past.named[update, place]
        past = weighed.past.signature_expected[update, place]
    usual = float(past) / weighed.policies.of(update).tolerated_risk
    return Counts(float(observed), usual, relative_risk(float(observed), usual, max(usual, 0.5), 1.0))


def facts_of(weighed: Weighed, update: int) -> Facts:
    """The evidence on an update, for a person to judge."""
    conditional = conditionals(weighed, update)
    ring_of = weighed.state.groups.ring_of
    trials = weighed.state.trials.slow_of(update)
    by_ring = [np.bincount(ring_of[: len(each)], each, minlength=MAX_RINGS).astype(np.float64) for each in trials]
    return Facts(
        log10_evidence=round(own_evidence(weighed, update, conditional), 3),
        threshold=round(bar_of(weighed, update), 3),
        basis=basis_of(weighed, update),
        explanation=explanation_of(weighed, update),
        conditional=conditional,
        odds=tuple(_odds(*by_ring).tolist()),
        all_odds=float(_odds(*(counts.sum(keepdims=True) for counts in by_ring))[0]),
        crash_rate=weighed.state.history.crash_rate(),
        rings=tuple([ring for ring, _ in weighed.state.names.rings.live()]),
        doubted_for=better_culprits(weighed, update),
    )


def doubtful(state: DetectorState) -> dict[str, list[str]]:
    """Halts in doubt, as last told, and what later evidence speaks for instead."""
    names = state.names.updates.names
    return {"/".join(names[update] or ()): list(found) for update, found in state.standing.doubted.items()}


def _odds(trials: Floats, exposed: Floats, excluded: Floats) -> Floats:
    result: Floats = np.minimum((exposed + 0.5) / np.maximum(trials - exposed - excluded, 0.5), MAX_ODDS)
    return result


def figures(weighed: Weighed, update: int, facts: Facts, ring: int | None = None) -> Figures:
    """Over one ring or over all (None)."""
    known = weighed.state.counts
    rings = facts.rings if ring is None else (ring,)
    counts = counts_of(weighed, update, rings, facts.all_odds if ring is None else facts.odds[ring])
    return Figures(
        log10_evidence=facts.log10_evidence,
        threshold=facts.threshold,
        basis=facts.basis,
        observed=round(counts.observed),
        expected=float(f"{counts.expected:.3g}"),
        relative_risk=counts.limits,
        crashed_hosts=round(_sum(known.crashed, update, rings)),
        exposed_trials=round(_sum(known.exposed_trials, update, rings)),
        explanation=facts.explanation,
        conditional=facts.conditional,
    )


def watch_fleet(state: DetectorState, policies: PolicyTable) -> str:
    """A minute has passed: what has changed of the fleet's alarm, "" for nothing."""
    state.alarm.explain(state.standing.halted.keys(), ((c.at, c.exposed) for c in state.crashes.crashes))
    return state.alarm.pass_minute(state.clock.now_ms // MINUTE_MS, _alarm_threshold(policies))


def _alarm_threshold(policies: PolicyTable) -> float:
    return threshold_of(policies.policies.default.alarm_alpha)


def alarm_of(weighed: Weighed) -> FleetAlarm:
    """The fleet's alarm as it is now, and what speaks for whom: it sounds, or has just ended."""
    state, threshold = weighed.state, _alarm_threshold(weighed.policies)
    found = _clues(weighed, state.alarm.since * MINUTE_MS)
    return record_of(state.fleet, state.clock.now_ms, state.alarm, threshold, found)


def _clues(weighed: Weighed, since_ms: int) -> Clues:
    """What the hosts that crashed since then (unix ms) have in common, those aside that a halted update explains."""
    state, halted = weighed.state, weighed.state.standing.halted.keys()
    crashes = [c for c in state.crashes.crashes if c.at >= since_ms and halted.isdisjoint(c.exposed)]
    signatures = Counter(c.signature for c in crashes).most_common(CLUES)
    rings = Counter(int(state.groups.ring_of[c.stratum]) for c in crashes).most_common(CLUES)
    listed = Counter(update for c in crashes for update in c.exposed)
    evidence, names = weighed.explained.suspicion / LN10, state.names
    likeliest = sorted(listed, key=lambda u: (-max(float(evidence[u]), SUSPECT), -listed[u]))[:CLUES]
    return Clues(
        tuple([AlarmSignature(*_signature_of(weighed, which), hosts) for which, hosts in signatures]),
        tuple([AlarmRing(names.rings.names[ring] or "", hosts) for ring, hosts in rings]),
        tuple(
            [
                Suspect("/".join(names.updates.names[u] or ()), listed[u], round(float(evidence[u]), 3))
                for u in likeliest
            ]
        ),
    )


def _signature_of(weighed: Weighed, which: int) -> tuple[str, str]:
    return (weighed.state.names.signatures.names[which] if which >= 0 else None) or ("", "")
