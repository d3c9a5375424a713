"""Commands: an operator's signed order about one update of one fleet, on `fleet.commands`.

A command names the epoch of the halt record that its author saw, and is signed with the fleet in it: it cannot be moved
to another fleet, and what has been superseded meanwhile is refused.
"""

import hashlib
from typing import Annotated, Literal

import msgspec

from pipeline.wire.canonical import canonical_json
from pipeline.wire.record_keys import update_key
from pipeline.wire.spans import HOUR_MS

# force: halt it, by one signature. resume, extend: a proposal, to lift a halt for a time, or to let a resume stand
# longer. approve: completes another operator's proposal, or, naming none, releases a halt that waits for a person.
# withdraw: takes back an open proposal that it names as an approval does; any operator may, for the halt stays.
CommandKind = Literal["force", "resume", "approve", "extend", "withdraw"]
PROPOSALS: tuple[CommandKind, ...] = ("resume", "extend")

MAX_AGE_MS = HOUR_MS  # an older command, or the approval of an older proposal, is refused
AHEAD_MS = 300_000  # so far may an operator's clock be ahead
MAX_COMMAND_BYTES = 65_536

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Id = Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z_-]{1,64}$")]
_Time = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """Key: that of the update's halt. Times in unix ms. `operator` is the name that its key stands under in the
    directory of trust."""

    v: Literal[1] = 1
    kind: CommandKind
    id: _Id
    fleet: _Name
    vendor: _Name
    product: _Name
    version: _Name
    rings: Annotated[tuple[_Name, ...], msgspec.Meta(min_length=1, max_length=64)]  # "*" is every ring
    epoch: _Time  # of the newest halt record that the operator saw, 0 for none
    reason: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    expires_at: _Time = 0  # of the resume; 0 for others
    at: _Time
    approves: Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z_-]{0,64}$")] = (
        ""  # the proposal's id, also of one that is withdrawn; "": the pending halt
    )
    digest: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")] = ""  # of the proposal's bytes, as command_digest
    operator: _Name
    kid: str = ""
    sig: str = ""

    @property
    def key(self) -> str:
        """The record's Kafka key."""
        return update_key(self.fleet, self.vendor, self.product, self.version)


_decoder = msgspec.json.Decoder(Command)


def command_digest(raw: bytes) -> str:
    """Names a command with every byte of it, signature included: 64 hexadecimal digits of SHA-256."""
    return hashlib.sha256(raw).hexdigest()


def encode_command(command: Command) -> bytes:
    """JSON in canonical form, so that a reader may verify it by removing `sig`."""
    return canonical_json(msgspec.to_builtins(command))


def decode_command(raw: bytes) -> Command:
    """Raises msgspec.DecodeError."""
    return _decoder.decode(raw)
