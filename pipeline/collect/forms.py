"""Bodies that are no events, by how they look, and what their sender is to do. Pure."""

import re

from pipeline.collect.refusals import Refusal

LOOKED_AT_BYTES = 512
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_SEVERAL = re.compile(rb"\}[ \t\r]*\{")
_FORM = re.compile(rb"[\w.%+-]+=")


def check_form(body: bytes) -> None:
    """Raises Refusal 415 for what is no text of UTF-8 at all: none of it is looked at further, nor dead-lettered."""
    for magic, encoding in _COMPRESSED.items():
        if body.startswith(magic):
            detail = f"the body is compressed with {encoding}: say so with the header `Content-Encoding: {encoding}`"
            raise Refusal(415, "unsupported_encoding", detail)
    if _is_utf_16(body[:16]):
        detail = "the body is UTF-16: send UTF-8; in PowerShell `[Text.Encoding]::UTF8.GetBytes($body)` as -Body"
        raise Refusal(415, "unsupported_charset", detail)


def _is_utf_16(beginning: bytes) -> bool:
    """Whether it is text in it, with its mark or without."""
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")):
        codec = "utf-16"
    elif b"\0" in beginning[:2]:
        codec = "utf-16-be" if beginning[:1] == b"\0" else "utf-16-le"
    else:
        return False
    text = beginning.decode(codec, "replace").strip()
    return text[:1].isascii() and text[:1].isprintable() and text != ""


def hint(body: bytes) -> str:
    """What to do, of a body of which nothing was an event; "" when its lines say it."""
    beginning = body[:LOOKED_AT_BYTES].lstrip()
    if beginning.startswith((b"{", b"[")):
        first, _, rest = body.strip().partition(b"\n")
        if not rest and _SEVERAL.search(first):
            return (
                "several objects stand in one line: `curl -d @FILE` takes the newlines out of a file; use "
                "`--data-binary @FILE`"
            )
        return ""
    line = beginning.split(b"\n")[0]
    if _FORM.match(beginning):
        return "the body looks like a form (name=value): send JSON objects, one a line"
    if any(line.count(separator) >= 2 for separator in (b",", b";", b"\t")):
        return "the body looks like CSV: send JSON objects, one a line, with the names of docs/design.md"
    return "send JSON objects, one a line, or a list of them"
