"""ClickHouse's HTTP protocol in front of the embedded engine: for clickhouse-connect, @clickhouse/client and curl.

A statement that reads ends when its client goes.

Not spoken: the native block compression of `compress=1`/`decompress=1`, and external data.
"""

import asyncio
import json
import secrets

from aiohttp import web

from pipeline.local.clickhouse import incoming
from pipeline.local.clickhouse.accounts import WRITER_ROLE, Account, find
from pipeline.local.clickhouse.agreement import MAX_STATEMENT_BYTES
from pipeline.local.clickhouse.engine import Answer, Engine, Request
from pipeline.local.clickhouse.failure import EngineError
from pipeline.local.clickhouse.guard import Guard
from pipeline.local.clickhouse.outgoing import broken, give, squeezer
from pipeline.local.clickhouse.places import READERS, WRITERS, Places
from pipeline.local.clickhouse.running import Running
from pipeline.local.clickhouse.statement import Statement, StatementError, inspect

# An answer in a format that has a beginning and an end is made whole before it goes out: of columns, as the engine
# counts, so much at most. Formats that stream have the limits of the account alone.
MAX_WHOLE_BYTES = 64 * 1024 * 1024
MAX_QUESTION_BYTES = 1024 * 1024  # the body of an account that only reads

# Said to the HTTP layer, not settings of the engine.
_TRANSPORT = {"query", "database", "default_format", "user", "password", "role", "quota_key", "query_id", "stacktrace"}
_TRANSPORT |= {"session_id", "session_timeout", "session_check", "close_session", "client_protocol_version"}
_TRANSPORT |= {"compress", "decompress", "enable_http_compression", "http_zlib_compression_level", "buffer_size"}
_TRANSPORT |= {"wait_end_of_query", "send_progress_in_http_headers", "http_headers_progress_interval_ms"}
# What accounts with a role may say at all: the engine has one user, so KILL would reach everybody's queries.
_PLAIN = frozenset({"SELECT", "WITH", "INSERT", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS"})
_STATUS = {194: 401, 192: 403, 193: 403, 516: 403, 497: 403, 62: 400, 36: 400, 27: 400, 43: 400, 53: 400, 73: 400}
_STATUS |= {
    89: 400,
    271: 400,
    115: 404,
    46: 404,
    47: 404,
    60: 404,
    81: 404,
    48: 501,
    159: 408,
    202: 503,
    307: 413,
    396: 413,
}


class Endpoint:
    """The HTTP handlers; `app` is what is served. `unconfined`: why the kernel does not hold the engine, "" if it does;
    without that no account but the owner comes in."""

    def __init__(self, engine: Engine, accounts: list[Account], max_body_bytes: int, unconfined: str = "") -> None:
        self._engine = engine
        self._accounts = accounts
        self._unconfined = unconfined
        self._guard = Guard.of(engine.names)
        self._max_body_bytes = max_body_bytes
        self._readers = {account.name: Places(account.name, READERS) for account in accounts}
        self._writers = Places("write", WRITERS)
        self.app = web.Application(client_max_size=max_body_bytes)
        self.app.router.add_get("/ping", self._ping)
        self.app.router.add_get("/replicas_status", self._ping)
        self.app.router.add_get("/", self._handle)
        self.app.router.add_post("/", self._handle)

    def close(self) -> None:
        """Let running statements end."""
        for places in self._readers.values():
            places.close(cancel=True)
        self._writers.close(cancel=False)

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        query_id = secrets.token_hex(16)
        try:
            query_id = incoming.query_id(http) or query_id
            account = self._authenticate(http)
            if http.method == "GET" and "query" not in http.query:
                return web.Response(text="Ok.\n")
            request = await self._request(http, account)
            return await self._answer(http, account, request, query_id)
        except (EngineError, StatementError) as error:
            return self._error(error, query_id)
        except ConnectionResetError:  # whoever asked is gone: nobody gets this
            return web.Response()

    def _authenticate(self, http: web.Request) -> Account:
        user, password = incoming.credentials(http)
        account = find(self._accounts, user, password)
        if account is None:
            text = "Authentication failed: password is incorrect, or there is no user with such name"
            raise EngineError.named(516, "AUTHENTICATION_FAILED", f"{user}: {text}")
        if account.role and self._unconfined:
            text = f"the kernel does not keep the engine from this machine's files ({self._unconfined})"
            raise EngineError.named(497, "ACCESS_DENIED", f"{user}: only the owner may come in, for {text}")
        return account

    async def _request(self, http: web.Request, account: Account) -> Request:
        fields = dict(http.query)
        body = await incoming.body(http, fields, MAX_QUESTION_BYTES if account.readonly else self._max_body_bytes)
        fields = incoming.checked(fields, http.headers)
        settings = {k: v for k, v in fields.items() if k not in _TRANSPORT and not k.startswith("param_")}
        sql = b"\n".join(part for part in (fields.get("query", "").encode(), body) if part)
        statement = await asyncio.to_thread(inspect, sql, MAX_STATEMENT_BYTES if account.role else 0)
        default_format = fields["default_format"] or "TabSeparated"
        if account.role:
            await asyncio.to_thread(self._check, account, statement, settings, statement.format or default_format)
        whole = statement.reads and not statement.streams(default_format)
        return Request(
            statement=statement,
            data=memoryview(sql)[statement.data_at :] if statement.data_at else memoryview(b""),
            default_format=default_format,
            database=fields["database"],
            settings=account.limited(settings, {"max_result_bytes": MAX_WHOLE_BYTES} if whole else {}),
            params={k.removeprefix("param_"): v for k, v in fields.items() if k.startswith("param_")},
            role=account.role,
            profile=account.profile,
            readonly=account.readonly or (2 if http.method == "GET" else 0),  # a GET changes nothing, as on a server
            session=f"{account.name}/{fields['session_id']}" if fields.get("session_id") else "",
            mark=secrets.token_hex(16),
        )

    def _check(self, account: Account, statement: Statement, settings: dict[str, str], format_name: str) -> None:
        if statement.kind not in _PLAIN:
            raise EngineError.named(497, "ACCESS_DENIED", f"{account.name}: {statement.kind} is not for this user")
        self._guard.check_settings(settings)
        if name := account.refused(settings):
            raise EngineError.named(164, "READONLY", f"Cannot modify '{name}' setting in readonly mode, or not so far")
        self._guard.check_format(format_name)
        self._guard.check(statement.sql)

    async def _answer(self, http: web.Request, account: Account, request: Request, query_id: str) -> web.StreamResponse:
        writes = request.statement.kind == "INSERT" or request.role == WRITER_ROLE
        running = Running(self._engine, self._writers if writes else self._readers[account.name], request)
        async with running as answer:
            response = web.StreamResponse(headers=self._headers(request, answer, query_id))
            squeeze = squeezer(http, response)
            await response.prepare(http)
            try:
                async for chunk in running.chunks():
                    await give(http, response, squeeze(chunk, False))
            except EngineError as error:
                return await broken(http, response, error)
            await give(http, response, squeeze(b"", True))
            await response.write_eof()
            return response

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
