"""The pages of Faust's web server, which is given bounds: as it comes, whoever sends half a head is waited for."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from aiohttp.web import HTTPNotFound, Request, StreamResponse, TCPSite, json_response, middleware

from pipeline.correlate.config import CorrelateConfig
from pipeline.runtime.web.connections import BoundedRunner, Connections, Patience, find_places
from pipeline.runtime.web.hosts import is_meant

MAX_CONNECTIONS = 64
PATIENCE = Patience(head_seconds=10.0, idle_seconds=75.0)
FRESH_SECONDS = 0.1  # however often a page is asked for, the loop that decides makes it ten times a second at most

PATHS = "/health, /readyz, /healthz, /state; and /metrics on the port that metrics.metrics_port names"


View = Callable[[], tuple[bool, Mapping[str, Any]]]  # whether all is well, and what is said


def bound(server: Any, config: CorrelateConfig) -> None:
    """Have Faust's web server, which has not been started, serve bounded connections only.

    Raises:
        ConfigError: when the process may not open files enough.
    """
    server.web_app.middlewares.append(_tell_paths)
    places = find_places(MAX_CONNECTIONS)
    runner = BoundedRunner(server.web_app, Connections(places.connections, PATIENCE), access_log=None)
    server._runner = runner
    host, port, at_once = config.web_host, config.web_port, places.accepted_at_once
    server._transport_handlers["tcp"] = lambda: TCPSite(runner, host, port, backlog=at_once)


@middleware
async def _tell_paths(request: Request, handler: Any) -> StreamResponse:
    """What is here, to who asks for what is not; and at "/", where Faust says that all is well, of which it knows
    nothing."""
    try:
        answer: StreamResponse | None = None if request.path == "/" else await handler(request)
    except HTTPNotFound:
        answer = None
    if answer is None:
        told = {"error": "no_such_path", "detail": f"the correlator has these paths: {PATHS}"}
        return json_response(told, status=404)
    return answer


def page(view: View, config: CorrelateConfig) -> Any:
    """What Faust is to serve: the page as JSON, to those who call it by a name of its own; not well is an error."""
    names = (config.web_host, *config.web_names.split(","))
    shown: tuple[float, int, bytes] = (float("-inf"), 0, b"")

    async def answer(web: Any, request: Any) -> Any:
        if not is_meant(request.headers.get("Host", ""), names):
            told = b'{"error":"not called by a name of correlate.web_names"}'
            return web.bytes(told, content_type="application/json", status=421)
        nonlocal shown
        if time.monotonic() - shown[0] > FRESH_SECONDS:
            is_well, content = view()
            shown = time.monotonic(), 200 if is_well else 503, orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = {"X-Content-Type-Options": "nosniff"}
        return web.bytes(shown[2], content_type="application/json", status=shown[1], headers=headers)

    return answer
