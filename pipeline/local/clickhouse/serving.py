"""The engine behind HTTP, until SIGTERM."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.local.clickhouse.accounts import Account
from pipeline.local.clickhouse.config import READY, EngineConfig, memory_bytes
from pipeline.local.clickhouse.endpoint import Endpoint
from pipeline.local.clickhouse.engine import Engine
from pipeline.runtime import logging
from pipeline.runtime.lifecycle import stop_signals
from pipeline.runtime.web.connections import BoundedRunner, Connections, Patience, find_places
from pipeline.runtime.web.listening import listen

MAX_CONNECTIONS = 256  # several times what all accounts may have run and wait
PATIENCE = Patience(head_seconds=10.0, idle_seconds=75.0)
STOP_SECONDS = 10.0  # how long running statements may go on after SIGTERM before SELECTs are cancelled


async def serve(config: EngineConfig, who: list[Account], unconfined: str = "") -> None:
    """Serve until SIGTERM or SIGINT, then finish what runs. `unconfined`: why only the owner may come in, or ""."""
    log = logging.configure("clickhouse")
    stop = asyncio.Event()
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    engine = Engine(Path(config.data_dir), config.max_execution_time_seconds, memory_bytes(config))
    endpoint = Endpoint(engine, who, config.max_body_bytes, unconfined)
    options: dict[str, Any] = {"auto_decompress": False, "access_log": None, "handler_cancellation": True}
    places = find_places(MAX_CONNECTIONS)
    connections = Connections(places.connections, PATIENCE)
    runner = BoundedRunner(endpoint.app, connections, shutdown_timeout=STOP_SECONDS, **options)
    try:
        await runner.setup()
        port = await listen(runner, "engine", config.host, config.port, config.listen_fd, places.accepted_at_once)
        url = f"http://{config.host}:{port}"
        log.info(READY, url=url, version=engine.version, data_dir=config.data_dir, owner=config.user)
        await stop.wait()
        log.info("stopping")
    finally:
        ended = asyncio.Event()
        cancel = asyncio.create_task(_cancel_reads(engine, ended))
        await runner.cleanup()
        await asyncio.to_thread(endpoint.close)
        ended.set()
        await asyncio.wait({cancel})  # its thread may still be inside the engine
        await asyncio.to_thread(engine.close)
        log.info("stopped")


async def _cancel_reads(engine: Engine, ended: asyncio.Event) -> None:
    """Give SELECTs their time, then end them; again and again, for one that waited may have its turn then."""
    wait_seconds = STOP_SECONDS / 2
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), wait_seconds)
            return
        await asyncio.to_thread(engine.cancel_reads)
        wait_seconds = 1.0
