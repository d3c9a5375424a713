"""`andon replay`: a scenario's events to a cluster, timed as they would come, or to a file for `andon backtest`."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.config import configured
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.lifecycle import StopSignal
from pipeline.runtime.say import say
from pipeline.simulate import scenario as scenarios
from pipeline.simulate.scenario import FASTEST

if TYPE_CHECKING:
    from pipeline.simulate.run import Run

DEFAULT = "crowdstrike-2024-07-19"
STORY_SECONDS = 180.0  # of wall time, by default
WORSE = (
    "it decides worse: the fleet's clock runs on while Andon reads, decides and is obeyed, so a halt comes later in "
    "the story than in life (once after 3,213 s of it and 30 hosts, instead of 44 s and 4)"
)


class Speed(click.ParamType):
    """`max`, or a number of at least 1."""

    name = "speed"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Event seconds a second."""
        if value == "max":
            return FASTEST
        try:
            speed = float(value)
        except ValueError:
            speed = 0.0
        if not 1 <= speed <= 1_000_000:
            self.fail(f"{value!r}: a number from 1 to 1000000, or max", param, ctx)
        return speed


@click.command("replay", epilog="Scenarios: " + ", ".join(scenarios.names()))
@click.argument("scenario", metavar="[SCENARIO|FILE.toml]", default="")
@click.option(
    "--speed",
    type=Speed(),
    help="Event time over wall time, or `max`, at which Andon decides worse. [default: the story in 3 minutes]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed, other hosts.")
@click.option("--hosts", type=click.IntRange(1, 10_000_000), help="Size of the fleet, instead of the scenario's.")
@click.option("--fleet", help="Name of the fleet, instead of the scenario's.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write NDJSON (.gz, .zst) instead.")
@click.option("--force", is_flag=True, help="Write over the file of --out, or to where it links.")
@click.option(
    "--obey",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Directory of trusted public keys: the rollout then obeys halts that they signed.",
)
@click.option(
    "--acknowledge",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Private key file of a subscriber: what --obey obeys is then acknowledged with it.",
)
@configured(("kafka", KafkaConfig))
def command(
    kafka: KafkaConfig,
    scenario: str,
    speed: float | None,
    seed: int,
    hosts: int | None,
    fleet: str | None,
    out: Path | None,
    force: bool,
    obey: Path | None,
    acknowledge: Path | None,
) -> None:
    """Produce a scenario's events to a cluster, or write them to a file with the scenario's own times.

    Without a name it lists the scenarios, and plays 19 July 2024. Live, times are shifted so that the scenario ends
    when the replay does.
    """
    # Here, not above: whoever asks for help does not wait for what the command needs.
    from pipeline.simulate.aftermath import Played, sentences
    from pipeline.simulate.obedience import obedience
    from pipeline.simulate.progress import play
    from pipeline.simulate.run import Run, Simulation, shift_ms
    from pipeline.simulate.sinks import FileSink, KafkaSink

    if not scenario:
        scenario = DEFAULT
        _list()
    loaded = scenarios.load(scenario, hosts, fleet)
    if speed is None:
        span_ms = scenarios.unix_ms(loaded.ends) - scenarios.unix_ms(loaded.starts)
        speed = max(1.0, span_ms / 1000 / STORY_SECONDS)
    elif speed == FASTEST and out is None:
        say(f"--speed max: {WORSE}", err=True)
    stop, since_ms = StopSignal().install(), wall_clock_ms()
    if acknowledge is not None and obey is None:
        raise ConfigError("--acknowledge: nothing is obeyed without --obey")
    with contextlib.ExitStack() as stack:
        if out is not None:
            if obey is not None:
                raise ConfigError("--obey: a file cannot be halted; leave out --out or --obey")
            run = Run(Simulation(loaded, seed), stack.enter_context(FileSink(out, force)))
            speed = FASTEST
        else:
            simulation = Simulation(loaded, seed, shift_ms(loaded, speed, wall_clock_ms()))
            if obey is None:
                run = Run(simulation, KafkaSink(kafka))
            else:
                rollout = stack.enter_context(obedience(kafka, loaded.fleet.name, obey, acknowledge))
                run = Run(simulation, KafkaSink(kafka), rollout.orders)
                rollout.settle(run.obey)
        play(run, speed, stop)
        run.settle()
    if stop.is_set():
        say("stopped before its end; until then:", err=True)
    _summary(run)
    if out is None and not stop.is_set():
        for sentence in sentences(kafka, Played(run, speed, since_ms)):
            say(sentence, err=True)


def _list() -> None:
    for name in scenarios.names():
        say(f"{name:30}  {scenarios.load(name).title}", err=True)
    say(f"none is named: {DEFAULT} is played", err=True)


def _summary(run: "Run") -> None:
    reports = run.simulation.ledger.reports
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(reports.items()))
    say(f"{run.sent:,} events of fleet {run.simulation.scenario.fleet.name}: {kinds}", err=True)
    for update in sorted(run.simulation.scenario.guilty):
        lost = run.simulation.ledger.lost(update)
        say(f"{'/'.join(update)} crashed {lost:,} hosts", err=True)
    for order, _, spared in run.obeyed:
        name = f"{order.vendor}/{order.product}/{order.version}"
        doubt = f"; in doubt: {order.reason}" if order.doubt else ""
        say(f"halted: {name} in {', '.join(order.rings)}; {spared:,} hosts not reached{doubt}", err=True)
