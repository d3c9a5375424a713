"""What every process serves, in one form: `/metrics`, `/healthz` (it is alive), `/readyz` (it does its work, or why
not) and `/health`, which is the same as `/readyz`."""

import asyncio
import importlib.metadata
import math
import os
import platform
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Annotated, Any, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import msgspec
from prometheus_client import make_wsgi_app

from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.metrics import BUILD, DISK_FREE, DISK_SIZE, READY, REJECTED, from_zero
from pipeline.runtime.web.hosts import is_meant
from pipeline.wire.reasons import Reason

Doc = msgspec.Meta

METRICS, READYZ, HEALTH, HEALTHZ = "/metrics", "/readyz", "/health", "/healthz"
ALIVE_SECONDS = 120.0  # a loop that has not turned for so long hangs: none waits for any server longer than this
TURN_SECONDS = 1.0
PLACES = 16  # for those who scrape, at once
SCRAPE_SECONDS = 10.0  # for the whole of it
YOUNG_SECONDS = 0.1  # whose first bytes may be read in a moment makes no room

Page = Callable[[], tuple[bool, Mapping[str, Any]]]  # whether all is well, and what is said


class MetricsConfig(msgspec.Struct, frozen=True):
    """Where metrics are served, and whether the process is alive and ready."""

    metrics_host: Annotated[str, Doc(description="address to serve metrics on")] = "127.0.0.1"
    metrics_port: Annotated[int, Doc(ge=0, le=65535, description="port to serve metrics on, 0 for none")] = 0
    metrics_names: Annotated[
        str,
        Doc(description="names beside metrics_host and addresses by which it may be scraped, comma-separated"),
    ] = ""


class Health(NamedTuple):
    """What a process says of itself; all of it is asked from other threads. `why_not`: why it does not do its work, or
    may not, empty when it does; `still_seconds`: for how long its loop has not turned; `more`: what else there is to be
    said of it."""

    why_not: Callable[[], Sequence[str]]
    still_seconds: Callable[[], float] = float
    more: Callable[[], Mapping[str, Any]] = dict

    def ready(self) -> tuple[bool, Mapping[str, Any]]:
        """The page `/readyz`."""
        try:
            why_not, more = list(self.why_not()), self.more()
        except Exception as error:  # who cannot say that he is ready is not; and the metrics are served all the same
            why_not, more = [f"unknown: {type(error).__name__}: {error}"], {}
        return not why_not, {"ready": not why_not, "why_not": why_not, "at": wall_clock_ms(), **more}

    def alive(self) -> tuple[bool, Mapping[str, Any]]:
        """The page `/healthz`."""
        is_alive = self.still_seconds() < ALIVE_SECONDS
        return is_alive, {"alive": is_alive, "at": wall_clock_ms()}

    def pages(self) -> dict[str, Page]:
        """By path."""
        return {READYZ: self.ready, HEALTH: self.ready, HEALTHZ: self.alive}


