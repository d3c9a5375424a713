"""`andon collect`: the HTTP gateway."""

import asyncio
import gc
from contextlib import suppress

import click

from pipeline.collect.config import CollectConfig
from pipeline.runtime import logging
from pipeline.runtime.config import configured, masked
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.web.serving import MetricsConfig, Pulse
from pipeline.runtime.web.serving import serve as serve_metrics


@click.command("collect")
@configured(("collect", CollectConfig), ("kafka", KafkaConfig), ("metrics", MetricsConfig))
def command(collect: CollectConfig, kafka: KafkaConfig, metrics: MetricsConfig) -> None:
    """Stage: the HTTP gateway. Takes POST /v1/events and answers once the broker has the events."""
    from pipeline.collect.stage import serve  # here: help does not wait for it

    log = logging.configure("collect")
    log.info("starting", **masked(collect), bootstrap_servers=kafka.bootstrap_servers)
    if not collect.is_local:
        log.warning("listening beyond this machine without TLS: put a TLS proxy before it, or tokens can be overheard")
    pulse = Pulse()
    serve_metrics(metrics, pulse.health(), "collect")
    gc.freeze()  # what is loaded by now stays: the collector need not look at it again
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(collect, kafka, log, pulse))
