"""`andon demo`: start the line, replay an incident against it, and give the account. Every number is measured."""

import contextlib
import sys
import time
from pathlib import Path
from typing import get_args

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from pipeline.demo import stored as demo_archive
from pipeline.demo.account import Account, lines
from pipeline.demo.act import QUICK, Act, Pace
from pipeline.demo.watch import Watch
from pipeline.halt.signing import load_trusted
from pipeline.local import guide
from pipeline.local.kafka.kinds import BrokerKind
from pipeline.local.stack import LocalStack, StackInfo
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.lifecycle import StopSignal
from pipeline.runtime.logging import printable
from pipeline.simulate import scenario as scenarios
from pipeline.simulate.scenario import Scenario
from pipeline.simulate.tail import Tail
from pipeline.wire import topics

HOSTS = 40_000  # of a demo; the scenarios themselves are larger
QUICK_HOSTS = 15_000
ARCHIVE_SECONDS = 15.0
COLUMNS = 110  # of the account


class DemoFailed(AndonError):
    """The guilty update was not halted, or an innocent one was."""


@click.command("demo", epilog="Scenarios: " + ", ".join(scenarios.names()))
@click.option("--scenario", default="crowdstrike-2024-07-19", show_default=True, help="A name, or a .toml file.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed, other hosts.")
@click.option(
    "--hosts", type=click.IntRange(1, 10_000_000), help=f"Fleet size. [default: {HOSTS}; quick {QUICK_HOSTS}]"
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
    hosts = hosts or (QUICK_HOSTS if quick else HOSTS)
    acts = [scenarios.load(scenario, hosts)]
    if acts[0].with_rings:
        acts.append(scenarios.load(acts[0].with_rings, hosts))
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
            presenter.wait()
    failures = [failure for account in accounts for failure in account.failures]
    if failures:
        raise DemoFailed("; ".join(failures))


class Presenter:
    """Where the acts are played and told: to a terminal in colour, else in plain lines; as JSON, words go to stderr."""

    def __init__(self, seed: int, pace: Pace, as_json: bool) -> None:
        self._seed, self._pace, self._as_json = seed, pace, as_json
        stream = sys.stderr if as_json else sys.stdout
        self._console = Console(file=stream, width=None if stream.isatty() else COLUMNS, highlight=False)
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """One line, with the seconds since the demo began."""
        style = "bold red" if "  HALT " in text else ""
        elapsed = f"{time.monotonic() - self._began:6.1f} s"
        self._console.print(
            f"[dim]{elapsed}[/dim]  {f'[{style}]{escape(text)}[/]' if style else escape(text)}", soft_wrap=True
        )

    def play(self, acts: list[Scenario], info: StackInfo) -> list[Account]:
        """Every act, with its account."""
        kafka = KafkaConfig(bootstrap_servers=info.bootstrap_servers)
        trusted = load_trusted(guide.keys_of(info))
        accounts = []
        with Tail(kafka, [topics.HALTS, topics.VERDICTS]) as tail:
            watch = Watch(tail, trusted)
            for scenario in acts:
                act = Act(scenario, self._seed, kafka, watch, self._pace, self.say)
                account = act.play(info.correlate_url)
                self._present(account)
                accounts.append(account)
        return accounts

    def _present(self, account: Account) -> None:
        if self._as_json:
            click.echo(msgspec.json.encode(account))
        title, *rest = lines(account)
        colour = "red" if account.failures else "green"
        self._console.print(
            Panel("\n".join(map(escape, rest)), title=escape(title), border_style=colour, padding=(1, 2))
        )

    def archived(self, info: StackInfo, accounts: list[Account]) -> None:
        """What ClickHouse has of it."""
        deadline = time.monotonic() + ARCHIVE_SECONDS
        for account in accounts:
            stored = demo_archive.wait_for_events(info, account.fleet, account.events, deadline)
            self.say(f"ClickHouse holds {stored:,} of the {account.events:,} events of fleet {account.fleet}")
            for row in demo_archive.top_crashes(info, account.fleet):
                self.say("  " + printable(row))

    def point_on(self, info: StackInfo, scenario: str, keep: bool, data_dir: Path | None) -> None:
        """Where to look next."""
        others = [name for name in scenarios.names() if name != scenario]
        words = guide.after_demo(info, guide.keys_of(info), others, keep=keep, kept=data_dir is not None)
        self._console.print(words, markup=False, soft_wrap=True)

    def wait(self) -> None:
        """Until Ctrl-C or SIGTERM."""
        self._console.print("The line stays up. Ctrl-C stops it.", markup=False)
        stop = StopSignal().install()
        while not stop.wait(1.0):
            pass
