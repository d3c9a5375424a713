"""A dead letter: the original bytes untouched as the record's value; why and whence in its headers."""

from typing import NamedTuple

from pipeline.wire.reasons import Reason


class DeadLetter(NamedTuple):
    """One refused message. `topic`, `partition`, `offset` say where it stood; the gateway has no offset and uses -1."""

    value: bytes
    key: bytes | None
    reason: Reason
    detail: str
    topic: str
    partition: int
    offset: int
    stage: str

    def headers(self) -> list[tuple[str, bytes]]:
        """Kafka headers, every value UTF-8 text."""
        fields = {
            "reason": self.reason.value,
            "detail": self.detail[:500],
            "topic": self.topic,
            "partition": str(self.partition),
            "offset": str(self.offset),
            "stage": self.stage,
        }
        return [(name, text.encode("utf-8", "backslashreplace")) for name, text in fields.items()]
