"""All that a command prints: the one place that writes to a terminal, and what it writes cannot drive one.

Text of others, from endpoints, brokers and servers, is escaped where it is not printable: C0 and C1 controls, which
begin a terminal's sequences, and marks that turn the direction of what follows. A house test keeps everyone else away.
"""

import json
import traceback
from types import TracebackType

import click
import msgspec

from pipeline.runtime.logging import printable

_LAYOUT = "\n\t"


def safe(text: str) -> str:
    """`text` with all escaped that is neither printable nor a line break or tab."""
    if text.isprintable():
        return text
    return "".join(c if c in _LAYOUT else printable(c) for c in text)


def safe_json(text: str) -> str:
    """JSON with the same meaning and nothing in it that is not printable, but for line breaks and tabs: those between
    its values. In a string there is nothing else of this kind that JSON would not escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _LAYOUT else json.dumps(c)[1:-1] for c in text)


def say(text: str, *, err: bool = False, newline: bool = True) -> None:
    """To standard output, or standard error."""
    click.echo(safe(text), err=err, nl=newline)


def say_json(value: object) -> None:
    """One line of `--json`."""
    click.echo(safe_json(msgspec.json.encode(value, enc_hook=_number).decode()))


def _number(value: object) -> object:
    """A scalar of numpy as Python has it."""
    if not hasattr(value, "item"):
        raise TypeError(f"no JSON for {type(value).__name__}")
    return value.item()


def say_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """sys.excepthook: an exception nobody expected may quote anything."""
    say("".join(traceback.format_exception(kind, error, trace)), err=True, newline=False)
