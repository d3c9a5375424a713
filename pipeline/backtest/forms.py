"""Forms that a file may come in: UTF-16, a byte order mark, the newest line first. Each is understood, and said."""

import codecs
import re
from collections.abc import Callable, Iterator
from itertools import chain, pairwise

from pipeline.runtime.errors import ConfigError

NEWEST_FIRST = "newest_first"  # the word for a file that was turned round
BLOCK_BYTES = 1 << 20
LOOKED_AT = 1_000  # lines at the beginning of a file, which tell its order
FEWEST_STEPS = 8  # from one time to another, that make an order
MAX_TURNED_BYTES = 512 << 20  # of a file that is turned round in memory
_LINE_BYTES = 50  # that a line takes beside its own
_AT_ONCE = 4_096  # lines given on together

_TIME = re.compile(rb'"ts"\s*:\s*(\d+)')

Read = Callable[[int], bytes]
Said = Callable[[str], None]  # gets the word for a form that was understood


def in_utf_8(read: Read, said: Said) -> Read:
    """The same stream in UTF-8, without a byte order mark. What is no UTF-16 behind its mark becomes U+FFFD."""
    beginning = b""
    while len(beginning) < len(codecs.BOM_UTF8) and (piece := read(BLOCK_BYTES)):
        beginning += piece
    rest = iter(lambda: read(BLOCK_BYTES), b"")
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        said("utf_16")
        texts = codecs.iterdecode(chain((beginning,), rest), "utf-16", "replace")
        blocks = (text.encode("utf-8", "replace") for text in texts if text)
    else:
        if beginning.startswith(codecs.BOM_UTF8):
            said("byte_order_mark")
        blocks = (block for block in chain((beginning.removeprefix(codecs.BOM_UTF8),), rest) if block)
    return lambda _: next(blocks, b"")


def oldest_first(batches: Iterator[list[bytes]], name: str, said: Said) -> Iterator[list[bytes]]:
    """The lines of a file; those that stand newest first (`journalctl -r`, `Get-WinEvent`) turned round.

    Raises:
        ConfigError: when they are too many for that.
    """
    first: list[bytes] = []
    while len(first) < LOOKED_AT and (batch := next(batches, None)) is not None:
        first += batch
    if not is_newest_first(first[:LOOKED_AT]):
        if first:
            yield first
        yield from batches
        return
    said(NEWEST_FIRST)
    lines, size_bytes = first, sum(map(len, first)) + _LINE_BYTES * len(first)
    for batch in batches:
        lines += batch
        size_bytes += sum(map(len, batch)) + _LINE_BYTES * len(batch)
        if size_bytes > MAX_TURNED_BYTES:
            raise ConfigError(f"{name}: its lines stand newest first, too many to be turned round here: use tac")
    for end in range(len(lines), 0, -_AT_ONCE):
        yield lines[max(0, end - _AT_ONCE) : end][::-1]


def is_newest_first(lines: list[bytes]) -> bool:
    """Whether times go down nearly everywhere, from the first line to the last."""
    times = [int(found[1][:20]) for line in lines if (found := _TIME.search(line))]
    steps = [after - before for before, after in pairwise(times) if after != before]
    down = sum(step < 0 for step in steps)
    return len(steps) >= FEWEST_STEPS and down >= 0.9 * len(steps) and times[-1] < times[0]
