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

from pipeline.local import datadir, guide, plan, settings, stack
from pipeline.local.doors import Doors
from pipeline.local.kafka import kinds as kafka_line
from pipeline.local.kafka.kinds import BrokerKind
from pipeline.local.mergedlog import MergedLog
from pipeline.local.plan import Place, Stage
from pipeline.local.small_topics import make_topics
from pipeline.local.supervisor import Supervisor
from pipeline.runtime.config import configured
from pipeline.runtime.errors import AndonError, ConfigError

Doc = msgspec.Meta
Port = Annotated[int, Doc(ge=0, le=65535, description="fixed port; 0 takes the one used here last, or any free one")]

READY_SECONDS = 90.0  # each; an idle machine needs five seconds for all, a busy one much more
MIGRATE_SECONDS = 90.0
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
    fixed = {name: getattr(up, f"{name}_port", 0) for name in names}
    with datadir.writable(data_dir):
        doors = Doors(data_dir, [*names, CONTROLLER_PORT], fixed, plan.KEPT)
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
    line = Line(up, stages, at, Supervisor(specs, log, environ, keep=(lock,)))
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
        for task in (begun, asked):
            task.cancel()
        await asyncio.gather(begun, asked, return_exceptions=True)
        line.withdraw()
        await line.supervisor.stop()
        log.line("andon", "stopped")
        log.close()


class Line:
    """The line while it starts and runs; keeps `stack.json` true from the moment that all is ready."""

    def __init__(self, up: UpConfig, stages: list[Stage], at: Place, supervisor: Supervisor) -> None:
        self._up = up
        self._at = at
        self._ready = False
        self.supervisor = supervisor
        runs = {name: stage.info for name, stage in supervisor.stages.items()}
        self.info = plan.describe(at, up.fleet, runs)
        supervisor.on_change = self._publish

    def _publish(self) -> None:
        if self._ready:
            try:
                stack.save(self.info)
            except OSError as error:  # a full disk must not end the supervision
                self.supervisor.log.line_seldom("andon", f"stack.json cannot be written: {error.strerror}")

    async def start(self) -> None:
        """Broker and topics, then every stage at once; the archive after ClickHouse and its schema.

        Raises:
            AndonError: when something does not come up.
        """
        supervisor = self.supervisor
        log_to = self.info.log_file
        supervisor.log.line("andon", f"starting {', '.join(supervisor.stages)}; log in {log_to}")
        await supervisor.start(supervisor.phase(plan.BROKER_PHASE), READY_SECONDS)
        await asyncio.to_thread(self._at.security.begin, self._at.bootstrap_servers)
        await asyncio.to_thread(make_topics, self._at.kafka, self._up.events_retention_mib)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._start_store())
                group.create_task(self._start_stages(after_store=False))
        except* AndonError as failed:
            raise failed.exceptions[0] from None
        self._ready = True
        with datadir.writable(self._at.data_dir):
            guide.write_env(self.info, set(supervisor.stages))
        self._publish()

    async def _start_store(self) -> None:
        supervisor = self.supervisor
        if stores := supervisor.phase(plan.STORE_PHASE):
            await supervisor.start(stores, READY_SECONDS)
            try:
                await supervisor.run_to_end("migrate", plan.migrate(self._at), MIGRATE_SECONDS)
            except AndonError as error:  # ClickHouse is about to be stopped, and the advice needs it
                raise AndonError(f"{error}; {plan.repair(self._at)}") from None
            await self._start_stages(after_store=True)

    async def _start_stages(self, after_store: bool) -> None:
        stages = self.supervisor.phase(plan.STAGE_PHASE)
        wanted = [stage for stage in stages if bool(plan.STAGES[stage.spec.name].needs) == after_store]
        await self.supervisor.start(wanted, READY_SECONDS)

    def withdraw(self) -> None:
        """From now on nobody should rely on the line."""
        self._ready = False
        try:
            stack.remove(self._at.data_dir)
        except ConfigError as error:  # the stages must be stopped all the same
            self.supervisor.log.line("andon", f"stack.json cannot be removed: {error}")


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
