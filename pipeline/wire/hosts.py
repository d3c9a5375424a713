"""Which machine a report is of: one name for every way in which its senders spell it. Pure.

Windows' event log, an inventory agent and a crash reporter name one machine `H1`, `h1` and `h1.corp.example`. Counted
three times, a single crashing machine would be evidence of three. So names that differ only by case or by domain are
one host: everywhere, before anything is counted, hashed or sampled.

Two machines that differ only by their domain are then one host as well. That costs evidence, of trials and of crashes
alike, and halts nobody wrongly; so it is what happens unless `hosts.keep_domains` names their domains.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Annotated

import msgspec

from pipeline.wire.events import MAX_TEXT_CHARS

EVERY_DOMAIN = "*"
KNOWN_NAMES, KNOWN_DOMAINS = 1 << 16, 1 << 12  # remembered; past these they are worked out anew
MAX_LABEL_CHARS = 63
_LEFT_OUT = {ord("-"): None, ord("."): None, ord("\n"): None}

# A name in the DNS whose last part is a word: no address, no version, no `pump.1` beside `pump.2`.
_IN_A_DOMAIN = re.compile(r"([\w-]{1,63})((?:\.[\w-]{1,63})*\.(?:[^\W\d_]{2,63}|xn--[\w-]{1,59}))")
_OF_WINDOWS = re.compile(r"[\w.-]+\\([\w.-]+)")  # CORP\H1
_END = re.compile(r"[\s.$]+$")  # of a name from the root, of a machine's account


class HostsConfig(msgspec.Struct, frozen=True):
    """Which hosts are one."""

    keep_domains: Annotated[
        str,
        msgspec.Meta(
            description="domains, comma-separated, in which other machines have the same names: there a domain is part "
            'of the name; "*": every one'
        ),
    ] = ""

    @property
    def kept(self) -> tuple[str, ...]:
        """Each domain as names have it."""
        domains = (_folded(domain).strip(" .") for domain in self.keep_domains.split(","))
        return tuple(sorted(filter(None, domains)))


def one_host(name: str, kept: tuple[str, ...] = ()) -> str:
    r"""The name under which a host counts, however it is spelled: in small letters (of Unicode's ways to write a letter
    one), without its domain, without the dot at a name's end and the "$" of an account. `kept` are domains that stay
    part of the name.

    What is no name in a domain stays whole, but for its case: addresses, GUIDs, `pump.1`. A name that would be empty,
    or too long for a text, stays as it came.

    >>> [one_host(name) for name in ("HOST1", "host1.corp.example", "Host1.Corp.Example.", r"CORP\HOST1$")]
    ['host1', 'host1', 'host1', 'host1']
    >>> [one_host(name) for name in ("10.0.0.7", "FE80::1", "{5D1F-0A}", "pump.1", "v2.beta-3")]
    ['10.0.0.7', 'fe80::1', '{5d1f-0a}', 'pump.1', 'v2.beta-3']
    >>> one_host("Web-1.EU.example", ("eu.example",)), one_host("web-1.us.example", ("eu.example",))
    ('web-1.eu.example', 'web-1')
    """
    if is_plain(name):
        return name
    found = _END.sub("", _folded(name).lstrip())
    if windows := _OF_WINDOWS.fullmatch(found):
        found = windows[1]
    if (named := _IN_A_DOMAIN.fullmatch(found)) and not _is_kept(named[2][1:], kept):
        found = named[1]
    return found if 0 < len(found) <= MAX_TEXT_CHARS else name


class HostNames:
    """The same for many names at once: a batch costs a look at it, and where there are capitals or domains some 0.15 µs
    a name, for of domains there are few.

    >>> HostNames().of(["h1", "H1", "h1.corp.example"])
    ['h1', 'h1', 'h1']
    """

    def __init__(self, kept: tuple[str, ...] = ()) -> None:
        self._kept = kept
        self._known: dict[str, str] = {}
        self._domains: dict[str, bool] = {}  # of those seen, whether it is one that is left out

    def of(self, names: Sequence[str]) -> Sequence[str]:
        """Each one's name; the very sequence where all are spelled so."""
        joined = "\n".join(names)
        letters = joined.translate(_LEFT_OUT)
        if not (letters.isascii() and letters.isalnum()) or joined.count("\n") >= len(names):
            return [self.one(name) for name in names]
        small = joined.lower()
        if "." not in small:
            return names if small == joined else small.split("\n")
        return [self._short(name) for name in small.split("\n")]

    def _short(self, name: str) -> str:
        """Of one of letters, digits, hyphens and dots, in small letters."""
        label, _, domain = name.partition(".")
        if not domain or not label:
            return one_host(name, self._kept) if "." in name else name
        cut = self._domains.get(domain)
        if cut is None:
            if len(self._domains) >= KNOWN_DOMAINS:
                self._domains.clear()
            cut = self._domains[domain] = one_host(f"a.{domain}", self._kept) == "a"
        return label if cut and len(label) <= MAX_LABEL_CHARS else one_host(name, self._kept)

    def one(self, name: str) -> str:
        """Of one."""
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= KNOWN_NAMES:
                self._known.clear()
            found = self._known[name] = one_host(name, self._kept)
        return found


def is_plain(text: str) -> bool:
    """Whether a name of these characters is surely spelled as it counts."""
    return text.isascii() and text.replace("-", "a").isalnum() and text == text.lower()


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _is_kept(domain: str, kept: tuple[str, ...]) -> bool:
    return any(each in (EVERY_DOMAIN, domain) or domain.endswith(f".{each}") for each in kept)
