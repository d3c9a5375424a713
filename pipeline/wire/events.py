"""Endpoint events, wire format version 1: one JSON object a message, checked completely while it is decoded.

The types are generic in two kinds of text, and in the list of updates, only so that `pipeline.wire.learned` can decode
the same types faster.
"""

from typing import Annotated, Generic, Literal

import msgspec
from typing_extensions import TypeVar

from pipeline.wire.reasons import MalformedMessage, Reason

MAX_MESSAGE_BYTES = 64 * 1024
MAX_TEXT_CHARS = 128
MAX_UPDATES = 64
MAX_SKEW_MS = 10 * 60 * 1000
ANCIENT_MS = 1_577_836_800_000  # 2020-01-01T00:00:00Z: earlier clocks are unset clocks
LATEST_MS = 4_102_444_800_000  # 2100-01-01T00:00:00Z: what is counted fits an int32 of 10 s buckets

Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARS)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT_CHARS)]
Moment = Annotated[int, msgspec.Meta(ge=ANCIENT_MS, le=LATEST_MS)]

W = TypeVar("W", bound=Name, default=Name)  # a word that many events share: fleet, ring, vendor, version …
P = TypeVar("P", bound=Text, default=Text)  # the same, but may be "": a place


class Signature(msgspec.Struct, frozen=True, gc=False):
    """What a crash looked like: bugcheck or exception code, and the faulting module; either may be ""."""

    code: Text
    module: Text


class Update(msgspec.Struct, Generic[W], frozen=True, gc=False):
    """An update that reached the host; `installed_at` in unix milliseconds."""

    vendor: W
    product: W
    version: W
    installed_at: Moment


class Removal(Update, frozen=True, gc=False):
    """One that was taken off again at `removed_at` (unix milliseconds): rolled back, or uninstalled."""

    removed_at: Moment


Updates = Annotated[tuple[Update, ...], msgspec.Meta(max_length=MAX_UPDATES)]
Removals = Annotated[tuple[Removal, ...], msgspec.Meta(max_length=MAX_UPDATES)]
L = TypeVar("L", bound=Updates, default=Updates)
X = TypeVar("X", bound=Removals, default=Removals)


class Event(msgspec.Struct, Generic[W, P, L, X], frozen=True, gc=False, tag_field="kind", kw_only=True):
    """Fields that every event has; `ts` in unix milliseconds. Unknown fields are ignored."""

    v: Literal[1]
    id: Name
    fleet: W
    host: Name
    ts: Moment
    ring: W
    os: W
    model: W
    region: P = ""  # type: ignore[assignment]
    site: P = ""  # type: ignore[assignment]
    updates: L
    removed: X = ()  # type: ignore[assignment]


class Boot(Event[W, P, L, X], Generic[W, P, L, X], frozen=True, gc=False, tag="boot", kw_only=True):
    """A host came up; `prior` says how its last session ended, `prior_ended_at` (unix ms) when, if known."""

    prior: Literal["clean", "crash", "unknown"]
    prior_ended_at: Moment | None = None


class Crash(Event[W, P, L, X], Generic[W, P, L, X], frozen=True, gc=False, tag="crash", kw_only=True):
    """A host crashed at `ts`, reported when it was next able to."""

    signature: Signature


class Heartbeat(Event[W, P, L, X], Generic[W, P, L, X], frozen=True, gc=False, tag="heartbeat", kw_only=True):
    """A host is up."""


AnyEvent = Boot | Crash | Heartbeat

# How msgspec words its refusals, without the path at the end; in this order. A test feeds each one.
_REASONS: tuple[tuple[str, Reason], ...] = (
    ("Object missing required field", Reason.MISSING_FIELD),
    ("Invalid", Reason.WRONG_TYPE),  # quotes the value, which may say anything: no later rule may read it
    ("Expected `str` of length <=", Reason.TEXT_TOO_LONG),
    ("Expected `str` of length >=", Reason.EMPTY_TEXT),
    (f"Expected `int` >= {ANCIENT_MS}", Reason.ANCIENT_TIMESTAMP),
    ("Expected `int` <=", Reason.OUT_OF_RANGE),
    ("Expected `int` >=", Reason.OUT_OF_RANGE),
    ("Integer value out of range", Reason.OUT_OF_RANGE),
)
_BY_PATH = {"`$.v`": Reason.UNKNOWN_VERSION, "`$.kind`": Reason.UNKNOWN_KIND}


def refusal(error: Exception) -> MalformedMessage:
    """The reason code for what msgspec raised."""
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return MalformedMessage(Reason.INVALID_JSON, text)
    words, at, path = text.rpartition(" - at ")
    if not at:
        words, path = text, ""
    if path in _BY_PATH:
        return MalformedMessage(_BY_PATH[path], text)
    for start, reason in _REASONS:
        if words.startswith(start):
            return MalformedMessage(reason, text)
    if words.startswith("Expected `object`") and not path:
        return MalformedMessage(Reason.NOT_AN_OBJECT, text)
    return MalformedMessage(Reason.WRONG_TYPE, text)


def check_not_future(event: AnyEvent, ingested_at_ms: int) -> None:
    """Refuse an event from the future, which would drag stream time ahead of every other host.

    Raises:
        MalformedMessage: with FUTURE_TIMESTAMP.
    """
    if event.ts > ingested_at_ms + MAX_SKEW_MS:
        ahead = (event.ts - ingested_at_ms) // 1000
        raise MalformedMessage(Reason.FUTURE_TIMESTAMP, f"ts is {ahead} s ahead of its ingestion")