class Turns:
    """When a loop has turned last; `turned` is called by the loop, `still_seconds` by whoever asks."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def turned(self) -> None:
        """Just now."""
        self._at = time.monotonic()

    def still_seconds(self) -> float:
        """Since the last time."""
        return time.monotonic() - self._at


class Pulse:
    """Of a process that can be asked before its parts are there. `view` is set once they are: what there is to be said
    of it, with `why_not`; `turns` is told by its loop."""

    def __init__(self) -> None:
        self.view: Callable[[], Mapping[str, Any]] = lambda: {"why_not": ["it starts"]}
        self.turns = Turns()

    def health(self) -> Health:
        """Of the process."""
        return Health(lambda: self.view()["why_not"], self.turns.still_seconds, lambda: self.view())

    async def turn(self) -> None:
        """For ever: its event loop turns."""
        while True:
            self.turns.turned()
            await asyncio.sleep(TURN_SECONDS)


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *_: Any) -> None:
        """Nothing: scrapes are no news."""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a scrape, and no more than a few. Whoever has not sent his request, or taken the answer, in time is
    closed, however busily he trickles; and when there is no place left, the oldest makes room."""

    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._lock = threading.Lock()
        self._ends: dict[socket.socket, float] = {}  # when each connection's time is up (monotonic), the oldest first

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            now = time.monotonic()
            if len(self._ends) >= PLACES and not self._close(now + SCRAPE_SECONDS - YOUNG_SECONDS):
                self.shutdown_request(request)
                return
            self._ends[request] = now + SCRAPE_SECONDS
        super().process_request(request, client_address)

    def _close(self, until_seconds: float) -> bool:
        """The oldest, if its time is up by then: its thread finds the connection ended."""
        request = next(iter(self._ends), None)
        if request is None or self._ends[request] > until_seconds:
            return False
        del self._ends[request]
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)
        return True

    def service_actions(self) -> None:
        """Twice a second."""
        with self._lock:
            while self._close(time.monotonic()):
                pass

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._ends.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing, where the standard library prints a traceback: the peer went, or was silent for too long."""


class _ServerV6(_Server):
    address_family = socket.AF_INET6


def _app(config: MetricsConfig, pages: Mapping[str, Page]) -> Callable[[Any, Any], Iterable[bytes]]:
    """The metrics, and these pages by their paths, as JSON; 503 where not all is well. To those who call it by an
    address or a name of its own: see `is_meant`."""
    metrics_app = make_wsgi_app()
    names = (config.metrics_host, *config.metrics_names.split(","))
    detail = f"this process has these paths: {', '.join((METRICS, *pages))}"

    def told(start_response: Any, status: str, said: Mapping[str, Any]) -> Iterable[bytes]:
        start_response(status, [("Content-Type", "application/json"), ("X-Content-Type-Options", "nosniff")])
        return [msgspec.json.encode(said)]

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if not is_meant(environ.get("HTTP_HOST", ""), names):
            return told(
                start_response, "421 Misdirected Request", {"error": "not called by a name of metrics.metrics_names"}
            )
        if path == METRICS:
            scraped: Iterable[bytes] = metrics_app(environ, start_response)
            return scraped
        if path not in pages:
            return told(start_response, "404 Not Found", {"error": "no_such_path", "detail": detail})
        is_well, said = pages[path]()
        return told(start_response, "200 OK" if is_well else "503 Service Unavailable", said)

    return app


def show_disk(directory: str, path: Path) -> None:
    """What is left on the disk of a directory, and its size, as metrics; `directory` is a word of ours for it. Of one
    that is not there any more they are no number."""

    def of(found: Callable[[os.statvfs_result], int]) -> Callable[[], float]:
        def look() -> float:
            try:
                stat = os.statvfs(path)
            except OSError:
                return math.nan
            return float(found(stat) * stat.f_frsize)

        return look

    DISK_FREE.labels(directory).set_function(of(lambda stat: stat.f_bavail))
    DISK_SIZE.labels(directory).set_function(of(lambda stat: stat.f_blocks))


def serve(config: MetricsConfig, health: Health, refuses: str = "") -> None:
    """Serve the metrics in a daemon thread, if a port is set, and what the process says of itself; `refuses`: the
    stage, if it is one that refuses messages.

    Raises:
        ConfigError: when the port cannot be listened on.
    """
    host, port = config.metrics_host, config.metrics_port
    BUILD.labels(importlib.metadata.version("andon"), platform.python_version()).set(1)
    from_zero(REJECTED, [refuses] if refuses else [], Reason)
    READY.set_function(lambda: float(health.ready()[0]))
    if not port:
        return
    try:
        server = make_server(host, port, _app(config, health.pages()), _ServerV6 if ":" in host else _Server, _Handler)
    except OSError as error:
        raise ConfigError(
            f"metrics.metrics_host, metrics.metrics_port: cannot listen on {host}:{port}: {error}"
        ) from None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
