"""rich's console for tables, bars and panels: what it prints keeps the promise of `pipeline.runtime.say`."""

import sys
from collections.abc import Iterable
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from pipeline.runtime.say import safe
from pipeline.runtime.say import say_json as say_json  # for whoever prints both

_NO_WIDTH = 10_000  # columns


class SafeConsole(Console):
    """rich's, with the same promise. What is to be laid out well is `printable` before: escapes take columns."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """rich's own sequences come as control segments and styles, and pass."""
        for segment in super().render(renderable, options):
            yield (
                segment if segment.control or segment.text.isprintable() else segment._replace(text=safe(segment.text))
            )


def console(stream: IO[str] | None = None, width: int | None = None, highlight: bool = False) -> SafeConsole:
    """For tables, bars and panels; on standard output unless told otherwise. Numbers and names are not coloured: they
    may be anybody's text."""
    return SafeConsole(file=stream, width=width, highlight=highlight)


def stdout_console() -> SafeConsole:
    """Where a command prints what it found: a terminal's tables fold to its width; in a file or a pipe nothing is
    folded or cut."""
    return console(width=None if sys.stdout.isatty() else _NO_WIDTH)


def stderr_console() -> SafeConsole:
    """For bars that move."""
    return console(sys.stderr)
