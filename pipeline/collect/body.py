"""A request's body: received and decompressed within bounds, never inflated whole, then cut into lines."""

import asyncio
import sys
import zlib
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import msgspec

from pipeline.collect.forms import check_form
from pipeline.collect.refusals import Refusal
from pipeline.wire.looks import hint as hint  # for who answers

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ENCODINGS = ("identity", "gzip", "zstd")
MAX_WINDOW_LOG = 23  # 8 MiB, RFC 9659's limit for HTTP: a frame may not ask for a larger buffer
BEGINNING_SECONDS = 5.0  # of a body, in which its rate is not looked at: a phone on a bad line takes a moment
MAX_STREAMS = 1000  # gzip members or zstd frames in a body: tens of thousands of empty ones are an attack on the CPU


class _Object(msgspec.Struct, gc=False):
    """Any JSON object, unread."""


@dataclass(slots=True)
class _AnyObject:
    """The same where there may be lists too, ten times slower: a union may hold one Struct only."""


class _List(msgspec.Struct, array_like=True, gc=False):
    """Any JSON list, unread."""


_objects, _raws = msgspec.json.Decoder(list[_Object]), msgspec.json.Decoder(list[msgspec.Raw])
_values = msgspec.json.Decoder(list[_AnyObject | _List | str | float | bool | None])


class Decompressor(Protocol):
    """What zlib's and zstd's decompressors have in common here."""

    @property
    def eof(self) -> bool:
        """The stream has ended."""

    @property
    def unused_data(self) -> bytes:
        """What followed the end."""

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        """At most `max_length` bytes more."""


