"""`andon hook exec -- CMD…`: a command for each halt and resume; its exit code is the acknowledgement."""

import click

from consumers.rollout.follower import Source
from consumers.rollout.halts import Halts
from consumers.rollout.hooked import Hook, check_command
from consumers.rollout.settings import SubscriberConfig, trusted_keys
from pipeline.halt.trust import TrustConfig
from pipeline.runtime.config import configured
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.web.serving import Health, MetricsConfig, serve

STAGE = "hook"
END_SECONDS = 10.0  # beyond the command's time: to end what is left of it


@click.group("hook")
def command() -> None:
    """Obey halts without writing a program."""


@command.command("exec", context_settings={"ignore_unknown_options": False})
@click.argument("argv", metavar="-- CMD…", nargs=-1, required=True, type=click.UNPROCESSED)
@configured(
    ("kafka", KafkaConfig), ("trust", TrustConfig), ("subscriber", SubscriberConfig), ("metrics", MetricsConfig)
)
def exec_(
    argv: tuple[str, ...], kafka: KafkaConfig, trust: TrustConfig, subscriber: SubscriberConfig, metrics: MetricsConfig
) -> None:
    """Run CMD for every halt and resume that holds, with the order as JSON on its standard input.

    Its exit code is the acknowledgement. 0: confirmed. 113: requested, and run again later. 114: effective. 115:
    ignored. Any other: run again soon, and failed after some tries.
    """
    # Here, not above: whoever asks for help does not wait for what only a stage needs.
    from pipeline.runtime import logging
    from pipeline.runtime.lifecycle import leave

    check_command(argv[0])
    trusted = trusted_keys(trust)
    source = Source(kafka, trusted, subscriber.fleet_names())
    pace = subscriber.pace()
    own = subscriber.subscriber(trusted)
    halts = Halts(source, own, pace._replace(handler_seconds=pace.handler_seconds + END_SECONDS))
    log = logging.configure(STAGE)
    serve(metrics, Health(halts.why_not, halts.still_seconds))
    _stop_by_signal(halts)
    log.info("starting", subscriber=subscriber.name, fleets=list(source.named()), command=argv[0])
    halts.run(Hook(argv, subscriber.handler_seconds, log))
    log.info("stopped")
    leave(0)  # a command that hangs is not waited for


def _stop_by_signal(halts: Halts) -> None:
    import signal

    from pipeline.runtime.lifecycle import stop_signals

    for number in stop_signals():
        signal.signal(number, lambda *_: halts.stop())
