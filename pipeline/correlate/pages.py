"""The pages of Faust's web server, which is given bounds: as it comes, whoever sends half a head is waited for."""

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp.web import TCPSite

from pipeline.correlate.config import CorrelateConfig
from pipeline.runtime.web.connections import BoundedRunner, Connections, Patience, find_places
from pipeline.runtime.web.hosts import is_meant

MAX_CONNECTIONS = 64
PATIENCE = Patience(head_seconds=10.0, idle_seconds=75.0)

View = Callable[[], dict[str, Any]]


def bound(server: Any, config: CorrelateConfig) -> None:
    """Have Faust's web server, which has not been started, serve bounded connections only.

    Raises:
        ConfigError: when the process may not open files enough.
    """
    places = find_places(MAX_CONNECTIONS)
    runner = BoundedRunner(server.web_app, Connections(places.connections, PATIENCE), access_log=None)
    server._runner = runner
    host, port, at_once = config.web_host, config.web_port, places.accepted_at_once
    server._transport_handlers["tcp"] = lambda: TCPSite(runner, host, port, backlog=at_once)


def page(view: View, must_be_ready: bool, config: CorrelateConfig) -> Any:
    """What Faust is to serve: the view as JSON, to those who call it by a name of its own; `must_be_ready`: not ready
    is an error."""
    names = (config.web_host, *config.web_names.split(","))

    async def answer(web: Any, request: Any) -> Any:
        if not is_meant(request.headers.get("Host", ""), names):
            told = b'{"error":"not called by a name of correlate.web_names"}'
            return web.bytes(told, content_type="application/json", status=421)
        content = view()
        status = 503 if must_be_ready and not content["ready"] else 200
        body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = {"X-Content-Type-Options": "nosniff"}
        return web.bytes(body, content_type="application/json", status=status, headers=headers)

    return answer
