"""`andon collect`: serve until SIGTERM, then finish what was begun; SIGHUP reads the tokens again."""

import asyncio
import gc
import signal
from contextlib import suppress
from pathlib import Path

import click
import structlog

from pipeline.collect.config import CollectConfig
from pipeline.collect.forward import Forwarder
from pipeline.collect.reload import keep_fresh
from pipeline.collect.server import Gateway
from pipeline.collect.tokens import TokenTable
from pipeline.runtime import logging
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.config import configured, masked
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.metrics import MetricsConfig
from pipeline.runtime.metrics import serve as serve_metrics
from pipeline.runtime.web.connections import BoundedRunner, Connections, Patience, find_places
from pipeline.runtime.web.listening import listen

LINGERING_SECONDS = 5.0  # for a sender to read why it is refused while it still sends


async def serve(config: CollectConfig, kafka: KafkaConfig, log: structlog.typing.FilteringBoundLogger) -> None:
    """Raises FatalStageError when the producer cannot go on, ConfigError when the address cannot be listened on."""
    tokens = TokenTable(Path(config.tokens_file))
    places = find_places(config.max_connections)
    if places.connections < config.max_connections:
        why = "ulimit -n leaves room for no more"
        log.warning("fewer connections than collect.max_connections", connections=places.connections, why=why)
    connections = Connections(places.connections, Patience(config.head_timeout_seconds, config.idle_timeout_seconds))
    forwarder = Forwarder(kafka, config.max_buffered_events, config.delivery_timeout_seconds)
    gateway = Gateway(config, tokens, forwarder, wall_clock_ms)
    shutdown_seconds = config.delivery_timeout_seconds + 2  # librdkafka looks for timed-out messages once a second
    runner = BoundedRunner(
        gateway.application(),
        connections,
        access_log=None,
        auto_decompress=False,
        shutdown_timeout=shutdown_seconds,
        keepalive_timeout=config.idle_timeout_seconds,
        lingering_time=LINGERING_SECONDS,
    )
    await runner.setup()
    look = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, look.set)
    watch = asyncio.create_task(keep_fresh(tokens, gateway.forget_revoked, look, log))
    try:
        port = await listen(runner, "collect", config.host, config.port, config.listen_fd, places.accepted_at_once)
        log.info("listening", host=config.host, port=port, fleets=len(tokens))
        await _stopped(forwarder)
    finally:
        log.info("stopping: finishing the requests under way")
        watch.cancel()
        await runner.cleanup()
        unsent = forwarder.flush(shutdown_seconds)
        log.info("stopped", not_acknowledged=unsent)


async def _stopped(forwarder: Forwarder) -> None:
    """Return on SIGTERM or SIGINT. Raises FatalStageError when nothing can be forwarded any more."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    asked = asyncio.create_task(stop.wait())
    await asyncio.wait((asked, forwarder.fatal), return_when=asyncio.FIRST_COMPLETED)
    forwarder.check()


@click.command("collect")
@configured(("collect", CollectConfig), ("kafka", KafkaConfig), ("metrics", MetricsConfig))
def command(collect: CollectConfig, kafka: KafkaConfig, metrics: MetricsConfig) -> None:
    """Stage: the HTTP gateway. Takes POST /v1/events and answers once the broker has the events."""
    log = logging.configure("collect")
    log.info("starting", **masked(collect), bootstrap_servers=kafka.bootstrap_servers)
    if not collect.is_local:
        log.warning("listening beyond this machine without TLS: put a TLS proxy before it, or tokens can be overheard")
    serve_metrics(metrics)
    gc.freeze()  # what is loaded by now stays: the collector need not look at it again
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(collect, kafka, log))
