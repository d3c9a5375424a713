"""`andon correlate`: the stage that decides and halts."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
import structlog
from confluent_kafka.admin import AdminClient

from pipeline.correlate import view
from pipeline.correlate.config import CorrelateConfig
from pipeline.correlate.correlator import STAGE, Correlator
from pipeline.correlate.detectors import Detectors
from pipeline.halt.signing import load_or_create, load_trusted
from pipeline.runtime import metrics
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.config import configured, masked
from pipeline.runtime.errors import FatalStageError
from pipeline.runtime.kafka import KafkaConfig, client_config
from pipeline.runtime.kafka_log import Errors
from pipeline.runtime.logging import configure
from pipeline.runtime.metadata import require_topics
from pipeline.wire import topics

STOP_SECONDS = 4.0  # for the last checkpoint, and again for Faust's own stop
RENEW_SECONDS = 10.0
LAG_SECONDS = 2.0

Log = structlog.typing.FilteringBoundLogger


class _Forward(logging.Handler):
    """Warnings of Faust and aiokafka, as lines of our log."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.log(record.levelno, record.getMessage(), source=record.name)


@click.command("correlate")
@configured(("correlate", CorrelateConfig), ("kafka", KafkaConfig), ("metrics", metrics.MetricsConfig))
def command(correlate: CorrelateConfig, kafka: KafkaConfig, metrics: metrics.MetricsConfig) -> None:
    """Stage: decide, and halt."""
    from pipeline.correlate.shipped import ShippedDetectors

    run(correlate, kafka, metrics, ShippedDetectors.from_file(correlate.policy_file))


def run(
    config: CorrelateConfig, kafka: KafkaConfig, metrics_config: metrics.MetricsConfig, detectors: Detectors
) -> None:
    """Run until SIGTERM.

    Raises:
        FatalStageError: when the stage cannot go on.
    """
    log = configure(STAGE)
    logging.basicConfig(handlers=[_Forward(log)], level=logging.WARNING, force=True)
    threading.excepthook = lambda args: log.warning("thread ended", error=repr(args.exc_value))
    log.info("starting", **masked(config), bootstrap_servers=kafka.bootstrap_servers)
    metrics.serve(metrics_config)
    asyncio.run(_run(config, kafka, detectors, log))
    log.info("stopped")


async def _run(config: CorrelateConfig, kafka: KafkaConfig, detectors: Detectors, log: Log) -> None:
    from pipeline.correlate.app import FaustPorts, Layout

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    key_dir = Path(config.data_dir) / "keys"
    key = load_or_create(key_dir)
    layout = await asyncio.to_thread(_layout, kafka)
    line = FaustPorts(config, kafka, Layout(*layout), log)
    correlator = Correlator(config, detectors, line, key, load_trusted(key_dir), wall_clock_ms, log)
    started = wall_clock_ms()
    line.connect(
        lambda message: correlator.handle(message, correlator.session),
        correlator.recover,
        {
            "/health": (lambda: view.health(correlator, wall_clock_ms()), True),
            "/state": (lambda: view.state(correlator, started, wall_clock_ms()), False),
        },
    )

    async def measure_lag() -> None:
        for partition, lag in (await line.lag()).items():
            metrics.LAG.labels(STAGE, topics.PARTIALS.name, str(partition)).set(lag)

    timers = [
        _every(min(1.0, config.checkpoint_seconds), lambda: correlator.checkpoint(config.checkpoint_seconds)),
        _every(config.heartbeat_seconds, correlator.heartbeat, at_once=True),
        _every(RENEW_SECONDS, correlator.renew),
        _every(LAG_SECONDS, measure_lag),
    ]
    code = FatalStageError.exit_code
    try:
        await _until(stop, line.start())
        await _until(stop, line.ended(), *timers)
        await asyncio.wait_for(correlator.checkpoint(0.0), STOP_SECONDS)
        code = 0
    except Exception as error:
        log.error("fatal", error=f"{type(error).__name__}: {error}")
        raise FatalStageError(f"{type(error).__name__}: {error}") from error
    finally:
        await _leave(line.stop(), code, log)


async def _every(seconds: float, act: Callable[[], Awaitable[None]], at_once: bool = False) -> None:
    if at_once:
        await act()
    while True:
        await asyncio.sleep(seconds)
        await act()


async def _until(stop: asyncio.Event, *works: Awaitable[None]) -> None:
    """Until the stop is asked for or one of these ends; raises what it raised."""
    tasks = [asyncio.ensure_future(work) for work in (stop.wait(), *works)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _leave(stopping: Awaitable[None], code: int, log: Log) -> None:
    """Faust's threads can hang on a broker that is gone; nothing of value is left in them by now."""
    try:
        await asyncio.wait_for(stopping, STOP_SECONDS)
    except Exception as error:
        log.warning("Faust did not stop in time", error=repr(error))
        os._exit(code)


def _layout(kafka: KafkaConfig) -> tuple[int, int]:
    """Partitions and replicas of `fleet.partials`. Raises FatalStageError when a topic is missing."""
    errors = Errors()
    admin = AdminClient(client_config(kafka, "andon-correlate-admin") | errors.settings)
    wanted = (topics.PARTIALS, topics.VERDICTS, topics.HALTS, topics.DEADLETTER)
    found = require_topics(admin, errors, kafka, wanted)
    partitions = found[kafka.topic_prefix + topics.PARTIALS.name].partitions
    return len(partitions), len(partitions[0].replicas)
