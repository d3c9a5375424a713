"""Which transactions are open, whose they are, and when they end by themselves: what hides all that follows them from
readers of committed data. No client library asks for it (KIP-664), so two of Kafka's requests are spelt out here."""

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError as AioKafkaError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

from pipeline.doctor.wire_client import wire_client
from pipeline.runtime.kafka import KafkaConfig

ONGOING = "Ongoing"
_TEXT = CompactString("utf-8")


class Transaction(NamedTuple):
    """One that is open; times in unix ms. `places` are the topic partitions, as the cluster names them, that it wrote
    to."""

    transactional_id: str
    producer_id: int
    began_ms: int
    ends_ms: int
    places: frozenset[tuple[str, int]]


def open_transactions(kafka: KafkaConfig) -> list[Transaction] | None:
    """Those that this account may see; None when the brokers do not tell."""
    return asyncio.run(_open_transactions(kafka))


async def _open_transactions(kafka: KafkaConfig) -> list[Transaction] | None:
    found: list[Transaction] = []
    client = wire_client(kafka)
    try:
        await client.bootstrap()
        for broker in client.cluster.brokers():
            found += await _of(client, broker.nodeId)
    except (AioKafkaError, OSError, NotImplementedError):
        return None
    finally:
        await client.close()
    return found


async def _of(client: AIOKafkaClient, node: int) -> list[Transaction]:
    """Of those that this broker coordinates."""
    listed = await client.send(node, _List([ONGOING]))
    names = [name for name, _, state, _ in listed.transactions if state == ONGOING]
    if not names:
        return []
    described = await client.send(node, _Describe(names))
    return [_read(row) for row in described.transactions if not row[0]]


def _read(row: Any) -> Transaction:
    _, name, _, timeout_ms, began_ms, producer_id, _, topics, _ = row
    places = frozenset((topic, partition) for topic, partitions, _ in topics for partition in partitions)
    return Transaction(name, producer_id, began_ms, began_ms + timeout_ms, places)


def without_prefix(one: Transaction, prefix: str) -> Transaction:
    """With topics named as Andon does."""
    return one._replace(places=frozenset((topic.removeprefix(prefix), number) for topic, number in one.places))


def holding(transactions: Iterable[Transaction], place: tuple[str, int]) -> list[Transaction]:
    """Those that wrote to this partition, the oldest first."""
    return sorted((one for one in transactions if place in one.places), key=lambda one: one.began_ms)


class _Listed(Response):  # type: ignore[misc]
    API_KEY = 66
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("unknown_state_filters", CompactArray(_TEXT)),
        (
            "transactions",
            CompactArray(("id", _TEXT), ("producer_id", Int64), ("state", _TEXT), ("tags", TaggedFields)),
        ),
        ("tags", TaggedFields),
    )


class _List0(RequestStruct):  # type: ignore[misc]
    API_KEY = 66
    API_VERSION = 0
    RESPONSE_TYPE = _Listed
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        ("state_filters", CompactArray(_TEXT)), ("producer_id_filters", CompactArray(Int64)), ("tags", TaggedFields)
    )


class _List(Request[_List0]):  # type: ignore[misc]
    API_KEY = 66

    def __init__(self, states: list[str]) -> None:
        self._states = states

    def build(self, request_struct_class: type[_List0]) -> _List0:
        return request_struct_class(self._states, [], {})


class _Described(Response):  # type: ignore[misc]
    API_KEY = 65
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "transactions",
            CompactArray(
                ("error_code", Int16),
                ("id", _TEXT),
                ("state", _TEXT),
                ("timeout_ms", Int32),
                ("start_time_ms", Int64),
                ("producer_id", Int64),
                ("producer_epoch", Int16),
                (
                    "topics",
                    CompactArray(("topic", _TEXT), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _Describe0(RequestStruct):  # type: ignore[misc]
    API_KEY = 65
    API_VERSION = 0
    RESPONSE_TYPE = _Described
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(("transactional_ids", CompactArray(_TEXT)), ("tags", TaggedFields))


class _Describe(Request[_Describe0]):  # type: ignore[misc]
    API_KEY = 65

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_Describe0]) -> _Describe0:
        return request_struct_class(self._names, {})
