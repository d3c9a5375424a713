"""`andon up`: the whole line on this machine, until Ctrl-C or SIGTERM."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import click
import msgspec

from pipeline.local import datadir, guide, observed, plan, settings, stack
from pipeline.local.doors import Doors
from pipeline.local.kafka import kinds as kafka_line
from pipeline.local.kafka.kinds import BrokerKind
from pipeline.local.line import Line
from pipeline.local.mergedlog import MergedLog
from pipeline.local.plan import Place, Stage
from pipeline.local.supervisor import Supervisor
from pipeline.runtime.config import configured

Doc = msgspec.Meta
Port = Annotated[int, Doc(ge=0, le=65535, description="fixed port; 0 takes the one used here last, or any free one")]

# Settings of some other cluster, left over in the environment; and our own, which are none of the stages'.
ELSEWHERE = (
    "ANDON_KAFKA_",
    *(f"ANDON_CLICKHOUSE_{key}" for key in ("URL", "USER", "PASSWORD", "DATABASE", "CLUSTER")),
    *(f"ANDON_ARCHIVE_{key}" for key in ("CLICKHOUSE_", "DATABASE", "CLUSTER")),  # the names that these once had
    "ANDON_PARTIALS_",
    "ANDON_UP_",
)
CONTROLLER_PORT = "broker-controller"  # Apache Kafka's second one


class UpConfig(msgspec.Struct, frozen=True):
    """Section `up`: one machine's line."""

    stages: Annotated[str, Doc(description="which to run, comma-separated; the broker always runs")] = ",".join(
        plan.STAGES
    )
    fleet: Annotated[str, Doc(min_length=1, max_length=128, description="fleet of the first gateway token")] = "acme"
    broker: Annotated[BrokerKind, Doc(description="embedded, or Apache Kafka (needs Java 17 and Maven)")] = "embedded"
    broker_port: Port = 0
    clickhouse_port: Port = 0
    collect_port: Port = 0
    correlate_port: Port = 0
    metrics_port: Port = 0  # the supervisor's own
    events_retention_mib: Annotated[int, Doc(ge=4, description="how much of fleet.events the broker keeps, MiB")] = 256
    ephemeral: Annotated[bool, Doc(description="remove the data directory at the end")] = False


@click.command("up")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=datadir.DEFAULT,
    envvar="ANDON_DATA_DIR",
    show_default=True,
    help="Everything the line keeps.",
)
@configured(("up", UpConfig))
def command(up: UpConfig, data_dir: Path) -> None:
    """Run the whole line on this machine: broker, ClickHouse, every stage, each kept running."""
    chosen = settings.chosen(up.stages)
    data_dir = data_dir.absolute()
    with datadir.writable(data_dir):
        is_new = not data_dir.exists() or not any(data_dir.iterdir())
    data_dir = datadir.prepare(data_dir)
    lock = datadir.lock(data_dir)
    try:
        stack.remove(data_dir)
        asyncio.run(_run(up, chosen, data_dir, lock))
    finally:
        os.close(lock)
        if up.ephemeral and is_new:
            shutil.rmtree(data_dir, ignore_errors=True)


async def _run(up: UpConfig, stages: list[Stage], data_dir: Path, lock: int) -> None:
    names = [port for stage in stages for port in stage.listens]
    fixed = {name: getattr(up, f"{name}_port", 0) for name in names} | {observed.PORT: up.metrics_port}
    with datadir.writable(data_dir):
        doors = Doors(data_dir, [*names, observed.PORT, CONTROLLER_PORT], fixed, plan.KEPT)
    with doors:
        await _run_behind(doors, up, stages, data_dir, lock)


async def _run_behind(doors: Doors, up: UpConfig, stages: list[Stage], data_dir: Path, lock: int) -> None:
    ports = doors.ports
    with datadir.writable(data_dir):
        secrets = datadir.Secrets(data_dir).make(up.fleet)
        security = kafka_line.security_of(up.broker, secrets.kafka_password_file)
        places = (ports["broker"], ports[CONTROLLER_PORT])
        broker_argv = kafka_line.prepare(up.broker, data_dir / "broker", *places, security)
        at = Place(data_dir, ports, secrets, broker_argv, security, doors.descriptors, broker=up.broker)
        at = plan.confined(at)
        secrets.write_client(security.guest(at.bootstrap_servers))
        log_file = data_dir / "logs" / "andon.log"
        log = MergedLog(log_file, sys.stdout, max(len(name) for name in plan.STAGES))
    environ, file = _environ()
    settings.check(stages, at, file, environ)
    specs = [plan.process(stage, at, up.ephemeral) for stage in stages]
    line = Line(up.fleet, up.events_retention_mib, at, Supervisor(specs, log, environ, keep=(lock,)))
    turning = observed.serve_own(ports[observed.PORT], data_dir, line.supervisor)
    stop = _stop_signals(line.supervisor.hurry)
    begun = asyncio.create_task(line.start())
    asked = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({begun, asked}, return_when=asyncio.FIRST_COMPLETED)
        if begun.done():
            begun.result()
            log.show(guide.guide(line.info, set(line.supervisor.stages)))
            await asked
        log.line("andon", "stopping")
    finally:
        for task in (begun, asked, turning):
            task.cancel()
        await asyncio.gather(begun, asked, turning, return_exceptions=True)
        line.withdraw()
        await line.supervisor.stop()
        log.line("andon", "stopped")
        log.close()


def _environ() -> tuple[Mapping[str, str], Path | None]:
    """What the stages inherit, without settings of some other cluster, and with the same configuration file."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(ELSEWHERE)}
    config = click.get_current_context().params.get("config")
    file = Path(config).absolute() if config else None
    return environ | ({"ANDON_CONFIG": str(file)} if file else {}) | {"PYTHONUNBUFFERED": "1"}, file


def _stop_signals(hurry: asyncio.Event) -> asyncio.Event:
    """Set by SIGTERM, Ctrl-C or the end of the terminal; the second one kills what has not stopped yet."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def handle() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, handle)
    return stop
