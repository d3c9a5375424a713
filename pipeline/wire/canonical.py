"""The form in which signed records are written: JSON with sorted keys and no spaces, UTF-8, `sig` a member of its own.

A reader takes `sig` out of the very bytes, verifies the rest and parses what it verified: fields that a later version
adds are then covered, too.
"""

from typing import NamedTuple

import msgspec
import orjson


class Unsigned(NamedTuple):
    """A record without its signature: the bytes that were signed, by which key, and the signature (base64)."""

    signed: bytes
    kid: str
    sig: str


class _Claim(msgspec.Struct, frozen=True):
    kid: str = ""
    sig: str = ""


_claim = msgspec.json.Decoder(_Claim)


def canonical_json(fields: object) -> bytes:
    """JSON with sorted keys and no spaces, UTF-8."""
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def take_out_signature(raw: bytes) -> Unsigned | None:
    """The record's parts as they were signed; None when its bytes cannot be such a record, or carry no signature.

    Raises:
        msgspec.DecodeError: when it is no JSON object with texts for `kid` and `sig`.
    """
    claim = _claim.decode(raw)
    member = b',"sig":' + orjson.dumps(claim.sig)
    if not claim.sig or raw.count(member) != 1:
        return None
    return Unsigned(raw.replace(member, b""), claim.kid, claim.sig)
