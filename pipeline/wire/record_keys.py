"""Keys of compacted records: how they are made, and the one place where they are read again.

Parts are percent-encoded, so a "/" inside a vendor's name cannot forge another key. What a key is follows from its
parts, never from how it ends: `acme/v/p/-/heartbeat` is the verdict on a version "-" in a ring "heartbeat".
"""

from typing import Annotated
from urllib.parse import quote, unquote

import msgspec

HEARTBEAT, ALARM = "heartbeat", "alarm"
_OF_FLEETS = frozenset({HEARTBEAT, ALARM})
MAX_EPOCH = 2**53 - 1  # the largest integer that every JSON reader keeps exact
Epoch = Annotated[int, msgspec.Meta(ge=1, le=MAX_EPOCH)]  # what is newer of one halt key


def update_key(fleet: str, vendor: str, product: str, version: str) -> str:
    """`fleet/vendor/product/version`, the key of `fleet.halts`."""
    return "/".join(quote(part, safe=" !$&'()*+,;=:@") for part in (fleet, vendor, product, version))


def verdict_key(fleet: str, vendor: str, product: str, version: str, ring: str) -> str:
    """`fleet/vendor/product/version/ring`, the key of `fleet.verdicts`."""
    return update_key(fleet, vendor, product, version) + "/" + quote(ring, safe=" !$&'()*+,;=:@")


def heartbeat_key(fleet: str) -> str:
    """`fleet/-/heartbeat`: three parts, so it never equals a verdict's key of five."""
    return quote(fleet, safe=" !$&'()*+,;=:@") + "/-/" + HEARTBEAT


def alarm_key(fleet: str) -> str:
    """`fleet/-/alarm`, of three parts like the heartbeat's: what an endpoint calls a vendor or a product makes five on
    `fleet.verdicts` and four on `fleet.halts`."""
    return quote(fleet, safe=" !$&'()*+,;=:@") + "/-/" + ALARM


def fleet_key(fleet: str) -> str:
    """The fleet alone, the key of `fleet.audit`."""
    return quote(fleet, safe=" !$&'()*+,;=:@")


def parse_key(key: str) -> tuple[str, ...]:
    """The decoded parts of a key."""
    return tuple(unquote(part) for part in key.split("/"))


def key_text(key: bytes | None) -> str:
    """A key as it was read; bytes that are no text are escaped, so two keys never become one."""
    return (key or b"").decode("utf-8", "backslashreplace")


def is_heartbeat(key: bytes | None) -> bool:
    """Whether a record of `fleet.verdicts` is a fleet's heartbeat: by the key's parts, of which there are three."""
    return _kind_of(key) == HEARTBEAT


def is_alarm(key: bytes | None) -> bool:
    """Whether it is a fleet's alarm."""
    return _kind_of(key) == ALARM


def is_of_fleet(key: bytes | None) -> bool:
    """Whether it is about a fleet as a whole, and no update's verdict: its heartbeat, or its alarm."""
    return _kind_of(key) in _OF_FLEETS


def _kind_of(key: bytes | None) -> str:
    parts = key_text(key).split("/")
    return parts[2] if len(parts) == 3 and parts[1] == "-" else ""


def fleet_of(key: bytes | None) -> str:
    """The fleet that a key of either topic is about, whatever else it says."""
    return parse_key(key_text(key))[0]
