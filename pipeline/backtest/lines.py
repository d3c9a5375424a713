"""NDJSON files, plain, gzip or zstd, as batches of lines. A line is bounded, whatever the file says."""

import sys
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

import pyarrow

from pipeline.runtime.errors import ConfigError
from pipeline.wire.events import MAX_MESSAGE_BYTES

STDIN = "-"
BLOCK_BYTES = 1 << 20
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
# What stands for a line that is longer than a message may be: the decoder refuses it as oversized, unread.
OVERSIZED = b" " * (MAX_MESSAGE_BYTES + 1)

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


def batches(name: str, advance: Advance) -> Iterator[list[bytes]]:
    """The file's lines that are not empty; `advance` gets the bytes of the file read since the last batch.

    Raises:
        ConfigError: when the file cannot be read, or its compressed stream is damaged or cut off.
    """
    if name == STDIN:
        yield from split(cast(BufferedReader, sys.stdin.buffer).read1, advance)
        return
    try:
        compression = _compression(name)
        with pyarrow.OSFile(name, "rb") as raw:
            stream = pyarrow.CompressedInputStream(raw, compression) if compression else raw
            yield from split(stream.read, _followed(raw, advance))
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
