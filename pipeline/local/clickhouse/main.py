"""`andon clickhouse`: the process that owns the embedded ClickHouse engine and serves it over HTTP."""

import asyncio
import os
import tempfile
from pathlib import Path

import click

from pipeline.local.clickhouse.config import EngineConfig, accounts
from pipeline.local.clickhouse.confine import confine
from pipeline.runtime import logging
from pipeline.runtime.config import configured
from pipeline.runtime.errors import writable


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
    from pipeline.local.clickhouse.serving import serve  # here: help does not wait for it

    who = accounts(engine)  # reads files that the engine may not
    unconfined = _confine(Path(engine.data_dir))
    asyncio.run(serve(engine, who, unconfined))
