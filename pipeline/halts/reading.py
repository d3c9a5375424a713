"""What Kafka has of halts, read to the end and in time."""

from collections.abc import Iterator

from confluent_kafka import Message

from pipeline.halt.proposals import NEWEST_ENTRIES
from pipeline.halts.known import Known as Known  # for who reads
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.topic_reader import TopicReader
from pipeline.runtime.waiting import Deadline
from pipeline.wire import topics

CLIENT = "andon-halts"
READ_SECONDS = 8.0  # all topics together; to reach the brokers is in it
SETTINGS = {"fetch.wait.max.ms": 50, "fetch.queue.backoff.ms": 2}


def read(kafka: KafkaConfig, known: Known, seconds: float = READ_SECONDS) -> Known:
    """Both topics of the safety record to their ends; the newest of the audit, and acknowledgements as it may.

    Raises:
        AndonError: when the safety record cannot be read in time.
    """
    deadline = Deadline(seconds)
    with TopicReader(kafka, CLIENT, settings=SETTINGS) as reader:
        names = [kafka.topic_prefix + topic.name for topic in (topics.VERDICTS, topics.HALTS)]
        puts = dict(zip(names, (known.put_word, known.put_halt), strict=True))
        reader.start(reader.whole(*names, seconds=deadline.left_seconds))
        for messages in _messages(reader, deadline):
            for message in messages:
                puts[message.topic() or ""](_bytes(message.key()), message.value())
        _add_audit(reader, kafka, known, deadline)
        try:
            acks = kafka.topic_prefix + topics.HALT_ACKS.name
            reader.start(reader.whole(acks, seconds=deadline.left_seconds))
            for messages in reader.to_end(deadline.left_seconds):
                for message in messages:
                    known.put_ack(_bytes(message.key()), message.value())
        except AndonError as error:
            known.problems.append(f"who obeys is unknown: {error}")
    known.settle()
    return known


def _add_audit(reader: TopicReader, kafka: KafkaConfig, known: Known, deadline: Deadline) -> None:
    try:
        held = reader.held(kafka.topic_prefix + topics.AUDIT.name)
        reader.start(each._replace(start=max(each.start, (each.end or 0) - NEWEST_ENTRIES)) for each in held)
        for messages in reader.to_end(deadline.left_seconds):
            for message in messages:
                known.put_audit(_bytes(message.key()), message.value())
    except AndonError as error:
        known.problems.append(f"what operators propose is unknown: {error}")


def _messages(reader: TopicReader, deadline: Deadline) -> Iterator[list[Message]]:
    yield from reader.to_end(deadline.left_seconds)
    yield reader.poll()  # what has come on the one while the other was read


def _bytes(key: bytes | str | None) -> bytes | None:
    return key.encode() if isinstance(key, str) else key
