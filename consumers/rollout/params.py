"""What people name on the command line: an update, a fleet or ring, a span of time."""

from typing import Any
from urllib.parse import unquote

import click

from pipeline.wire.events import MAX_TEXT_CHARS

MAX_WAIT_SECONDS = 7 * 86_400
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class UpdateName(click.ParamType):
    """VENDOR/PRODUCT/VERSION; a "/" inside of a name is %2F, as in keys of records."""

    name = "VENDOR/PRODUCT/VERSION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The three names."""
        parts = tuple(unquote(part) for part in str(value).split("/"))
        if len(parts) != 3:
            self.fail(f"{value!r} has {len(parts)} part(s): should be {self.name}; a / inside of a name is %2F", param)
        return tuple(Name().convert(part, param, ctx) for part in parts)


class Name(click.ParamType):
    """A name as events have it."""

    name = "NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name itself: names compare letter by letter."""
        text = str(value)
        if not 0 < len(text) <= MAX_TEXT_CHARS:
            self.fail(f"{text!r} should have 1 to {MAX_TEXT_CHARS} characters", param)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail(f"{text!r} should be UTF-8", param)
        return text


class Span(click.ParamType):
    """A number and its unit: 45s, 30m, 2h."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        if isinstance(value, float):
            return value
        number, unit = value[:-1], value[-1:]
        if unit not in UNITS or not number.isascii() or not number.isdigit():
            self.fail(f"{value!r} should be a whole number and its unit, one of s, m, h, d: 30m", param)
        seconds = float(int(number[:9]) * UNITS[unit])
        if seconds > MAX_WAIT_SECONDS:
            self.fail(f"{value!r} should be 7d at most", param)
        return seconds
