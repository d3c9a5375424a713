"""What a cluster has of a fleet's halts and its detector. Nobody's signature is checked: these are hints to people."""

from collections.abc import Iterator

from confluent_kafka import Message

from pipeline.halt.verify import UNREADABLE
from pipeline.runtime.kafka import PROMPT, KafkaConfig
from pipeline.runtime.topic_reader import TopicReader
from pipeline.runtime.waiting import Deadline
from pipeline.wire import topics
from pipeline.wire.halts import Halt, decode_halt
from pipeline.wire.record_keys import heartbeat_key
from pipeline.wire.verdicts import FleetHeartbeat, decode_heartbeat

READ_SECONDS = 8.0


def orders(kafka: KafkaConfig, fleet: str) -> Iterator[Halt]:
    """The fleet's halts and resumes, in their order. Raises AndonError when they cannot be read in time."""
    for message in _held(kafka, topics.HALTS):
        try:
            halt = decode_halt(message.value() or b"")
        except UNREADABLE:
            continue
        if halt.fleet == fleet:
            yield halt


def newest_beat(kafka: KafkaConfig, fleet: str) -> FleetHeartbeat | None:
    """The newest of the fleet's detector. Raises AndonError when it cannot be read in time."""
    found = None
    for message in _held(kafka, topics.VERDICTS):
        if message.key() == heartbeat_key(fleet).encode() and message.value():
            try:
                found = decode_heartbeat(message.value() or b"")
            except UNREADABLE:
                continue
    return found


def _held(kafka: KafkaConfig, topic: topics.Topic) -> Iterator[Message]:
    deadline = Deadline(READ_SECONDS)
    with TopicReader(kafka, "andon-replay", settings=PROMPT) as reader:
        reader.start(reader.held(kafka.topic_prefix + topic.name))
        for messages in reader.to_end(deadline.left_seconds):
            yield from messages
