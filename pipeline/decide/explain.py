"""Evidence summed over explanations whose weights add up to 1, and which explanation weighs most."""

from typing import NamedTuple

import numpy as np

from pipeline.decide import evidence as ev
from pipeline.decide.arrays import Bools, Floats, Ints
from pipeline.decide.ledger import MAX_RINGS, SIGNATURE_SLOTS, Totals

MAX_STRATA = 64

# What share of the error budget each family of explanations gets.
WEIGHTS = {"pooled": 0.30, "ring": 0.15, "stratum": 0.10, "signature": 0.25, "history": 0.10, "history signature": 0.10}

_ranks = np.arange(1, MAX_RINGS + 1, dtype=np.float64)
RING_LOG_WEIGHT: Floats = np.log(6.0 / (np.pi**2 * _ranks**2))
_half = np.arange(1, SIGNATURE_SLOTS // 2 + 1, dtype=np.float64)
_slot = np.log(0.5 * 6.0 / (np.pi**2 * _half**2))
SLOT_LOG_WEIGHT: Floats = np.concatenate([_slot, _slot])

# A signature halts only if at least this share of its excess shows in the total: a renamed module is no fault.
SIGNATURE_EXCESS_SHARE = 0.5


class Historical(NamedTuple):
    """What history expects of each update at the tolerated rate: crashed hosts; +inf without a history."""

    expected: Floats  # (U,)
    signature_expected: Floats  # (U, K) the same for each slot's signature


class Explained(NamedTuple):
    """Natural logs of the evidence, (U,), and by explanation, (U, E)."""

    concurrent: Floats
    historical: Floats
    total: Floats
    heaviest: Ints
    terms: Floats
    strongest: Floats  # the largest unweighted explanation


def explain(totals: Totals, history: Historical) -> Explained:
    """Weigh the explanations. Columns of `terms`: pooled, rings, strata, slots, history, history by slot."""
    pooled, rings, strata = totals.pooled, totals.rings.T, totals.strata.T
    counting = _signature_counts(totals)
    slots = np.where(counting, totals.signatures, -np.inf)
    with np.errstate(invalid="ignore"):
        past = ev.log_mixture(ev.poisson_log_increment(totals.exposed, history.expected))
    past = np.where(np.isfinite(history.expected), past, -np.inf)
    past_slots = np.full(slots.shape, -np.inf)  # a signature that has not crashed an exposed host is no evidence
    seen = np.nonzero(counting & (totals.signature_exposed > 0) & np.isfinite(history.signature_expected))
    against = ev.poisson_log_increment(totals.signature_exposed[seen], history.signature_expected[seen])
    past_slots[seen] = ev.log_mixture(against)
    plain = np.concatenate([pooled[:, None], rings, strata, slots, past[:, None], past_slots], axis=1)
    weight = np.concatenate(
        [
            [np.log(WEIGHTS["pooled"])],
            np.log(WEIGHTS["ring"]) + RING_LOG_WEIGHT,
            np.full(strata.shape[1], np.log(WEIGHTS["stratum"] / max(MAX_STRATA, strata.shape[1]))),
            np.log(WEIGHTS["signature"]) + SLOT_LOG_WEIGHT,
            [np.log(WEIGHTS["history"])],
            np.log(WEIGHTS["history signature"]) + SLOT_LOG_WEIGHT,
        ]
    )
    terms = plain + weight
    first_historical = terms.shape[1] - 1 - SIGNATURE_SLOTS
    concurrent = ev.log_sum_exp(terms[:, :first_historical])
    historical = ev.log_sum_exp(terms[:, first_historical:])
    return Explained(
        concurrent, historical, np.logaddexp(concurrent, historical), terms.argmax(axis=1), terms, plain.max(axis=1)
    )


def _signature_counts(totals: Totals) -> Bools:
    excess = (totals.exposed - totals.expected)[:, None]
    of_signature = totals.signature_exposed - totals.signature_expected
    result: Bools = excess >= SIGNATURE_EXCESS_SHARE * of_signature
    return result
