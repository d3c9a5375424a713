"""A fleet's state as changelogged table entries that survive a kill half-way. Pure.

A checkpoint goes into one of two alternating sides, in chunks; the header, written last, names the side. A kill in
between leaves the header on the older checkpoint, whose chunks are untouched.

The table also says where reading goes on: all partials before that place are in the checkpoints written before it. So
whatever part of the changelog a recovery gets to see, state and place are of one moment.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote

import msgspec
import zstandard

from pipeline.wire.audit import FIRST

VERSION = 1
SIDES = "AB"
MAX_CHUNK_BYTES = 400_000
MAX_STATE_BYTES = 1 << 30  # what a damaged entry may make us unpack

Entry = tuple[bytes, bytes]


class FleetState(msgspec.Struct, frozen=True, array_like=True):
    """All that must outlive the process; `offset` is the last partial that it includes, `events` their sum."""

    version: int
    fleet: str
    partition: int
    offset: int
    partials: int
    events: int
    halts: tuple[bytes, ...]  # the newest signed record of each of the fleet's halt keys
    detector: bytes
    log_id: str = ""  # of the topic that `offset` is of; "" when the broker does not say
    lost_at_ms: int = 0  # when it was last found that partials were deleted unread
    audit_seq: int = -1  # the newest entry of the fleet's audit that it includes, -1 for none
    audit_digest: str = FIRST


class Header(msgspec.Struct, frozen=True, array_like=True):
    """Where a fleet's newest complete checkpoint stands."""

    version: int
    fleet: str
    partition: int
    side: str
    offset: int
    chunks: int
    digest: bytes  # BLAKE2b of all chunks in order
    log_id: str = ""  # as in FleetState


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where the reading of a partition of `fleet.partials` goes on; `log_id` as in FleetState."""

    version: int
    partition: int
    offset: int
    log_id: str


class Checkpoint(NamedTuple):
    """Entries in the order of writing: every chunk must be acknowledged before the header is written."""

    side: str
    offset: int
    chunks: tuple[Entry, ...]
    header: Entry


class Restored(NamedTuple):
    """A fleet found in the table; `state` is None when it cannot be read, and `why` says why."""

    header: Header
    state: FleetState | None
    why: str = ""


def other_side(side: str) -> str:
    """The side that the next checkpoint goes into."""
    return SIDES[side == SIDES[0]]


def pack(state: FleetState, side: str) -> Checkpoint:
    """The table entries of a state."""
    packed = zstandard.compress(msgspec.msgpack.encode(state), 3)
    pieces = [packed[at : at + MAX_CHUNK_BYTES] for at in range(0, len(packed), MAX_CHUNK_BYTES)]
    chunks = tuple((_chunk_key(state.fleet, side, index), piece) for index, piece in enumerate(pieces))
    header = Header(
        VERSION, state.fleet, state.partition, side, state.offset, len(chunks), _digest(pieces), state.log_id
    )
    return Checkpoint(side, state.offset, chunks, (_header_key(state.fleet), msgspec.msgpack.encode(header)))


def place_entry(partition: int, offset: int, log_id: str) -> Entry:
    """The table entry of a place."""
    return _PLACE + b"%d" % partition, msgspec.msgpack.encode(Place(VERSION, partition, offset, log_id))


def places(table: Mapping[bytes, bytes]) -> dict[int, Place]:
    """By partition; none where no code that writes places has written to it.

    Raises:
        ValueError: when one cannot be read.
    """
    found = [msgspec.msgpack.decode(table[key], type=Place) for key in table if key.startswith(_PLACE)]
    return {place.partition: place for place in found}


def reached(table: Mapping[bytes, bytes]) -> list[Place]:
    """How far the table says that reading has come: every place, and behind every fleet's newest partial.

    Raises:
        ValueError: when a place or a header cannot be read.
    """
    fleets = [Place(VERSION, each.partition, each.offset + 1, each.log_id) for each in _headers(table)]
    return [*places(table).values(), *fleets]


def unpack(table: Mapping[bytes, bytes]) -> Iterator[Restored]:
    """Every fleet that has a header in the table.

    Raises:
        ValueError: when a header cannot be read: then not even the fleet is known.
    """
    for header in _headers(table):
        try:
            yield Restored(header, _read(table, header))
        except ValueError as error:
            yield Restored(header, None, str(error))


def _headers(table: Mapping[bytes, bytes]) -> list[Header]:
    return [msgspec.msgpack.decode(table[key], type=Header) for key in table if key.endswith(_HEADER)]


def _read(table: Mapping[bytes, bytes], header: Header) -> FleetState:
    keys = [_chunk_key(header.fleet, header.side, index) for index in range(header.chunks)]
    pieces = [table[key] for key in keys if key in table]
    if _digest(pieces) != header.digest:
        raise ValueError("the digest does not match the chunks")
    try:
        raw = zstandard.decompress(b"".join(pieces), max_output_size=MAX_STATE_BYTES)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None
    state = msgspec.msgpack.decode(raw, type=FleetState)
    if state.version != VERSION:
        raise ValueError(f"state version {state.version}, this code reads {VERSION}")
    return state


def _digest(pieces: list[bytes]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


_HEADER = b"/header"
_PLACE = b"/next/"  # a fleet's keys begin with its name


def _header_key(fleet: str) -> bytes:
    return quote(fleet, safe="").encode("ascii") + _HEADER


def _chunk_key(fleet: str, side: str, index: int) -> bytes:
    return f"{quote(fleet, safe='')}/{side}/{index}".encode("ascii")
