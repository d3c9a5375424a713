"""`POST /v1/events` and `GET /health`."""

import asyncio
import time
from functools import partial
from typing import Any, NamedTuple

import orjson
from aiohttp import hdrs, web
from confluent_kafka import KafkaException

from pipeline.collect.body import ENCODINGS, numbered_lines, read_body, too_large
from pipeline.collect.config import CollectConfig
from pipeline.collect.forward import Forwarder
from pipeline.collect.refusals import Refusal, buffer_full, no_such_path, not_delivered, unauthorized, wrong_method
from pipeline.collect.tokens import TokenTable
from pipeline.runtime.clock import Clock
from pipeline.runtime.metrics import EVENTS, REJECTED, REQUEST_SECONDS, REQUESTS
from pipeline.wire.deadletter import DeadLetter
from pipeline.wire.events import check_not_future, decode_event
from pipeline.wire.reasons import MalformedMessage, Reason

CONTENT_TYPES = ("application/json", "application/x-ndjson")
CURL_CONTENT_TYPE = "application/x-www-form-urlencoded"  # what `curl --data-binary` says unless told otherwise
MAX_DETAIL_CHARS = 200
HEALTH_TIMEOUT_SECONDS = 2.0
HEALTH_FRESH_SECONDS = 1.0  # however often /health is asked, the broker is asked once a second
ROUTE, HEALTH = "/v1/events", "/health"


class Sorted(NamedTuple):
    """A request's lines: what goes to the broker as (host, bytes), and what does not as (line, letter)."""

    events: list[tuple[str, bytes]]
    refused: list[tuple[int, DeadLetter]]


def sort_lines(lines: list[tuple[int, bytes]], fleet: str, now_ms: int) -> Sorted:
    """Check every line by itself; the bytes of a good one are forwarded as they came."""
    events: list[tuple[str, bytes]] = []
    refused: list[tuple[int, DeadLetter]] = []
    for number, raw in lines:
        try:
            event = decode_event(raw)
            check_not_future(event, now_ms)
            if event.fleet != fleet:
                raise MalformedMessage(Reason.FLEET_MISMATCH, f"the token belongs to fleet {fleet}")
        except MalformedMessage as error:
            detail = error.detail[:MAX_DETAIL_CHARS]
            refused.append((number, DeadLetter(raw, None, error.reason, detail, ROUTE, -1, -1, "collect")))
        else:
            events.append((event.host, raw))
    return Sorted(events, refused)


def rejection(number: int, letter: DeadLetter) -> dict[str, Any]:
    """One entry of the answer's `rejected`."""
    entry = {"line": number, "reason": letter.reason.value}
    return entry | {"detail": letter.detail} if letter.detail else entry


class Gateway:
    """The handlers, and what they share."""

    def __init__(self, config: CollectConfig, tokens: TokenTable, forwarder: Forwarder, clock: Clock) -> None:
        self._config = config
        self._tokens = tokens
        self._forwarder = forwarder
        self._clock = clock
        self._requests = 0
        self._health_lock = asyncio.Lock()
        self._health: tuple[float, str] = (float("-inf"), "")

    def application(self) -> web.Application:
        """Ready to be served with `auto_decompress=False`: bodies are decompressed here, within bounds."""
        app = web.Application()
        app.router.add_post(ROUTE, self.post_events)
        app.router.add_get(HEALTH, self.get_health)
        for route, methods in ((ROUTE, "POST"), (HEALTH, "GET, HEAD")):
            app.router.add_route("*", route, partial(self._refuse, wrong_method(methods)))
        app.router.add_route("*", "/{path:.*}", partial(self._refuse, no_such_path(f"{ROUTE}, {HEALTH}")))
        return app

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
        fleet = self._tokens.fleet_of(request.headers.get(hdrs.AUTHORIZATION))
        if fleet is None:
            raise unauthorized()
        if self._requests >= self._config.max_requests:
            raise buffer_full(f"{self._requests} requests are under way, at most {self._config.max_requests} may be")
        self._requests += 1
        try:
            lines = numbered_lines(await self._body(request), request.content_type)
            return await self._accept(lines, fleet)
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
        try:
            async with asyncio.timeout(config.read_timeout_seconds):
                return await read_body(request.content.iter_any(), encoding, *limits)
        except TimeoutError:
            detail = f"the body did not arrive within {config.read_timeout_seconds} seconds"
            raise Refusal(408, "slow_body", detail) from None

    async def _accept(self, lines: list[tuple[int, bytes]], fleet: str) -> web.Response:
        if not lines:
            raise Refusal(400, "empty_body", "the body holds blank lines only")
        if len(lines) > self._config.max_buffered_events:
            detail = f"more than {self._config.max_buffered_events} lines; send smaller batches"
            raise Refusal(413, "too_many_events", detail)
        self._forwarder.check_room(len(lines))
        events, refused = sort_lines(lines, fleet, self._clock())
        self._forwarder.bury([letter for _, letter in refused])
        for _, letter in refused:
            REJECTED.labels("collect", letter.reason.value).inc()
        undelivered = await self._forwarder.send(events)
        if undelivered:
            raise not_delivered(undelivered)
        EVENTS.labels("collect").inc(len(events))
        answer = {"accepted": len(events), "rejected": [rejection(number, letter) for number, letter in refused]}
        return web.Response(status=202, body=orjson.dumps(answer), content_type="application/json")

    async def get_health(self, _request: web.Request) -> web.Response:
        """200 while the broker answers and has our topics, else 503 with the word of what is wrong."""
        async with self._health_lock:
            looked_at, trouble = self._health
            if time.monotonic() - looked_at > HEALTH_FRESH_SECONDS:
                trouble = await asyncio.to_thread(self._trouble)
                self._health = (time.monotonic(), trouble)
        body = {"status": trouble or "ok", "buffered_events": self._forwarder.in_flight}
        return web.json_response(body, status=503 if trouble else 200)

    def _trouble(self) -> str:
        try:
            missing = self._forwarder.missing_topics(HEALTH_TIMEOUT_SECONDS)
        except KafkaException as error:
            return f"broker unreachable: {error.args[0].str()}"
        return f"topics missing: {', '.join(missing)}" if missing else ""
