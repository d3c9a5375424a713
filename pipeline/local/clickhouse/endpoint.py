"""ClickHouse's HTTP protocol in front of the embedded engine: for clickhouse-connect, @clickhouse/client and curl.

Not spoken: the native block compression of `compress=1`/`decompress=1`, and external data.
"""

import asyncio
import base64
import binascii
import json
import secrets
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
from aiohttp import web

from pipeline.local.clickhouse.accounts import WRITER_ROLE, Account, find
from pipeline.local.clickhouse.engine import Answer, Engine, EngineError, Request
from pipeline.local.clickhouse.guard import Guard
from pipeline.local.clickhouse.statement import Statement, StatementError, inspect

READERS = 6  # SELECTs side by side, and
WRITERS = 2  # beside them inserts, and whatever the writer asks before one: long queries never hold up the archive
MAX_WAITING = 64

# Said to the HTTP layer, not settings of the engine.
_TRANSPORT = {"query", "database", "default_format", "user", "password", "role", "quota_key", "query_id", "stacktrace"}
_TRANSPORT |= {"session_id", "session_timeout", "session_check", "close_session", "client_protocol_version"}
_TRANSPORT |= {"compress", "decompress", "enable_http_compression", "http_zlib_compression_level", "buffer_size"}
_TRANSPORT |= {"wait_end_of_query", "send_progress_in_http_headers", "http_headers_progress_interval_ms"}
# What accounts with a role may say at all: the engine has one user, so KILL would reach everybody's queries.
_PLAIN = frozenset({"SELECT", "WITH", "INSERT", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS"})
_STATUS = {194: 401, 192: 403, 193: 403, 516: 403, 497: 403, 62: 400, 36: 400, 27: 400, 43: 400, 53: 400, 115: 404}
_STATUS |= {46: 404, 47: 404, 60: 404, 81: 404, 48: 501, 159: 408, 202: 503, 307: 413}
_CODECS = {"gzip": "gzip", "zstd": "zstd", "lz4": "lz4", "x-gzip": "gzip"}


def _fail(code: int, name: str, text: str) -> EngineError:
    return EngineError(code, f"Code: {code}. DB::Exception: {text}. ({name})")


class Endpoint:
    """The HTTP handlers; `app` is what is served."""

    def __init__(self, engine: Engine, accounts: list[Account], max_body_bytes: int) -> None:
        self._engine = engine
        self._accounts = accounts
        self._guard = Guard.of(engine.names)
        self._max_body_bytes = max_body_bytes
        self._readers = ThreadPoolExecutor(READERS, "clickhouse-read")
        self._writers = ThreadPoolExecutor(WRITERS, "clickhouse-write")
        self._waiting = 0
        self.app = web.Application(client_max_size=max_body_bytes)
        self.app.router.add_get("/ping", self._ping)
        self.app.router.add_get("/replicas_status", self._ping)
        self.app.router.add_get("/", self._handle)
        self.app.router.add_post("/", self._handle)

    def close(self) -> None:
        """Let running statements end."""
        self._readers.shutdown(cancel_futures=True)
        self._writers.shutdown()

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        query_id = http.query.get("query_id") or secrets.token_hex(16)
        try:
            account = self._authenticate(http)
            if http.method == "GET" and "query" not in http.query:
                return web.Response(text="Ok.\n")
            request = await self._request(http, account)
            return await self._answer(http, request, query_id)
        except (EngineError, StatementError) as error:
            return self._error(error, query_id)
        except ConnectionResetError:  # whoever asked is gone: nobody gets this
            return web.Response()

    def _authenticate(self, http: web.Request) -> Account:
        user, password = _credentials(http)
        account = find(self._accounts, user, password)
        if account is None:
            text = "Authentication failed: password is incorrect, or there is no user with such name"
            raise _fail(516, "AUTHENTICATION_FAILED", f"{user}: {text}")
        return account

    async def _request(self, http: web.Request, account: Account) -> Request:
        fields = dict(http.query)
        body = await self._body(http, fields)
        for name in ("compress", "decompress"):
            if fields.get(name, "0") not in ("0", "false"):
                raise _fail(48, "NOT_IMPLEMENTED", f"{name}=1 (native block compression); use Content-Encoding")
        settings = {k: v for k, v in fields.items() if k not in _TRANSPORT and not k.startswith("param_")}
        sql = b"\n".join(part for part in (fields.get("query", "").encode(), body) if part)
        statement = inspect(sql)
        default_format = fields.get("default_format") or http.headers.get("X-ClickHouse-Format") or "TabSeparated"
        if account.role:
            if statement.kind not in _PLAIN:
                raise _fail(497, "ACCESS_DENIED", f"{account.name}: {statement.kind} is not for this user")
            self._guard.check_settings(settings)
            self._guard.check_format(statement.format or default_format)
            self._guard.check(sql[: statement.ends_at or len(sql)])
        return Request(
            sql=sql,
            statement=statement,
            default_format=default_format,
            database=fields.get("database") or http.headers.get("X-ClickHouse-Database") or "",
            settings=account.limited(settings),
            params={k.removeprefix("param_"): v for k, v in fields.items() if k.startswith("param_")},
            role=account.role,
            profile=account.profile,
            readonly=account.readonly or (2 if http.method == "GET" else 0),  # a GET changes nothing, as on a server
            session=f"{account.name}/{fields['session_id']}" if fields.get("session_id") else "",
        )

    async def _body(self, http: web.Request, fields: dict[str, str]) -> bytes:
        try:
            if http.content_type == "multipart/form-data":
                return await _form(http, fields)
            raw = await http.read()
        except web.HTTPRequestEntityTooLarge:
            raise self._too_large() from None
        codec = http.headers.get("Content-Encoding", "").lower()
        if not raw or codec in ("", "identity"):
            return raw
        if codec not in _CODECS:
            raise _fail(89, "UNKNOWN_COMPRESSION_METHOD", f"Unknown Content-Encoding {codec!r}")
        return await asyncio.to_thread(self._decompress, raw, _CODECS[codec])

    def _decompress(self, raw: bytes, codec: str) -> bytes:
        try:
            with pa.input_stream(pa.py_buffer(raw), compression=codec) as stream:
                body: bytes = stream.read(self._max_body_bytes + 1)
        except (OSError, pa.ArrowException) as error:
            raise _fail(271, "CANNOT_DECOMPRESS", f"Cannot decompress the body: {error}") from None
        if len(body) > self._max_body_bytes:
            raise self._too_large()
        return body

    def _too_large(self) -> EngineError:
        return _fail(307, "TOO_MANY_BYTES", f"Body over {self._max_body_bytes} bytes, the endpoint's limit")

    async def _answer(self, http: web.Request, request: Request, query_id: str) -> web.StreamResponse:
        if self._waiting >= MAX_WAITING:
            raise _fail(202, "TOO_MANY_SIMULTANEOUS_QUERIES", f"{self._waiting} statements are waiting already")
        self._waiting += 1
        try:
            answer, first = await self._run(request, self._start, request)
            try:
                return await self._send(http, request, answer, first, query_id)
            finally:
                if isinstance(answer.chunks, Generator):  # a stream: frees its connection, cancels what still runs
                    await self._run(request, answer.chunks.close)
        finally:
            self._waiting -= 1

    async def _send(
        self, http: web.Request, request: Request, answer: Answer, first: bytes | None, query_id: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=self._headers(request, answer, query_id))
        squeeze = _squeezer(http, response)
        await response.prepare(http)
        try:
            async for chunk in self._chunks(request, answer.chunks, first):
                await response.write(squeeze(chunk, False))
        except EngineError as error:
            return await _broken(http, response, error)
        await response.write(squeeze(b"", True))
        await response.write_eof()
        return response

    def _start(self, request: Request) -> tuple[Answer, bytes | None]:
        """Run up to the first bytes: an error that comes before them still gets its own status."""
        answer = self._engine.run(request)
        return answer, next(answer.chunks, None)

    async def _chunks(self, request: Request, chunks: Iterator[bytes], first: bytes | None) -> AsyncIterator[bytes]:
        chunk = first
        while chunk is not None:
            if chunk:
                yield chunk
            chunk = await self._run(request, next, chunks, None)

    async def _run(self, request: Request, function: Callable[..., Any], *args: Any) -> Any:
        writes = request.statement.kind == "INSERT" or request.role == WRITER_ROLE
        pool = self._writers if writes else self._readers
        return await asyncio.get_running_loop().run_in_executor(pool, function, *args)

    def _headers(self, request: Request, answer: Answer, query_id: str) -> dict[str, str]:
        statement: Statement = request.statement
        summary = {"written_rows": str(answer.rows_written), "written_bytes": str(answer.bytes_written)}
        return {
            "Content-Type": "application/octet-stream" if statement.kind == "INSERT" else "text/plain; charset=UTF-8",
            "X-ClickHouse-Server-Display-Name": "andon",
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Format": statement.format or request.default_format,
            "X-ClickHouse-Timezone": self._engine.timezone,
            "X-ClickHouse-Summary": json.dumps({"read_rows": "0", "read_bytes": "0", **summary}),
        }

    def _error(self, error: EngineError | StatementError, query_id: str) -> web.Response:
        text = str(error)
        if isinstance(error, StatementError):
            text = f"Code: {error.code}. DB::Exception: {text}. ({error.name})"
        if "(version " not in text:
            text += f" (version {self._engine.version})"
        headers = {"X-ClickHouse-Exception-Code": str(error.code), "X-ClickHouse-Query-Id": query_id}
        return web.Response(status=_STATUS.get(error.code, 500), text=text + "\n", headers=headers)


async def _broken(http: web.Request, response: web.StreamResponse, error: EngineError) -> web.StreamResponse:
    """The status is out already: say it in the stream and break the connection, as a server does."""
    await response.write(f"\n{error}\n".encode())
    if http.transport is not None:
        http.transport.close()
    return response


def _credentials(http: web.Request) -> tuple[str, str]:
    headers = http.headers
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        return headers.get("X-ClickHouse-User", "default"), headers.get("X-ClickHouse-Key", "")
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise _fail(516, "AUTHENTICATION_FAILED", "Invalid HTTP basic authentication") from None
        return user, password
    return http.query.get("user", "default"), http.query.get("password", "")


async def _form(http: web.Request, fields: dict[str, str]) -> bytes:
    for name, value in (await http.post()).items():
        if not isinstance(value, str):
            raise _fail(48, "NOT_IMPLEMENTED", "External data is not supported by the local endpoint")
        fields[name] = value
    return b""


def _squeezer(http: web.Request, response: web.StreamResponse) -> Callable[[bytes, bool], bytes]:
    """Compress the answer when the client asks as it would ask a server: Accept-Encoding and the setting."""
    wanted = [part.partition(";")[0].strip() for part in http.headers.get("Accept-Encoding", "").lower().split(",")]
    codec = next((name for name in wanted if name in _CODECS), None)
    if codec is None or http.query.get("enable_http_compression", "0") not in ("1", "true"):
        return lambda chunk, last: chunk
    response.headers["Content-Encoding"] = codec
    sink = _Sink()
    stream = pa.CompressedOutputStream(pa.PythonFile(sink, "w"), _CODECS[codec])

    def squeeze(chunk: bytes, last: bool) -> bytes:
        if last:
            stream.close()
        else:
            stream.write(chunk)
        return sink.take()

    return squeeze


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
