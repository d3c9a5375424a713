"""The Faust app: the only file that imports Faust. It moves bytes; what they mean is decided elsewhere.

Faust's own exactly-once mode and its acknowledgements are not used. Its consumer is put on read_committed, streams
acknowledge nothing, and offsets are committed when the correlator says so, behind its checkpoints.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import faust
import structlog
from faust.types import TP

from pipeline.correlate.client.driver import Began, app_of
from pipeline.correlate.commands import CommandsReader, read_audit
from pipeline.correlate.config import STAGE, CorrelateConfig
from pipeline.correlate.faust_settings import TABLE, TIMEOUT_SECONDS, faust_settings
from pipeline.correlate.known_halts import HaltsFollower, read_halts
from pipeline.correlate.layout import Layout, belongs_on
from pipeline.correlate.pages import View, bound, page
from pipeline.correlate.ports import (
    AuditRecord,
    Bounds,
    CommandRecord,
    Entry,
    HaltRecord,
    HaltsRead,
    Handle,
    LetGo,
    OutRecord,
    PartialRecord,
    Recover,
    is_behind,
)
from pipeline.runtime.kafka import KafkaConfig, sasl_password, tls_context
from pipeline.runtime.lag import Lags
from pipeline.runtime.log_offsets import LogOffsets
from pipeline.wire import topics

POLL_SECONDS = 0.1
LAGGING_SECONDS = 10.0


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
        self.app, self._recoveries = app_of(faust_settings(config, kafka, layout), _credentials(kafka))
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
        handle: Handle,
        let_go: LetGo,
        recover: Recover,
        began: Began,
        views: Mapping[str, View],
    ) -> None:
        """Say who handles partials, hears that partitions go, recovers, where reading begins; and what is served."""
        self.app.transport.began = began

        async def consume(stream: Any) -> None:
            async with self._fatal():
                async for event in stream.noack().events():
                    message = event.message
                    if message.generation_id == self.app.consumer_generation_id:
                        await handle(record := PartialRecord.of(message))
                        self._lags.behind.read((self._partials, record.partition), record.appended_at_ms)

        async def recovered() -> None:
            async with self._fatal():
                await self._recoveries.begin()
                self._changelog_ends.clear()
                table = dict(self._table.data)
                await recover(await self._bounds(table), table)

        def revoked(*_: Any, **__: Any) -> None:
            self._recoveries.drop()
            let_go()

        self.app.agent(self._topics[topics.PARTIALS.name], name="correlate")(consume)
        self._table.on_recover(recovered)
        self.app.on_partitions_revoked.connect(revoked, weak=False)
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

    async def _bounds(self, table: Mapping[bytes, bytes]) -> dict[int, Bounds]:
        """Of our partitions. A broker that was cut off says for a moment that a log ends where it did when it led it:
        it is asked until the log holds what was read of it, or for so long that it must have been cut short."""
        end = time.monotonic() + LAGGING_SECONDS
        while True:
            found = await self._bounds_now()
            if not is_behind(found, table) or time.monotonic() > end:
                return found
            await asyncio.sleep(POLL_SECONDS)

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

    def unrecovered(self) -> int:
        """How many entries of the state are still to be read, as far as is known."""
        return self._recoveries.left()

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
