"""`andon plan`: how large a canary, for how long, so that which fault is halted before the rollout goes on."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.canary.asked import Asked, Harm, Layout
from pipeline.runtime.say import say, say_json

if TYPE_CHECKING:
    from pipeline.canary.rehearsal import Outcome

PROCESSES = 2
CANARIES, HOURS, BOOT_SHARES, LAYOUTS = (400, 1_600), (4.0, 12.0), (0.05,), ("spread", "ring")
_rate = click.FloatRange(0, 1_440)


def _of_fleet(name: str, kind: click.ParamType, text: str) -> Callable[[Any], Any]:
    """An option with the default of a field of Asked."""
    return click.option(name, type=kind, default=Asked._field_defaults[_field(name)], show_default=True, help=text)


def _field(name: str) -> str:
    return name.removeprefix("--").replace("-", "_")


def _several(
    name: str, into: str, kind: click.ParamType, defaults: Iterable[object], text: str
) -> Callable[[Any], Any]:
    shown = ", ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in defaults)
    return click.option(name, into, type=kind, multiple=True, help=f"{text} May be repeated.  [default: {shown}]")


@click.command("plan")
@_of_fleet("--hosts", click.IntRange(min=2), "Of the fleet.")
@_of_fleet("--boots-per-day", _rate, "Of a host.")
@_of_fleet("--heartbeats-per-day", _rate, "Of a host; one an hour counts.")
@_of_fleet(
    "--crashes-per-day", click.FloatRange(0, 10), "Of a host, whatever is installed; x % of boots: x/100 × boots."
)
@click.option(
    "--risk", "risks", type=click.FloatRange(1, 100_000), multiple=True,
    help="A fault that multiplies crashes by so much; 1 is none: a harmless update. May be repeated.",
)  # fmt: skip
@_several(
    "--boot-share", "boot_shares", click.FloatRange(0, 1, min_open=True), BOOT_SHARES,
    "A fault that crashes this share of the boots.",
)  # fmt: skip
@_of_fleet(
    "--silent-share", click.FloatRange(0, 1), "Of the hosts that the fault crashes, those that never report again."
)
@click.option("--signature", is_flag=True, help="Its crashes look like none before. Without: like any.")
@_several("--canary", "canaries", click.IntRange(min=1), CANARIES, "Hosts that get the update.")
@_several(
    "--layout", "layouts", click.Choice(LAYOUTS), LAYOUTS,
    "The canary is spread over the fleet's rings, or a ring of its own.",
)  # fmt: skip
@_several("--hours", "hours", click.FloatRange(0, 120, min_open=True), HOURS, "After which one would go on.")
@_of_fleet("--install-minutes", click.FloatRange(1, 10_080), "Within which the canary gets it.")
@_of_fleet("--history-hours", click.FloatRange(0.5, 48), "That were watched before.")
@_of_fleet("--models", click.IntRange(1, 20), "Hardware models; with two systems and the rings they make the strata.")
@click.option(
    "--chance", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.9, show_default=True,
    help="Of a halt in time, that is wanted.",
)  # fmt: skip
@click.option(
    "--confidence", type=click.FloatRange(0.5, 1, max_open=True), default=0.95, show_default=True, help="Of all limits."
)
@click.option("--policy", type=click.Path(path_type=Path), help="Policy TOML, of which [default] judges.")
@click.option("--ring", default="canary", show_default=True, help="The canary's name in `clear_risk_by_ring`.")
@click.option("--seeds", type=click.IntRange(2, 10_000), default=10, show_default=True, help="Runs of each canary.")
@click.option("--seed", "first_seed", type=click.IntRange(min=0), default=1, show_default=True, help="The first seed.")
@click.option("--processes", type=click.IntRange(1, 64), default=PROCESSES, show_default=True, help="Side by side.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: what was asked, cells, advice.")
def command(
    risks: tuple[float, ...], boot_shares: tuple[float, ...], canaries: tuple[int, ...], layouts: tuple[Layout, ...],
    hours: tuple[float, ...], chance: float, confidence: float, policy: Path | None, ring: str, seeds: int,
    first_seed: int, processes: int, as_json: bool, **fleet: Any,
) -> None:  # fmt: skip
    """How large a canary, and how long, so that a fault is halted before you go on?

    Simulates the rollout again and again, and lets the detector itself judge it. Takes seconds of a core for each run.
    """
    from pipeline.backtest.policies import read_policies  # with numpy, which help does without
    from pipeline.canary import asked as a
    from pipeline.canary import plan as p
    from pipeline.canary.cells import Wish
    from pipeline.canary.text import advised, head, table

    began, asked, wish = time.monotonic(), Asked(**fleet), Wish(chance, confidence)
    harms = [*(Harm(risk=each) for each in risks), *(Harm(boot_share=each) for each in boot_shares)]
    question = p.Question(
        asked=asked,
        harms=tuple(dict.fromkeys(harms or (Harm(boot_share=each) for each in BOOT_SHARES))),
        layouts=tuple(dict.fromkeys(layouts or LAYOUTS)),  # type: ignore[arg-type]
        canaries=tuple(sorted(set(canaries or CANARIES))),
        hours=tuple(sorted(set(hours or HOURS))),
        seeds=range(first_seed, first_seed + seeds),
        policy=p.policy_for(read_policies(policy), ring),
    )
    a.check(asked, question.harms, question.canaries, question.hours, question.policy.tolerated_risk)
    found = p.answer(question, wish, lambda outcomes: _told(outcomes, len(question.tasks())), processes)
    spent = round(sum(os.times()[:4]), 1)
    if as_json:
        say_json(found.row(question, wish) | {"cpu_seconds": spent})
        return
    for line in (*head(asked, wish, seeds, first_seed), *table(found.cells), *advised(found.advice)):
        say(line)
    say(f"{len(question.tasks())} runs, {time.monotonic() - began:.0f} s, {spent:.0f} s of processors", err=True)


def _told(outcomes: "Iterable[Outcome]", of: int) -> "Iterator[Outcome]":
    """With a word on standard error when people look."""
    for number, outcome in enumerate(outcomes, 1):
        if sys.stderr.isatty():
            say(f"\r{number}/{of}", err=True, newline=number == of)
        yield outcome
