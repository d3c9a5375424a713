"""Dead letters back to the topic that they came from, each once: message and marker are one Kafka transaction."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from confluent_kafka import KafkaException, Producer

from consumers.deadletter.original import Originals
from consumers.deadletter.topic import RETRIED, RETRY_STAGE, Letter
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, producer_config
from pipeline.runtime.kafka_log import meaning
from pipeline.wire import topics

CALL_SECONDS = 30.0
RETRY_ID = "andon-deadletter-retry"  # transactional id
LETTERS_AT_ONCE, BYTES_AT_ONCE = 500, 8 << 20
MAX_LETTER_BYTES = 16 << 20
# A header can name any topic; only what stages read and refuse may be written to by a retry.
RETRYABLE = (topics.EVENTS.name, topics.PARTIALS.name)


def obstacle(letter: Letter, prefix: str, is_alone: bool) -> str | None:
    """Why a letter cannot be retried. `is_alone`: it is the only one that was named."""
    topic = letter.headers.get("topic", "")
    if topic.removeprefix(prefix) not in RETRYABLE or not topic.startswith(prefix):
        return f"came from {topic or 'nowhere'}, which no stage reads: its sender must send it again"
    if topic == prefix + topics.PARTIALS.name and not is_alone:
        return "is a partial, from which halts are decided: name it, and no other, once you have seen it"
    if letter.headers.get("detail", "").startswith("cut from "):
        return "was cut when it was dead-lettered: its bytes are not all there"
    return None


class Retrier:
    """One at a time: a second one fences the first."""

    def __init__(self, kafka: KafkaConfig, deadletter_topic: str) -> None:
        self._topic = deadletter_topic
        settings: dict[str, Any] = {
            "transactional.id": kafka.topic_prefix + RETRY_ID,
            "message.max.bytes": MAX_LETTER_BYTES,
        }
        self._producer = Producer(producer_config(kafka, RETRY_ID, **settings))
        self._call(self._producer.init_transactions, CALL_SECONDS)

    def retry(self, letters: Iterable[Letter]) -> Iterator[int]:
        """Send; yields how many each committed transaction held.

        Raises:
            AndonError: nothing of the transaction under way was written.
        """
        yield from map(self._commit, _batches(letters))

    def _commit(self, batch: list[Letter]) -> int:
        self._call(self._producer.begin_transaction)
        for letter in batch:
            self._call(self._producer.produce, letter.headers["topic"], letter.value, letter.key)
            self._call(
                self._producer.produce,
                self._topic,
                b"",
                letter.key,
                partition=letter.place.partition,
                headers=_marker(self._topic, letter),
            )
            self._producer.poll(0)
        self._call(self._producer.commit_transaction, CALL_SECONDS)
        return len(batch)

    @staticmethod
    def _call(call: Any, *arguments: Any, **named: Any) -> None:
        try:
            call(*arguments, **named)
        except (KafkaException, BufferError) as error:
            raise AndonError(f"Kafka: {meaning(error)}; what was not said to be retried was not") from None


def genuine(letters: Iterable[Letter], originals: Originals, force: bool, skipped: Counter[str]) -> Iterator[Letter]:
    """Those that are what stands where they say they came from, or all with `force`; the others are counted by why.

    Raises:
        AndonError: when that cannot be looked at.
    """
    for batch in _batches(letters):
        for letter, why in zip(batch, originals.compare(batch), strict=True):
            if why and not force:
                skipped[why] += 1
            else:
                yield letter


def _batches(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    batch: list[Letter] = []
    size_bytes = 0
    for letter in letters:
        batch.append(letter)
        size_bytes += len(letter.value)
        if len(batch) >= LETTERS_AT_ONCE or size_bytes >= BYTES_AT_ONCE:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


def _marker(topic: str, letter: Letter) -> list[tuple[str, str | bytes | None]]:
    place = letter.place
    fields = {"reason": RETRIED, "detail": f"was {letter.reason}", "topic": topic, "stage": RETRY_STAGE}
    numbers = {"partition": str(place.partition), "offset": str(place.offset)}
    return [(name, text.encode("utf-8", "backslashreplace")) for name, text in (fields | numbers).items()]
