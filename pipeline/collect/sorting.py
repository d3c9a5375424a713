"""A body's lines: which are events of the sender's fleet, and why the others are not. Pure."""

from typing import Any, NamedTuple

from pipeline.collect.members import may_repeat, names_another_fleet
from pipeline.wire.deadletter import DeadLetter
from pipeline.wire.decode import decode_event
from pipeline.wire.events import MAX_SKEW_MS, check_not_future
from pipeline.wire.hosts import one_host
from pipeline.wire.mending import Mends
from pipeline.wire.noted import Noted
from pipeline.wire.reasons import MalformedMessage, Reason

MAX_DETAIL_CHARS = 200


class Sorted(NamedTuple):
    """A request's lines: what goes to the broker as (host, bytes), the host by its one name, what does not as (line,
    letter); and what is mended in those that go, by its word."""

    events: list[tuple[str, bytes]]
    refused: list[tuple[int, DeadLetter]]
    mended: Mends


def sort_lines(body: bytes, lines: list[tuple[int, bytes]], route: str, fleet: str, now_ms: int) -> Sorted:
    """Check every line of a body by itself; the bytes of a good one are forwarded as they came."""
    latest_ms = now_ms + MAX_SKEW_MS
    is_ambiguous = may_repeat(body, len(lines))
    events: list[tuple[str, bytes]] = []
    refused: list[tuple[int, DeadLetter]] = []
    mended: Mends = {}
    found: Mends = {}
    for number, raw in lines:
        if found:
            found = {}
        try:
            event = decode_event(raw, found)
            if event.ts > latest_ms:
                check_not_future(event, now_ms)
            if event.fleet != fleet or (is_ambiguous and names_another_fleet(raw, fleet)):
                raise MalformedMessage(Reason.FLEET_MISMATCH, f"the token belongs to fleet {fleet}")
        except MalformedMessage as error:
            detail = error.detail[:MAX_DETAIL_CHARS]
            refused.append((number, DeadLetter(raw, None, error.reason, detail, route, -1, -1, "collect")))
        else:
            events.append((one_host(event.host), raw))
            for what, times in found.items():
                if what is not Noted.UPDATES_REMOVED:  # as it should be
                    mended[what] = mended.get(what, 0) + times
    return Sorted(events, refused, mended)


def rejection(number: int, letter: DeadLetter) -> dict[str, Any]:
    """One entry of the answer's `rejected`."""
    entry = {"line": number, "reason": letter.reason.value}
    return entry | {"detail": letter.detail} if letter.detail else entry
