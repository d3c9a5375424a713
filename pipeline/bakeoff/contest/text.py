"""The figures as lines of text: aligned for a terminal, or as the tables of docs/bakeoff.md."""

from collections.abc import Iterator, Sequence

from pipeline.bakeoff.contenders.table import CONTENDERS
from pipeline.bakeoff.contest.figures import Summary
from pipeline.bakeoff.contest.run import ORACLE
from pipeline.bakeoff.limits import Figure
from pipeline.bakeoff.spec import Family

TITLES = {entry.name: entry.title for entry in CONTENDERS} | {ORACLE: "Oracle"}
HEAD = (
    "", "found", "innocents halted", "beside a guilty one", "precision", "crashed hosts at halt", "p95",
    "ratio to the oracle", "delay, s", "cleared", "minutes to clear", "false halts per 1,000",
)  # fmt: skip


def short(figure: Figure, digits: int = 3) -> str:
    """A value with its limits, or a dash."""
    if figure.value is None:
        return "–"
    limits = (
        ""
        if figure.low is None and figure.high is None
        else f" ({_one(figure.low, digits)} to {_one(figure.high, digits)})"
    )
    return _one(figure.value, digits) + limits


def _one(value: float | None, digits: int) -> str:
    if value is None:
        return "?"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"


def cells(summary: Summary) -> list[str]:
    """One row of the table of all."""
    s = summary
    found = f"{s.found} of {s.wanted}: {short(s.found_rate, 2)}" if s.wanted else "–"
    return [
        TITLES[s.contender], found, str(s.innocents), str(s.beside), short(s.precision, 2),
        short(s.crashed_median), short(s.crashed_p95), short(s.ratio), short(s.delay_seconds),
        short(s.cleared_share, 2), short(s.clear_minutes), short(s.false_per_1000, 2),
    ]  # fmt: skip


def table_of(
    families: Sequence[Family], summaries: dict[str, list[Summary]], markdown: bool, strata: dict[str, list[Summary]]
) -> Iterator[str]:
    """All contenders over all families, and over each stratum of them; then what each did in each: found and crashed
    hosts, innocents halted."""
    yield from _lines([list(HEAD), *(cells(summary) for summary in summaries[""])], markdown)
    if strata:
        rows = [[stratum, str(of.runs), *cells(of)] for stratum, found in strata.items() for of in found]
        yield ""
        yield from _lines([["fleets", "runs", *HEAD], *rows], markdown)
    for guilty in (True, False):
        chosen = [family for family in families if family.is_innocent is not guilty]
        if chosen:
            yield ""
            yield from _lines([*_rows(chosen, summaries, guilty)], markdown)


def _rows(families: Sequence[Family], summaries: dict[str, list[Summary]], guilty: bool) -> Iterator[list[str]]:
    names = [summary.contender for summary in summaries[""]]
    yield ["guilty in" if guilty else "nobody guilty in", "hosts", *names]
    for family in families:
        found = {summary.contender: summary for summary in summaries[family.name]}
        cell = _guilty_cell if guilty else _innocent_cell
        yield [family.name, f"{family.fleet.hosts:,}", *(cell(found[name]) for name in names)]


def _guilty_cell(summary: Summary) -> str:
    """The median of crashed hosts at the halt; how many of the faults when not all; and how many innocents with
    it, how many that do no more harm than is tolerated."""
    value = summary.crashed_median.value
    missed = "" if summary.found == summary.wanted else f" ({summary.found}/{summary.wanted})"
    beside = f" ={summary.beside}" if summary.beside else ""
    wrong = f" !{summary.innocents}" if summary.innocents else ""
    mild = f" ~{summary.tolerated}" if summary.tolerated else ""
    return f"{'–' if value is None else f'{value:,.0f}'}{missed}{beside}{wrong}{mild}"


def _innocent_cell(summary: Summary) -> str:
    return f"!{summary.innocents}" if summary.innocents else "·"


def _lines(rows: list[list[str]], markdown: bool) -> Iterator[str]:
    if markdown:
        for place, row in enumerate(rows):
            yield "| " + " | ".join(row) + " |"
            if not place:
                yield "|" + "---|" * len(row)
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
