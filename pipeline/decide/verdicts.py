"""What is told: verdicts and orders as records, and when they are news."""

from typing import Any

import numpy as np

from pipeline.decide.attribution import Due, better_culprits, doubted_for, falling_silent, is_unlisted, shock_seen
from pipeline.decide.buckets import MINUTE_BUCKETS
from pipeline.decide.clearing import needed_trials
from pipeline.decide.figures import (
    MAX_RELATIVE_RISK,
    Facts,
    basis_of,
    conditionals,
    facts_of,
    figures,
    own_evidence,
    rests_on_samples,
    view_of,
)
from pipeline.decide.figures import alarm_of as alarm_of
from pipeline.decide.figures import doubtful as doubtful  # for who summarizes
from pipeline.decide.figures import half_blind as half_blind
from pipeline.decide.figures import watch_fleet as watch_fleet
from pipeline.decide.orders import HaltOrder
from pipeline.decide.standing import Mode
from pipeline.decide.weighing import Weighed
from pipeline.wire.halts import Evidence
from pipeline.wire.partials import BUCKET_MS, UpdateId
from pipeline.wire.spans import MINUTE_MS
from pipeline.wire.verdicts import Verdict, power_of_ten
from pipeline.wire.words import crashed_words

NEWS_LOG10 = 0.25  # evidence is news when it has moved this far
NEWS_PER_STEP = 4  # updates; the others' turn comes with the next step
REFRESH_MINUTES = 5  # and once in so many minutes in any case


def flags_of(weighed: Weighed, update: int) -> tuple[str, ...]:
    """What a reader must know besides the figures."""
    state = weighed.state
    said = {
        "capped": bool(state.counts.capped[update]),  # crashes beyond a cap, of a site or a partial, are no evidence
        # most of its crashed hosts have a halted update too, and are no evidence about this one
        "masked": bool(2 * state.counts.masked[update] > state.counts.crashed[update].sum()),
        "no_history": not np.isfinite(weighed.past.expected[update]),
        "overdue": bool(state.clearing.overdue[update]),  # exposed hosts have gone silent
        "doubtful": bool(doubted_for(weighed, update)),  # halted, and another update explains its hosts better
        "unlisted": is_unlisted(weighed, update),  # only crash reports list updates: no halt follows
        # where it has just come hosts fell silent that told of nothing: that they had it is inferred
        "falling_silent": falling_silent(weighed, update),
        "unheard": state.silence.unheard(),  # some place, or all, was not heard of: silence there is no evidence
        "sampled": rests_on_samples(weighed, update),  # told apart from others by a sample of the hosts
        "after_resume": update in state.standing.resumed,  # operators resumed it once: a higher bar holds
    }
    flags = [flag for flag, holds in said.items() if holds]
    if basis_of(weighed, update) == "historical" and shock_seen(weighed, update):
        flags.append("vetoed_by_shock")
    return (*flags, *view_of(state).of(update))


def impose(weighed: Weighed, due: list[Due]) -> tuple[HaltOrder, ...]:
    """The halts that are due are in force from here on; the orders that say so."""
    state, modes = weighed.state, list[Mode]()
    for update, _, _ in due:
        policy, now_ms = weighed.policies.of(update), state.clock.now_ms
        modes.append(state.standing.mode_now(policy.mode == "shadow", policy.max_halts_per_hour, now_ms))
        rings = [ring for ring, _ in state.names.rings.live()]
        state.standing.impose(update, modes[-1], rings, state.bucket, now_ms)
        state.apart.surveyed_at = 0
    orders = tuple([order(weighed, each, mode) for each, mode in zip(due, modes, strict=True)])
    for each, found in zip(due, orders, strict=True):
        if found.mode == "pending":
            state.standing.wait(each.update, found)
    return orders


def order(weighed: Weighed, due: Due, mode: Mode) -> HaltOrder:
    """The halt of an update, in every ring."""
    name = weighed.state.names.updates.names[due.update]
    assert name is not None, "only live updates are judged"
    found = figures(weighed, due.update, facts_of(weighed, due.update))
    evidence = Evidence(
        log10_evidence=found.log10_evidence,
        threshold=found.threshold,
        basis=found.basis,
        observed=found.observed,
        expected=found.expected,
        relative_risk=found.relative_risk,
        crashed_hosts=found.crashed_hosts,
        exposed_trials=found.exposed_trials,
        explanation=found.explanation,
        conditional=found.conditional,
        flags=due.flags + flags_of(weighed, due.update),
        stream_time=due.decided_at,
    )
    digest = weighed.policies.of(due.update).digest
    return HaltOrder(mode, weighed.state.fleet, *name, ("*",), digest, reason(evidence), evidence)


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


def news(weighed: Weighed, minute_passed: bool) -> list[int]:
    """Updates whose state has changed, whose evidence has moved, or whose turn it is; they count as told."""
    state, standing = weighed.state, weighed.state.standing
    if minute_passed:
        _review(weighed)
        standing.news += state.spreading.turned(standing.halted, state.bucket)
    total = weighed.explained.log10
    distance = np.abs(total - standing.told)
    moved = distance >= NEWS_LOG10
    if minute_passed:
        minute = state.bucket // MINUTE_BUCKETS
        moved |= np.arange(len(total)) % REFRESH_MINUTES == minute % REFRESH_MINUTES
    chosen = np.flatnonzero(moved & (state.ages.since > 0))
    weightiest = chosen[np.argsort(-distance[chosen], kind="stable")][:NEWS_PER_STEP]
    due = sorted({*weightiest.tolist(), *standing.news})
    standing.news = []
    standing.told[due] = total[due]
    return due


