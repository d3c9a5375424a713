"""Acknowledgements: a subscriber's signed word on what it did with a halt or a resume, on `fleet.halt-acks`."""

from typing import Literal

import msgspec

from pipeline.wire.canonical import canonical_json
from pipeline.wire.record_keys import Epoch

# requested: the rollout system was asked. confirmed: it says that it has stopped (or goes on, for a resume).
# effective: hosts no longer get the update. failed: it could not be done. ignored: the subscriber is not concerned.
AckStatus = Literal["requested", "confirmed", "effective", "failed", "ignored"]


class HaltAck(msgspec.Struct, frozen=True, kw_only=True):
    """Key: that of the halt. `subscriber` is the name that its key stands under in the directory of trust. `at` in
    unix ms; `detail` is for people. `doubt` says why the record that was obeyed could not be believed, "" when it was:
    such a word is about no epoch, and settles nothing for later."""

    v: Literal[1] = 1
    halt_key: str
    epoch: Epoch
    action: Literal["halt", "resume"] = "halt"
    subscriber: str
    status: AckStatus
    at: int
    detail: str = ""
    doubt: str = ""
    kid: str = ""
    sig: str = ""


_decoder = msgspec.json.Decoder(HaltAck)


def encode_ack(ack: HaltAck) -> bytes:
    """JSON in canonical form, so that a reader may verify it by removing `sig`."""
    return canonical_json(msgspec.to_builtins(ack))


def decode_ack(raw: bytes) -> HaltAck:
    """Raises msgspec.DecodeError."""
    return _decoder.decode(raw)
