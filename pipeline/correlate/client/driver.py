"""Faust's consumer, made to read what is committed, to commit what it is told, and to lose nothing while it gets ready;
and its assignor, fit for a static member.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import faust
from faust.assignor.client_assignment import ClientMetadata
from faust.assignor.partition_assignor import PartitionAssignor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from pipeline.correlate.client.recoveries import Recoveries

POLL_SECONDS = 0.1

# From partition, what is committed, and the log's first offset to the offset at which reading begins.
Began = Callable[[int, int | None, int], int]


class ReadCommittedThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust sets the isolation level only in its exactly-once mode."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        return consumer

    def rejoin(self) -> None:
        """Ask the group for an assignment as of now."""

        async def ask() -> None:
            consumer = self._ensure_consumer()
            await consumer._client.force_metadata_update()  # of the topics that there are now
            consumer._coordinator.request_rejoin()

        asyncio.run_coroutine_threadsafe(ask(), self.thread_loop)


class ReadCommittedConsumer(driver.Consumer):  # type: ignore[misc]
    """A consumer that commits the offsets it is given, and loses nothing while Faust gets ready."""

    def getmany(self, timeout: float) -> Any:
        """Faust sleeps this long when a stream's buffer is full: a second would cap the rate of catching up."""
        return super().getmany(min(timeout, POLL_SECONDS))

    def _new_consumer_thread(self) -> ReadCommittedThread:
        return ReadCommittedThread(self, loop=self.loop, beacon=self.beacon)

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Faust resumes partitions, seeks, and then empties the streams' buffers: what came meanwhile would be lost.
        So nothing is taken until `resume_flow`, which always comes last."""
        self.stop_flow()
        super().resume_partitions(tps)

    async def seek_to_committed(self) -> Mapping[TP, int | None]:
        """To where the correlator says that reading begins: what is committed may be newer than the state."""
        committed: Mapping[TP, int | None] = await super().seek_to_committed()
        ours = [tp for tp in committed if not self._is_changelog_tp(tp)]
        starts: dict[TP, int | None] = {}
        for tp, low in (await self.earliest_offsets(*ours)).items() if ours else ():
            starts[tp] = self.transport.began(tp.partition, committed[tp], low or 0)
            await self._seek(tp, starts[tp])
        return {**committed, **starts}

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Faust remembers every offset that it saw no message for, until it commits them by itself, which it never does
        here. Each transaction leaves a marker: a tree of them would grow for ever, and be sorted with every partial."""

    async def commit_to(self, tp: TP, offset: int) -> bool:
        """Commit exactly this offset; False when the brokers refuse it."""
        return bool(await self._commit({tp: offset}))


class Transport(driver.Transport):  # type: ignore[misc]
    """Faust's transport with that consumer."""

    Consumer = ReadCommittedConsumer
    began: Began  # set by FaustPorts


class Assignor(PartitionAssignor):  # type: ignore[misc]
    """A static member gets what the group gave the process before it, whose web view may have had another address:
    Faust's own takes that for an error, and waits for an assignment for ever."""

    given: Any = None

    @property
    def _url(self) -> Any:
        return self.given or super()._url

    def on_assignment(self, assignment: Any) -> None:
        self.given = ClientMetadata.loads(self._decompress(assignment.user_data)).url
        super().on_assignment(assignment)


def app_of(settings: Mapping[str, Any], credentials: Any) -> tuple[faust.App, Recoveries]:
    """An app of Faust's on these, and its recoveries."""
    app = faust.App(broker_credentials=credentials, PartitionAssignor=Assignor, **settings)
    app.transport = Transport(app.conf.broker_consumer, app)
    return app, Recoveries(app)
