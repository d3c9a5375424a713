"""`andon clickhouse`: the process that owns the embedded ClickHouse engine and serves it over HTTP."""

import asyncio
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import click
import msgspec

from pipeline.local.clickhouse.accounts import (
    GRAFANA,
    OWNER,
    READER,
    WRITER,
    Account,
    analyst,
    grafana,
    owner,
    writer,
)
from pipeline.local.clickhouse.confine import confine
from pipeline.local.clickhouse.endpoint import Endpoint
from pipeline.local.clickhouse.engine import Engine
from pipeline.runtime import logging
from pipeline.runtime.config import configured
from pipeline.runtime.errors import ConfigError, writable
from pipeline.runtime.lifecycle import stop_signals
from pipeline.runtime.secrets import read_secret
from pipeline.runtime.web.connections import BoundedRunner, Connections, Patience, find_places
from pipeline.runtime.web.listening import listen

Doc = msgspec.Meta

READY = "andon clickhouse ready"
MAX_CONNECTIONS = 256  # several times what all accounts may have run and wait
PATIENCE = Patience(head_seconds=10.0, idle_seconds=75.0)
STOP_SECONDS = 10.0  # how long running statements may go on after SIGTERM before SELECTs are cancelled


class EngineConfig(msgspec.Struct, frozen=True):
    """Section "engine": of the embedded ClickHouse, which `andon clickhouse` serves."""

    data_dir: Annotated[str, Doc(min_length=1, description="directory of the engine's data")] = ".andon/clickhouse"
    host: Annotated[str, Doc(min_length=1, description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Doc(ge=0, le=65535, description="port to listen on, 0 for any free one")] = 8123
    listen_fd: Annotated[
        int, Doc(ge=-1, description="listening socket that was handed down, instead of host and port; -1: none")
    ] = -1
    user: Annotated[str, Doc(min_length=1, description="owner: may do everything in the engine")] = OWNER
    password: Annotated[str, Doc(description="its password; environment or file only")] = ""
    password_file: Annotated[str, Doc(description="file that holds the password")] = ""
    read_user: Annotated[str, Doc(min_length=1, description="user who may only read")] = READER
    read_password: Annotated[str, Doc(description="its password; environment or file only")] = ""
    read_password_file: Annotated[str, Doc(description="file that holds it; without one there is no such user")] = ""
    grafana_user: Annotated[str, Doc(min_length=1, description="the same for dashboards, with tighter limits")] = (
        GRAFANA
    )
    grafana_password: Annotated[str, Doc(description="its password; environment or file only")] = ""
    grafana_password_file: Annotated[str, Doc(description="file that holds it; without one there is no such user")] = ""
    write_user: Annotated[str, Doc(min_length=1, description="user who may only insert")] = WRITER
    write_password: Annotated[str, Doc(description="its password; environment or file only")] = ""
    write_password_file: Annotated[str, Doc(description="file that holds it; without one there is no such user")] = ""
    max_execution_time_seconds: Annotated[int, Doc(ge=0, description="default limit of a statement, 0 for none")] = 60
    max_memory_bytes: Annotated[int, Doc(ge=0, description="of the process, 0 for half of the machine's")] = 0
    max_body_bytes: Annotated[int, Doc(ge=1024, description="largest request body, decompressed")] = 256 * 1024 * 1024


def accounts(config: EngineConfig) -> list[Account]:
    """Raises ConfigError without the owner's password: there is no open door, not even on loopback."""
    password = read_secret(config, "engine")
    if not password:
        raise ConfigError(
            "engine.password is empty: set ANDON_ENGINE_PASSWORD or --password-file (ANDON_CLICKHOUSE_PASSWORD is what "
            "other commands log in with)"
        )
    return [
        owner(config.user, password),
        analyst(config.read_user, read_secret(config, "engine", "read_password"), memory_bytes(config)),
        grafana(config.grafana_user, read_secret(config, "engine", "grafana_password"), memory_bytes(config)),
        writer(config.write_user, read_secret(config, "engine", "write_password")),
    ]


def memory_bytes(config: EngineConfig) -> int:
    """What the whole process may use."""
    return config.max_memory_bytes or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


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


def _confine(data_dir: Path) -> str:
    """Before the engine starts its threads: it is to reach its own directory and nothing else. Why it is not kept to
    that, "" if it is."""
    with writable("engine.data_dir", data_dir):
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = data_dir.resolve() / "tmp"
        scratch.mkdir(exist_ok=True, mode=0o700)
        tempfile.TemporaryFile(dir=scratch).close()
    os.environ["TMPDIR"] = str(scratch)  # where the engine's binding tries itself when it is imported
    why = confine(data_dir)
    if why:
        text = "the kernel does not keep the engine from this user's files: only the owner may come in"
        logging.configure("clickhouse").warning(text, why=why)
    return why


@click.command("clickhouse", help="Own the embedded ClickHouse engine and serve it over HTTP.")
@configured(("engine", EngineConfig))
def command(engine: EngineConfig) -> None:
    """Foreground; SIGTERM stops it."""
    who = accounts(engine)  # reads files that the engine may not
    unconfined = _confine(Path(engine.data_dir))
    asyncio.run(serve(engine, who, unconfined))
