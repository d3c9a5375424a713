"""Bodies that are no text of UTF-8, by how they begin, and what their sender is to do. Pure."""

from pipeline.collect.refusals import Refusal
from pipeline.wire.looks import is_utf_16

_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def check_form(body: bytes) -> None:
    """Raises Refusal 415 for what is no text of UTF-8 at all: none of it is looked at further, nor dead-lettered."""
    for magic, encoding in _COMPRESSED.items():
        if body.startswith(magic):
            detail = f"the body is compressed with {encoding}: say so with the header `Content-Encoding: {encoding}`"
            raise Refusal(415, "unsupported_encoding", detail)
    if is_utf_16(body[:16]):
        detail = "the body is UTF-16: send UTF-8; in PowerShell `[Text.Encoding]::UTF8.GetBytes($body)` as -Body"
        raise Refusal(415, "unsupported_charset", detail)
