"""What is no events, by how it begins, and what its sender is to do: of the gateway's bodies and of files. Pure."""

import re

LOOKED_AT_BYTES = 512
_SEVERAL = re.compile(rb"\}[ \t\r]*\{")
_FORM = re.compile(rb"[\w.%+-]+=")
_WRAPPED = re.compile(rb'\{\s*"(\w{1,64})"\s*:\s*\[')


def is_utf_16(beginning: bytes) -> bool:
    """Whether it is text in it, with its mark or without."""
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")):
        codec = "utf-16"
    elif b"\0" in beginning[:2]:
        codec = "utf-16-be" if beginning[:1] == b"\0" else "utf-16-le"
    else:
        return False
    text = beginning.decode(codec, "replace").strip()
    return text[:1].isascii() and text[:1].isprintable() and text != ""


def hint(text: bytes, what: str = "the body") -> str:
    """What to do, of something of which nothing was an event; "" when its lines say it."""
    beginning = text[:LOOKED_AT_BYTES].lstrip()
    if wrapped := _WRAPPED.match(beginning):
        return f'the events stand in "{wrapped[1].decode()}" of one object: send the list alone, or one object a line'
    if beginning.startswith((b"{", b"[")):
        first, _, rest = text.strip().partition(b"\n")
        if not rest and _SEVERAL.search(first):
            return (
                "several objects stand in one line: `curl -d @FILE` takes the newlines out of a file; use "
                "`--data-binary @FILE`"
            )
        return ""
    line = beginning.split(b"\n")[0]
    if _FORM.match(beginning):
        return f"{what} looks like a form (name=value): send JSON objects, one a line"
    if any(line.count(separator) >= 2 for separator in (b",", b";", b"\t")):
        return f"{what} looks like CSV: send JSON objects, one a line, with the names of docs/design.md"
    return "send JSON objects, one a line, or a list of them"
