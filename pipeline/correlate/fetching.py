"""aiokafka's fetching, made fit for brokers that are less exact about transactions than Apache Kafka.

A fetch response lists the aborted transactions that reach into the fetched range, and the client drops their records.
The embedded broker lists every one there ever was, and aiokafka then drops all later records of that producer, without
a word. What a listed transaction that began before the fetch means can be told from the markers in the log: it is over
when a marker of its producer has been passed since, or when that producer's next marker is a commit.

The embedded broker also answers fetches at the end of a transactional log at once, empty, instead of waiting; the
client would ask again hundreds of times a second.

On a broker that lists only what it should, and waits, nothing is changed by this.

And each record says from which offset on there is no other before it, so that whoever takes records in can tell when
some were dropped on the way: Faust drops what it has fetched whenever partitions change hands, and seeks back.

And a static member whose place another process has taken is told so: its heartbeats say which one it is, and the error
has a name.
"""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Iterable
from typing import Any

from aiokafka import errors
from aiokafka.consumer import fetcher, group_coordinator
from aiokafka.protocol import api, group, types

from pipeline.correlate.config import GROUP
from pipeline.runtime.errors import FatalStageError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.quiet import pause_seconds
from pipeline.runtime.reading.slots import is_fenced, taken

Aborted = tuple[int, int]  # producer id, first offset of the transaction


class Passed:
    """The last transaction marker of every producer that was passed on one partition, reading without a gap."""

    def __init__(self) -> None:
        self._markers: dict[int, int] = {}
        self._reached = -1

    def still_true(
        self, fetch_offset: int, aborted: Iterable[Aborted], markers: Iterable[tuple[int, int, bool]]
    ) -> list[Aborted]:
        """Those of the listed transactions that may have records in this response.

        Args:
            fetch_offset: where the response begins.
            aborted: as the broker lists them.
            markers: (offset, producer id, whether it is an abort) of the response's markers, in order.
        """
        if fetch_offset < self._reached:
            self._markers.clear()  # a seek backwards: what lies ahead has not been passed
        seen = list(markers)
        next_is_abort: dict[int, bool] = {}
        for _, producer, is_abort in seen:
            next_is_abort.setdefault(producer, is_abort)
        kept = [
            (producer, first)
            for producer, first in aborted
            if first >= fetch_offset or (self._markers.get(producer, -1) < first and next_is_abort.get(producer, True))
        ]
        self._reached = fetch_offset
        for offset, producer, _ in seen:
            self._markers[producer] = offset
            self._reached = offset + 1
        return kept


class Batches:
    """Record batches that can be looked over before they are consumed."""

    def __init__(self, records: Any) -> None:
        self._batches: list[Any] = []
        while records.has_next():
            self._batches.append(records.next_batch())

    def __iter__(self) -> Any:
        return iter(self._batches)

    def has_next(self) -> bool:
        """As aiokafka's MemoryRecords."""
        return bool(self._batches)

    def next_batch(self) -> Any:
        """As aiokafka's MemoryRecords."""
        return self._batches.pop(0)


class CommittedRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """One partition's share of a fetch response."""

    # By partition; a process has one consumer that reads transactions.
    passed: dict[Any, Passed] = {}  # noqa: RUF012
    newest: dict[Any, "CommittedRecords"] = {}  # noqa: RUF012
    came_at = 0.0  # when the newest response with records did; monotonic seconds
    _after: int  # from here on no record came yet

    def __init__(self, tp: Any, records: Any, aborted: Iterable[Aborted] | None, fetch_offset: int, *rest: Any) -> None:
        CommittedRecords.came_at = time.monotonic()
        batches = Batches(records)
        self._is_abort = {
            batch.base_offset: super(CommittedRecords, self)._contains_abort_marker(batch)
            for batch in batches
            if batch.is_control_batch
        }
        markers = [(b.base_offset, b.producer_id, self._is_abort[b.base_offset]) for b in batches if b.is_control_batch]
        passed = self.passed.setdefault(tp, Passed())
        super().__init__(tp, batches, passed.still_true(fetch_offset, aborted or (), markers), fetch_offset, *rest)
        before = self.newest.get(tp)
        reads_on = before is not None and before.next_fetch_offset == fetch_offset
        self._after = before._after if before is not None and reads_on else fetch_offset
        self.newest[tp] = self

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        """With `after` as its checksum, which records have had none of for long: Faust hands on no field of ours."""
        found = dataclasses.replace(super()._consumer_record(tp, record), checksum=self._after)
        self._after = record.offset + 1
        return found

    def _contains_abort_marker(self, next_batch: Any) -> bool:
        return bool(self._is_abort[next_batch.base_offset])  # a batch gives its record only once


class FencedInstanceId(errors.BrokerResponseError):  # type: ignore[misc]
    """Another process has joined the group under this one's group.instance.id."""

    errno = 82
    message = "FENCED_INSTANCE_ID"
    description = "static member fenced by another process of the same group.instance.id"


class HeartbeatResponse(api.Response):  # type: ignore[misc]
    """Of version 3."""

    API_KEY, API_VERSION = 12, 3
    SCHEMA = group.HeartbeatResponse_v1.SCHEMA


class HeartbeatStruct(api.RequestStruct):  # type: ignore[misc]
    """Version 3, the first that says which static member it is: only then the broker says that another process has
    taken its place. To one that does not say so it is a stranger, who joins again and throws the other out in turn."""

    API_KEY, API_VERSION = 12, 3
    RESPONSE_TYPE = HeartbeatResponse
    SCHEMA = types.Schema(
        ("group", types.String("utf-8")),
        ("generation_id", types.Int32),
        ("member_id", types.String("utf-8")),
        ("group_instance_id", types.String("utf-8")),
    )


class StaticHeartbeat(api.Request[HeartbeatStruct]):  # type: ignore[misc]
    """aiokafka's, with the name of this process's one member."""

    API_KEY = 12
    instance_id = ""

    def __init__(self, group_id: str, generation_id: int, member_id: str) -> None:
        self._place = group_id, generation_id, member_id

    def build(self, request_struct_class: type[HeartbeatStruct]) -> HeartbeatStruct:
        """As aiokafka's requests."""
        return request_struct_class(*self._place, self.instance_id)


def fatal(error: Exception, kafka: KafkaConfig, slot: str) -> FatalStageError:
    """What ends the stage; when that is another process in its slot, in the words of the other stages. Asks Kafka."""
    found = FatalStageError(f"{type(error).__name__}: {error}")
    return taken(kafka, GROUP, slot, found) if is_fenced(str(found)) else found


_fetch = fetcher.Fetcher._proc_fetch_request


async def _patient_fetch(self: Any, *request: Any) -> Any:
    got_records = await _fetch(self, *request)
    if not got_records:
        # aiokafka cancels a fetch to stop and awaits it, so it must end quietly, as its own does: a cancellation that
        # comes through ends the consumer's thread before that has closed its connections.
        with contextlib.suppress(asyncio.CancelledError):
            # What a record that comes meanwhile has to wait.
            await asyncio.sleep(pause_seconds(time.monotonic() - CommittedRecords.came_at))
    return got_records


def install(instance_id: str) -> None:
    """Make aiokafka use it, in this process, whose one member of a group has this group.instance.id."""
    fetcher.PartitionRecords = CommittedRecords
    fetcher.Fetcher._proc_fetch_request = _patient_fetch
    StaticHeartbeat.instance_id = instance_id
    group_coordinator.HeartbeatRequest = StaticHeartbeat
    errors.kafka_errors.setdefault(FencedInstanceId.errno, FencedInstanceId)
