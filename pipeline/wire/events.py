"""Endpoint events, wire format version 1: one JSON object a message, checked completely while it is decoded."""

from typing import Annotated, Literal

import msgspec

from pipeline.wire.reasons import MalformedMessage, Reason

MAX_MESSAGE_BYTES = 64 * 1024
MAX_TEXT_CHARS = 128
MAX_UPDATES = 64
MAX_SKEW_MS = 10 * 60 * 1000
ANCIENT_MS = 1_577_836_800_000  # 2020-01-01T00:00:00Z: earlier clocks are unset clocks

Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARS)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT_CHARS)]
Millis = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Signature(msgspec.Struct, frozen=True, gc=False):
    """What a crash looked like: bugcheck or exception code, and the faulting module; either may be ""."""

    code: Text
    module: Text


class Update(msgspec.Struct, frozen=True, gc=False):
    """An update that reached the host; `installed_at` in unix milliseconds."""

    vendor: Name
    product: Name
    version: Name
    installed_at: Millis


class Event(msgspec.Struct, frozen=True, gc=False, tag_field="kind", kw_only=True):
    """Fields that every event has; `ts` in unix milliseconds. Unknown fields are ignored."""

    v: Literal[1]
    id: Name
    fleet: Name
    host: Name
    ts: Millis
    ring: Name
    os: Name
    model: Name
    region: Text = ""
    site: Text = ""
    updates: Annotated[tuple[Update, ...], msgspec.Meta(max_length=MAX_UPDATES)]


class Boot(Event, frozen=True, gc=False, tag="boot", kw_only=True):
    """A host came up; `prior` says how its last session ended, `prior_ended_at` (unix ms) when, if known."""

    prior: Literal["clean", "crash", "unknown"]
    prior_ended_at: Millis | None = None


class Crash(Event, frozen=True, gc=False, tag="crash", kw_only=True):
    """A host crashed at `ts`, reported when it was next able to."""

    signature: Signature


class Heartbeat(Event, frozen=True, gc=False, tag="heartbeat", kw_only=True):
    """A host is up."""


AnyEvent = Boot | Crash | Heartbeat

_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)

# msgspec words its refusals, in this order of preference; a test feeds each one.
_REASONS: tuple[tuple[str, Reason], ...] = (
    ("at `$.v`", Reason.UNKNOWN_VERSION),
    ("at `$.kind`", Reason.UNKNOWN_KIND),
    ("missing required field", Reason.MISSING_FIELD),
    ("`array` of length <=", Reason.TOO_MANY_UPDATES),
    ("`str` of length <=", Reason.TEXT_TOO_LONG),
    ("`str` of length >=", Reason.EMPTY_TEXT),
    ("`int` <=", Reason.OUT_OF_RANGE),
    ("`int` >=", Reason.OUT_OF_RANGE),
    ("Integer value out of range", Reason.OUT_OF_RANGE),
)


def refusal(error: Exception) -> MalformedMessage:
    """The reason code for what msgspec raised."""
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return MalformedMessage(Reason.INVALID_JSON, text)
    for words, reason in _REASONS:
        if words in text:
            return MalformedMessage(reason, text)
    if text.startswith("Expected `object`") and " - at " not in text:
        return MalformedMessage(Reason.NOT_AN_OBJECT, text)
    return MalformedMessage(Reason.WRONG_TYPE, text)


def decode_event(raw: bytes) -> AnyEvent:
    """Decode and check one event.

    Raises:
        MalformedMessage: and nothing else, whatever the bytes are.
    """
    if len(raw) > MAX_MESSAGE_BYTES:
        raise MalformedMessage(Reason.OVERSIZED, f"{len(raw)} bytes, at most {MAX_MESSAGE_BYTES}")
    try:
        event = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise refusal(error) from None
    if event.ts < ANCIENT_MS:
        raise MalformedMessage(Reason.ANCIENT_TIMESTAMP, f"ts {event.ts} is before 2020")
    return event


def check_not_future(event: AnyEvent, ingested_at_ms: int) -> None:
    """Refuse an event from the future, which would drag stream time ahead of every other host.

    Raises:
        MalformedMessage: with FUTURE_TIMESTAMP.
    """
    if event.ts > ingested_at_ms + MAX_SKEW_MS:
        ahead = (event.ts - ingested_at_ms) // 1000
        raise MalformedMessage(Reason.FUTURE_TIMESTAMP, f"ts is {ahead} s ahead of its ingestion")
