"""What is wrong with a value, said alike for configuration, policies and scenarios: key, value, what would be right."""

import difflib
import re
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

_PLACE = re.compile(r" - at (`key` in )?`\$(.*?)`$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)

_NEAR = 3  # names at most that may have been meant

T = TypeVar("T")

NOTHING: Any = object()  # there is no value to show


class Wrong(NamedTuple):
    """`key` as a person would write it ("" is the whole value), `value` as it stands there, `words`: what is right."""

    key: str
    value: Any
    words: str

    def __str__(self) -> str:
        value = "" if self.value is NOTHING else f" = {self.value!r}"
        return f"{self.key}{value}: {self.words}" if self.key else self.words


def convert(value: Any, hint: type[T], *, strict: bool = True) -> T | Wrong:
    """`value` as a `hint`, or what is wrong with it: the caller knows where it stands."""
    try:
        return msgspec.convert(value, hint, strict=strict)
    except msgspec.ValidationError as error:
        return _explain(str(error), value, hint)


def unknown(key: str, value: Any, known: Iterable[str]) -> Wrong:
    """A key that nobody reads."""
    names = sorted(known)
    near = did_you_mean(key.rpartition(".")[2], names)
    return Wrong(key, value, f"unknown key; known: {', '.join(names)}{near}")


def did_you_mean(word: str, known: Iterable[str], *, alike: float = 0.6) -> str:
    """The end of a sentence about an unknown name: "; did you mean a or b?", "" when none of the known ones is near.
    `alike`: how much of it must agree, from 0 to 1; letters' case does not count."""
    spelt = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), spelt, n=_NEAR, cutoff=alike)
    return f"; did you mean {' or '.join(spelt[name] for name in found)}?" if found else ""


def _explain(text: str, value: Any, hint: Any) -> Wrong:
    found = _PLACE.search(text)
    words, in_key, path = (text[: found.start()], bool(found[1]), found[2]) if found else (text, False, "")
    key, value, hint = _walk(path, value, hint)
    if stranger := _UNKNOWN.fullmatch(words):
        name = stranger[1]
        inside = value.get(name, NOTHING) if isinstance(value, Mapping) else NOTHING
        known = (field.encode_name for field in msgspec.structs.fields(_plain(hint)))
        return unknown(f"{key}.{name}".lstrip("."), inside, known)
    if in_key:
        return Wrong(key, NOTHING, f"a key of it: {words}")
    if words.startswith("Object missing"):
        return Wrong(key, NOTHING, words)
    return Wrong(key, value, _choices(hint) or words)


def _walk(path: str, value: Any, hint: Any) -> tuple[str, Any, Any]:
    """The key, the value and the type that a path of msgspec's means; "[...]" is any key of a table."""
    key = ""
    for name, index in _STEP.findall(path):
        hint = _plain(hint)
        if name:
            hint = get_type_hints(hint, include_extras=True)[name]
            value = value[name]
        else:
            hint = get_args(hint)[-1 if isinstance(value, Mapping) else 0]
            name = _at_fault(value, hint) if index == "..." else index
            value = value[name] if isinstance(value, Mapping) else value[int(name)]
        key += f"[{index}]" if index.isdigit() else f".{name}"
    return key.removeprefix("."), value, hint


def _at_fault(table: Mapping[str, Any], hint: Any) -> str:
    return next(name for name, value in table.items() if isinstance(convert(value, hint), Wrong))


def _plain(hint: Any) -> Any:
    """Without what is around a type: its limits, and that it may be missing."""
    if get_origin(hint) is Annotated:
        return _plain(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        rest = [each for each in get_args(hint) if each is not types.NoneType]
        return _plain(rest[0]) if len(rest) == 1 else hint
    return hint


def _choices(hint: Any) -> str:
    plain = _plain(hint)
    return f"one of {', '.join(map(str, get_args(plain)))}" if get_origin(plain) is Literal else ""
