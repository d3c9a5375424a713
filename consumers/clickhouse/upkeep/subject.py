"""Whose data is to be forgotten, and which rows of a table are about them. Pure."""

import re
from typing import NamedTuple

import msgspec

from pipeline.wire.record_keys import update_key

# A refused message may be anything. Most are JSON, whole, cut or broken; a partial is MessagePack.
_PARTIAL = "endsWith(topic, 'fleet.partials')"
# Their keys begin with the fleet, percent-encoded; that of a partial is the fleet.
_KEYED = r"match(topic, 'fleet\\.(verdicts|halts|halt-acks|commands)$')"
_SHORT = {'"': '"', "\\": "\\", "/": "/", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}


class Subject(NamedTuple):
    """Whose data; "" is every fleet, or every host of the fleet."""

    fleet: str
    host: str

    def condition(self, table: str, columns: set[str]) -> str | None:
        """The rows of a table that are about the subject; None when the table knows nothing of it."""
        wanted = {name: value for name, value in self._asdict().items() if value}
        if table == "dead_letters":
            return self._letters()
        if table == "halt_acks" and not self.host:
            return "startsWith(halt_key, {halts:String})"
        if wanted.keys() <= columns:
            return " AND ".join(f"{name} = {{{name}:String}}" for name in wanted)
        return None

    def _letters(self) -> str:
        """Those that name the host or fleet (a message's key does, too) and no other fleet: what was cut names none."""
        inside = f"{_KEYED} AND startsWith(ifNull(key, ''), {{halts:String}})"
        fleet = f"({_said('fleet')} OR ({_PARTIAL} AND ifNull(key, '') = {{fleet:String}}) OR ({inside}))"
        if not self.host:
            return fleet
        host = f"(ifNull(key, '') = {{host:String}} OR {_said('host')})"
        other = f"(match(value, {{any_fleet:String}}) OR {_PARTIAL} OR {_KEYED})"
        return f"{host} AND ({fleet} OR NOT {other})" if self.fleet else host

    @property
    def parameters(self) -> dict[str, str]:
        """Of every statement about the subject: its names are data."""
        halts = update_key(self.fleet, "", "", "").removesuffix("//")
        found = {**self._asdict(), "halts": halts, "any_fleet": field("fleet", r'(?:[^"\\]|\\.)*')}
        for name, value in self._asdict().items():
            found |= {f"{name}_field": field(name, spelled(value)), f"{name}_packed": packed(value)}
        return found


def _said(name: str) -> str:
    inside = f"{_PARTIAL} AND position(value, unhex({{{name}_packed:String}})) > 0"
    return f"(match(value, {{{name}_field:String}}) OR ({inside}))"


def field(name: str, value: str) -> str:
    """A pattern (RE2) of a field of a JSON object; `value` is one of what stands between the quotes."""
    return rf'(?s)"{spelled(name)}"\s*:\s*"{value}"'


def spelled(text: str) -> str:
    """A pattern of every way in which JSON may spell a text: each character as it is, or escaped."""
    return "".join(map(_character, text))


def _character(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    escapes = [r"\\u" + f"(?i:{units[start : start + 4]})" for start in range(0, len(units), 4)]
    ways = ["".join(escapes)]
    if character in _SHORT:
        ways.append(r"\\" + re.escape(_SHORT[character]))
    if character not in '"\\' and character >= " ":
        ways.append(re.escape(character))
    return f"(?:{'|'.join(ways)})"


def packed(text: str) -> str:
    """The text as MessagePack has it, in hex."""
    return msgspec.msgpack.encode(text).hex()
