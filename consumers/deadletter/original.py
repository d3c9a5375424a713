"""What a dead letter was made of: the record at the place that it names. Whoever can write the topic of dead letters
can write any headers and any bytes, and would have them sent on by whoever retries."""

from collections.abc import Iterator
from typing import NamedTuple

from confluent_kafka import Message

from consumers.deadletter.topic import FETCHING, GROUP, READ_SECONDS, Letter
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.topic_reader import OffsetRange, TopicReader

MAX_GAP = 1000  # records read in vain rather than asking once more
GONE = "the original is gone, or never was: --force, one letter at a time, once you have seen it"
DIFFERS = "differs from what stands where it says it came from: --force, one letter at a time, once you have seen it"


class _Place(NamedTuple):
    topic: str
    partition: int
    offset: int


def _place(letter: Letter) -> _Place | None:
    headers = letter.headers
    try:
        return _Place(headers["topic"], int(headers["partition"]), int(headers["offset"]))
    except (KeyError, ValueError):
        return None


class Originals:
    """Reads them with a consumer of its own, committed records only."""

    def __init__(self, kafka: KafkaConfig) -> None:
        self._reader = TopicReader(kafka, GROUP, settings=FETCHING)

    def close(self) -> None:
        """Leave."""
        self._reader.close()

    def compare(self, letters: list[Letter]) -> list[str]:
        """For each letter "" when key and bytes are those of the original, else GONE or DIFFERS.

        Raises:
            AndonError: when there is no such topic, or no broker answers.
        """
        places = [_place(letter) for letter in letters]
        found: list[str] = [GONE] * len(letters)
        sought: dict[_Place, list[int]] = {}
        for number, place in enumerate(places):
            if place is not None:
                sought.setdefault(place, []).append(number)
        for message in self._read(list(sought)):
            at = _Place(message.topic() or "", message.partition() or 0, message.offset() or 0)
            for number in sought.get(at, ()):
                letter = letters[number]
                same = (letter.key or b"", letter.value) == (_raw(message.key()), _raw(message.value()))
                found[number] = "" if same else DIFFERS
        return found

    def _read(self, places: list[_Place]) -> Iterator[Message]:
        """The records that stand at these places, and some near them."""
        held = {
            (each.topic, each.partition): (each.start, each.end or 0)
            for each in self._reader.held(*sorted({place.topic for place in places}))
        }
        left: dict[tuple[str, int], list[int]] = {}
        for place in sorted(places):
            low, high = held.get(place[:2], (0, 0))
            if low <= place.offset < high:
                left.setdefault(place[:2], []).append(place.offset)
        while left:
            self._reader.start([OffsetRange(*at, *_next_run(offsets)) for at, offsets in left.items()])
            for messages in self._reader.to_end(READ_SECONDS):
                yield from messages
            left = {at: offsets for at, offsets in left.items() if offsets}


def _next_run(offsets: list[int]) -> tuple[int, int]:
    """[start, end) of those first ones that stand close together; they are taken out of `offsets`."""
    count = 1
    while count < len(offsets) and offsets[count] - offsets[count - 1] <= MAX_GAP:
        count += 1
    start, end = offsets[0], offsets[count - 1] + 1
    del offsets[:count]
    return start, end


def _raw(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""
