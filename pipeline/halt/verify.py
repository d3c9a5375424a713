"""Who signed these bytes: a trusted key of the right role, or nobody. Pure."""

import base64
import binascii
from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pipeline.halt.errors import BadSignature, MalformedRecord, UnknownKey, WrongRole
from pipeline.wire.canonical import take_out_signature

# A detector signs halts, verdicts and heartbeats; an operator what people order; a subscriber what it did with a halt;
# a backup's key what a backup holds.
Role = Literal["detector", "operator", "subscriber", "backup"]


class TrustedKey(NamedTuple):
    """A public key, what it is believed for, and who it belongs to ("" when nobody said)."""

    public: Ed25519PublicKey
    role: Role = "detector"
    name: str = ""


TrustedKeys = Mapping[str, TrustedKey]  # by kid

UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


def verify_bytes(raw: bytes, trusted: TrustedKeys, role: Role = "detector") -> TrustedKey:
    """The trusted key of this role that signed these bytes without their `sig`: the rule that subscribers keep.

    Raises:
        UnknownKey, WrongRole, BadSignature: all UntrustedRecord.
    """
    try:
        found = take_out_signature(raw)
    except UNREADABLE as error:
        raise MalformedRecord(str(error)) from None
    if found is None:
        raise BadSignature("not a signed record in canonical form")
    return verify_signature(found.signed, found.kid, found.sig, trusted, role)


def verify_signature(signed: bytes, kid: str, sig: str, trusted: TrustedKeys, role: Role) -> TrustedKey:
    """The trusted key of this role that gave these bytes this signature (base64).

    Raises:
        UnknownKey, WrongRole, BadSignature: all UntrustedRecord.
    """
    key = trusted.get(kid)
    if key is None:
        raise UnknownKey(f"no trusted key has the id {kid!r}")
    if key.role != role:
        raise WrongRole(f"the key {kid!r} is {_a(key.role)}'s, and only {_a(role)}'s counts here")
    try:
        raw = base64.b64decode(sig, validate=True)
        if base64.b64encode(raw).decode() != sig:  # the same bytes can be spelled otherwise
            raise ValueError("not the one spelling of these bytes")
        key.public.verify(raw, signed)
    except (InvalidSignature, binascii.Error, ValueError):
        raise BadSignature("the signature does not match the record") from None
    return key


def _a(role: Role) -> str:
    return f"an {role}" if role == "operator" else f"a {role}"
