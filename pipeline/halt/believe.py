"""What it takes to believe a record: a trusted key signed these very bytes, and they stand under their own key.
Pure."""

import base64
import binascii
from collections.abc import Mapping

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pipeline.halt.errors import BadSignature, MalformedRecord, UnknownKey, WrongKey
from pipeline.wire.canonical import take_out_signature
from pipeline.wire.halts import Halt, decode_halt
from pipeline.wire.verdicts import FleetHeartbeat, Verdict, decode_record

TrustedKeys = Mapping[str, Ed25519PublicKey]  # by kid

UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


def believed_halt(key: bytes | None, raw: bytes, trusted: TrustedKeys) -> Halt:
    """What a record of `fleet.halts` says, when a trusted key signed these very bytes for this key.

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
    return halt


def believed_word(key: bytes | None, raw: bytes, trusted: TrustedKeys) -> Verdict | FleetHeartbeat:
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


def verify_bytes(raw: bytes, trusted: TrustedKeys) -> None:
    """Return when a trusted key signed these bytes without their `sig`: the rule that subscribers keep.

    Raises:
        UnknownKey, BadSignature: both UntrustedRecord.
    """
    try:
        found = take_out_signature(raw)
    except UNREADABLE as error:
        raise MalformedRecord(str(error)) from None
    if found is None:
        raise BadSignature("not a signed record in canonical form")
    public = trusted.get(found.kid)
    if public is None:
        raise UnknownKey(f"no trusted key has the id {found.kid!r}")
    try:
        public.verify(base64.b64decode(found.sig, validate=True), found.signed)
    except (InvalidSignature, binascii.Error, ValueError):
        raise BadSignature("the signature does not match the record") from None
