"""Answers of ClickHouse as they come over HTTP: whole, or said to be cut off; and as rows, with names and types."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from pipeline.runtime.errors import AndonError
from pipeline.runtime.logging import printable

BLOCK_BYTES = 1 << 16
TAG_HEADER = "X-ClickHouse-Exception-Tag"  # the server's word for what begins an error after rows have been sent
# Names and types first, then a row a line: nothing is lost to equal names, and dates and enums are text.
ROWS_FORMAT = "JSONCompactEachRowWithNamesAndTypes"
ROWS_SETTINGS = {
    "output_format_json_quote_64bit_integers": 0,  # Python's integers hold them
    "output_format_json_quote_decimals": 1,  # its floats do not
    "output_format_json_quote_denormals": 1,
}


class CutOff(AndonError):
    """An answer that ended before its end."""


class Reading:
    """A stream's `read` that tells the end of an answer from its breaking off. What came until then is given first."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        tag = stream.headers.get(TAG_HEADER, "")
        self._mark = f"__exception__\r\n{tag}".encode() if tag else b""
        self._held = b""  # more than was asked for, or what may be the beginning of a mark
        self._broken: str | None = None
        self._ended = False
        self.bytes = 0

    def __call__(self, size: int = BLOCK_BYTES) -> bytes:
        """So many bytes, fewer only at the end, and then none.

        Raises:
            CutOff: when the answer broke off, or the server says in it that it could not go on.
        """
        while not self._ended and len(self._held) < size + len(self._mark):
            self._take(size)
        data, self._held = self._held[:size], self._held[size:]
        if not data and self._broken is not None:
            raise CutOff(f"the answer broke off after {self.bytes:,} bytes and is incomplete ({self._broken})")
        self.bytes += len(data)
        return data

    def _take(self, size: int) -> None:
        from clickhouse_connect.driver.exceptions import Error  # here: help does not wait for it
        from urllib3.exceptions import HTTPError

        try:
            came = self._stream.read1(size)
        except (Error, HTTPError, OSError) as error:
            self._broken, came = printable(str(error)), b""
        self._ended = not came
        seen = max(0, len(self._held) - len(self._mark))
        self._held += came
        at = self._held.find(self._mark, seen) if self._mark else -1
        if at >= 0:
            reason = self._held[at + len(self._mark) :] + self._rest()
            self._broken, self._ended = printable(reason.decode("utf-8", "replace").strip().partition("\n")[0]), True
            self._held = self._held[:at].removesuffix(b"\r\n")

    def _rest(self) -> bytes:
        """It ends with the connection."""
        from clickhouse_connect.driver.exceptions import Error
        from urllib3.exceptions import HTTPError

        with suppress(Error, HTTPError, OSError):
            return bytes(self._stream.read1(BLOCK_BYTES))
        return b""


class Pairs(NamedTuple):
    """A map or a named tuple: its keys need not differ."""

    pairs: list[tuple[str, Any]]


class Answer(NamedTuple):
    """`rows` are the first of `total`."""

    names: list[str]
    types: list[str]
    rows: list[list[Any]]
    total: int


def read_answer(read: Callable[[int], bytes], most_rows: int) -> Answer:
    """An answer in ROWS_FORMAT.

    Raises:
        CutOff: when it is not whole.
    """
    lines = _lines(read)
    names, types = _row(next(lines, b"[]")), _row(next(lines, b"[]"))
    rows: list[list[Any]] = []
    total = 0
    for total, line in enumerate(lines, 1):  # noqa: B007
        if len(rows) < most_rows:
            rows.append(_row(line))
        elif not line.startswith(b"["):
            raise CutOff(f"the answer broke off and is incomplete ({printable(line.decode('utf-8', 'replace'))})")
    return Answer(names, types, rows, total)


def _lines(read: Callable[[int], bytes]) -> Iterator[bytes]:
    carry = b""
    while block := read(BLOCK_BYTES):
        *lines, carry = (carry + block).split(b"\n")
        yield from lines
    if carry:
        raise CutOff("the answer broke off inside a row and is incomplete")


def _row(line: bytes) -> list[Any]:
    """Bytes that are no text survive as surrogates. After rows, some servers tell an error as an object, or as text."""
    text = line.decode("utf-8", "surrogateescape")
    try:
        row = json.loads(text, object_pairs_hook=Pairs)
    except ValueError:
        row = text
    if isinstance(row, list):
        return row
    raise CutOff(f"the answer broke off and is incomplete ({printable(text)})")
