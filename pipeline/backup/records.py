"""Records of topics as segments: the same records give the same bytes, so that what is there already is known. Pure."""

from collections.abc import Iterable, Iterator

import msgspec
import zstandard

BLOCK_RECORDS = 10_000  # offsets of a segment: a whole one never changes again, unless retention takes from it
SEGMENT_BYTES = 8 << 20  # about so much before it is packed
MAX_SEGMENT_BYTES = 1 << 30


class Copied(msgspec.Struct, frozen=True, array_like=True):
    """A record as it stood: `at_ms` is its timestamp, unix ms."""

    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


_decoder = msgspec.msgpack.Decoder(list[Copied])


def newest(records: Iterable[Copied]) -> list[Copied]:
    """Of each key of a partition the last record, in the order in which they stood; erased ones left out."""
    found: dict[tuple[int, bytes | None], Copied] = {}
    for record in records:
        found.pop((record.partition, record.key), None)
        found[record.partition, record.key] = record
    return [record for record in found.values() if record.value is not None]


def segments(records: Iterable[Copied]) -> Iterator[list[Copied]]:
    """Cut into what is packed at once; those of a partition have to come in their order."""
    held: list[Copied] = []
    size = 0
    for record in records:
        is_other = held and (record.partition, record.offset // BLOCK_RECORDS) != (
            held[0].partition,
            held[0].offset // BLOCK_RECORDS,
        )
        if is_other or size > SEGMENT_BYTES:
            yield held
            held, size = [], 0
        held.append(record)
        size += len(record.key or b"") + len(record.value or b"")
    if held:
        yield held


def pack(records: list[Copied]) -> bytes:
    """A segment."""
    return zstandard.compress(msgspec.msgpack.encode(records), 3)


def unpack(raw: bytes) -> list[Copied]:
    """Raises ValueError."""
    try:
        return _decoder.decode(zstandard.decompress(raw, max_output_size=MAX_SEGMENT_BYTES))
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise ValueError(f"a segment of records cannot be read: {error}") from None
