"""What to do about a refused event, in one sentence for the person who sends it. Pure."""

import re
from typing import Any

from pipeline.wire.events import ANCIENT_MS, LATEST_MS, MAX_TEXT_CHARS
from pipeline.wire.mending import unit_of

_MISSING = re.compile(r"Object missing required field `(\w+)`")
_PATH = re.compile(r" - at `\$((?:\.\w+)+)`$")

# What to send when a field is not known.
_INSTEAD = {
    "v": "use 1",
    "id": "use a text that no other report of this host has",
    "fleet": "use the name that your token is for",
    "host": "use the machine's name, the same in all its reports",
    "ts": "use unix milliseconds",
    "ring": "use unassigned",
    "os": "use unknown",
    "model": "use unknown",
    "updates": "use [] for a host without any",
    "prior": "use unknown",
    "signature": 'use {"code":"","module":""}',
    "code": 'use ""',
    "module": 'use ""',
    "kind": "use boot, crash or heartbeat",
}
_EXPECTED = {
    "v": "must be 1",
    "kind": "must be boot, crash or heartbeat",
    "prior": "must be clean, crash or unknown",
    "updates": "must be a list",
    "signature": 'must be an object: {"code":"0x50","module":"csagent.sys"}',
}


def advice(detail: str, fields: Any) -> str:
    """The sentence; `detail` as it is when there is none better. `fields` is what the message's JSON says."""
    if isinstance(fields, list):
        return "a message is one JSON object; a list of them is read from files and by the gateway only"
    if missing := _MISSING.match(detail):
        name = missing[1]
        return f"{name} is missing: {_INSTEAD[name]}" if name in _INSTEAD else detail
    path = _PATH.search(detail)
    if path is None:
        return detail
    names = path[1][1:].split(".")
    value = fields
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return _about(names[-1], value) or detail


def _about(name: str, value: Any) -> str:
    if name in _EXPECTED:
        return f"{name} {_EXPECTED[name]}"
    if name == "ts":
        return _about_time(name, value)
    if isinstance(value, str):
        if not value:
            return f'{name} is "": {_INSTEAD.get(name, "it needs a text")}'
        return f"{name} has {len(value)} characters, at most {MAX_TEXT_CHARS} may be"
    if value is None:
        return f"{name} is null: {_INSTEAD.get(name, 'it needs a text')}"
    if isinstance(value, int) and not isinstance(value, bool):
        text = f"{value:#x}" if name == "code" and value >= 0 else value
        return f'{name} must be text: "{text}"'
    return f"{name} must be text"


def _about_time(name: str, value: Any) -> str:
    if (found := unit_of(value)) and found[0] != "milliseconds":
        return f"{name} looks like {found[0]}; milliseconds are expected"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{name} must be a number: unix milliseconds, as 1721362140000 for 2024-07-19T04:09:00Z"
    if value < ANCIENT_MS:
        return f"{name} is before 2020: the host's clock is not set"
    return f"{name} is after 2100" if value > LATEST_MS else f"{name} must be whole milliseconds"
