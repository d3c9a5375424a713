"""Standard output for people: a terminal's tables fold to its width; in a file or a pipe nothing is folded or cut."""

import sys

from rich.console import Console

_NO_WIDTH = 10_000  # columns


def stdout_console() -> Console:
    """Where a command prints what it found. Numbers and names are not coloured: they may be anybody's text."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _NO_WIDTH)