def tell(weighed: Weighed, updates: list[int]) -> tuple[Verdict, ...]:
    """The verdicts on these updates, in each ring that they have reached."""
    verdicts: list[Verdict] = []
    for update in updates:
        facts, flags = facts_of(weighed, update), flags_of(weighed, update)
        weighed.state.standing.doubt(update, facts.doubted_for)
        verdicts += [record(weighed, update, ring, facts, flags) for ring in _rings_of(weighed, update)]
    return tuple(verdicts)


def told_evidence(weighed: Weighed, updates: list[int]) -> dict[UpdateId, float]:
    """The evidence (log10) that verdicts on these updates give, of those that have any."""
    names, found = weighed.state.names.updates.names, dict[UpdateId, float]()
    for update in updates:
        name = names[update]
        if name is not None and _rings_of(weighed, update):
            found[name] = round(own_evidence(weighed, update, conditionals(weighed, update)), 3)
            weighed.state.standing.doubt(update, better_culprits(weighed, update))
    return found


def _rings_of(weighed: Weighed, update: int) -> list[int]:
    counts, everywhere = weighed.state.counts, weighed.state.standing.told_everywhere(update)
    reached = (counts.exposed_trials[update] > 0) | (counts.crashed[update] > 0)
    return [ring for ring, _ in weighed.state.names.rings.live() if reached[ring] or everywhere]


def _review(weighed: Weighed) -> None:
    """Clear what has earned it; watch again what has come under suspicion since."""
    state, standing = weighed.state, weighed.state.standing
    rings = state.names.rings.live()
    log = state.clearing.log_evidence()
    ten, strongest = np.log(10.0), weighed.explained.strongest()
    for update in np.flatnonzero((log.max(axis=0) > 0) & (state.ages.since > 0)).tolist():
        if update in standing.halted or update in standing.resumed:
            continue
        policy = weighed.policies.of(update)
        states = standing.states.setdefault(update, {})
        aged = (state.bucket - state.ages.since[update]) * BUCKET_MS >= policy.reporting_delay_minutes * MINUTE_MS
        calm = strongest[update] <= ten
        target = np.log(len(rings) / policy.clear_alpha)
        for ring, _ in rings:
            earned = aged and calm and not state.clearing.overdue[update] and log[ring, update] >= target
            if states.get(ring) == "cleared" and not calm:
                states[ring] = "watching"
            elif states.get(ring) != "cleared" and earned:
                states[ring] = "cleared"
            else:
                continue
            standing.news.append(update)


def _missing_trials(weighed: Weighed, update: int, ring: int, facts: Facts) -> int:
    """How many more exposed trials the update is expected to need until it is cleared."""
    state, policy, odds = weighed.state, weighed.policies.of(update), facts.odds[ring]
    log = state.clearing.log_evidence_of(update, ring)
    target = float(np.log(len(facts.rings) / policy.clear_alpha))
    risk = policy.clear_risk_in(state.names.rings.names[ring] or "")
    return needed_trials(log, target, odds / (1 + odds), facts.crash_rate, risk)


def record(weighed: Weighed, update: int, ring: int, facts: Facts, flags: tuple[str, ...]) -> Verdict:
    """The verdict on an update in a ring."""
    state = weighed.state
    name, ring_name = state.names.updates.names[update], state.names.rings.names[ring] or ""
    assert name is not None, "only live updates are judged"
    found = figures(weighed, update, facts, ring)
    standing: Any = state.standing.of(update, ring, ring_name)
    spread = state.spreading.of(update, state.standing.halted, state.bucket)
    return Verdict(
        fleet=state.fleet,
        vendor=name.vendor,
        product=name.product,
        version=name.version,
        ring=ring_name,
        state=standing,
        at=state.clock.now_ms,
        log10_evidence=found.log10_evidence,
        threshold=found.threshold,
        basis=found.basis,
        observed=found.observed,
        expected=found.expected,
        relative_risk=found.relative_risk,
        crashed_hosts=found.crashed_hosts,
        exposed_trials=found.exposed_trials,
        explanation=found.explanation,
        conditional=found.conditional,
        needs_trials=_missing_trials(weighed, update, ring, facts) if standing == "watching" else 0,
        flags=flags,
        spreading_hosts_per_minute=spread.spreading_hosts_per_minute,
        flat_since=spread.flat_since,
        last_install=spread.last_install,
        doubted_for=facts.doubted_for,
    )


def summary(weighed: Weighed | None, most: int = 50) -> list[dict[str, Any]]:
    """The updates with the most evidence; none before anything was weighed."""
    if weighed is None:
        return []
    state, total = weighed.state, weighed.explained.log10
    judged = (u for u, _ in state.names.updates.live() if u < len(total))  # others came after the last judgement
    listed = []
    for update in sorted(judged, key=lambda u: -weighed.explained.total[u])[:most]:
        name, rings = state.names.updates.names[update], state.names.rings
        judged_in = state.standing.judged_rings(update, [ring for ring, _ in rings.live()])
        states = {rings.names[r] or "": state.standing.of(update, r, rings.names[r] or "") for r in judged_in}
        listed.append(
            {
                "update": "/".join(name) if name else "",
                "log10_evidence": round(float(total[update]), 3),
                "crashed_hosts": round(float(state.counts.crashed[update].sum())),
                "exposed_trials": round(float(state.counts.exposed_trials[update].sum())),
                "states": states or {"*": "watching"},
            }
        )
    return listed
