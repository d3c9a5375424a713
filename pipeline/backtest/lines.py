"""NDJSON files, plain, gzip or zstd, as batches of lines. A line is bounded, whatever the file says."""

import sys
from collections.abc import Callable, Iterator
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import Any, cast

import pyarrow

from pipeline.backtest.forms import BLOCK_BYTES, Read, Said, in_utf_8, oldest_first
from pipeline.runtime.errors import ConfigError
from pipeline.wire.elements import OVERSIZED, Elements
from pipeline.wire.events import MAX_MESSAGE_BYTES

STDIN = "-"
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
Advance = Callable[[int], None]


def check(name: str) -> int:
    """The file's size in bytes, 0 for standard input. Raises ConfigError when it cannot be read."""
    if name == STDIN:
        return 0
    try:
        with Path(name).open("rb") as file:
            return file.seek(0, 2)
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror or error}") from None


def batches(name: str, advance: Advance, said: Said = lambda _: None) -> Iterator[list[bytes]]:
    """The file's lines that are not empty, or the elements of its JSON lists, the oldest first; `advance` gets the
    bytes of the file read since the last batch, `said` the word for each form of it that had to be understood.

    Raises:
        ConfigError: when the file cannot be read, its compressed stream is damaged or cut off, or its lines stand
            newest first and are too many to be turned round.
    """
    yield from oldest_first(_batches(name, advance, said), name, said)


def _batches(name: str, advance: Advance, said: Said) -> Iterator[list[bytes]]:
    if name == STDIN:
        yield from _cut(cast(BufferedReader, sys.stdin.buffer).read1, advance, said)
        return
    try:
        compression = _compression(name)
        with pyarrow.OSFile(name, "rb") as raw:
            stream = pyarrow.CompressedInputStream(raw, compression) if compression else raw
            yield from _cut(stream.read, _followed(raw, advance), said)
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error}") from None


def _compression(name: str) -> str | None:
    with Path(name).open("rb") as file:
        start = file.read(4)
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)


def _followed(raw: Any, advance: Advance) -> Advance:
    """Counts the bytes of the file itself, not those that it unpacks to."""
    seen = 0

    def follow(_: int) -> None:
        nonlocal seen
        at = raw.tell()
        advance(at - seen)
        seen = at

    return follow


def _cut(read: Read, advance: Advance, said: Said) -> Iterator[list[bytes]]:
    """Into lines, or elements where the stream begins with a list."""
    read = in_utf_8(read, said)
    beginning = b""
    while not beginning.strip() and (block := read(BLOCK_BYTES)):
        beginning += block
    blocks = chain((beginning,), iter(lambda: read(BLOCK_BYTES), b""))
    if not beginning.lstrip().startswith(b"["):
        yield from split(lambda _: next(blocks, b""), advance)
        return
    said("list")
    elements = Elements()
    for block in blocks:
        advance(len(block))
        yield elements.feed(block)
    yield elements.finish()


def split(read: Callable[[int], bytes], advance: Advance) -> Iterator[list[bytes]]:
    """Lines of a stream, a block's worth at a time; one too long for a message becomes OVERSIZED."""
    carry, skipping = b"", False
    while block := read(BLOCK_BYTES):
        advance(len(block))
        lines = (carry + block).split(b"\n")
        carry = lines.pop()
        if skipping and lines:
            lines[0], skipping = OVERSIZED, False
        if skipping or len(carry) > MAX_MESSAGE_BYTES:
            carry, skipping = b"", True
        if kept := list(filter(None, lines)):
            yield kept
    if skipping:
        yield [OVERSIZED]
    elif carry:
        yield [carry]
