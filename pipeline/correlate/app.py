"""The Faust app: the only file that imports Faust. It moves bytes; what they mean is decided elsewhere.

Faust's own exactly-once mode and its acknowledgements are not used. Its consumer is put on read_committed, streams
acknowledge nothing, and offsets are committed when the correlator says so, behind its checkpoints.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import faust
import structlog
from faust.assignor.client_assignment import ClientMetadata
from faust.assignor.partition_assignor import PartitionAssignor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from pipeline.correlate import ports
from pipeline.correlate.checkpoint import Entry, Place, reached
from pipeline.correlate.commands import CommandsReader, read_audit
from pipeline.correlate.config import STAGE, CorrelateConfig
from pipeline.correlate.faust_settings import TABLE, TIMEOUT_SECONDS, faust_settings
from pipeline.correlate.known_halts import HaltsFollower, read_halts
from pipeline.correlate.layout import Layout, belongs_on
from pipeline.correlate.pages import View, bound, page
from pipeline.correlate.ports import AuditRecord, Bounds, CommandRecord, HaltRecord, HaltsRead, OutRecord
from pipeline.runtime.kafka import KafkaConfig, sasl_password, tls_context
from pipeline.runtime.lag import Lags
from pipeline.runtime.log_offsets import LogOffsets
from pipeline.wire import topics

POLL_SECONDS = 0.1
LAGGING_LOOKS = 100


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
    began: ports.Began  # set by FaustPorts: where the reading of a partition begins


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


class FaustPorts:
    """The ports of the correlator, and the stream that feeds it."""

    def __init__(
        self, config: CorrelateConfig, kafka: KafkaConfig, layout: Layout, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._config, self._kafka, self._log = config, kafka, log
        self._halts, self._commands = HaltsFollower(kafka), CommandsReader(kafka)
        self._lags = Lags(STAGE, kafka.topic_prefix)
        self._logs = LogOffsets(kafka, "andon-correlate-ends")
        self._partials, self._partitions = kafka.topic_prefix + topics.PARTIALS.name, layout.partitions
        settings = faust_settings(config, kafka, layout)
        self.app = faust.App(broker_credentials=_credentials(kafka), PartitionAssignor=Assignor, **settings)
        self.app.transport = Transport(self.app.conf.broker_consumer, self.app)
        bound(self.app.web, config)
        self._changelog_ends: dict[int, int] = {}  # by partition: behind what was written last
        self._topics = {topic.name: self._bytes_topic(topic.name) for topic in topics.ALL}
        self._table = self.app.Table("state", partitions=layout.partitions, **TABLE)
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def _bytes_topic(self, name: str) -> Any:
        full = self._kafka.topic_prefix + name
        raw = {"key_serializer": "raw", "value_serializer": "raw"}
        return self.app.topic(full, key_type=bytes, value_type=bytes, allow_empty=True, **raw)

    # -- wiring

    def connect(
        self,
        handle: ports.Handle,
        let_go: ports.LetGo,
        recover: ports.Recover,
        began: ports.Began,
        views: Mapping[str, View],
    ) -> None:
        """Say who handles partials, hears that partitions go, recovers, where reading begins; and what is served."""
        self.app.transport.began = began

        async def consume(stream: Any) -> None:
            async with self._fatal():
                async for event in stream.noack().events():
                    message = event.message
                    if message.generation_id == self.app.consumer_generation_id:
                        await handle(record := ports.PartialRecord.of(message))
                        self._lags.behind.read((self._partials, record.partition), record.appended_at_ms)

        async def recovered() -> None:
            async with self._fatal():
                self._changelog_ends.clear()
                table = dict(self._table.data)
                await recover(await self._bounds(reached(table)), table)

        self.app.agent(self._topics[topics.PARTIALS.name], name="correlate")(consume)
        self._table.on_recover(recovered)
        self.app.on_partitions_revoked.connect(lambda *_, **__: let_go(), weak=False)
        for path, view in views.items():
            self.app.page(path, name=path)(page(view, self._config))

    @asynccontextmanager
    async def _fatal(self) -> AsyncIterator[None]:
        """Hands the exception of its block to whoever watches the app: Faust would log it and go on."""
        try:
            yield
        except Exception as error:
            if not self.failure.done():
                self.failure.set_exception(error)
            raise

    async def _bounds(self, read: Mapping[int, Place]) -> dict[int, Bounds]:
        """Of our partitions. A broker that was cut off says for a moment that a log ends where it did when it led it:
        it is asked until the log holds what was read of it, or so often that it must have been cut short."""
        for _ in range(LAGGING_LOOKS):
            found = await self._bounds_now()
            if not any(found[at].is_behind(place) for at, place in read.items() if at in found):
                break
            await asyncio.sleep(POLL_SECONDS)
        return found

    async def _bounds_now(self) -> dict[int, Bounds]:
        consumer = self.app.consumer
        ours = [tp for tp in consumer.assignment() if tp.topic == self._partials]
        low, high = await consumer.earliest_offsets(*ours), await consumer.highwaters(*ours)
        log_id = await self._log_id()
        return {tp.partition: Bounds(low[tp] or 0, high[tp] or 0, log_id) for tp in ours}

    # -- ports

    async def publish(self, record: OutRecord) -> None:
        """See ports.Ports."""
        topic, key, value, headers = record
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await (await self._topics[topic].send(key=key, value=value, headers=list(headers), force=True))

    async def store(self, partition: int, entries: Sequence[Entry]) -> bool:
        """See ports.Ports. The partition is given, so it may be called outside of the stream, by a timer. What the
        table holds in memory stays as it was recovered: Faust reads the rest of the log when partitions change hands,
        and an entry that is ahead of its log would be taken for what was recovered."""
        sent = [self._table.send_changelog(partition, key, value) for key, value in entries]
        async with asyncio.timeout(TIMEOUT_SECONDS):
            end = 1 + max([int(found.offset) for found in await asyncio.gather(*sent)])
        begin = self._changelog_ends.get(partition, end - len(entries))
        self._changelog_ends[partition] = end
        return end - begin == len(entries)

    async def commit(self, partition: int, offset: int) -> bool:
        """See ports.Ports."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return bool(await self.app.consumer.commit_to(TP(self._partials, partition), offset))

    async def read_halts(self) -> Sequence[HaltRecord]:
        """See ports.Ports."""
        return await asyncio.to_thread(read_halts, self._kafka)

    async def follow_halts(self, anew: bool) -> HaltsRead:
        """See ports.Ports."""
        return await asyncio.to_thread(self._halts.read, anew)

    async def read_audit(self) -> Sequence[AuditRecord]:
        """See ports.Ports."""
        return await asyncio.to_thread(read_audit, self._kafka)

    async def read_commands(self, since: Mapping[int, int]) -> Sequence[CommandRecord]:
        """See ports.Ports."""
        return await asyncio.to_thread(self._commands.read, since)

    def partition_of(self, fleet: str) -> int | None:
        """See ports.Ports."""
        cluster = self.app.consumer._thread._ensure_consumer()._client.cluster
        if len(cluster.partitions_for_topic(self._partials) or ()) != self._partitions:
            return None
        return belongs_on(fleet, self._partitions)

    async def _log_id(self) -> str:
        return await asyncio.to_thread(self._logs.log_id, self._partials)

    async def look(self) -> dict[int, tuple[int, int, int]]:
        """Where each assigned partition stands, see reading.Standing; and the lag, as a metric.

        Raises:
            KafkaException: when the brokers do not say.
            TimeoutError: likewise.
        """
        consumer = self.app.consumer
        ours = [tp for tp in consumer.assignment() if tp.topic == self._partials]
        places = {tp: await consumer.position(tp) or 0 for tp in ours}
        ends = await asyncio.to_thread(self._logs.ends, [(tp.topic, tp.partition) for tp in ours])
        self._lags.show({tp: ends[tp].written - place for tp, place in places.items()})
        return {tp.partition: (place, *ends[tp]) for tp, place in places.items()}

    def rejoin(self) -> None:
        """Ask the group for an assignment as of now."""
        self.app.consumer._thread.rejoin()

    async def is_same_log(self, log_ids: Collection[str]) -> bool:
        """Whether the topic is the one that was there, as far as can be known. Raises KafkaException, TimeoutError."""
        ours = [(tp.topic, tp.partition) for tp in self.app.consumer.assignment() if tp.topic == self._partials]
        return {await self._log_id()} >= set(log_ids) and not await asyncio.to_thread(self._logs.made_anew, ours)

    # -- life

    async def start(self) -> None:
        """Returns once the tables are recovered and partials flow."""
        self.app.finalize()
        await self.app.start()

    async def stop(self) -> None:
        """Leave the group's partitions as they are: a static member comes back to them."""
        await asyncio.to_thread(self._halts.close)
        await asyncio.to_thread(self._commands.close)
        await self.app.stop()

    async def ended(self) -> None:
        """Raises when the app cannot go on."""
        while not self.failure.done() and not self.app.should_stop:
            await asyncio.wait([self.failure], timeout=0.2)
        if self.failure.done():
            self.failure.result()
        raise RuntimeError(f"Faust stopped: {self.app.crash_reason!r}")


def _credentials(kafka: KafkaConfig) -> Any:
    context = tls_context(kafka) if kafka.security_protocol.endswith("SSL") else None
    if kafka.security_protocol.startswith("SASL"):
        user = {"username": kafka.sasl_username, "password": sasl_password(kafka)}
        return faust.SASLCredentials(ssl_context=context, mechanism=kafka.sasl_mechanism, **user)
    return faust.SSLCredentials(context) if context is not None else None
