"""`andon gate`: may this update go on in this ring? The exit code is the answer."""

import click

from consumers.rollout.gate import Decision, Question, Shadow
from consumers.rollout.params import Name, Span, UpdateName
from consumers.rollout.settings import trusted_keys
from consumers.rollout.watch import ask
from pipeline.answers import Answer
from pipeline.halt.trust import TrustConfig
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.config import configured
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.say import say, say_json

EXIT_CODES = {"CLEARED": 0, "HALTED": 1, "WATCHING": 2, "NOT_ENOUGH_DATA": 2, "DETECTOR_SILENT": 3}


@click.command("gate")
@click.argument("update", type=UpdateName())
@click.option("--fleet", required=True, type=Name(), help="Whose rollout it is.")
@click.option("--ring", required=True, type=Name(), help="Whose verdict counts: the ring that it has reached.")
@click.option("--wait", "wait_seconds", type=Span(), default=0.0, help="Wait so long for an answer: 45s, 30m, 2h.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object with the evidence instead of a line.")
@click.option(
    "--shadow-halted",
    "shadow",
    type=click.Choice(["watching", "halted", "cleared"]),
    default="watching",
    show_default=True,
    help="What a halt in mode shadow is taken for.",
)
@configured(("kafka", KafkaConfig), ("trust", TrustConfig))
def command(
    update: tuple[str, str, str],
    fleet: str,
    ring: str,
    wait_seconds: float,
    as_json: bool,
    shadow: Shadow,
    kafka: KafkaConfig,
    trust: TrustConfig,
) -> None:
    """May this update go on in this ring? Exit code 0: cleared. 1: halted. 2: not enough data in time.
    3: the detector is silent or unreachable, or anything else went wrong. 4: not understood."""
    decision = ask(kafka, trusted_keys(trust), Question(fleet, *update, ring), shadow, wait_seconds, wall_clock_ms)
    say_json(decision) if as_json else say(line(decision))
    click.get_current_context().exit(Answer(EXIT_CODES[decision.state]))


def line(decision: Decision) -> str:
    """One line for people."""
    update = "/".join((decision.vendor, decision.product, decision.version))
    return " ".join(f"{decision.state} {update} in {decision.ring} of {decision.fleet}: {decision.reason}".split())
