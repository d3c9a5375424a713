"""Bytes into an event. What the strict decoder takes is an event as it stands, and costs a microsecond; only what it
refuses is looked at a second time: mended where a side issue is all that is wrong, else refused with advice. Pure."""

from typing import Any

import msgspec

from pipeline.wire.advice import advice
from pipeline.wire.events import MAX_MESSAGE_BYTES, AnyEvent, refusal
from pipeline.wire.mending import Mends, mend
from pipeline.wire.noted import Noted
from pipeline.wire.reasons import MalformedMessage, Reason

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_strict: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def decode_event(raw: bytes, mends: Mends | None = None) -> AnyEvent:
    """Decode and check one event; `mends` counts what had to be mended in it.

    Raises:
        MalformedMessage: and nothing else, whatever the bytes are.
    """
    if len(raw) > MAX_MESSAGE_BYTES:
        raise MalformedMessage(Reason.OVERSIZED, f"{len(raw)} bytes, at most {MAX_MESSAGE_BYTES}")
    try:
        return _strict.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        refused = error
    found: Mends = {}
    if raw.startswith(BYTE_ORDER_MARK):
        raw = raw.removeprefix(BYTE_ORDER_MARK)
        found[Noted.BYTE_ORDER_MARK] = 1
    event = _second_look(raw, refused, found)
    if mends is not None:
        for what, times in found.items():
            mends[what] = mends.get(what, 0) + times
    return event


def _second_look(raw: bytes, first: Exception, mends: Mends) -> AnyEvent:
    try:
        fields: Any = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise refusal(first) from None
    if isinstance(fields, dict):
        mend(fields, mends)
    try:
        event: AnyEvent = msgspec.convert(fields, AnyEvent)
    except (msgspec.ValidationError, UnicodeError, RecursionError) as error:
        refused = refusal(error)
        raise MalformedMessage(refused.reason, advice(refused.detail, fields)) from None
    return event
