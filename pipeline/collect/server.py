"""`POST /v1/events`, and the pages that say whether it can deliver."""

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson
import structlog
from aiohttp import hdrs, web

from pipeline.collect.body import ENCODINGS, Pace, hint, is_list, numbered_lines, read_body, too_large
from pipeline.collect.config import CollectConfig
from pipeline.collect.forward import Forwarder
from pipeline.collect.quotas import Account, Quotas, within_quota
from pipeline.collect.refusals import Refusal, buffer_full, no_such_path, not_delivered, unauthorized, wrong_method
from pipeline.collect.sorting import rejection, sort_lines
from pipeline.collect.tokens import TokenTable
from pipeline.runtime.clock import Clock
from pipeline.runtime.metrics import (
    BATCH_MESSAGES,
    DEADLETTERS,
    EVENTS,
    NOT_KEPT,
    REJECTED,
    REQUEST_SECONDS,
    REQUESTS,
    UNDERSTOOD,
)
from pipeline.runtime.seldom import Seldom
from pipeline.wire.deadletter import DeadLetter
from pipeline.wire.decode import BYTE_ORDER_MARK

CONTENT_TYPES = ("application/json", "application/x-ndjson")
CURL_CONTENT_TYPE = "application/x-www-form-urlencoded"  # what `curl --data-binary` says unless told otherwise
ROUTE = "/v1/events"
METRICS = "GET /metrics, on the port that metrics.metrics_port names, where these are, too"

Page = Callable[[], tuple[bool, Mapping[str, Any]]]  # whether all is well, and what is said; asked off the event loop


class Gateway:
    """The handlers, and what they share."""

    def __init__(
        self, config: CollectConfig, tokens: TokenTable, forwarder: Forwarder, clock: Clock, pages: Mapping[str, Page]
    ) -> None:
        self._config = config
        self._tokens = tokens
        self._forwarder = forwarder
        self._clock = clock
        self._quotas = Quotas(config)
        self._seldom = Seldom()
        self._log = structlog.get_logger(stage="collect")
        self._requests = 0
        self._pages = pages

    def application(self) -> web.Application:
        """Ready to be served with `auto_decompress=False`: bodies are decompressed here, within bounds."""
        app = web.Application()
        app.router.add_post(ROUTE, self.post_events)
        for path in self._pages:
            app.router.add_get(path, self._get)
        for route, methods in ((ROUTE, "POST"), *((path, "GET, HEAD") for path in self._pages)):
            app.router.add_route("*", route, partial(self._refuse, wrong_method(methods)))
        paths = ", ".join((f"POST {ROUTE}", *(f"GET {path}" for path in self._pages), METRICS))
        app.router.add_route("*", "/{path:.*}", partial(self._refuse, no_such_path(paths)))
        return app

    def forget_revoked(self) -> None:
        """The tokens have changed: what was held against those that are gone is dropped."""
        self._quotas.keep_only(self._tokens.digests())

    @staticmethod
    async def _refuse(refusal: Refusal, _request: web.Request) -> web.Response:
        return refusal.response()

    async def post_events(self, request: web.Request) -> web.Response:
        """Answer a batch; every refusal of the whole request ends here."""
        started = time.perf_counter()
        try:
            response = await self._within_bounds(request)
        except Refusal as refusal:
            response = refusal.response()
        REQUESTS.labels(str(response.status)).inc()
        REQUEST_SECONDS.observe(time.perf_counter() - started)
        return response

    async def _within_bounds(self, request: web.Request) -> web.Response:
        sender = self._tokens.sender_of(request.headers.get(hdrs.AUTHORIZATION))
        if sender is None:
            raise unauthorized()
        if self._requests >= self._config.max_requests:
            raise buffer_full(f"{self._requests} requests are under way, at most {self._config.max_requests} may be")
        account = self._quotas.account(sender.token, time.monotonic())
        with self._quotas.request(account):
            self._requests += 1
            try:
                return await self._accept(await self._body(request), request.content_type, sender.fleet, account)
            finally:
                self._requests -= 1

    async def _body(self, request: web.Request) -> bytes:
        config = self._config
        if request.content_type not in (*CONTENT_TYPES, CURL_CONTENT_TYPE):
            detail = f"Content-Type must be {' or '.join(CONTENT_TYPES)}"
            raise Refusal(415, "unsupported_content_type", detail, Accept=", ".join(CONTENT_TYPES))
        encoding = request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
        if encoding not in ENCODINGS:
            detail = f"Content-Encoding must be one of {', '.join(ENCODINGS)}"
            raise Refusal(415, "unsupported_encoding", detail, Accept_Encoding=", ".join(ENCODINGS))
        if (request.content_length or 0) > config.max_body_bytes:
            raise too_large(config.max_body_bytes)
        limits = (config.max_body_bytes, config.max_decompressed_bytes)
        pace = Pace(config.read_timeout_seconds, config.min_body_bytes_per_second)
        try:
            async with asyncio.timeout(pace.first_seconds) as deadline:
                return await read_body(pace.keep(request.content.iter_any(), deadline), encoding, *limits)
        except TimeoutError:
            detail = f"the body did not arrive within {config.read_timeout_seconds:g} seconds"
            detail += f", at {config.min_body_bytes_per_second} bytes a second at least"
            raise Refusal(408, "slow_body", detail) from None

    async def _accept(self, body: bytes, content_type: str, fleet: str, account: Account) -> web.Response:
        if body.startswith(BYTE_ORDER_MARK):
            UNDERSTOOD.labels("collect", "byte_order_mark").inc()
            body = body.removeprefix(BYTE_ORDER_MARK)
        if is_list(body):
            UNDERSTOOD.labels("collect", "list").inc()
        lines = numbered_lines(body, content_type, self._quotas.max_lines)
        if not lines:
            raise Refusal(400, "empty_body", "the body holds blank lines only, or an empty list")
        self._forwarder.check_room(len(lines))
        now = time.monotonic()
        with self._quotas.lines(account, len(lines), now):
            events, refused, mended = sort_lines(body, lines, ROUTE, fleet, self._clock())
            self._bury([letter for _, letter in refused], fleet, account, now)
            undelivered = await self._forwarder.send(events)
        if undelivered:
            raise not_delivered(undelivered)
        EVENTS.labels("collect").inc(len(events))
        BATCH_MESSAGES.labels("collect").observe(len(lines))
        answer: dict[str, Any] = {"accepted": len(events)}
        answer["rejected"] = [rejection(number, letter) for number, letter in refused]
        if mended:
            answer["mended"] = {what.value: times for what, times in mended.items()}
        if not events and (detail := hint(body)):
            answer["detail"] = detail
        status = 202 if events else 422
        return web.Response(status=status, body=orjson.dumps(answer), content_type="application/json")

    def _bury(self, letters: list[DeadLetter], fleet: str, account: Account, now: float) -> None:
        for letter in letters:
            REJECTED.labels("collect", letter.reason.value).inc()
        kept = within_quota(letters, account, now)
        self._forwarder.bury(kept)
        DEADLETTERS.labels("collect").inc(len(kept))
        if (lost := len(letters) - len(kept)) and (more := self._seldom.turn("not kept")) is not None:
            self._log.warning("dead letters beyond a token's quota are not kept", fleet=fleet, letters=lost, **more)
        NOT_KEPT.labels("collect").inc(lost)

    async def _get(self, request: web.Request) -> web.Response:
        """A page of its health, which may have to ask the broker: not in the event loop."""
        is_well, said = await asyncio.to_thread(self._pages[request.path])
        return web.json_response(said, status=200 if is_well else 503)
