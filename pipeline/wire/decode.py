"""Bytes into an event. What the strict decoder takes is an event as it stands, and costs a microsecond; only what it
refuses is looked at a second time: mended where a side issue is all that is wrong, else refused with advice. Pure."""

from typing import Any

import msgspec

from pipeline.wire.advice import advice
from pipeline.wire.events import ANCIENT_MS, MAX_MESSAGE_BYTES, MAX_UPDATES, AnyEvent, Boot, Update, refusal
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
    found: Mends = {}
    try:
        event = _strict.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as refused:
        without_mark = raw.removeprefix(BYTE_ORDER_MARK)
        if len(without_mark) < len(raw):
            found[Noted.BYTE_ORDER_MARK] = 1
        event = _second_look(without_mark, refused, found)
    if event.removed:
        event = with_removed(event, found)
    if mends is not None:
        for what, times in found.items():
            mends[what] = mends.get(what, 0) + times
    return event


def moment_of(event: AnyEvent) -> int:
    """Of what an event lists updates (unix ms): a boot that tells of a crash lists what there was when that session
    ended, as far as it says when."""
    if isinstance(event, Boot) and event.prior == "crash" and event.prior_ended_at is not None:
        return min(event.prior_ended_at, event.ts)
    return event.ts


def with_removed(event: AnyEvent, mends: Mends) -> AnyEvent:
    """The event with what had been taken off again among its updates, as of its moment: what was still there counts as
    any other; what was gone, like what came long before: the host is neither exposed to it nor control for it. `mends`
    counts these, and what there is no room for."""
    at, updates = moment_of(event), list(event.updates)
    for each in event.removed:
        gone = each.removed_at <= at
        if gone:
            mends[Noted.UPDATES_REMOVED] = mends.get(Noted.UPDATES_REMOVED, 0) + 1
        name, installed_at = (each.vendor, each.product, each.version), ANCIENT_MS if gone else each.installed_at
        # It may be listed as well: as it was before, or because it has come again since.
        updates = [u for u in updates if (u.vendor, u.product, u.version) != name or u.installed_at > each.removed_at]
        updates.append(Update(*name, installed_at))
    if len(updates) > MAX_UPDATES:
        mends[Noted.UPDATES_CUT] = mends.get(Noted.UPDATES_CUT, 0) + len(updates) - MAX_UPDATES
    return msgspec.structs.replace(event, updates=tuple(updates[:MAX_UPDATES]))


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
