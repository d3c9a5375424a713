"""Evidence summed over explanations whose weights add up to 1, and which explanation weighs most.

EXPLANATIONS is all there is to an explanation: its place among the terms, its weight and its words follow from its
entry.
"""

from collections.abc import Callable
from functools import cache
from itertools import accumulate
from typing import Literal, NamedTuple

import numpy as np

from pipeline.decide import evidence as ev
from pipeline.decide.arrays import Bools, Floats
from pipeline.decide.book import NEW_PLACES, Totals
from pipeline.decide.name_index import MAX_STRATA, Registry
from pipeline.wire.verdicts import Basis, Explanation

# A signature halts only if at least this share of its excess shows in the total: a renamed module is no fault.
SIGNATURE_EXCESS_SHARE = 0.5
# And the total's excess must be beyond chance, in standard deviations of what a harmless update would have.
SIGNATURE_EXCESS_ERRORS = 2.5


# Of explanations within a factor of 100 people are shown the one that says what crashed.
SHOWN_SOONER = {"signature": float(np.log(100.0)), "history signature": float(np.log(100.0))}


class Historical(NamedTuple):
    """What history expects of each update at the tolerated rate: crashed hosts; +inf without a history."""

    observed: Floats  # (U,) crashed hosts that are compared with it
    expected: Floats  # (U,)
    named: Floats  # (U, K) the same for the signature in each place
    signature_expected: Floats  # (U, K)


class Moment(NamedTuple):
    """What an explanation may speak of."""

    totals: Totals
    counting: Bools  # (U, K) whether the signature in a place counts
    past: Floats  # (U, 1 + K) evidence against history, in all and by place


class Entry(NamedTuple):
    """An explanation, or a row of alike ones: one each ring, stratum or place of a signature."""

    name: str
    weight: float  # the share of the error budget that all its rows have together
    pools: str  # whose crashes a row takes together
    basis: Basis  # against hosts without the update, or against what was usual
    counts: Literal["rings", "signature", "history"]  # which counts a person is shown
    evidence: Callable[[Moment], Floats]  # (rows, U) natural logs; each an e-process by itself
    shared: Callable[[float, int], Floats]  # ln of each row's part of the weight
    words: Callable[[Registry, int, int], Explanation]  # by row, and the signature in that place (-1: none)


def _alone(weight: float, rows: int) -> Floats:
    return np.full(rows, np.log(weight))


def _alike(weight: float, rows: int) -> Floats:
    return np.full(rows, np.log(weight / max(MAX_STRATA, rows)))


def _by_rank(weight: float, rows: int) -> Floats:
    """The first ones to appear weigh most."""
    ranks = np.arange(1, rows + 1, dtype=np.float64)
    result: Floats = np.log(weight) + np.log(6.0 / (np.pi**2 * ranks**2))
    return result


