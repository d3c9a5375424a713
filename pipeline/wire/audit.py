"""The audit: what people ordered, what was answered, and what was said of halts, on `fleet.audit`, for ever.

Each fleet has one chain. An entry carries its number in it and the SHA-256 of the entry before, and a detector's key
signs it: none can be changed, left out, put elsewhere or added without the next one showing it.

An answer is written before what it says is done, and says from which partial on it holds: whoever takes the fleet over
does the same thing at the same place.
"""

import hashlib
from typing import Literal

import msgspec

from pipeline.wire.canonical import canonical_json
from pipeline.wire.record_keys import fleet_key

FIRST = "0" * 64  # what the first entry of a chain has before it

# answer: to a command. lapse: a resume has ended, or cannot be shown any more: its halt stands again. issued: a halt
# that the detector decided, which is on `fleet.halts` already.
EntryKind = Literal["answer", "lapse", "issued"]
Outcome = Literal["applied", "refused"]
# What the fleet's detector hears of it: people halted, released what waited, resumed; or a halt stands again.
Effect = Literal["", "forced", "released", "resumed", "lapsed"]


class Place(msgspec.Struct, frozen=True):
    """A place in a partition of a topic. `log_id` tells the topic from another of its name; "" when nobody knows."""

    partition: int
    offset: int
    log_id: str = ""

    def is_due(self, partition: int, log_id: str, end: int, following: int) -> bool:
        """Whether what holds from here on holds once the partial at `following` comes next, on a partition of that log
        whose end is known: all before it were taken in, or this place is of another log, or gone."""
        is_other = bool(self.log_id and log_id) and self.log_id != log_id
        if self.partition != partition or is_other:
            return True
        return following >= self.offset or (self.offset > end and following >= end)


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Key: the fleet. `at` in unix ms."""

    v: Literal[1] = 1
    kind: EntryKind
    fleet: str
    seq: int  # 0 for the first of the fleet
    prev: str  # SHA-256 of the entry before, as entry_digest; FIRST for the first
    at: int
    partials: Place  # the first partial of the fleet's partition that comes after it
    command: str = ""  # as received
    command_place: Place | None = None  # where it stands on fleet.commands
    outcome: Outcome = "applied"
    why: str = ""  # a reason code of a refusal
    detail: str = ""  # for people
    effect: Effect = ""
    rings: tuple[str, ...] = ()
    halt: str = ""  # the record of fleet.halts that follows from it, or did
    kid: str = ""
    sig: str = ""

    @property
    def key(self) -> str:
        """The record's Kafka key."""
        return fleet_key(self.fleet)


_decoder = msgspec.json.Decoder(AuditEntry)


def entry_digest(raw: bytes) -> str:
    """What the next entry of the chain has as its `prev`: 64 hexadecimal digits of SHA-256."""
    return hashlib.sha256(raw).hexdigest()


def encode_entry(entry: AuditEntry) -> bytes:
    """JSON in canonical form, so that a reader may verify it by removing `sig`."""
    return canonical_json(msgspec.to_builtins(entry))


def decode_entry(raw: bytes) -> AuditEntry:
    """Raises msgspec.DecodeError."""
    return _decoder.decode(raw)
