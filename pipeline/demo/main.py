"""`andon demo`: start the line, replay an incident against it, and give the account. Every number is measured."""

import contextlib
import time
from pathlib import Path
from typing import get_args

import click

from pipeline.demo.progress import hosts_of_harmless
from pipeline.local.datadir import prepare
from pipeline.local.kafka.kinds import BrokerKind
from pipeline.local.stack import LocalStack
from pipeline.runtime.errors import AndonError
from pipeline.runtime.lifecycle import StopSignal
from pipeline.simulate import scenario as scenarios

HOSTS = 40_000  # of a demo; the scenarios themselves are larger
QUICK_HOSTS = 15_000


class DemoFailed(AndonError):
    """The guilty update was not halted, or an innocent one was."""


@click.command("demo", epilog="Scenarios: " + ", ".join(scenarios.names()))
@click.option("--scenario", default="crowdstrike-2024-07-19", show_default=True, help="A name, or a .toml file.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed, other hosts.")
@click.option(
    "--hosts",
    type=click.IntRange(1, 10_000_000),
    help=f"Fleet size. [default: {HOSTS}; quick {QUICK_HOSTS}; fewer where a long story has no fault]",
)
@click.option("--quick", is_flag=True, help="Smaller, and faster through the incident.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object an act on standard output.")
@click.option(
    "--broker",
    type=click.Choice(get_args(BrokerKind)),
    default="embedded",
    show_default=True,
    help="The line's broker.",
)
@click.option("--keep", is_flag=True, help="Leave the line running at the end, until Ctrl-C.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep what the line stores in this directory. [default: a temporary one]",
)
def command(
    scenario: str,
    seed: int,
    hosts: int | None,
    quick: bool,
    as_json: bool,
    broker: BrokerKind,
    keep: bool,
    data_dir: Path | None,
) -> None:
    """Start the line, let a healthy fleet run, replay the incident, and give the account.

    Exit code 1 when the guilty update was not halted or an innocent one was.
    """
    # Here, not above: whoever asks for help does not wait for what the command needs.
    from pipeline.demo.act import QUICK, Pace
    from pipeline.demo.presenter import Presenter

    wanted = hosts or (QUICK_HOSTS if quick else HOSTS)
    acts = [scenarios.load(scenario, wanted)]
    if hosts is None and not acts[0].guilty:
        acts = [scenarios.load(scenario, hosts_of_harmless(acts[0], wanted))]
    if acts[0].with_rings:
        acts.append(scenarios.load(acts[0].with_rings, wanted))
    if data_dir is not None:
        prepare(data_dir)  # or say now what is wrong with it
    presenter = Presenter(seed, QUICK if quick else Pace(), as_json)
    with contextlib.ExitStack() as stack:
        began = time.monotonic()
        presenter.say("Starting broker, ClickHouse and every stage of the line")
        line = stack.enter_context(LocalStack(data_dir, fleet=acts[0].fleet.name, broker=broker))
        presenter.say(f"The line is up after {time.monotonic() - began:.0f} s, Kafka at {line.info.bootstrap_servers}")
        accounts = presenter.play(acts, line.info)
        presenter.archived(line.info, accounts)
        presenter.point_on(line.info, acts[0].name, keep, data_dir)
        if keep:
            _wait()
    failures = [failure for account in accounts for failure in account.failures]
    if failures:
        raise DemoFailed("; ".join(failures))


def _wait() -> None:
    """Until Ctrl-C or SIGTERM."""
    stop = StopSignal().install()
    while not stop.wait(1.0):
        pass
