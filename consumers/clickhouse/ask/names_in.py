"""The names of fleets, updates, rings and hosts that free SQL compares with. Pure."""

import re
from collections.abc import Iterator, Mapping

NAMES = ("fleet", "vendor", "product", "version", "ring", "host")
_STRING = r"'(?:[^'\\]|\\.|'')*'"
_COMPARED = re.compile(
    rf"\b(?P<what>{'|'.join(NAMES)})`?\s*(?:={{1,2}}\s*(?P<one>{_STRING})|IN\s*\(\s*(?P<list>{_STRING}(?:\s*,\s*{_STRING})*)\s*\))",
    re.IGNORECASE,
)
_SKIPPED = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


def names_in(sql: str, given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Pairs of what is named and its name: `fleet = '…'`, `ring IN ('…', '…')`, and of the parameters those that are
    called so. What is compared in other ways is not found."""
    for found in _COMPARED.finditer(_SKIPPED.sub(" ", sql)):
        for text in re.findall(_STRING, found["one"] or found["list"]):
            yield found["what"].lower(), re.sub(r"\\(.)|''", lambda each: each[1] or "'", text[1:-1])
    yield from ((name, given[name]) for name in NAMES if name in given)