class _Gzip:
    """zlib's decompressor with the interface that zstd's has: it keeps the input that it has not used yet."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _zstd() -> Decompressor:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_WINDOW_LOG})


class Inflater:
    """Takes a compressed body piece by piece and stops at `limit_bytes` of output. Several streams in a row are one."""

    def __init__(self, encoding: str, limit_bytes: int) -> None:
        self._new = _Gzip if encoding == "gzip" else _zstd
        self._stream: Decompressor = self._new()
        self._streams = 1
        self._limit_bytes = limit_bytes
        self.pieces: list[bytes] = []
        self.size_bytes = 0

    def feed(self, data: bytes) -> None:
        """Raises Refusal: 413 past the limit, 400 when this is not the encoding it claims to be."""
        while True:
            if self._stream.eof:
                if not data:
                    return
                self._next_stream()
            room = self._limit_bytes - self.size_bytes + 1
            try:
                piece = self._stream.decompress(data, room)
            except (zlib.error, zstd.ZstdError) as error:
                raise Refusal(400, "bad_compression", str(error)) from None
            self._keep(piece)
            if not self._stream.eof:
                return  # fewer bytes than there was room for: all input is used
            data = self._stream.unused_data

    def _next_stream(self) -> None:
        self._streams += 1
        if self._streams > MAX_STREAMS:
            raise Refusal(400, "bad_compression", f"more than {MAX_STREAMS} compressed streams in one body")
        self._stream = self._new()

    def _keep(self, piece: bytes) -> None:
        self.size_bytes += len(piece)
        if self.size_bytes > self._limit_bytes:
            raise Refusal(413, "too_large_decompressed", f"more than {self._limit_bytes} bytes once decompressed")
        self.pieces.append(piece)

    def finish(self) -> bytes:
        """The whole. Raises Refusal 400 when the stream was cut short."""
        if not self._stream.eof:
            raise Refusal(400, "truncated", "the compressed body ends in the middle")
        return b"".join(self.pieces)


class Pace:
    """How long a body may take: `most_seconds` in all, and as long only as it keeps to a rate after the beginning."""

    def __init__(self, most_seconds: float, bytes_per_second: float) -> None:
        self._most_seconds, self._bytes_per_second = most_seconds, bytes_per_second
        self.first_seconds = min(most_seconds, BEGINNING_SECONDS)

    async def keep(self, chunks: AsyncIterable[bytes], deadline: asyncio.Timeout) -> AsyncIterator[bytes]:
        """The same chunks; with each that comes, `deadline` is put off by as much as it has earned."""
        received_bytes = 0
        started_seconds = asyncio.get_running_loop().time()
        async for chunk in chunks:
            received_bytes += len(chunk)
            earned_seconds = self.first_seconds + received_bytes / self._bytes_per_second
            deadline.reschedule(started_seconds + min(self._most_seconds, earned_seconds))
            yield chunk


async def read_body(
    chunks: AsyncIterable[bytes], encoding: str, max_body_bytes: int, max_decompressed_bytes: int
) -> bytes:
    """Receive a body. Raises Refusal when it is empty, too large, or not what its encoding says."""
    inflater = None if encoding == "identity" else Inflater(encoding, max_decompressed_bytes)
    pieces: list[bytes] = []
    received_bytes = 0
    async for chunk in chunks:
        received_bytes += len(chunk)
        if received_bytes > max_body_bytes:
            raise too_large(max_body_bytes)
        if inflater is None:
            pieces.append(chunk)
        else:
            inflater.feed(chunk)
    if not received_bytes:
        raise Refusal(400, "empty_body", "send one JSON object, or one a line")
    return b"".join(pieces) if inflater is None else inflater.finish()


def too_large(max_body_bytes: int) -> Refusal:
    """413 for a body as sent."""
    return Refusal(413, "too_large", f"more than {max_body_bytes} bytes; send smaller batches, or compress them")


def numbered_lines(body: bytes, content_type: str, most: int) -> list[tuple[int, bytes]]:
    """(1-based line, its bytes) of every line that is not blank; a JSON body may be one object over many lines, or a
    list: then an element counts as a line. Raises Refusal 413 for more than `most`, 415 for what is no text."""
    check_form(body)
    if is_list(body):
        lines = _of_lists(body, most)
    elif content_type == "application/json" and is_one_value(body):
        return [(1, body)]
    else:
        lines = [(number, line) for number, line in enumerate(body.split(b"\n"), 1) if line and not line.isspace()]
    if len(lines) > most:
        raise _too_many(most)
    return lines


def is_list(body: bytes) -> bool:
    """Whether a body begins as a JSON list: what Vector and Fluent Bit send unless told otherwise."""
    return body[:64].lstrip().startswith(b"[")


def _of_lists(body: bytes, most: int) -> list[tuple[int, bytes]]:
    """The elements of the list that the body is, or of those in its lines."""
    elements = _elements(body, most)
    if elements is None:
        elements = []
        for line in filter(bytes.strip, body.split(b"\n")):
            inner = _elements(line, most - len(elements)) if is_list(line) else None
            elements += [line] if inner is None else inner
            if len(elements) > most:
                raise _too_many(most)
    return list(enumerate(elements, 1))


def _elements(raw: bytes, most: int) -> list[bytes] | None:
    """A list's elements as they stand; None when it is no JSON list. Counted before they are made: each `1` of a body
    that is nothing else would take a hundred times its byte."""
    try:
        if raw.count(b",") >= most and _count(raw) > most:
            raise _too_many(most)
        return [bytes(element) for element in _raws.decode(raw)]
    except (msgspec.DecodeError, RecursionError):
        return None


def _count(raw: bytes) -> int:
    """How many elements a list has, whatever they are; what is no event is refused later, by itself."""
    try:
        return len(_objects.decode(raw))
    except msgspec.ValidationError:
        pass
    try:
        return len(_values.decode(raw))
    except (msgspec.ValidationError, UnicodeError):
        raise Refusal(400, "bad_list", "an element of the list is a number or a text that nobody can read") from None


def _too_many(most: int) -> Refusal:
    return Refusal(413, "too_many_events", f"more than {most} lines; send smaller batches")


def is_one_value(body: bytes) -> bool:
    """Whether the whole is a single JSON value; NDJSON sent as application/json is not, and is read line by line."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
