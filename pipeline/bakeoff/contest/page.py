"""The figures as one page that needs nothing else: a picture a family, which a person understands at a glance.

Each family has a row for every rule. The bar on the left is how many hosts the fault had crashed when the rule halted
it (the shorter the better; hatched where it never did), the one on the right how many innocent updates it halted.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from pipeline.bakeoff.contest.figures import Summary
from pipeline.bakeoff.contest.run import ORACLE
from pipeline.bakeoff.contest.text import HEAD, TITLES, cells
from pipeline.bakeoff.spec import Family
from pipeline.runtime.errors import ConfigError
from pipeline.wire.words import counted

ROW, TOP, LEFT, BAR, GAP, FALSE = 18, 20, 170, 220, 92, 70
WIDTH = LEFT + BAR + GAP + FALSE + 40
FULL_FALSE = 10  # innocents a run that fill the bar

STYLE = """
:root{color-scheme:light dark;--ink:#1c1f23;--dim:#667;--paper:#fff;--line:#d8dbe0;--andon:#c2410c;--other:#8a94a3;
--oracle:#15803d;--false:#b91c1c}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--dim:#9aa3af;--paper:#15181c;--line:#343a42;--andon:#fb923c;
--other:#6b7685;--oracle:#4ade80;--false:#f87171}}
body{font:14px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:0 auto;padding:24px;
max-width:1232px;box-sizing:border-box}
h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:32px 0 8px;border-top:1px solid var(--line);padding-top:16px}
h3{font-size:14px;margin:0}p{max-width:80ch}.dim{color:var(--dim)}
.grid{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:20px 24px}
figure{margin:0;min-width:0}svg{display:block;width:100%;height:auto}
figcaption{margin-bottom:2px}table{border-collapse:collapse;font-size:12px;width:100%}
td,th{border-bottom:1px solid var(--line);padding:4px 6px;text-align:right;vertical-align:top}
td:first-child,th:first-child{text-align:left}th{font-weight:600}
text{font:11px system-ui,sans-serif;fill:var(--ink)}text.dim{fill:var(--dim)}text.mine{font-weight:700}
td .dim{white-space:nowrap}td{white-space:nowrap}.weak{columns:2;column-gap:32px}.weak h3{margin-top:0}
.weak div{break-inside:avoid;margin-bottom:12px}a{color:inherit}
@media(min-width:1800px){body{max-width:1840px}.grid{grid-template-columns:repeat(3,minmax(0,1fr))}.weak{columns:3}}
.andon{fill:var(--andon)}.other{fill:var(--other)}.oracle{fill:var(--oracle)}.false{fill:var(--false)}
.axis{stroke:var(--line)}.missed{fill:url(#missed)}.missed.andon{fill:url(#missed-andon)}
"""


def _hatching(name: str, look: str) -> str:
    return (
        f'<pattern id="{name}" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="2.5" height="6" class="{look}"/></pattern>'
    )


MISSED = (
    '<svg width="0" height="0" style="position:absolute"><defs>'
    f"{_hatching('missed', 'other')}{_hatching('missed-andon', 'andon')}</defs></svg>"
)
SLOW = 3.0  # times the oracle's crashed hosts


def write_page(path: Path, families: Sequence[Family], summaries: dict[str, list[Summary]]) -> None:
    """Write the page.

    Raises:
        ConfigError: when the file cannot be written.
    """
    try:
        path.write_text("\n".join(page(families, summaries)), "utf-8")
    except OSError as error:
        raise ConfigError(f"--html {path}: cannot be written: {error.strerror or error}") from None


def page(families: Sequence[Family], summaries: dict[str, list[Summary]]) -> Iterator[str]:
    """The page, piece by piece."""
    runs = max(summary.runs for summary in summaries[""])
    yield (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Andon: bake-off</title>"
        "<meta name=viewport content='width=device-width'>"
        f"<style>{STYLE}</style>{MISSED}<h1>Bake-off</h1>"
        f"<p>{len(families)} families of rollouts, {runs} runs, every rule on the same stream of events. "
        "<b>Left</b>: hosts that the fault had crashed when the rule halted the guilty update, the median of the runs "
        "(logarithmic; shorter is better; hatched: some fault was never halted, and all that it crashed counts). "
        "<b>Right</b>: innocent updates halted, a run (none is better). The oracle knows what no rule can know.</p>"
    )
    yield from _table(summaries[""])
    yield from _weak(families, summaries)
    for kind in dict.fromkeys(family.kind for family in families):
        yield f"<h2>{escape(kind[0].upper() + kind[1:])}</h2><div class=grid>"
        for family in families:
            if family.kind == kind:
                yield figure(family, summaries[family.name])
        yield "</div>"
    yield "</html>"


def _table(found: Sequence[Summary]) -> Iterator[str]:
    yield "<table><tr>" + "".join(f"<th>{escape(head)}</th>" for head in HEAD) + "</tr>"
    for summary in found:
        yield "<tr>" + "".join(f"<td>{_on_two_lines(cell)}</td>" for cell in cells(summary)) + "</tr>"
    yield "</table><p class=dim>Below each figure: its 95 % limits.</p>"


def _on_two_lines(cell: str) -> str:
    """The value, and its limits below it."""
    value, bracket, limits = escape(cell).partition(" (")
    return f"{value}<br><span class=dim>{limits.rstrip(')')}</span>" if bracket else value


def _weak(families: Sequence[Family], summaries: dict[str, list[Summary]]) -> Iterator[str]:
    """Where Andon is deaf, slow or wrong, with a link to each picture."""
    found: dict[str, list[str]] = {"deaf": [], "slow": [], "wrong": []}
    for family in families:
        mine, best = (
            next((summary for summary in summaries[family.name] if summary.contender == name), None)
            for name in ("andon", ORACLE)
        )
        if mine is None or best is None:
            continue
        crashed, least = mine.crashed_median.value or 0.0, best.crashed_median.value or 0.0
        name = f'<a href="#{escape(family.name, quote=True)}">{escape(family.name)}</a>'
        if mine.found < best.found:
            found["deaf"].append(f"{name} ({mine.found} of {mine.wanted}, oracle {best.found}: {least:,.0f} hosts)")
        elif mine.found and crashed > SLOW * max(least, 1.0):
            found["slow"].append(f"{name} ({crashed:,.0f} hosts, oracle {least:,.0f})")
        if mine.innocents:
            found["wrong"].append(f"{name} ({mine.innocents})")
    heads = {
        "deaf": "Deaf: a fault that the oracle finds is not halted",
        "slow": f"Slow: more than {SLOW:g} times the oracle's crashed hosts",
        "wrong": "Wrong: innocents halted",
    }
    yield "<h2>Where Andon is deaf, slow or wrong</h2><div class=weak>"
    for name, families_so in found.items():
        yield f"<div><h3>{heads[name]}</h3>{'<br>'.join(families_so) or 'nowhere'}</div>"
    yield "</div>"


def figure(family: Family, found: Sequence[Summary]) -> str:
    """One family's picture: a row for each rule, the best first, Andon and the oracle in colours of their own."""
    most = max([summary.crashed_median.value or 0.0 for summary in found] + [1.0])
    rows = sorted(found, key=_rank)
    height = TOP + ROW * len(rows) + 4
    parts = [
        f'<text class=dim x="{LEFT}" y="12">crashed hosts at the halt</text>',
        f'<text class=dim x="{LEFT + BAR + GAP}" y="12">innocents halted</text>',
    ]
    if family.is_innocent:
        parts[0] = f'<text class=dim x="{LEFT}" y="12">nobody is at fault</text>'
    for place, summary in enumerate(rows):
        parts += _row(summary, TOP + ROW * place, most, family.is_innocent)
    title = f"{family.fleet.hosts:,} hosts, {counted(found[0].runs, 'run')}"
    return (
        f'<figure id="{escape(family.name, quote=True)}"><figcaption>'
        f"<h3>{escape(family.name)}</h3><span class=dim>{title}</span></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(family.name, quote=True)}">'
        f'<line class=axis x1="{LEFT}" x2="{LEFT}" y1="{TOP - 2}" y2="{height}"/>'
        f'<line class=axis x1="{LEFT + BAR + GAP}" x2="{LEFT + BAR + GAP}" y1="{TOP - 2}" y2="{height}"/>'
        f"{''.join(parts)}</svg></figure>"
    )


def _rank(summary: Summary) -> tuple[bool, int, int, float]:
    """Without false halts and with every fault found before those with; then who lets the fewest hosts crash."""
    return summary.contender != ORACLE, summary.innocents, -summary.found, summary.crashed_median.value or 0.0


def _row(summary: Summary, y: float, most: float, is_innocent: bool) -> Iterator[str]:
    kind = summary.contender if summary.contender in ("andon", ORACLE) else "other"
    mine = ' class="mine"' if kind == "andon" else ""
    yield f'<text x="{LEFT - 6}" y="{y + 12}" text-anchor="end"{mine}>{escape(TITLES[summary.contender])}</text>'
    value = summary.crashed_median.value
    if not is_innocent and value is not None:
        long = BAR * math.log1p(value) / math.log1p(most)
        missed = summary.found < summary.wanted
        look = f"missed {kind}" if missed else kind
        yield f'<rect class="{look}" x="{LEFT}" y="{y + 2}" width="{long:.1f}" height="{ROW - 5}"/>'
        label = f"{value:,.0f}" + (f", {summary.found} of {summary.wanted}" if missed else "")
        yield f'<text x="{LEFT + long + 4:.1f}" y="{y + 12}">{label}</text>'
    start = LEFT + BAR + GAP
    if summary.innocents:
        each = summary.innocents / summary.runs
        long = max(2.0, FALSE * min(each / FULL_FALSE, 1.0))
        yield f'<rect class=false x="{start}" y="{y + 2}" width="{long:.1f}" height="{ROW - 5}"/>'
        yield f'<text x="{start + long + 4:.1f}" y="{y + 12}">{each:.2g}</text>'
    else:
        yield f'<text class=dim x="{start + 4}" y="{y + 12}">0</text>'
