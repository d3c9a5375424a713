"""What a key has signed of what the topics hold now. Whether the signatures match is not asked: a claim is enough."""

from pipeline.halt.believe import UNREADABLE
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.topic_reader import TopicReader
from pipeline.wire import topics
from pipeline.wire.canonical import take_out_signature

READ_SECONDS = 15.0
TOPICS = (topics.VERDICTS, topics.HALTS, topics.HALT_ACKS)


def signed_by(kafka: KafkaConfig, kid: str) -> dict[str, int]:
    """By topic: of how many keys the newest record says that this key signed it.

    Raises:
        AndonError: when a topic is not there, may not be read, or is not read in time.
    """
    return {topic.name: _count(kafka, kafka.topic_prefix + topic.name, kid) for topic in TOPICS}


def _count(kafka: KafkaConfig, topic: str, kid: str) -> int:
    newest: dict[bytes, bool] = {}
    with TopicReader(kafka, "andon-keys") as reader:
        reader.start(reader.whole(topic))
        for messages in reader.to_end(READ_SECONDS):
            for message in messages:
                key = message.key()
                place = key.encode() if isinstance(key, str) else key or b""
                newest[place] = _claims(message.value() or b"", kid)
    return sum(newest.values())


def _claims(raw: bytes, kid: str) -> bool:
    try:
        found = take_out_signature(raw)
    except UNREADABLE:
        return False
    return found is not None and found.kid == kid
