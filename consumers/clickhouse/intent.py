"""What is said before it is done: the range of offsets about to be inserted, kept as metadata of the commit before it.

After a crash nobody knows whether ClickHouse took the last batch. The next owner of the partition finds the intent,
reads exactly that range again and inserts it under the same token, which ClickHouse drops if it has it already. Pure.
"""

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0)]


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """Offsets [committed offset, end) give `rows` rows; `first_ms` is the Kafka timestamp of the range's first record.

    The timestamp tells a topic from another that was later created under its name, whose offsets start over.
    """

    end: Count
    rows: Count
    first_ms: int

    def token(self, topic: str, partition: int, start: int) -> str:
        """The deduplication token of the batch."""
        return f"{topic}:{partition}:{start}:{self.end}:{self.rows}:{self.first_ms}"


def encode_intent(intent: Intent) -> str:
    """As commit metadata."""
    return msgspec.json.encode(intent).decode()


_decoder = msgspec.json.Decoder(Intent)


def decode_intent(metadata: str | None) -> Intent | None:
    """None when the commit said nothing. Raises msgspec.DecodeError when it said something else."""
    return _decoder.decode(metadata) if metadata else None
