"""Verdicts and orders as records: the figures that a person needs to judge, and when they are news."""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from pipeline.decide import attribution
from pipeline.decide.clearing import needed_trials
from pipeline.decide.evidence import LN10
from pipeline.decide.explain import Explained
from pipeline.decide.ledger import MAX_RINGS, SIGNATURE_SLOTS
from pipeline.decide.orders import HaltOrder
from pipeline.wire.halts import Evidence
from pipeline.wire.partials import BUCKET_MS
from pipeline.wire.verdicts import Basis, Conditional, Explanation, Verdict

if TYPE_CHECKING:
    from pipeline.decide.detector import Detector

NEWS_LOG10 = 0.25  # evidence is news when it has moved this far
MINUTE_BUCKETS = 6
REFRESH_MINUTES = 5  # and once in so many minutes in any case
ERRORS_95 = 1.96


def relative_risk(observed: float, expected: float, control: float, odds: float) -> tuple[float, float]:
    """95 % limits of the relative risk from exposed crashes, control crashes weighted to the exposed, and control ones.

    Log-normal: variance 1/x + 1/(c + 1/2); with no control crash half of one is assumed. (0, 0) without a crash.
    """
    if observed <= 0:
        return (0.0, 0.0)
    base = expected * (control + 0.5) / control if control else 0.5 * odds
    ratio = observed / max(base, 1e-9)
    spread = np.exp(ERRORS_95 * np.sqrt(1.0 / observed + 1.0 / (control + 0.5)))
    return (float(f"{ratio / spread:.4g}"), float(f"{ratio * spread:.4g}"))


def basis_of(detector: "Detector", update: int) -> Basis:
    """Concurrent when the comparison with control hosts carries the evidence by itself."""
    explained = _explained(detector)
    threshold = -np.log(detector.policy(update).alpha)
    concurrent = explained.concurrent[update]
    weightier = concurrent >= explained.historical[update]
    return "concurrent" if concurrent >= threshold or weightier else "historical"


def explanation_of(detector: "Detector", update: int) -> Explanation:
    """The heaviest explanation in words."""
    fleet, explained = detector.state, _explained(detector)
    place = int(explained.heaviest[update])
    strata = fleet.ledger.stratum_log.shape[0]
    if place == 0:
        return Explanation(kind="pooled")
    if place <= MAX_RINGS:
        return Explanation(kind="ring", strata=(f"ring={_name(fleet.rings.names, place - 1)}",))
    place -= 1 + MAX_RINGS
    if place < strata:
        stratum = fleet.strata.names[place] if place < len(fleet.strata) else None
        named = (f"ring={stratum.ring}", f"os={stratum.os}", f"model={stratum.model}") if stratum else ()
        return Explanation(kind="stratum", strata=named)
    place -= strata
    if place == SIGNATURE_SLOTS:
        return Explanation(kind="history")
    slot = place if place < SIGNATURE_SLOTS else place - SIGNATURE_SLOTS - 1
    signature = int(fleet.ledger.slots[update, slot])
    code, module = (fleet.signatures.names[signature] if signature >= 0 else None) or ("", "")
    return Explanation(kind="signature", code=code, module=module)


def _name(names: list[str | None], place: int) -> str:
    return (names[place] if place < len(names) else None) or ""


def _explained(detector: "Detector") -> Explained:
    assert detector.explained is not None, "verdicts follow explain"
    return detector.explained


def conditionals(detector: "Detector", update: int) -> tuple[Conditional, ...]:
    """Evidence without each other suspect, for updates under suspicion."""
    fleet, explained = detector.state, _explained(detector)
    if explained.total[update] < attribution.SUSPECT * LN10:
        return ()
    found = []
    for rival in attribution.suspects(detector, explained):
        name = fleet.updates.names[rival]
        if rival != update and name is not None:
            alone = attribution.evidence_without(detector, update, rival)
            found.append(Conditional("/".join(name), round(alone.log_evidence / LN10, 3)))
    return tuple(found)


def own_evidence(detector: "Detector", update: int, conditional: tuple[Conditional, ...]) -> float:
    """log10 of the update's own evidence: on hosts without any halted update, where that is less."""
    fleet = detector.state
    total = float(_explained(detector).total[update]) / LN10
    if update in fleet.halted:
        return total
    halted = {"/".join(name) for u, name in fleet.updates.live() if u in fleet.halted}
    return min([total, *(c.log10_evidence for c in conditional if c.on_without in halted)])


class Counts(NamedTuple):
    """Crashed hosts that had the update, and as many as control's rate gives; 95 % limits of the relative risk."""

    observed: float
    expected: float
    limits: tuple[float, float]


