"""What it takes to believe a record: a trusted key of the right role signed these very bytes, and they stand under
their own key. Pure."""

from pipeline.halt.approval import check_orders
from pipeline.halt.errors import MalformedRecord, WrongKey, WrongRole
from pipeline.halt.verify import UNREADABLE as UNREADABLE
from pipeline.halt.verify import Role as Role
from pipeline.halt.verify import TrustedKey as TrustedKey
from pipeline.halt.verify import TrustedKeys as TrustedKeys
from pipeline.halt.verify import verify_bytes as verify_bytes
from pipeline.halt.verify import verify_signature as verify_signature
from pipeline.wire.acks import HaltAck, decode_ack
from pipeline.wire.audit import AuditEntry, decode_entry
from pipeline.wire.halts import Halt, decode_halt
from pipeline.wire.verdicts import Word, decode_record


def believed_halt(key: bytes | None, raw: bytes, trusted: TrustedKeys) -> Halt:
    """What a record of `fleet.halts` says, when a trusted key signed these very bytes for this key; and two operators
    a resume.

    Raises:
        UntrustedRecord: with the reason.
    """
    try:
        halt = decode_halt(raw)
    except UNREADABLE as error:
        raise MalformedRecord(str(error)) from None
    if key != halt.key.encode():
        raise WrongKey(f"a record of {halt.key!r} stands under another key")
    verify_bytes(raw, trusted)
    check_orders(halt, trusted)
    return halt


def believed_word(key: bytes | None, raw: bytes, trusted: TrustedKeys) -> Word:
    """What a record of `fleet.verdicts` says, when a trusted key signed these very bytes for this key.

    Raises:
        UntrustedRecord: with the reason.
    """
    try:
        record = decode_record(key, raw)
    except UNREADABLE as error:
        raise MalformedRecord(str(error)) from None
    verify_bytes(raw, trusted)
    return record


def believed_ack(key: bytes | None, raw: bytes, trusted: TrustedKeys) -> HaltAck:
    """What a record of `fleet.halt-acks` says, when the key of that very subscriber signed these bytes for this key.

    Raises:
        UntrustedRecord: with the reason.
    """
    try:
        ack = decode_ack(raw)
    except UNREADABLE as error:
        raise MalformedRecord(str(error)) from None
    if key != ack.halt_key.encode():
        raise WrongKey(f"an acknowledgement of {ack.halt_key!r} stands under another key")
    owner = verify_bytes(raw, trusted, "subscriber").name
    if owner != ack.subscriber:
        raise WrongRole(f"the key of {owner!r} signed for {ack.subscriber!r}")
    return ack


def believed_entry(key: bytes | None, raw: bytes, trusted: TrustedKeys) -> AuditEntry:
    """What a record of `fleet.audit` says, when a detector's key signed these bytes for this key.

    Raises:
        UntrustedRecord: with the reason.
    """
    try:
        entry = decode_entry(raw)
    except UNREADABLE as error:
        raise MalformedRecord(str(error)) from None
    if key != entry.key.encode():
        raise WrongKey(f"an entry of {entry.fleet!r} stands under another key")
    verify_bytes(raw, trusted)
    return entry
