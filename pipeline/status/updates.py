"""Verdicts as people read them: one row per update, its rings inside. Pure."""

from collections.abc import Iterable
from functools import cached_property

from pipeline.wire.verdicts import Explanation, Verdict

# What asks for a person first stands first.
GRAVITY = ("halted", "shadow_halted", "pending", "resumed", "watching", "cleared")
# Flags whose figures say less than they seem to: such a row is greyed, with these words beside its state.
GREYED = {"masked": "masked", "no_history": "no history"}


class UpdateRow:
    """The verdicts on one update: evidence, basis and explanation are the update's, and as new as its newest verdict;
    states and crashed hosts are its rings'."""

    def __init__(self, verdicts: Iterable[Verdict]) -> None:
        self.verdicts = sorted(verdicts, key=lambda verdict: verdict.ring)
        self.newest = max(self.verdicts, key=lambda verdict: verdict.at)

    @cached_property
    def name(self) -> tuple[str, str, str, str]:
        """Fleet, vendor, product, version."""
        return _name(self.newest)

    @cached_property
    def rings(self) -> dict[str, list[Verdict]]:
        """By state, the gravest first."""
        by_state: dict[str, list[Verdict]] = {}
        for verdict in sorted(self.verdicts, key=lambda verdict: GRAVITY.index(verdict.state)):
            by_state.setdefault(verdict.state, []).append(verdict)
        return by_state

    @property
    def state(self) -> str:
        """The gravest of its rings'."""
        return next(iter(self.rings))

    @property
    def crashed_hosts(self) -> int:
        """In all rings."""
        return sum(verdict.crashed_hosts for verdict in self.verdicts)

    @property
    def expected(self) -> float:
        """Of a signature, of silent hosts, or against history, each ring has the update's; else each has its own."""
        if self.newest.explanation.kind in ("signature", "history", "silence"):
            return self.newest.expected
        return sum(verdict.expected for verdict in self.verdicts)

    @property
    def greyed(self) -> list[str]:
        """Why its figures say less than they seem to, in words; none for what is halted, which they sufficed for."""
        if self.state != "watching":
            return []
        return [words for flag, words in GREYED.items() if flag in self.newest.flags]

    @property
    def flags(self) -> list[str]:
        """Those that no other word stands for."""
        said = GREYED if self.greyed else ()
        return [flag for flag in self.newest.flags if flag not in said]


def by_update(verdicts: Iterable[Verdict]) -> list[UpdateRow]:
    """The most evidence first."""
    found: dict[tuple[str, str, str, str], list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault(_name(verdict), []).append(verdict)
    return sorted(map(UpdateRow, found.values()), key=lambda row: (-row.newest.log10_evidence, row.name))


def _name(verdict: Verdict) -> tuple[str, str, str, str]:
    return verdict.fleet, verdict.vendor, verdict.product, verdict.version


def explain(explanation: Explanation) -> str:
    """The heaviest reading of the evidence, in a few words; "" where it names nothing."""
    signature = " / ".join(part for part in (explanation.code, explanation.module) if part)
    named = [part for part in explanation.strata if part and not part.endswith("=")]
    strata = "; ".join(named[:3]) + ("; …" if len(named) > 3 else "")
    if explanation.kind == "signature" and not signature:
        signature = "of which nothing was reported"
    if explanation.kind in ("ring", "stratum") and not strata:
        return ""
    return ", ".join(part for part in (explanation.kind, signature, strata) if part)


def grounds(row: UpdateRow) -> str:
    """What the evidence rests on, where there is some: the explanation, and what it is compared with."""
    newest = row.newest
    if newest.log10_evidence <= 0:
        return ""
    basis = "basis historical (assumes more)" if newest.basis == "historical" else "basis concurrent"
    return "; ".join(part for part in (explain(newest.explanation), basis) if part)
