"""What of an HTTP request is for the engine: who asks, fields, body. Whatever is malformed is an error 400, said in
ClickHouse's words."""

import asyncio
import base64
import re
from collections.abc import Mapping

import pyarrow as pa
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from pipeline.local.clickhouse.failure import EngineError

CODECS = {"gzip": "gzip", "zstd": "zstd", "lz4": "lz4", "x-gzip": "gzip"}
# As the library's parsers of chunks and of forms fail.
_UNREADABLE = (HttpProcessingError, ValueError, LookupError, RuntimeError, AssertionError, TypeError)
BODY_SECONDS = 60.0  # to be here, whole: a client that stalls holds its connection and what it has sent
_PRINTABLE = re.compile(r"[ -~]{0,128}")  # what goes back as a header
_NAME = re.compile(r"\w{0,64}", re.ASCII)


def credentials(http: web.Request) -> tuple[str, str]:
    """User and password, from headers, basic auth or the URL.

    Raises:
        EngineError: when they cannot be read.
    """
    headers = http.headers
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        return _text(headers.get("X-ClickHouse-User", "default")), _text(headers.get("X-ClickHouse-Key", ""))
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except ValueError:
            raise EngineError.named(
                516, "AUTHENTICATION_FAILED", "Authentication failed: invalid HTTP basic authentication"
            ) from None
        return user, password
    return _text(http.query.get("user", "default")), _text(http.query.get("password", ""))


def query_id(http: web.Request) -> str:
    """As it was sent, "" without one; it goes back as a header."""
    return _matching(_PRINTABLE, "query_id", http.query.get("query_id", ""))


def checked(fields: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, str]:
    """The fields of a request with what may come in headers as well.

    Raises:
        EngineError: for one that is no text, or no such thing.
    """
    found = {_text(name): _text(value) for name, value in fields.items()}
    for name, header in (("default_format", "X-ClickHouse-Format"), ("database", "X-ClickHouse-Database")):
        found[name] = found.get(name) or _text(headers.get(header, ""))
    _matching(_NAME, "default_format", found["default_format"])
    _matching(_PRINTABLE, "query_id", found.get("query_id", ""))
    _matching(_PRINTABLE, "session_id", found.get("session_id", ""))
    for name in ("compress", "decompress"):
        if found.get(name, "0") not in ("0", "false"):
            text = f"{name}=1 (native block compression); use Content-Encoding"
            raise EngineError.named(48, "NOT_IMPLEMENTED", text)
    return found


def _text(value: str) -> str:
    """HTTP's library keeps bytes that are no UTF-8 as lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise EngineError.named(36, "BAD_ARGUMENTS", "A header or field is not UTF-8") from None
    return value


def _matching(pattern: re.Pattern[str], name: str, value: str) -> str:
    if not pattern.fullmatch(value):
        raise EngineError.named(36, "BAD_ARGUMENTS", f"{name}: too long, or characters that it may not have")
    return value


async def body(http: web.Request, fields: dict[str, str], max_bytes: int) -> bytes:
    """The body, unpacked; what a form holds goes into `fields`.

    Raises:
        EngineError: for one that is too large, does not end in time, or cannot be read.
    """
    bounded = http.clone(client_max_size=max_bytes)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            if http.content_type == "multipart/form-data":
                return await _form(bounded, fields)
            raw = await bounded.read()
    except TimeoutError:
        raise EngineError.named(159, "TIMEOUT_EXCEEDED", f"No whole body within {BODY_SECONDS:.0f} s") from None
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(max_bytes) from None
    except _UNREADABLE as error:
        raise EngineError.named(36, "BAD_ARGUMENTS", f"Cannot read the body: {error!r}") from None
    codec = http.headers.get("Content-Encoding", "").lower()
    if not raw or codec in ("", "identity"):
        return raw
    if codec not in CODECS:
        raise EngineError.named(89, "UNKNOWN_COMPRESSION_METHOD", f"Unknown Content-Encoding {codec!r}")
    return await asyncio.to_thread(_unpacked, raw, CODECS[codec], max_bytes)


def _unpacked(raw: bytes, codec: str, max_bytes: int) -> bytes:
    try:
        with pa.input_stream(pa.py_buffer(raw), compression=codec) as stream:
            unpacked: bytes = stream.read(max_bytes + 1)
    except (OSError, pa.ArrowException) as error:
        raise EngineError.named(271, "CANNOT_DECOMPRESS", f"Cannot decompress the body: {error}") from None
    if len(unpacked) > max_bytes:
        raise _too_large(max_bytes)
    return unpacked


def _too_large(max_bytes: int) -> EngineError:
    return EngineError.named(307, "TOO_MANY_BYTES", f"Body over {max_bytes} bytes, the limit of this user")


async def _form(http: web.Request, fields: dict[str, str]) -> bytes:
    for name, value in (await http.post()).items():
        if not isinstance(value, str):
            raise EngineError.named(48, "NOT_IMPLEMENTED", "External data is not supported by the local endpoint")
        fields[name] = value
    return b""
