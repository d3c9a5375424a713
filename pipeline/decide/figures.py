"""The figures that a person needs to judge an update: counts, relative risk, explanation, conditional evidence."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.decide import attribution
from pipeline.decide.arrays import Floats
from pipeline.decide.book import MAX_RINGS, SIGNATURE_PLACES
from pipeline.decide.evidence import LN10
from pipeline.decide.explain import Explained
from pipeline.decide.trials import MAX_ODDS, odds_of
from pipeline.wire.verdicts import Basis, Conditional, Explanation

if TYPE_CHECKING:
    from pipeline.decide.detector import Detector

ERRORS_95 = 1.96
MAX_RELATIVE_RISK = 10_000.0  # a larger one tells a reader no more


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


def basis_of(detector: "Detector", update: int) -> Basis:
    """Concurrent when the comparison with control hosts carries the evidence by itself."""
    explained = explained_of(detector)
    threshold = -np.log(detector.policy(update).alpha)
    if update in detector.state.resumed:
        threshold = attribution.bar_of(detector, update) * LN10
    concurrent = explained.concurrent[update]
    weightier = concurrent >= explained.historical[update]
    return "concurrent" if concurrent >= threshold or weightier else "historical"


def explanation_of(detector: "Detector", update: int) -> Explanation:
    """The heaviest explanation in words; `pooled` where that is a place that nothing has a name for, as of an update
    without evidence."""
    state, explained = detector.state, explained_of(detector)
    term = int(explained.heaviest[update])
    strata = state.book.stratum_log.shape[0]
    if term == 0:
        return Explanation(kind="pooled")
    if term <= MAX_RINGS:
        ring = _name(state.rings.names, term - 1)
        return Explanation(kind="ring", strata=(f"ring={ring}",)) if ring else Explanation(kind="pooled")
    term -= 1 + MAX_RINGS
    if term < strata:
        stratum = state.strata.names[term] if term < len(state.strata) else None
        if stratum is None:
            return Explanation(kind="pooled")
        named = (f"ring={stratum.ring}", f"os={stratum.os}", f"model={stratum.model}")
        return Explanation(kind="stratum", strata=named)
    term -= strata
    if term == SIGNATURE_PLACES:
        return Explanation(kind="history")
    place = term if term < SIGNATURE_PLACES else term - SIGNATURE_PLACES - 1
    signature = int(state.book.slots[update, place])
    code, module = (state.signatures.names[signature] if signature >= 0 else None) or ("", "")
    return Explanation(kind="signature", code=code, module=module)


def _name(names: list[str | None], place: int) -> str:
    return (names[place] if place < len(names) else None) or ""


def explained_of(detector: "Detector") -> Explained:
    """The evidence of this step."""
    assert detector.explained is not None, "verdicts follow explain"
    return detector.explained


def conditionals(detector: "Detector", update: int) -> tuple[Conditional, ...]:
    """Evidence without each other suspect, for updates under suspicion."""
    state, explained = detector.state, explained_of(detector)
    rivals = attribution.rivals_of(detector, explained, update)
    found = []
    for rival in rivals:
        name = state.updates.names[rival]
        if rival != update and name is not None:
            alone = attribution.evidence_without(detector, update, rival)
            found.append(Conditional("/".join(name), round(alone.log_evidence / LN10, 3)))
    return tuple(found)


def own_evidence(detector: "Detector", update: int, conditional: tuple[Conditional, ...]) -> float:
    """log10 of the update's own evidence: on hosts without any halted update, where that is less."""
    state = detector.state
    total = float(explained_of(detector).total[update]) / LN10
    if update in state.halted:
        return total
    halted = {"/".join(state.updates.names[u] or ()) for u in state.halted}
    return min([total, *(c.log10_evidence for c in conditional if c.on_without in halted)])


class Counts(NamedTuple):
    """Crashed hosts that had the update, and as many as control's rate gives; 95 % limits of the relative risk."""

    observed: float
    expected: float
    limits: tuple[float, float]


