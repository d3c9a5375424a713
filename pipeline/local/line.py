"""The line of one machine while it starts and runs."""

import asyncio

from pipeline.local import datadir, guide, plan, stack
from pipeline.local.observed import write_prometheus
from pipeline.local.plan import Place
from pipeline.local.small_topics import make_topics
from pipeline.local.supervisor import Supervisor
from pipeline.runtime.errors import AndonError, ConfigError

# An idle machine needs five seconds for all; one with forty processes that want its two cores took 100 for the schema.
READY_SECONDS = 300.0  # each
MIGRATE_SECONDS = 600.0


class Line:
    """The line while it starts and runs; keeps `stack.json` true from the moment that all is ready."""

    def __init__(self, fleet: str, events_retention_mib: int, at: Place, supervisor: Supervisor) -> None:
        self._events_retention_mib = events_retention_mib
        self._at = at
        self._ready = False
        self.supervisor = supervisor
        runs = {name: stage.info for name, stage in supervisor.stages.items()}
        self.info = plan.describe(at, fleet, runs)
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
        await asyncio.to_thread(make_topics, self._at.kafka, self._events_retention_mib)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._start_store())
                group.create_task(self._start_deciding())
        except* AndonError as failed:
            raise failed.exceptions[0] from None
        self._ready = True
        with datadir.writable(self._at.data_dir):
            guide.write_env(self.info, set(supervisor.stages))
            write_prometheus(self.info)
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

    async def _start_deciding(self) -> None:
        await self._start_stages(after_store=False)
        await self.supervisor.start(self.supervisor.phase(plan.WATCH_PHASE), READY_SECONDS)

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
