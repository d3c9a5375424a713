"""What the correlator of a line says on `fleet.halts`, for benches that measure it."""

from pathlib import Path

from confluent_kafka import Message

from pipeline.halt.believe import believed_halt
from pipeline.halt.errors import UntrustedRecord
from pipeline.halt.trust import TrustedDirectory
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import PROMPT, KafkaConfig
from pipeline.runtime.topic_reader import TopicReader
from pipeline.wire import topics
from pipeline.wire.halts import Halt


class LineHalts:
    """Follows the topic from its beginning; to be closed. `keys` is the directory of the line's signing key."""

    def __init__(self, kafka: KafkaConfig, keys: Path) -> None:
        self._trusted = TrustedDirectory(keys)
        self._reader = TopicReader(kafka, "bench-latency", settings=PROMPT)
        self._reader.start(self._reader.whole(kafka.topic_prefix + topics.HALTS.name))

    def poll(self, seconds: float) -> list[Halt]:
        """What has come, or comes within so long.

        Raises:
            AndonError: for what the line's key did not sign: what is measured would be somebody else's.
        """
        return [self._believed(message) for message in self._reader.poll(seconds)]

    def _believed(self, message: Message) -> Halt:
        try:
            return believed_halt(message.key(), message.value() or b"", self._trusted)
        except UntrustedRecord as error:
            raise AndonError(
                f"somebody else writes {topics.HALTS.name} of this line: {error.reason}: {error}"
            ) from None

    def close(self) -> None:
        """Leave."""
        self._reader.close()