def _by_half(weight: float, rows: int) -> Floats:
    """The same in each half of the places for signatures: new ones, and known ones."""
    ranks = np.arange(1, rows // 2 + 1, dtype=np.float64)
    half = np.log(0.5 * 6.0 / (np.pi**2 * ranks**2))
    result: Floats = np.log(weight) + np.concatenate([half, half])
    return result


def _pooled(names: Registry, row: int, signature: int) -> Explanation:
    return Explanation(kind="pooled")


def _ring(names: Registry, row: int, signature: int) -> Explanation:
    ring = _name(names.rings.names, row)
    return Explanation(kind="ring", strata=(f"ring={ring}",)) if ring else Explanation(kind="pooled")


def _stratum(names: Registry, row: int, signature: int) -> Explanation:
    stratum = names.strata.names[row] if row < len(names.strata) else None
    if stratum is None:
        return Explanation(kind="pooled")
    return Explanation(kind="stratum", strata=(f"ring={stratum.ring}", f"os={stratum.os}", f"model={stratum.model}"))


def _signature(names: Registry, row: int, signature: int) -> Explanation:
    code, module = (names.signatures.names[signature] if signature >= 0 else None) or ("", "")
    return Explanation(kind="signature", code=code, module=module)


def _history(names: Registry, row: int, signature: int) -> Explanation:
    return Explanation(kind="history")


def _name(names: list[str | None], place: int) -> str:
    return (names[place] if place < len(names) else None) or ""


# Concurrent ones first: what history says is told apart.
EXPLANATIONS = (
    Entry(
        "pooled", 0.30, "all strata", "concurrent", "rings", lambda now: now.totals.pooled[None], _alone, _pooled
    ),
    Entry(
        "ring", 0.15, "the strata of a ring", "concurrent", "rings", lambda now: now.totals.rings, _by_rank, _ring
    ),
    Entry(
        "stratum", 0.10, "one stratum", "concurrent", "rings", lambda now: now.totals.strata,
        _alike, _stratum,
    ),
    Entry(
        "signature", 0.25, "all strata, one signature", "concurrent", "signature",
        lambda now: np.where(now.counting, now.totals.signatures, -np.inf).T, _by_half, _signature,
    ),
    Entry(
        "history", 0.10, "all strata", "historical", "history", lambda now: now.past[:, :1].T, _alone, _history
    ),
    Entry(
        "history signature", 0.10, "all strata, one signature", "historical", "history",
        lambda now: now.past[:, 1:].T, _by_half, _signature,
    ),
)  # fmt: skip


class Term(NamedTuple):
    """Where a term stands: its explanation, and its row there."""

    entry: Entry
    row: int


class Layout(NamedTuple):
    """Where each explanation's rows stand among the terms, `ends` one after the other; and ln of each row's weight."""

    ends: tuple[int, ...]
    log_weights: Floats
    sooner: Floats  # what is added to a term when the one is looked for that people are shown
    concurrent: int  # how many terms, which come first, use no history

    def rows(self, name: str) -> slice:
        """The terms of an explanation."""
        place = [entry.name for entry in EXPLANATIONS].index(name)
        return slice(self.ends[place - 1] if place else 0, self.ends[place])

    def find(self, term: int) -> Term:
        """Which explanation and row a term is."""
        place = next(place for place, end in enumerate(self.ends) if term < end)
        return Term(EXPLANATIONS[place], term - (self.ends[place - 1] if place else 0))


@cache
def layout_of(rows: tuple[int, ...]) -> Layout:
    """Of so many rows each."""
    ends = tuple(accumulate(rows))
    weights = [entry.shared(entry.weight, many) for entry, many in zip(EXPLANATIONS, rows, strict=True)]
    concurrent = sum(many for entry, many in zip(EXPLANATIONS, rows, strict=True) if entry.basis == "concurrent")
    sooner = [np.full(many, SHOWN_SOONER.get(entry.name, 0.0)) for entry, many in zip(EXPLANATIONS, rows, strict=True)]
    return Layout(ends, np.concatenate(weights), np.concatenate(sooner), concurrent)


class Explained(NamedTuple):
    """Natural logs of the evidence, (U,), and by explanation, (U, E)."""

    concurrent: Floats
    historical: Floats
    total: Floats
    terms: Floats
    plain: Floats  # (E, U) the same without their weights
    suspicion: Floats  # the evidence if every signature counted: enough to be another's rival
    layout: Layout

    @property
    def log10(self) -> Floats:
        """log10 of the evidence, (U,)."""
        return self.total / ev.LN10

    def of(self, name: str) -> Floats:
        """The terms of one explanation; (U, rows)."""
        return self.terms[:, self.layout.rows(name)]

    def strongest(self) -> Floats:
        """The largest explanation without its weight, (U,)."""
        result: Floats = self.plain.max(axis=0)
        return result

    def heaviest_of(self, update: int) -> Term:
        """The explanation that is shown: it weighs most."""
        return self.layout.find(int((self.terms[update] + self.layout.sooner).argmax()))


def explain(totals: Totals, history: Historical) -> Explained:
    """Weigh the explanations."""
    counting = _signature_counts(totals)
    now = Moment(totals, counting, against_history(history, counting))
    found = [entry.evidence(now) for entry in EXPLANATIONS]
    layout = layout_of(tuple([len(rows) for rows in found]))
    plain = np.concatenate(found)
    terms = (plain + layout.log_weights[:, None]).T
    concurrent = ev.log_sum_exp(terms[:, : layout.concurrent])
    historical = ev.log_sum_exp(terms[:, layout.concurrent :])
    total = np.logaddexp(concurrent, historical)
    by_signature = ev.log_sum_exp(totals.signatures + layout.log_weights[layout.rows("signature")])
    suspicion = np.logaddexp(total, np.where((totals.signature_exposed > 0).any(axis=1), by_signature, -np.inf))
    return Explained(concurrent, historical, total, terms, plain, suspicion, layout)


def against_history(history: Historical, counting: Bools) -> Floats:
    """Natural logs of the evidence against history, in all and by the place of a signature; (U, 1 + K)."""
    past = np.full(history.expected.shape, -np.inf)
    some = np.isfinite(history.expected)
    past[some] = ev.log_mixture(ev.poisson_log_increment(history.observed[some], history.expected[some]))
    places = np.full(history.named.shape, -np.inf)  # a signature no exposed host has crashed with is no evidence
    seen = np.nonzero(counting & (history.named > 0) & np.isfinite(history.signature_expected))
    places[seen] = ev.log_mixture(ev.poisson_log_increment(history.named[seen], history.signature_expected[seen]))
    return np.concatenate([past[:, None], places], axis=1)


def _signature_counts(totals: Totals) -> Bools:
    """Whether the hosts with an update crash more in all, too, at the plain share, and it is not only that crashes are
    called otherwise: the total's excess is beyond chance, or no other signature misses what this one has; (U, K)."""
    excess = totals.exposed - totals.expected
    chance = np.sqrt(np.maximum(totals.expected * (1.0 - totals.expected / np.maximum(totals.crashes, 1.0)), 0.0))
    missing = totals.signature_expected - totals.signature_exposed
    elsewhere = -excess - missing.sum(axis=1)  # of crashes without a place, or without a signature
    most_missing = np.maximum(missing[:, NEW_PLACES:].max(axis=1), np.maximum(elsewhere, 0.0))
    needed = -SIGNATURE_EXCESS_SHARE * missing
    told = (excess >= SIGNATURE_EXCESS_ERRORS * chance)[:, None] | (most_missing[:, None] <= needed)
    result: Bools = (excess[:, None] >= needed) & told
    return result
