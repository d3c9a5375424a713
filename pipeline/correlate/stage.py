"""The correlator at work: its parts put together, its timers, and how it ends."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from confluent_kafka import KafkaException
from structlog.typing import FilteringBoundLogger

from pipeline.correlate import fetching, view
from pipeline.correlate.app import FaustPorts
from pipeline.correlate.begin import Begin, issuer_of
from pipeline.correlate.config import CorrelateConfig, instance_of
from pipeline.correlate.correlator import Correlator
from pipeline.correlate.layout import find_layout
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import FatalStageError, TopicMadeAnewError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.lifecycle import end_within
from pipeline.runtime.web.serving import Pulse, show_disk

STOP_SECONDS = 4.0  # for the last checkpoint, and again for Faust's own stop
RENEW_SECONDS = 10.0
WATCH_SECONDS = 3.0  # what is lost for two looks is back within 10 s; more often is felt by the embedded broker
OBEY_SECONDS = 1.0  # what a person waits at most until a command is read
LOOK_SECONDS, LOOK_TIMEOUT_SECONDS = 2.0, 10.0


async def serve(
    config: CorrelateConfig,
    kafka: KafkaConfig,
    begin: Begin,
    log: FilteringBoundLogger,
    pulse: Pulse,
) -> None:
    """Run until SIGTERM, with the correlator that `begin` makes.

    Raises:
        ConfigError: when its directory cannot be written to.
        FatalStageError: when the stage cannot go on.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    issuer = issuer_of(config, log)
    show_disk("state", Path(config.data_dir))
    fetching.install(instance_of(config.slot))
    ports = FaustPorts(config, kafka, await asyncio.to_thread(find_layout, kafka), log)
    correlator = begin(issuer, ports, wall_clock_ms, log)
    started = wall_clock_ms()
    pulse.view = lambda: view.health(correlator, wall_clock_ms())
    health = pulse.health()
    ports.connect(
        lambda message: correlator.handle(message, correlator.session),
        correlator.let_go,
        correlator.recover,
        correlator.began,
        {
            **health.pages(),
            "/state": lambda: (True, view.state(correlator, started, wall_clock_ms())),
        },
    )
    timers = [
        pulse.turn(),
        _every(min(1.0, config.checkpoint_seconds), lambda: correlator.checkpoint(config.checkpoint_seconds)),
        _every(config.heartbeat_seconds, correlator.heartbeat, at_once=True),
        _every(RENEW_SECONDS, correlator.renew),
        _every(WATCH_SECONDS, correlator.watch_halts, at_once=True),
        _every(OBEY_SECONDS, correlator.obey, at_once=True),
        _every(LOOK_SECONDS, lambda: _look(ports, correlator, log), at_once=True),
    ]
    code = FatalStageError.exit_code
    try:
        await _until(stop, ports.start(), _every(LOOK_SECONDS, lambda: _goes_on(ports, correlator)))
        await _until(stop, ports.ended(), *timers)
        await asyncio.wait_for(correlator.checkpoint(0.0), STOP_SECONDS)
        code = 0
    except Exception as error:
        # Before Faust is stopped, which may hang and end the process without a word.
        fatal = await asyncio.to_thread(fetching.fatal, error, kafka, config.slot)
        log.error("fatal", error=str(fatal))
        if isinstance(error, TopicMadeAnewError) and not any(correlator.fleets.log_ids.values()):
            await asyncio.wait_for(_begin_anew(correlator), STOP_SECONDS)  # no id will tell it to who comes next
        raise fatal from error
    finally:
        await _leave(ports.stop(), code, log)


async def _every(seconds: float, act: Callable[[], Awaitable[None]], at_once: bool = False) -> None:
    if at_once:
        await act()
    while True:
        await asyncio.sleep(seconds)
        await act()


async def _goes_on(ports: FaustPorts, correlator: Correlator) -> None:
    """Faust may wait for ever for what does not come any more: a new process begins anew.

    Raises:
        FatalStageError: when its recovery, or its reading, has stood still for long while the brokers answer.
    """
    unrecovered = None if correlator.ready else ports.unrecovered()
    if why := correlator.reading.stands_still(unrecovered, wall_clock_ms()):
        raise FatalStageError(why)


async def _look(ports: FaustPorts, correlator: Correlator, log: FilteringBoundLogger) -> None:
    """Whether it reads; and whether it still reads the log that it began with.

    Raises:
        TopicMadeAnewError: when that is another one, which a new process begins at its beginning.
    """
    try:
        async with asyncio.timeout(LOOK_TIMEOUT_SECONDS):
            is_same = await ports.is_same_log(set(correlator.fleets.log_ids.values()))
            found = await ports.look()
    except (KafkaException, TimeoutError) as error:
        log.warning("where fleet.partials ends is not known", why=str(error) or "no answer")
        return
    if not is_same:
        await _begin_anew(correlator)
        raise TopicMadeAnewError(["fleet.partials"])
    correlator.reading.look(found, wall_clock_ms())
    await _goes_on(ports, correlator)
    if correlator.reading.should_rejoin(wall_clock_ms()):
        log.warning("no partition of fleet.partials is assigned: the group is asked once more")
        ports.rejoin()


async def _begin_anew(correlator: Correlator) -> None:
    """Leave the state as one that has taken in nothing of the topic that is there now."""
    correlator.session += 1
    correlator.reading.reset()  # nothing that is still on its way is taken in
    correlator.fleets.begin_anew(wall_clock_ms())
    await correlator.checkpoint(0.0)


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


async def _leave(stopping: Awaitable[None], code: int, log: FilteringBoundLogger) -> None:
    """Faust's threads can hang on a broker that is gone; nothing of value is left in them by now."""
    try:
        await asyncio.wait_for(stopping, STOP_SECONDS)
    except Exception as error:
        log.warning("Faust did not stop in time", error=repr(error))
        os._exit(code)
    end_within(STOP_SECONDS, code)
