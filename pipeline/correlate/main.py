"""`andon correlate`: the stage that decides and halts."""

import asyncio
import threading

import click

from pipeline.correlate.config import STAGE, CorrelateConfig
from pipeline.correlate.detectors import Detectors
from pipeline.runtime.config import configured, masked
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.lifecycle import hangup_stops
from pipeline.runtime.logging import configure
from pipeline.runtime.partials import PartialsConfig, seal_of
from pipeline.runtime.web.hosts import is_loopback
from pipeline.runtime.web.serving import MetricsConfig, Pulse
from pipeline.runtime.web.serving import serve as serve_metrics


@click.command("correlate")
@configured(
    ("correlate", CorrelateConfig),
    ("kafka", KafkaConfig),
    ("metrics", MetricsConfig),
    ("partials", PartialsConfig),
)
def command(correlate: CorrelateConfig, kafka: KafkaConfig, metrics: MetricsConfig, partials: PartialsConfig) -> None:
    """Stage: decide, and halt."""
    from pipeline.correlate.shipped import ShippedDetectors

    run(correlate, kafka, metrics, ShippedDetectors.from_file(correlate.policy_file), partials)


def run(
    config: CorrelateConfig,
    kafka: KafkaConfig,
    metrics_config: MetricsConfig,
    detectors: Detectors,
    partials: PartialsConfig | None = None,
) -> None:
    """Run until SIGTERM.

    Raises:
        FatalStageError: when the stage cannot go on.
    """
    log = configure(STAGE)
    hangup_stops()
    threading.excepthook = lambda args: log.warning("thread ended", error=repr(args.exc_value))
    log.info("starting", **masked(config), bootstrap_servers=kafka.bootstrap_servers)
    if not is_loopback(config.web_host):
        log.warning("the state view is open beyond this machine: it asks nobody who they are, and names every fleet")
    seal = seal_of(partials or PartialsConfig(), log)
    pulse = Pulse()
    serve_metrics(metrics_config, pulse.health(), STAGE)
    from pipeline.correlate.begin import beginning
    from pipeline.correlate.stage import serve  # takes a second: Faust

    asyncio.run(serve(config, kafka, beginning(detectors, seal), log, pulse))
    log.info("stopped")