def counts_of(detector: "Detector", update: int, rings: list[int], odds: float) -> Counts:
    """The counts behind the heaviest explanation: of its signature, against history, or of these rings, where exposed
    trials stand to control ones as `odds`."""
    state, explained = detector.state, explained_of(detector)
    term, first = int(explained.heaviest[update]), 1 + MAX_RINGS + state.book.stratum_log.shape[0]
    if term >= first + SIGNATURE_PLACES and np.isfinite(state.past_expected[update]):
        return _against_history(detector, update, term - first - SIGNATURE_PLACES - 1)
    if term >= first:
        totals, place = detector.totals, term - first
        observed = float(totals.signature_exposed[update, place])
        crashes = float(totals.signature_crashes[update, place])
        share = float(totals.signature_expected[update, place]) / crashes if crashes else 0.0
        odds = float(odds_of(np.array(share)))
        control = crashes - observed
        expected = control * odds
    else:
        observed, expected = float(state.counted[update, rings].sum()), float(state.expected[update, rings].sum())
        control = float(state.control[update, rings].sum())
    limits = relative_risk(observed, expected, control, odds)
    return Counts(observed, expected if control else 0.5 * odds, limits)


def _against_history(detector: "Detector", update: int, place: int) -> Counts:
    """What was usual before the release, for as many hosts as may have been exposed by now."""
    observed, past = detector.totals.exposed[update], detector.past.expected[update]
    if place >= 0:
        observed = detector.totals.signature_exposed[update, place]
        past = detector.past.signature_expected[update, place]
    usual = float(past) / detector.policy(update).tolerated_risk
    return Counts(float(observed), usual, relative_risk(float(observed), usual, max(usual, 0.5), 1.0))


class Facts(NamedTuple):
    """What verdicts and halts on an update have in common, whichever rings they are about."""

    shared: dict[str, Any]
    odds: Floats  # (R,) exposed trials per control trial
    all_odds: float


def facts_of(detector: "Detector", update: int) -> Facts:
    """The evidence on an update, for a person to judge."""
    conditional = conditionals(detector, update)
    shared = {
        "log10_evidence": round(own_evidence(detector, update, conditional), 3),
        "threshold": round(attribution.bar_of(detector, update), 3),
        "basis": basis_of(detector, update),
        "explanation": explanation_of(detector, update),
        "conditional": conditional,
    }
    trials, exposed, excluded = detector.state.trials.slow_of(update)
    by_ring = [_per_ring(detector, counts) for counts in (trials, exposed, excluded)]
    return Facts(shared, _odds(*by_ring), float(_odds(*(counts.sum(keepdims=True) for counts in by_ring))[0]))


def _per_ring(detector: "Detector", by_stratum: Floats) -> Floats:
    rings = detector.state.ring_of[: len(by_stratum)]
    return np.bincount(rings, by_stratum, minlength=MAX_RINGS).astype(np.float64)


def _odds(trials: Floats, exposed: Floats, excluded: Floats) -> Floats:
    result: Floats = np.minimum((exposed + 0.5) / np.maximum(trials - exposed - excluded, 0.5), MAX_ODDS)
    return result


def figures(detector: "Detector", update: int, facts: Facts, ring: int | None = None) -> dict[str, Any]:
    """What verdict and halt have in common, over one ring or over all (None)."""
    state = detector.state
    rings = [ring] if ring is not None else [live for live, _ in state.rings.live()]
    odds = facts.all_odds if ring is None else float(facts.odds[ring])
    counts = counts_of(detector, update, rings, odds)
    return facts.shared | {
        "observed": round(counts.observed),
        "expected": float(f"{counts.expected:.3g}"),
        "relative_risk": counts.limits,
        "crashed_hosts": round(float(state.crashed[update, rings].sum())),
        "exposed_trials": round(float(state.exposed_trials[update, rings].sum())),
    }
