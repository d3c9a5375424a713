"""The elements of JSON lists, cut out of a stream as they stand. Pure.

Only cut: whether an element is an event, its decoder says. Memory is bounded by one message, whatever the stream says.
"""

import re

from pipeline.wire.events import MAX_MESSAGE_BYTES

# What stands for an element that is longer than a message may be: the decoder refuses it as oversized, unread.
OVERSIZED = b" " * (MAX_MESSAGE_BYTES + 1)

_STRING = rb'"(?:[^"\\]++|\\.)*+("|\\?\Z)'  # whole, or as much of it as there is
_BETWEEN = re.compile(_STRING + rb"|[\[\]{},]", re.DOTALL)
_INSIDE = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)


class Elements:
    """Feed it a stream; what lies between two lists, or follows the last, is elements too, so nothing is lost."""

    def __init__(self) -> None:
        self._depth = 0  # open brackets, that of the list itself among them
        self._in_list = False
        self._rest = b""  # of the element that is being read, as far as it is kept; a string cut off is read again
        self._scanned = 0  # bytes of it that need not be looked at again
        self._oversized = False

    def feed(self, data: bytes) -> list[bytes]:
        """The elements that end in this piece."""
        text = self._rest + data
        found: list[bytes] = []
        start, at = 0, self._scanned
        while (token := (_BETWEEN if self._at_top else _INSIDE).search(text, at)) is not None:
            if token[1] is not None and token[1] != b'"':
                break  # the string goes on in the next piece
            at = token.end()
            if token[1] is None and self._ends(token[0]):
                self._take(text[start : token.start() + (token[0] == b"}")], found)
                start = at
        self._keep(text[start:], (token.start() if token is not None else len(text)) - start)
        return found

    def finish(self) -> list[bytes]:
        """What is left when the stream has ended: an element that is cut off."""
        found: list[bytes] = []
        self._take(self._rest, found)
        self._rest, self._scanned = b"", 0
        return found

    @property
    def _at_top(self) -> bool:
        return self._depth == int(self._in_list)

    def _ends(self, token: bytes) -> bool:
        """Whether this bracket or comma ends an element, or begins or ends a list."""
        if token in b"[{":
            begins_list = token == b"[" and not self._depth
            self._in_list |= begins_list
            self._depth += 1
            return begins_list
        if token == b",":
            return True
        self._depth = max(0, self._depth - 1)
        if not self._depth:
            self._in_list = False
            return True
        return token == b"}" and self._at_top

    def _take(self, element: bytes, found: list[bytes]) -> None:
        if self._oversized or len(element) > MAX_MESSAGE_BYTES:
            found.append(OVERSIZED)
        elif element := element.strip():
            found.append(element)
        self._oversized = False

    def _keep(self, rest: bytes, scanned: int) -> None:
        if len(rest) > MAX_MESSAGE_BYTES:  # of a string in it the quote stays, to find its end
            self._oversized = True
            rest, scanned = rest[scanned : scanned + 1] if scanned < len(rest) else b"", 0
        self._rest, self._scanned = rest, scanned
