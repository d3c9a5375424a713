"""Verdicts and orders as records, and when they are news."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline.decide import attribution, spreading
from pipeline.decide.buckets import MINUTE_BUCKETS
from pipeline.decide.clearing import needed_trials
from pipeline.decide.evidence import LN10
from pipeline.decide.explain import Explained
from pipeline.decide.figures import MAX_RELATIVE_RISK, Facts, basis_of, explained_of, facts_of, figures
from pipeline.decide.orders import HaltOrder
from pipeline.decide.rulings import judged_rings, standing_of, told_everywhere
from pipeline.wire.halts import Evidence
from pipeline.wire.partials import BUCKET_MS
from pipeline.wire.spans import MINUTE_MS
from pipeline.wire.verdicts import Verdict, power_of_ten
from pipeline.wire.words import crashed_words

if TYPE_CHECKING:
    from pipeline.decide.detector import Detector

NEWS_LOG10 = 0.25  # evidence is news when it has moved this far
NEWS_PER_STEP = 4  # updates; the others' turn comes with the next step
REFRESH_MINUTES = 5  # and once in so many minutes in any case


def flags_of(detector: "Detector", update: int) -> list[str]:
    """What a reader must know besides the figures."""
    state = detector.state
    flags = []
    if state.capped[update]:
        flags.append("capped")  # crashes beyond the cap per site and minute, or per partial, are not in the evidence
    if 2 * state.masked[update] > state.crashed[update].sum():
        flags.append("masked")  # most of its crashed hosts have a halted update too, and are no evidence about this one
    if not np.isfinite(state.past_expected[update]):
        flags.append("no_history")
    if state.clearing.overdue[update]:
        flags.append("overdue")  # exposed hosts have gone silent
    if update in state.resumed:
        flags.append("after_resume")  # operators resumed it once: a higher bar holds
    if basis_of(detector, update) == "historical" and attribution.shock_seen(detector, update):
        flags.append("vetoed_by_shock")
    return flags


def order(
    detector: "Detector", update: int, mode: Literal["enforce", "shadow", "pending"], decided_at: int, flags: list[str]
) -> HaltOrder:
    """The halt of an update, in every ring."""
    state = detector.state
    name = state.updates.names[update]
    assert name is not None, "only live updates are judged"
    facts = figures(detector, update, facts_of(detector, update))
    evidence = Evidence(**facts, flags=tuple(flags + flags_of(detector, update)), stream_time=decided_at)
    digest = detector.policy(update).digest
    return HaltOrder(mode, state.name, *name, ("*",), digest, reason(evidence), evidence)


def reason(evidence: Evidence) -> str:
    """One sentence for a person."""
    low, high = evidence.relative_risk
    expected = _short(evidence.expected) if evidence.expected >= 0.01 else "fewer than 0.01"
    risk = f"{_short(low)} to {_short(high)}" if high < MAX_RELATIVE_RISK else f"at least {_short(low)}"
    basis = "basis historical, which assumes more" if evidence.basis == "historical" else "basis concurrent"
    hosts = crashed_words(evidence.observed, evidence.crashed_hosts, evidence.explanation)
    return (
        f"{hosts}, {expected} expected; relative risk {risk}; "
        f"evidence {power_of_ten(evidence.log10_evidence)} of 10^{evidence.threshold:g} needed; "
        f"{basis}"
    )


def _short(figure: float) -> str:
    return f"{figure:.0f}" if figure >= 10 else f"{figure:.2g}"


def news(detector: "Detector", time_moved: bool) -> tuple[Verdict, ...]:
    """Verdicts whose state has changed, whose evidence has moved, or whose turn it is."""
    state, explained = detector.state, explained_of(detector)
    if time_moved:
        _review(detector, explained)
        state.news += spreading.turned(state)
    total = explained.total / LN10
    moved = np.abs(total - state.told) >= NEWS_LOG10
    minute = state.bucket // MINUTE_BUCKETS
    turn = time_moved & (np.arange(len(total)) % REFRESH_MINUTES == minute % REFRESH_MINUTES)
    chosen = np.flatnonzero((moved | turn) & (state.since > 0))
    weightiest = chosen[np.argsort(-np.abs(total - state.told)[chosen], kind="stable")][:NEWS_PER_STEP]
    due = sorted({*(int(u) for u in weightiest), *state.news})
    state.news = []
    told: list[Verdict] = []
    for update in due:
        state.told[update] = total[update]
        facts, flags = facts_of(detector, update), tuple(flags_of(detector, update))
        told += [record(detector, update, ring, facts, flags) for ring in _rings_of(detector, update)]
    return tuple(told)


def _rings_of(detector: "Detector", update: int) -> list[int]:
    state = detector.state
    reached = (state.exposed_trials[update] > 0) | (state.crashed[update] > 0)
    return [ring for ring, _ in state.rings.live() if reached[ring] or told_everywhere(state, update)]


def _review(detector: "Detector", explained: Explained) -> None:
    """Clear what has earned it; watch again what has come under suspicion since."""
    state = detector.state
    rings = state.rings.live()
    log = state.clearing.log_evidence()
    ten = np.log(10.0)
    for update in np.flatnonzero((log.max(axis=0) > 0) & (state.since > 0)):
        if update in state.halted or update in state.resumed:
            continue
        policy = detector.policy(int(update))
        states = state.states.setdefault(int(update), {})
        aged = (state.bucket - state.since[update]) * BUCKET_MS >= policy.reporting_delay_minutes * MINUTE_MS
        calm = explained.strongest[update] <= ten
        target = np.log(len(rings) / policy.clear_alpha)
        for ring, _ in rings:
            earned = aged and calm and not state.clearing.overdue[update] and log[ring, update] >= target
            if states.get(ring) == "cleared" and not calm:
                states[ring] = "watching"
            elif states.get(ring) != "cleared" and earned:
                states[ring] = "cleared"
            else:
                continue
            state.news.append(int(update))


def record(detector: "Detector", update: int, ring: int, facts: Facts, flags: tuple[str, ...]) -> Verdict:
    """The verdict on an update in a ring."""
    state, policy = detector.state, detector.policy(update)
    name = state.updates.names[update]
    assert name is not None, "only live updates are judged"
    standing: Any = standing_of(state, update, ring)
    missing = 0
    if standing == "watching":
        odds = float(facts.odds[ring])
        crash_rate = float(state.history.crashes.sum() / max(state.history.trials.sum(), 1.0))
        log = state.clearing.log_evidence_of(update, ring)
        ring_name = state.rings.names[ring] or ""
        target = float(np.log(len(state.rings.live()) / policy.clear_alpha))
        missing = needed_trials(log, target, odds / (1 + odds), crash_rate, policy.clear_risk_in(ring_name))
    return Verdict(
        fleet=state.name,
        vendor=name.vendor,
        product=name.product,
        version=name.version,
        ring=state.rings.names[ring] or "",
        state=standing,
        at=state.bucket * BUCKET_MS,
        needs_trials=missing,
        flags=flags,
        **spreading.spread_of(state, update)._asdict(),
        **figures(detector, update, facts, ring),
    )


def summary(detector: "Detector", most: int = 50) -> list[dict[str, Any]]:
    """The updates with the most evidence."""
    state, explained = detector.state, detector.explained
    if explained is None:
        return []
    judged = (u for u, _ in state.updates.live() if u < len(explained.total))  # others came after the last judgement
    live = sorted(judged, key=lambda u: -explained.total[u])[:most]
    listed = []
    for update in live:
        rings = {state.rings.names[r] or "": standing_of(state, update, r) for r in judged_rings(state, update)}
        name = state.updates.names[update]
        listed.append(
            {
                "update": "/".join(name) if name else "",
                "log10_evidence": round(float(explained.total[update]) / LN10, 3),
                "crashed_hosts": round(float(state.crashed[update].sum())),
                "exposed_trials": round(float(state.exposed_trials[update].sum())),
                "states": rings or {"*": "watching"},
            }
        )
    return listed


def baseline(detector: "Detector") -> dict[str, float]:
    """Crashed hosts per trial by ring, of the hours that history holds; of rings that had trials."""
    state = detector.state
    trials, crashes = state.history.trials.sum(axis=1), state.history.crashes.sum(axis=1)
    found: dict[str, list[float]] = {}
    for position, stratum in state.strata.live():
        sums = found.setdefault(stratum.ring, [0.0, 0.0])
        sums[0] += float(trials[position])
        sums[1] += float(crashes[position])
    return {ring: crashed / tried for ring, (tried, crashed) in sorted(found.items()) if tried}
