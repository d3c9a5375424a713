"""Whose a line is, for whoever reads it: a JSON object may have a member twice, and readers differ in which they take.

We, and most, take the last one; some take the first; some do not tell upper from lower case. A line that one of them
could take for another fleet's is not forwarded.
"""

import json
from collections.abc import Iterable

from pipeline.wire.decode import BYTE_ORDER_MARK

_NAME = b'"fleet"'
_CAPITALS = (b"F", b"L", b"E", b"T")
# Escapes of ASCII letters, in which the name could be spelt. Nobody writes them.
_ESCAPES = (b"\\u004", b"\\u005", b"\\u006", b"\\u007")


def may_repeat(raw: bytes, lines: int = 1) -> bool:
    """Whether one of so many lines might name its fleet more than once, if all name it at all. Quick, for a whole body:
    as many names as lines are one for each. Looking for one byte costs next to nothing, so that comes first."""
    if b"\\" in raw and any(escape in raw for escape in _ESCAPES):
        return True
    if any(letter in raw for letter in _CAPITALS):
        raw = raw.lower()
    return raw.count(_NAME) != lines


def names_another_fleet(raw: bytes, fleet: str) -> bool:
    """Whether any member of an event that is called fleet, in whatever case, is not `fleet`."""
    if not may_repeat(raw):
        return False
    try:
        members: Iterable[tuple[str, object]] = json.loads(
            raw.removeprefix(BYTE_ORDER_MARK).decode(),
            object_pairs_hook=lambda pairs: pairs,
            parse_int=str,
            parse_float=str,
        )
        return any(value != fleet for name, value in members if name.casefold() == "fleet")
    except (ValueError, RecursionError):
        return True  # readable for one parser and not for another
