"""The halt contract: a signed order to stop an update, the record that rollout systems obey.

The signature covers the canonical bytes: the record without `sig`, as JSON with sorted keys and no spaces (UTF-8).
"""

from typing import Any, Literal

import msgspec

from pipeline.wire.acks import HaltAck
from pipeline.wire.audit import AuditEntry
from pipeline.wire.canonical import canonical_json
from pipeline.wire.commands import Command
from pipeline.wire.record_keys import Epoch, update_key
from pipeline.wire.verdicts import Basis, Conditional, Explanation, Word


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Why: the figures of the verdict that decided."""

    log10_evidence: float
    threshold: float
    basis: Basis
    observed: int
    expected: float
    relative_risk: tuple[float, float]
    crashed_hosts: int
    exposed_trials: int
    explanation: Explanation
    conditional: tuple[Conditional, ...] = ()
    flags: tuple[str, ...] = ()
    stream_time: int  # unix ms of the event that decided


class Halt(msgspec.Struct, frozen=True, kw_only=True):
    """Key fleet/vendor/product/version. Each record is its key's complete state. Times in unix ms."""

    v: Literal[1] = 1
    action: Literal["halt", "resume"]
    fleet: str
    vendor: str
    product: str
    version: str
    rings: tuple[str, ...]
    epoch: Epoch
    issued_at: int
    expires_at: int
    decided_by: str
    policy: str
    reason: str
    evidence: Evidence | None
    kid: str
    sig: str = ""
    orders: tuple[str, ...] = ()  # of a resume: the proposal and its approval, as two operators signed them

    @property
    def key(self) -> str:
        """The record's Kafka key."""
        return update_key(self.fleet, self.vendor, self.product, self.version)

    @property
    def rank(self) -> tuple[int, bool, int]:
        """What is newer of one key ranks higher: by epoch; within one a halt, for a resume lifts only halts of lower
        epochs; then by when it was issued, as renewals are."""
        return self.epoch, self.action == "halt", self.issued_at


_decoder = msgspec.json.Decoder(Halt)


def canonical_bytes(record: Halt | HaltAck | Command | AuditEntry | Word) -> bytes:
    """The bytes that are signed."""
    fields = _fields(record)
    del fields["sig"]
    return canonical_json(fields)


def _fields(record: Halt | HaltAck | Command | AuditEntry | Word) -> dict[str, Any]:
    """Without `orders` where there are none: records of before it had a name are still what was signed."""
    fields: dict[str, Any] = msgspec.to_builtins(record)
    if not fields.get("orders", True):
        del fields["orders"]
    return fields


def encode_halt(halt: Halt) -> bytes:
    """The record as it goes onto `fleet.halts`: canonical as well, so a reader may verify it by removing `sig`."""
    return canonical_json(_fields(halt))


def decode_halt(raw: bytes) -> Halt:
    """Raises msgspec.DecodeError."""
    return _decoder.decode(raw)
