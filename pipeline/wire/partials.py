"""The combiner's output: a case-control summary of one fleet's events in one micro-batch.

Cells are columns (little-endian int32 in a bytes field), because the correlator adds them into arrays as they are.
A *cell* is a trial kind in a stratum; what its number says, `pipeline.wire.cells` knows.
"""

from typing import NamedTuple

import msgspec

PARTIAL_VERSION = 1
BUCKET_MS = 10_000  # the event-time bucket that every cell is marked with
MAX_PARTIAL_BYTES = 512_000
MAX_PARTIAL_CRASHES = 5_000
MAX_PARTIAL_EVENTS = 50_000  # a combiner takes no more into one micro-batch
SAMPLES_PER_CELL_MINUTE = 16  # bottom-k by host hash, per cell and minute
MAX_CLOCKS_AHEAD = 100  # hosts named in one partial
INSTALLS_PER_MINUTE = 64  # bottom-k by host hash, per update and minute of installation
INSTALL_HASH_BITS = 31


class UpdateId(NamedTuple):
    """An update version, as far as statistics know it."""

    vendor: str
    product: str
    version: str


class Stratum(NamedTuple):
    """Hosts that are alike: same ring, operating system and model."""

    ring: str
    os: str
    model: str


class CrashRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One crash in full. `at` is the moment of the crash (unix ms), `stratum` and the updates are indices into the
    partial's dictionaries; `excluded` updates make the host neither exposed nor control for them.
    `partition` and `offset` say where the event stands in `fleet.events`; `undated`: a boot's report of a crash before
    it, at an unknown moment, so that `at` is the boot's and no update is exposed. `later` are updates installed only
    after the crash, of products of which nothing is listed that was there before: which version crashed is unknown."""

    at: int
    host: str
    stratum: int
    code: str
    module: str
    site: str
    exposed: tuple[int, ...]
    excluded: tuple[int, ...]
    partition: int
    offset: int
    undated: bool = False
    later: tuple[int, ...] = ()


class SampleRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One clean trial in full, kept because `host_hash` (64 bits) is among the smallest of its cell and minute."""

    minute: int  # unix ms // 60,000
    cell: int
    host_hash: int
    exposed: tuple[int, ...]
    excluded: tuple[int, ...]


class Notes(msgspec.Struct, frozen=True, array_like=True):
    """What was noted about the events, beside what they say: `counts` by word (`pipeline.wire.noted`), `clocks_ahead`
    by host (ms; the largest of the batch, of MAX_CLOCKS_AHEAD hosts at most). `installs` are recent ones, int32 rows
    (bucket of the installation, update, INSTALL_HASH_BITS of the host's hash): of each update and minute those with the
    INSTALLS_PER_MINUTE smallest hashes, which tell how many hosts there were."""

    counts: dict[str, int] = {}
    clocks_ahead: dict[str, int] = {}
    installs: bytes = b""


NO_NOTES = Notes()


class Partial(msgspec.Struct, frozen=True, array_like=True):
    """A fold of one fleet's events. Sums over partials are exact: `events` counts every valid event once."""

    version: int
    fleet: str
    slot: str  # the combiner that wrote it
    events: int
    repeats: int  # clean trials of a host that had already been counted in their hour
    undated: int  # crashes (boot reports) of unknown moment: no evidence about the updates that they list
    ingested_at_ms: int  # the newest Kafka timestamp (time of ingestion) among the events
    updates: tuple[UpdateId, ...]
    strata: tuple[Stratum, ...]
    trials: bytes  # int32 rows (bucket, cell, trials)
    exposures: bytes  # int32 rows (bucket, cell, update, exposed, excluded)
    crashes: tuple[CrashRecord, ...]
    cut: bytes  # crashes beyond MAX_PARTIAL_CRASHES: int32 rows (bucket, stratum, crashes)
    cut_exposures: bytes  # the same by update: int32 rows (bucket, stratum, update, exposed, excluded)
    samples: tuple[SampleRecord, ...]
    tail: Notes | bytes = NO_NOTES  # left out when there is none: then a seal may stand in its place

    @property
    def notes(self) -> Notes:
        """What was noted."""
        return NO_NOTES if isinstance(self.tail, bytes) else self.tail


TRIAL_COLUMNS = 3
EXPOSURE_COLUMNS = 5
CUT_COLUMNS = 3
INSTALL_COLUMNS = 3

_FIELDS = len(Partial.__struct_fields__)
WITHOUT_NOTES = bytes([0x90 | (_FIELDS - 1)])  # how a partial begins, MessagePack: an array of up to 15,
WITH_NOTES = b"\xdc" + _FIELDS.to_bytes(2, "big")  # of more

_encoder = msgspec.msgpack.Encoder()
_NO_TAIL = _encoder.encode(NO_NOTES)
_decoder = msgspec.msgpack.Decoder(Partial)


def encode_partial(partial: Partial) -> bytes:
    """MessagePack; the inverse of `decode_partial`. Without notes it is what it was before there were any: readers of
    that time read it."""
    raw = _encoder.encode(partial)
    if partial.tail != NO_NOTES:
        return raw
    return WITHOUT_NOTES + raw[len(WITH_NOTES) : -len(_NO_TAIL)]


def decode_partial(raw: bytes) -> Partial:
    """The seal, if there is one, is not part of it. Raises msgspec.DecodeError when the bytes are no partial of this
    version."""
    partial = _decoder.decode(raw)
    if isinstance(partial.tail, bytes):
        partial = msgspec.structs.replace(partial, tail=NO_NOTES)
    if partial.version != PARTIAL_VERSION:
        raise msgspec.ValidationError(f"partial version {partial.version}, this code reads {PARTIAL_VERSION}")
    return partial