def counts_of(detector: "Detector", update: int, rings: list[int]) -> Counts:
    """The counts behind the heaviest explanation: of its signature, against history, or of these rings."""
    fleet, explained = detector.state, _explained(detector)
    place, first = int(explained.heaviest[update]), 1 + MAX_RINGS + fleet.ledger.stratum_log.shape[0]
    odds = _odds(detector, update, rings)
    if place >= first + SIGNATURE_SLOTS and np.isfinite(fleet.past_expected[update]):
        return _against_history(detector, update, place - first - SIGNATURE_SLOTS - 1)
    if place >= first:
        totals, slot = detector.totals, place - first
        observed = float(totals.signature_exposed[update, slot])
        crashes = float(totals.signature_crashes[update, slot])
        share = float(totals.signature_expected[update, slot]) / crashes if crashes else 0.0
        odds = min(share / max(1.0 - share, 0.02), 50.0)
        control = crashes - observed
        expected = control * odds
    else:
        observed, expected = float(fleet.counted[update, rings].sum()), float(fleet.expected[update, rings].sum())
        control = float(fleet.control[update, rings].sum())
    limits = relative_risk(observed, expected, control, odds)
    return Counts(observed, expected if control else 0.5 * odds, limits)


def _against_history(detector: "Detector", update: int, slot: int) -> Counts:
    fleet, risk = detector.state, detector.policy(update).tolerated_risk
    observed, expected = detector.totals.exposed[update], fleet.past_expected[update]
    if slot >= 0:
        observed = detector.totals.signature_exposed[update, slot]
        expected = fleet.past_exposure[update] * fleet.ledger.signature_rate[update, slot]
    usual = float(expected) / risk
    return Counts(float(observed), usual, relative_risk(float(observed), usual, max(usual, 0.5), 1.0))


def figures(detector: "Detector", update: int, rings: list[int]) -> dict[str, Any]:
    """What verdict and halt have in common, over these rings."""
    fleet, policy = detector.state, detector.policy(update)
    counts = counts_of(detector, update, rings)
    conditional = conditionals(detector, update)
    return {
        "log10_evidence": round(own_evidence(detector, update, conditional), 3),
        "threshold": round(float(-np.log10(policy.alpha)), 3),
        "basis": basis_of(detector, update),
        "observed": round(counts.observed),
        "expected": float(f"{counts.expected:.3g}"),
        "relative_risk": counts.limits,
        "crashed_hosts": round(float(fleet.crashed[update, rings].sum())),
        "exposed_trials": round(float(fleet.exposed_trials[update, rings].sum())),
        "explanation": explanation_of(detector, update),
        "conditional": conditional,
    }


def _odds(detector: "Detector", update: int, rings: list[int]) -> float:
    fleet = detector.state
    trials, exposed, excluded = fleet.trials.slow()
    mine = np.isin(fleet.ring_of, rings)[: len(trials)]
    with_it = float(exposed[mine, update].sum())
    without = float((trials[mine] - exposed[mine, update] - excluded[mine, update]).sum())
    return min((with_it + 0.5) / max(without, 0.5), 50.0)


def flags_of(detector: "Detector", update: int) -> list[str]:
    """What a reader must know besides the figures."""
    fleet = detector.state
    flags = []
    if fleet.capped[update]:
        flags.append("capped")  # crashes beyond the cap per site and minute, or per partial, are not in the evidence
    if not np.isfinite(fleet.past_expected[update]):
        flags.append("no_history")
    if fleet.clearing.overdue[update]:
        flags.append("overdue")  # exposed hosts have gone silent
    if basis_of(detector, update) == "historical" and attribution.shock_seen(detector, update):
        flags.append("vetoed_by_shock")
    return flags


def order(
    detector: "Detector", update: int, mode: Literal["enforce", "shadow", "pending"], decided_at: int, flags: list[str]
) -> HaltOrder:
    """The halt of an update, in every ring."""
    fleet = detector.state
    name = fleet.updates.names[update]
    assert name is not None, "only live updates are judged"
    facts = figures(detector, update, [ring for ring, _ in fleet.rings.live()])
    evidence = Evidence(**facts, flags=tuple(flags + flags_of(detector, update)), stream_time=decided_at)
    digest = detector.policy(update).digest
    return HaltOrder(mode, fleet.name, *name, ("*",), digest, reason(evidence), evidence)


def reason(evidence: Evidence) -> str:
    """One sentence for a person."""
    what = evidence.explanation
    where = {"signature": f" with {what.code or '?'} / {what.module or '?'}", "history": " against history"}
    place = where.get(what.kind, f" in {', '.join(what.strata)}" if what.strata else "")
    low, high = evidence.relative_risk
    return (
        f"{evidence.crashed_hosts} hosts crashed{place}, {evidence.expected:g} expected; relative risk {low:g} to "
        f"{high:g}; evidence 10^{evidence.log10_evidence:.1f} of 10^{evidence.threshold:g} needed"
    )


