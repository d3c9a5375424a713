"""What scores add up to, each figure with its 95 % limits."""

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.bakeoff.contest.run import ORACLE, Score
from pipeline.bakeoff.drawn.draw import strata
from pipeline.bakeoff.limits import Figure, quantile, rate
from pipeline.bakeoff.spec import Family


class Summary(NamedTuple):
    """A contender over some runs. `crashed` are hosts that the fault had crashed at the halt, all where none came;
    `ratio` is that to the oracle's in the same run; both over runs with a guilty update. `precision`: halts that
    name a guilty update or one inseparable from it. `innocents` and `false_per_1000`: halted alone."""

    contender: str
    runs: int
    wanted: int
    found: int
    found_rate: Figure
    innocents: int
    beside: int
    tolerated: int
    precision: Figure
    crashed_median: Figure
    crashed_p95: Figure
    ratio: Figure
    delay_seconds: Figure
    harmless: int
    cleared_share: Figure
    clear_minutes: Figure
    wrongly_cleared: int
    false_per_1000: Figure


def summarise(scores: Sequence[Score], oracles: dict[tuple[str, int], Score]) -> Summary:
    """Of one contender's scores; `oracles` by family and seed."""
    guilty = [score for score in scores if score.wanted]
    wanted, found = sum(s.wanted for s in guilty), sum(s.found for s in guilty)
    crashed = [float(s.crashed) for s in guilty]
    best = [oracles[s.family, s.seed] for s in guilty]
    ratios = [s.crashed / b.crashed for s, b in zip(guilty, best, strict=True) if b.found and b.crashed]
    innocents, beside = sum(s.innocents for s in scores), sum(s.beside for s in scores)
    harmless, cleared = sum(s.harmless for s in scores), sum(s.cleared for s in scores)
    return Summary(
        contender=scores[0].contender,
        runs=len(scores),
        wanted=wanted,
        found=found,
        found_rate=rate(found, wanted),
        innocents=innocents,
        beside=beside,
        tolerated=sum(s.tolerated for s in scores),
        precision=rate(found + beside, found + beside + innocents),
        crashed_median=quantile(crashed),
        crashed_p95=quantile(crashed, 0.95),
        ratio=quantile(ratios),
        delay_seconds=quantile([s.delay_seconds for s in guilty if s.delay_seconds is not None]),
        harmless=harmless,
        cleared_share=rate(cleared, harmless),
        clear_minutes=quantile([minutes for s in scores for minutes in s.clear_minutes]),
        wrongly_cleared=sum(s.wrongly_cleared for s in scores),
        false_per_1000=rate(innocents, harmless, 1000.0),
    )


def by_family(scores: Sequence[Score]) -> dict[str, list[Summary]]:
    """The summaries of each family, and of all under ""."""
    oracles = {(s.family, s.seed): s for s in scores if s.contender == ORACLE}
    names = dict.fromkeys(s.contender for s in scores)
    found: dict[str, list[Summary]] = {}
    for family in [*dict.fromkeys(s.family for s in scores), ""]:
        mine = [s for s in scores if not family or s.family == family]
        found[family] = [summarise([s for s in mine if s.contender == name], oracles) for name in names]
    return found


def by_stratum(scores: Sequence[Score], families: Sequence[Family]) -> dict[str, list[Summary]]:
    """The summaries of drawn fleets by what they are told apart by."""
    found: dict[str, list[Summary]] = {}
    for stratum, names in strata(families).items():
        chosen = set(names)
        if mine := [score for score in scores if score.family in chosen]:
            found[stratum] = by_family(mine)[""]
    return found


def row(family: str, kind: str, summary: Summary) -> dict[str, object]:
    """One line of `--json`."""
    fields = {name: value.row() if isinstance(value, Figure) else value for name, value in summary._asdict().items()}
    return {"family": family or "*", "kind": kind, **fields}
