"""The broker's contract, topics: limits, timestamps, offsets, retention, compaction, on both brokers alike."""

import time
from typing import Any

from confluent_kafka import (
    OFFSET_END,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    Message,
    Producer,
    TopicPartition,
)
from support.brokers import Clients, embedded_cannot, take, values
from support.waiting import DEADLINE_SECONDS, until

from pipeline.wire.spans import DAY_MS

MIB = 1 << 20


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def send_one(producer: Producer, topic: str, value: bytes | None = b"x", **more: Any) -> KafkaError | None:
    """What the broker answers: None when it has the record."""
    answers: list[KafkaError | None] = []
    producer.produce(topic, value, on_delivery=lambda error, _: answers.append(error), **more)
    assert producer.flush(DEADLINE_SECONDS) == 0
    return answers[0]


def test_a_record_comes_back_as_it_was(clients: Clients) -> None:
    """Key, value, headers, none and empty among them, under every compression that clients of ours use."""
    topic = clients.topic()
    sent: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]] = [
        (b"key", b"value", [("reason", b"invalid_json"), ("reason", b"\x00\xff")]),
        (None, b"", []),
        (b"", None, [("empty", b"")]),
        (b"large", bytes(range(256)) * 2_000, []),
    ]
    codecs = ("none", "gzip", "lz4", "zstd", "snappy")
    for codec in codecs:
        producer = clients.producer(**{"compression.type": codec})
        for key, value, headers in sent:
            assert send_one(producer, topic, value, key=key, headers=headers) is None
    found = [(m.key(), m.value(), m.headers() or []) for m in take(clients.reader(topic), len(sent) * len(codecs))]
    assert found == sent * len(codecs)


def test_a_backlog_larger_than_the_clients_own_limit_is_read(clients: Clients) -> None:
    """120 MB wait: the embedded broker answers with all of it at once, and librdkafka by default takes 100 MB."""
    topic, count = clients.topic(), 128
    producer = clients.producer(**{"compression.type": "none"})
    clients.send(topic, *[bytes(900 << 10)] * count, producer=producer)
    assert len(take(clients.reader(topic), count)) == count


def test_a_topic_sets_its_own_limit(clients: Clients) -> None:
    """A record above the topic's limit is refused by name; the dead letter's limit takes one of 5 MB."""
    usual, large = clients.topic("usual"), clients.topic("large", max_message_bytes=str(16 * MIB))
    producer = clients.producer(**{"message.max.bytes": 16 * MIB, "compression.type": "none"})
    refused = send_one(producer, usual, bytes(2 * MIB))
    assert refused is not None
    assert refused.code() == KafkaError.MSG_SIZE_TOO_LARGE
    assert send_one(producer, large, bytes(5 * MIB)) is None
    (message,) = take(clients.reader(large), 1)
    assert len(message.value() or b"") == 5 * MIB


def test_arrival_time_is_the_brokers(clients: Clients) -> None:
    """With LogAppendTime what a client claims does not count, however old, and nothing expires by it."""
    topic = clients.topic(message_timestamp_type="LogAppendTime", retention_ms=str(2 * DAY_MS))
    producer = clients.producer()
    before = now_ms()
    for claimed in (1_000, before - 30 * DAY_MS, before - DAY_MS, before):
        assert send_one(producer, topic, timestamp=claimed) is None
    found = take(clients.reader(topic), 4)
    assert [message.timestamp()[0] for message in found] == [TIMESTAMP_LOG_APPEND_TIME] * 4
    assert all(before - 1_000 <= message.timestamp()[1] <= now_ms() + 1_000 for message in found)


def test_a_record_keeps_its_old_timestamp(clients: Clients) -> None:
    """With CreateTime a client's own time is kept, and a record of last month stays while retention has no end."""
    topic = clients.topic(message_timestamp_type="CreateTime", retention_ms="-1")
    claimed = now_ms() - 30 * DAY_MS
    assert send_one(clients.producer(), topic, timestamp=claimed) is None
    (message,) = take(clients.reader(topic), 1)
    assert message.timestamp() == (TIMESTAMP_CREATE_TIME, claimed)


@embedded_cannot("takes any timestamp")
def test_the_far_future_is_refused(clients: Clients) -> None:
    """With CreateTime a record stamped a day ahead is refused by name: it would never expire."""
    topic = clients.topic(message_timestamp_type="CreateTime")
    refused = send_one(clients.producer(), topic, timestamp=now_ms() + DAY_MS)
    assert refused is not None
    assert refused.code() == KafkaError.INVALID_TIMESTAMP


