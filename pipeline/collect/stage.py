"""The gateway's process: serve until SIGTERM, then finish what was begun; SIGHUP reads the tokens again."""

import asyncio
import signal
from pathlib import Path

import structlog
from confluent_kafka import KafkaException

from pipeline.collect.config import CollectConfig
from pipeline.collect.forward import Forwarder
from pipeline.collect.reload import keep_fresh
from pipeline.collect.server import Gateway
from pipeline.collect.state import GatewayState
from pipeline.collect.tokens import TokenTable
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.web.connections import BoundedRunner, Connections, Patience, find_places
from pipeline.runtime.web.listening import listen
from pipeline.runtime.web.serving import Pulse

START_SECONDS = 2.0  # for the brokers to say which topics there are; without them it starts all the same
LINGERING_SECONDS = 5.0  # for a sender to read why it is refused while it still sends


async def serve(
    config: CollectConfig, kafka: KafkaConfig, log: structlog.typing.FilteringBoundLogger, pulse: Pulse
) -> None:
    """Raises FatalStageError when the producer cannot go on, ConfigError when the address cannot be listened on or a
    topic is missing."""
    look = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, look.set)  # before the tokens are read
    tokens = TokenTable(Path(config.tokens_file))
    places = find_places(config.max_connections)
    if places.connections < config.max_connections:
        why = "ulimit -n leaves room for no more"
        log.warning("fewer connections than collect.max_connections", connections=places.connections, why=why)
    connections = Connections(places.connections, Patience(config.head_timeout_seconds, config.idle_timeout_seconds))
    forwarder = Forwarder(kafka, config.max_buffered_events, config.delivery_timeout_seconds)
    await _require_topics(forwarder, log)
    state = GatewayState(forwarder, tokens)
    pulse.view = state.now
    gateway = Gateway(config, tokens, forwarder, wall_clock_ms, pulse.health().pages())
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
    works = (keep_fresh(tokens, gateway.forget_revoked, look, log), pulse.turn())
    beside = [asyncio.create_task(work) for work in works]
    try:
        port = await listen(runner, "collect", config.host, config.port, config.listen_fd, places.accepted_at_once)
        log.info("listening", host=config.host, port=port, fleets=len(tokens))
        await _stopped(forwarder)
    finally:
        log.info("stopping: finishing the requests under way")
        for task in beside:
            task.cancel()
        await runner.cleanup()
        unsent = forwarder.flush(shutdown_seconds)
        log.info("stopped", not_acknowledged=unsent)


async def _require_topics(forwarder: Forwarder, log: structlog.typing.FilteringBoundLogger) -> None:
    """Raises ConfigError when one is missing: to be started again does not help. Brokers that do not answer may later;
    until then senders are told to come back."""
    try:
        missing = await asyncio.to_thread(forwarder.missing_topics, START_SECONDS)
    except KafkaException as error:
        log.warning("no Kafka broker answers yet", why=error.args[0].str())
        return
    if missing:
        raise ConfigError(f"topics missing: {', '.join(missing)}; run `andon topics apply`")


async def _stopped(forwarder: Forwarder) -> None:
    """Return on SIGTERM or SIGINT. Raises FatalStageError when nothing can be forwarded any more."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    asked = asyncio.create_task(stop.wait())
    await asyncio.wait((asked, forwarder.fatal), return_when=asyncio.FIRST_COMPLETED)
    forwarder.check()