def news(detector: "Detector", time_moved: bool) -> tuple[Verdict, ...]:
    """Verdicts whose state has changed, whose evidence has moved, or whose turn it is."""
    fleet, explained = detector.state, _explained(detector)
    if time_moved:
        _review(detector, explained)
    total = explained.total / LN10
    moved = np.abs(total - fleet.told) >= NEWS_LOG10
    minute = fleet.bucket // MINUTE_BUCKETS
    turn = time_moved & (np.arange(len(total)) % REFRESH_MINUTES == minute % REFRESH_MINUTES)
    chosen = (moved | turn) & (fleet.since > 0)
    chosen[fleet.news] = True
    fleet.news = []
    told: list[Verdict] = []
    for update in np.flatnonzero(chosen):
        fleet.told[update] = total[update]
        told += [record(detector, int(update), ring) for ring in _rings_of(detector, int(update))]
    return tuple(told)


def _rings_of(detector: "Detector", update: int) -> list[int]:
    fleet = detector.state
    reached = (fleet.exposed_trials[update] > 0) | (fleet.crashed[update] > 0)
    return [ring for ring, _ in fleet.rings.live() if reached[ring] or update in fleet.halted]


def _review(detector: "Detector", explained: Explained) -> None:
    """Clear what has earned it; watch again what has come under suspicion since."""
    fleet = detector.state
    rings = fleet.rings.live()
    log = fleet.clearing.log_evidence()
    ten = np.log(10.0)
    for update in np.flatnonzero((log.max(axis=1) > 0) & (fleet.since > 0)):
        if update in fleet.halted:
            continue
        policy = detector.policy(int(update))
        states = fleet.states.setdefault(int(update), {})
        aged = (fleet.bucket - fleet.since[update]) * BUCKET_MS >= policy.reporting_delay_minutes * 60_000
        calm = explained.strongest[update] <= ten
        target = np.log(len(rings) / policy.clear_alpha)
        for ring, _ in rings:
            earned = aged and calm and not fleet.clearing.overdue[update] and log[update, ring] >= target
            if states.get(ring) == "cleared" and not calm:
                states[ring] = "watching"
            elif states.get(ring) != "cleared" and earned:
                states[ring] = "cleared"
            else:
                continue
            fleet.news.append(int(update))


def record(detector: "Detector", update: int, ring: int) -> Verdict:
    """The verdict on an update in a ring."""
    fleet, policy = detector.state, detector.policy(update)
    name = fleet.updates.names[update]
    assert name is not None, "only live updates are judged"
    state: Any = fleet.states.get(update, {}).get(ring, "halted" if update in fleet.halted else "watching")
    facts = figures(detector, update, [ring])
    missing = 0
    if state == "watching":
        odds = _odds(detector, update, [ring])
        crash_rate = float(fleet.history.crashes.sum() / max(fleet.history.trials.sum(), 1.0))
        log = float(fleet.clearing.log_evidence()[update, ring])
        ring_name = fleet.rings.names[ring] or ""
        target = float(np.log(len(fleet.rings.live()) / policy.clear_alpha))
        missing = needed_trials(log, target, odds / (1 + odds), crash_rate, policy.clear_risk_in(ring_name))
    return Verdict(
        fleet=fleet.name,
        vendor=name.vendor,
        product=name.product,
        version=name.version,
        ring=fleet.rings.names[ring] or "",
        state=state,
        at=fleet.bucket * BUCKET_MS,
        needs_trials=missing,
        flags=tuple(flags_of(detector, update)),
        **facts,
    )


def summary(detector: "Detector", most: int = 50) -> list[dict[str, Any]]:
    """The updates with the most evidence."""
    fleet, explained = detector.state, detector.explained
    if explained is None:
        return []
    live = sorted((u for u, _ in fleet.updates.live()), key=lambda u: -explained.total[u])[:most]
    listed = []
    for update in live:
        rings = {fleet.rings.names[r] or "": state for r, state in fleet.states.get(update, {}).items()}
        name = fleet.updates.names[update]
        listed.append(
            {
                "update": "/".join(name) if name else "",
                "log10_evidence": round(float(explained.total[update]) / LN10, 3),
                "crashed_hosts": round(float(fleet.crashed[update].sum())),
                "exposed_trials": round(float(fleet.exposed_trials[update].sum())),
                "states": rings or {"*": "watching"},
            }
        )
    return listed