def test_offsets_are_found_by_time(clients: Clients) -> None:
    """The first record at or after a moment; the end when there is none."""
    topic = clients.topic(message_timestamp_type="LogAppendTime")
    producer = clients.producer()
    for _ in range(3):
        assert send_one(producer, topic) is None
        sent_ms = now_ms()
        until("the clock has moved on, so that arrival times differ", lambda sent=sent_ms: now_ms() > sent)
    reader = clients.reader(topic)
    stamps = [message.timestamp()[1] for message in take(reader, 3)]

    def at(stamp: int) -> int:
        (found,) = reader.offsets_for_times([TopicPartition(topic, 0, stamp)], timeout=DEADLINE_SECONDS)
        return int(found.offset)

    assert [at(0), at(stamps[1]), at(stamps[1] + 1), at(stamps[2])] == [0, 1, 2, 2]
    assert at(stamps[2] + 60_000) == OFFSET_END


def test_watermarks_and_lag(clients: Clients) -> None:
    """A group's lag is the end less what it committed, transaction markers included in the offsets."""
    topic = clients.topic()
    clients.send(topic, *"abcde")
    producer = clients.producer("marker")
    producer.begin_transaction()
    producer.produce(topic, "f")
    producer.commit_transaction(DEADLINE_SECONDS)
    until("record and marker are there", lambda: clients.ends(topic) == (0, 7))  # the marker follows the commit
    member = clients.member("lag", "0")
    member.subscribe([topic])
    assert values(take(member, 6)) == list("abcdef")
    member.commit(offsets=[TopicPartition(topic, 0, 4)], asynchronous=False)
    (committed,) = member.committed([TopicPartition(topic, 0)], timeout=DEADLINE_SECONDS)
    assert clients.ends(topic)[1] - committed.offset == 3


def test_retention_by_size_drops_the_oldest(clients: Clients) -> None:
    """Past `retention.bytes` the low watermark rises; what is left is the newest, and readers go on there."""
    topic = clients.topic(retention_bytes=str(2 * MIB), segment_bytes=str(MIB))
    producer = clients.producer(**{"compression.type": "none"})
    for number in range(80):
        assert send_one(producer, topic, b"%04d" % number + bytes(100_000)) is None
    until("the oldest records are gone", lambda: clients.ends(topic)[0] > 0)
    low, high = clients.ends(topic)
    assert (high, low < 80) == (80, True)
    (first,) = take(clients.reader(topic, offset=0), 1)
    assert first.offset() >= low
    assert (first.value() or b"")[:4] == b"%04d" % first.offset()


def test_retention_by_time_drops_the_oldest(clients: Clients) -> None:
    """Past `retention.ms` records go; the end stays where it is."""
    topic = clients.topic(retention_ms="1000", segment_ms="500", message_timestamp_type="LogAppendTime")
    clients.send(topic, *"abc")
    until("all three are gone", lambda: clients.ends(topic)[0] >= 3)
    assert clients.ends(topic)[1] >= 3


def test_compaction_keeps_the_newest_of_each_key(clients: Clients) -> None:
    """Older records of a key go, the newest of each stays, a tombstone removes its key: what `fleet.halts` lives by."""
    small = {"segment_ms": "200", "min_cleanable_dirty_ratio": "0.01", "delete_retention_ms": "100"}
    topic = clients.topic(cleanup_policy="compact", max_compaction_lag_ms="500", **small)
    producer = clients.producer()
    for number in range(30):
        assert send_one(producer, topic, b"%d" % number, key=b"k%d" % (number % 3)) is None
    assert send_one(producer, topic, None, key=b"k2") is None

    def kept() -> list[tuple[bytes | None, bytes | None]]:
        # A segment is rolled by a later record, and the last one is never compacted.
        assert send_one(producer, topic, b"roll", key=b"roll") is None
        reader: Consumer = clients.reader(topic)
        messages: list[Message] = take(reader, clients.ends(topic)[1], 1)
        return [(m.key(), m.value()) for m in messages if m.key() != b"roll"]

    until("only the newest are left", lambda: kept() == [(b"k0", b"27"), (b"k1", b"28")])
