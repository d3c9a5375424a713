"""`andon collect`: serve until SIGTERM, then finish what was begun."""

import asyncio
import gc
import signal
from contextlib import suppress
from pathlib import Path

import click
import structlog
from aiohttp import web

from pipeline.collect.config import CollectConfig
from pipeline.collect.forward import Forwarder
from pipeline.collect.server import Gateway
from pipeline.collect.tokens import TokenTable
from pipeline.runtime import logging
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.config import configured, masked
from pipeline.runtime.errors import ConfigError, FatalStageError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.listening import listen
from pipeline.runtime.metrics import MetricsConfig
from pipeline.runtime.metrics import serve as serve_metrics

TOKENS_EVERY_SECONDS = 2.0  # a revoked token is refused this soon
LOOPBACK = ("127.0.0.1", "::1", "localhost")


async def serve(config: CollectConfig, kafka: KafkaConfig, log: structlog.typing.FilteringBoundLogger) -> None:
    """Raises FatalStageError when the producer cannot go on, ConfigError when the address cannot be listened on."""
    tokens = TokenTable(Path(config.tokens_file))
    if not tokens:
        raise ConfigError(f"{config.tokens_file}: holds no token; `andon token FLEET --tokens-file …` adds one")
    forwarder = Forwarder(kafka, config.max_buffered_events, config.delivery_timeout_seconds)
    gateway = Gateway(config, tokens, forwarder, wall_clock_ms)
    shutdown_seconds = config.delivery_timeout_seconds + 2  # librdkafka looks for timed-out messages once a second
    runner = web.AppRunner(
        gateway.application(), access_log=None, auto_decompress=False, shutdown_timeout=shutdown_seconds
    )
    await runner.setup()
    watch = asyncio.create_task(keep_fresh(tokens, log))
    try:
        port = await listen(runner, "collect", config.host, config.port, config.listen_fd)
        log.info("listening", host=config.host, port=port, fleets=len(tokens))
        await stopped(forwarder)
    finally:
        log.info("stopping: finishing the requests under way")
        watch.cancel()
        await runner.cleanup()
        unsent = forwarder.flush(shutdown_seconds)
        log.info("stopped", not_acknowledged=unsent)


async def stopped(forwarder: Forwarder) -> None:
    """Return on SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    asked = asyncio.create_task(stop.wait())
    await asyncio.wait((asked, forwarder.fatal), return_when=asyncio.FIRST_COMPLETED)
    if forwarder.fatal.done():
        raise FatalStageError(f"the Kafka producer cannot go on: {forwarder.fatal.result()}")


async def keep_fresh(tokens: TokenTable, log: structlog.typing.FilteringBoundLogger) -> None:
    """Take over changes of the tokens file for as long as the task lives."""
    while True:
        await asyncio.sleep(TOKENS_EVERY_SECONDS)
        try:
            if tokens.refresh():
                log.info("tokens read again", fleets=len(tokens))
        except ConfigError as error:
            log.error("the tokens file is not usable; the tokens read before stay in force", error=str(error))


@click.command("collect")
@configured(("collect", CollectConfig), ("kafka", KafkaConfig), ("metrics", MetricsConfig))
def command(collect: CollectConfig, kafka: KafkaConfig, metrics: MetricsConfig) -> None:
    """Stage: the HTTP gateway. Takes POST /v1/events and answers once the broker has the events."""
    log = logging.configure("collect")
    log.info("starting", **masked(collect), bootstrap_servers=kafka.bootstrap_servers)
    if collect.host not in LOOPBACK:
        log.warning("listening beyond this machine without TLS: put a TLS proxy before it, or tokens can be overheard")
    serve_metrics(metrics)
    gc.freeze()  # what is loaded by now stays: the collector need not look at it again
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(collect, kafka, log))
