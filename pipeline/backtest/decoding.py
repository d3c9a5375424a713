"""Lines into events, with a note of each that is none, or had to be mended. Pure."""

from collections.abc import Callable, Iterator, Sequence

from pipeline.backtest.forms import NEWEST_FIRST
from pipeline.backtest.noted import Example, InputNotes, example_of
from pipeline.backtest.stream import StreamClock
from pipeline.wire.events import AnyEvent
from pipeline.wire.learned import LearnedDecoder
from pipeline.wire.listed import KnownLists
from pipeline.wire.looks import LOOKED_AT_BYTES
from pipeline.wire.mending import Mends
from pipeline.wire.reasons import MalformedMessage, Reason

SHOWN_LINES = 4


class Decoding:
    """`mended` gets the fleet of each event that was mended, and what was."""

    def __init__(self, notes: InputNotes, mended: Callable[[str, Mends], None]) -> None:
        self._decoder = LearnedDecoder(KnownLists())
        self._notes = notes
        self._mended = mended
        self._lines = 0

    def events(self, lines: Sequence[bytes]) -> list[AnyEvent]:
        """Of the lines that are some."""
        before = self._lines

        def refuse(index: int, error: MalformedMessage) -> None:
            if error.reason is not Reason.INVALID_JSON or not lines[index].isspace():  # a blank line says nothing
                self._notes.refuse(str(error.reason), self._example(before + index + 1, lines[index], error.detail))

        def mended(index: int, event: AnyEvent, mends: Mends) -> None:
            self._notes.mend(mends, self._example(before + index + 1, lines[index]))
            self._mended(event.fleet, mends)

        if not self._lines:
            self._notes.beginning = b"\n".join(lines[:SHOWN_LINES])[:LOOKED_AT_BYTES]
        self._lines += len(lines)
        if lines:
            self._notes.cut_off = _is_beginning(lines[-1])
        return self._decoder.decode_all(lines, refuse, mended)

    def _example(self, number: int, line: bytes, detail: str = "") -> Example:
        """Of lines that were turned round nobody knows the number: where their file ends it was not known yet."""
        return example_of(0 if self._notes.forms[NEWEST_FIRST] else number, line, detail)

    def future(self, clock: StreamClock) -> Iterator[tuple[str, str, int]]:
        """Note what the stream's clock refused; fleet, host and how far ahead (ms) of each host."""
        if clock.first is not None:
            detail = f"id {clock.first.id} of host {clock.first.host} is a day or more ahead of what is around it"
            self._notes.refuse(str(Reason.FUTURE_TIMESTAMP), Example(0, detail, ""), clock.refused)
        return ((fleet, host, ahead_ms) for (fleet, host), ahead_ms in clock.ahead.items())


def _is_beginning(line: bytes) -> bool:
    """Whether that is an object whose end is missing."""
    return (line := line.strip()).startswith(b"{") and not line.endswith(b"}")
