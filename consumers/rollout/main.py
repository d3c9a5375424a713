"""`andon gate`: may this update go on in this ring? The exit code is the answer."""

from typing import Any
from urllib.parse import unquote

import click

from consumers.rollout.gate import Decision, Question, Shadow
from consumers.rollout.settings import trusted_keys
from consumers.rollout.watch import ask
from pipeline.answers import Answer
from pipeline.halt.trust import TrustConfig
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.config import configured
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.say import say, say_json
from pipeline.wire.events import MAX_TEXT_CHARS

MAX_WAIT_SECONDS = 7 * 86_400
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
EXIT_CODES = {"CLEARED": 0, "HALTED": 1, "WATCHING": 2, "NOT_ENOUGH_DATA": 2, "DETECTOR_SILENT": 3}


class UpdateName(click.ParamType):
    """VENDOR/PRODUCT/VERSION; a "/" inside of a name is %2F, as in keys of records."""

    name = "VENDOR/PRODUCT/VERSION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The three names."""
        parts = tuple(unquote(part) for part in str(value).split("/"))
        if len(parts) != 3:
            self.fail(f"{value!r} has {len(parts)} part(s): should be {self.name}; a / inside of a name is %2F", param)
        return tuple(Name().convert(part, param, ctx) for part in parts)


class Name(click.ParamType):
    """A name as events have it."""

    name = "NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name itself: names compare letter by letter."""
        text = str(value)
        if not 0 < len(text) <= MAX_TEXT_CHARS:
            self.fail(f"{text!r} should have 1 to {MAX_TEXT_CHARS} characters", param)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail(f"{text!r} should be UTF-8", param)
        return text


class Span(click.ParamType):
    """A number and its unit: 45s, 30m, 2h."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        if isinstance(value, float):
            return value
        number, unit = value[:-1], value[-1:]
        if unit not in UNITS or not number.isascii() or not number.isdigit():
            self.fail(f"{value!r} should be a whole number and its unit, one of s, m, h, d: 30m", param)
        seconds = float(int(number[:9]) * UNITS[unit])
        if seconds > MAX_WAIT_SECONDS:
            self.fail(f"{value!r} should be 7d at most", param)
        return seconds


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
