"""Evidence summed over explanations whose weights add up to 1, and which explanation weighs most."""

from typing import NamedTuple

import numpy as np

from pipeline.decide import evidence as ev
from pipeline.decide.arrays import Bools, Floats, Ints
from pipeline.decide.book import MAX_RINGS, SIGNATURE_PLACES, Totals

MAX_STRATA = 64

# What share of the error budget each family of explanations gets.
WEIGHTS = {"pooled": 0.30, "ring": 0.15, "stratum": 0.10, "signature": 0.25, "history": 0.10, "history signature": 0.10}

_ranks = np.arange(1, MAX_RINGS + 1, dtype=np.float64)
RING_LOG_WEIGHT: Floats = np.log(6.0 / (np.pi**2 * _ranks**2))
_half = np.arange(1, SIGNATURE_PLACES // 2 + 1, dtype=np.float64)
_place = np.log(0.5 * 6.0 / (np.pi**2 * _half**2))
PLACE_LOG_WEIGHT: Floats = np.concatenate([_place, _place])

# A signature halts only if at least this share of its excess shows in the total: a renamed module is no fault.
SIGNATURE_EXCESS_SHARE = 0.5


class Historical(NamedTuple):
    """What history expects of each update at the tolerated rate: crashed hosts; +inf without a history."""

    expected: Floats  # (U,)
    signature_expected: Floats  # (U, K) the same for the signature in each place
    young: Bools  # (U,) updates so new that what was usual before them still says something
    settled: Floats  # (U, 1 + K) evidence against history as it last stood, in all and by place; brought up to date


class Explained(NamedTuple):
    """Natural logs of the evidence, (U,), and by explanation, (U, E)."""

    concurrent: Floats
    historical: Floats
    total: Floats
    heaviest: Ints
    terms: Floats
    strongest: Floats  # the largest unweighted explanation


def explain(totals: Totals, history: Historical) -> Explained:
    """Weigh the explanations. Columns of `terms`: pooled, rings, strata, places, history, history by place."""
    counting, strata = _signature_counts(totals), len(totals.strata)
    signatures = np.where(counting, totals.signatures, -np.inf)
    past, past_signatures = against_history(totals, history, counting)
    plain = np.concatenate(
        [totals.pooled[None], totals.rings, totals.strata, signatures.T, past[None], past_signatures.T]
    )
    weight = np.concatenate(
        [
            [np.log(WEIGHTS["pooled"])],
            np.log(WEIGHTS["ring"]) + RING_LOG_WEIGHT,
            np.full(strata, np.log(WEIGHTS["stratum"] / max(MAX_STRATA, strata))),
            np.log(WEIGHTS["signature"]) + PLACE_LOG_WEIGHT,
            [np.log(WEIGHTS["history"])],
            np.log(WEIGHTS["history signature"]) + PLACE_LOG_WEIGHT,
        ]
    )
    terms = (plain + weight[:, None]).T
    first_historical = terms.shape[1] - 1 - SIGNATURE_PLACES
    concurrent = ev.log_sum_exp(terms[:, :first_historical])
    historical = ev.log_sum_exp(terms[:, first_historical:])
    return Explained(
        concurrent, historical, np.logaddexp(concurrent, historical), terms.argmax(axis=1), terms, plain.max(axis=0)
    )


def against_history(totals: Totals, history: Historical, counting: Bools) -> tuple[Floats, Floats]:
    """Natural logs of the evidence against history, (U,), and of that by signature place, (U, K).

    Past its time it stands as `history.settled` has it: what was usual before a release does not stay so for ever.
    """
    past = np.full(totals.exposed.shape, -np.inf)
    some = np.isfinite(history.expected)
    past[some] = ev.log_mixture(ev.poisson_log_increment(totals.exposed[some], history.expected[some]))
    places = np.full(totals.signatures.shape, -np.inf)  # a signature no exposed host has crashed with is no evidence
    seen = np.nonzero(counting & (totals.signature_exposed > 0) & np.isfinite(history.signature_expected))
    places[seen] = ev.log_mixture(
        ev.poisson_log_increment(totals.signature_exposed[seen], history.signature_expected[seen])
    )
    history.settled[history.young] = np.concatenate([past[:, None], places], axis=1)[history.young]
    return history.settled[:, 0], history.settled[:, 1:]


def _signature_counts(totals: Totals) -> Bools:
    excess = (totals.exposed - totals.expected)[:, None]
    of_signature = totals.signature_exposed - totals.signature_expected
    result: Bools = excess >= SIGNATURE_EXCESS_SHARE * of_signature
    return result
