"""An answer on its way out: compressed when the client asks, in pieces, broken off when it fails."""

import asyncio
from collections.abc import Callable

import pyarrow as pa
from aiohttp import web

from pipeline.local.clickhouse.failure import EngineError
from pipeline.local.clickhouse.incoming import CODECS

TAKE_SECONDS = 60.0  # for a client to take a piece: one that does not holds a place and its statement


def squeezer(http: web.Request, response: web.StreamResponse) -> Callable[[bytes | memoryview, bool], bytes]:
    """Compress the answer when the client asks as it would ask a server: Accept-Encoding and the setting."""
    wanted = [part.partition(";")[0].strip() for part in http.headers.get("Accept-Encoding", "").lower().split(",")]
    codec = next((name for name in wanted if name in CODECS), None)
    if codec is None or http.query.get("enable_http_compression", "0") not in ("1", "true"):
        return lambda chunk, last: bytes(chunk)
    response.headers["Content-Encoding"] = codec
    sink = _Sink()
    stream = pa.CompressedOutputStream(pa.PythonFile(sink, "w"), CODECS[codec])

    def squeeze(chunk: bytes | memoryview, last: bool) -> bytes:
        if last:
            stream.close()
        else:
            stream.write(chunk)
        return sink.take()

    return squeeze


async def give(http: web.Request, response: web.StreamResponse, data: bytes) -> None:
    """A piece of the answer. Raises ConnectionResetError when the client is gone, or does not take it in time."""
    try:
        async with asyncio.timeout(TAKE_SECONDS):
            await response.write(data)
    except TimeoutError:
        if http.transport is not None:
            http.transport.abort()
        raise ConnectionResetError("nobody takes the answer") from None


async def broken(http: web.Request, response: web.StreamResponse, error: EngineError) -> web.StreamResponse:
    """The status is out already: say it in the stream and break the connection, as a server does."""
    await give(http, response, f"\n{error}\n".encode())
    if http.transport is not None:
        http.transport.close()
    return response


class _Sink:
    """The file that the compressor writes to; `take` empties it."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The compressor is done."""

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data
