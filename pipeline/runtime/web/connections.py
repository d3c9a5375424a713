"""Connections of an HTTP server, bounded in number and in how long each may wait: what aiohttp leaves open.

A connection is busy while a request of it is being handled, which has time-outs of its own. Otherwise it waits: for
the head of a request, or kept alive between two. Whoever sends half a head, or nothing, is closed in time. When there
is no place left, the one that has waited longest makes room, heads first: senders who mean it send at once.
"""

import asyncio
import resource
import time
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from aiohttp import web
from aiohttp.typedefs import Handler

from pipeline.runtime.errors import ConfigError
from pipeline.runtime.metrics import CLOSED, CONNECTIONS

SWEEP_SECONDS = 1.0
YOUNG_SECONDS = 0.1  # what has just come makes no room: its first bytes may be read in a moment
OTHER_FILES = 32  # of the process: its log, its Kafka client, the event loop
ACCEPTED_AT_ONCE = 128  # asyncio accepts so many before it serves any of them
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
    b'Content-Length: 32\r\n\r\n{"error":"too_many_connections"}'
)


class Patience(NamedTuple):
    """How long a connection may wait: for a request's head to be complete, and without one having begun."""

    head_seconds: float
    idle_seconds: float


class Places(NamedTuple):
    """So many connections at once, and so many accepted in one go."""

    connections: int
    accepted_at_once: int


def places(wanted: int, files: int) -> Places:
    """What fits `files` descriptors. Accepting goes on for a moment when all places are taken, and needs some too."""
    at_once = max(1, min(ACCEPTED_AT_ONCE, files // 4))
    return Places(min(wanted, files - OTHER_FILES - at_once), at_once)


def find_places(wanted: int) -> Places:
    """The same for this process, whose limit of open files is raised if it may be.

    Raises:
        ConfigError: when not even one connection fits.
    """
    needed = wanted + OTHER_FILES + ACCEPTED_AT_ONCE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = places(wanted, needed if soft == resource.RLIM_INFINITY else soft)
    if found.connections < 1:
        raise ConfigError(f"the process may open {soft} files (ulimit -n), at least {2 * OTHER_FILES} are needed")
    return found


class Connection(asyncio.Protocol):
    """Stands before the protocol of aiohttp and tells `Connections` what it waits for."""

    def __init__(self, inner: asyncio.Protocol, all_: "Connections") -> None:
        self._inner, self._all = inner, all_
        self.transport: asyncio.Transport | None = None
        self.idle = False  # kept alive, and nothing of another request has come
        self.deadline_seconds = 0.0  # when its waiting ends
        self.since_seconds = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let in, or told that there is no place."""
        found = cast(asyncio.Transport, transport)
        if self._all.admit(self, found):
            self.transport = found
            self._inner.connection_made(found)
        else:
            found.write(_FULL)
            found.close()

    def data_received(self, data: bytes) -> None:
        """The first bytes of the next request start the time for its head."""
        if self.transport is not None:
            if self.idle:
                self._all.await_head(self)
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """As aiohttp has it."""
        return self._inner.eof_received() if self.transport is not None else None

    def pause_writing(self) -> None:
        """As aiohttp has it."""
        if self.transport is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """As aiohttp has it."""
        if self.transport is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Its place is free."""
        if self.transport is not None:
            self._all.forget(self)
            self._inner.connection_lost(exc)
            self.transport = None


class Connections:
    """All of one server, which a BoundedRunner serves."""

    def __init__(self, limit: int, patience: Patience, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._patience, self._clock = limit, patience, clock
        self._known: dict[asyncio.BaseTransport, Connection] = {}
        # Those that wait, in the order in which they began to.
        self._heads: dict[Connection, None] = {}
        self._idle: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._known)

    def admit(self, connection: Connection, transport: asyncio.Transport) -> bool:
        """Whether there is a place; the connection that has waited longest may have to go for it."""
        if len(self._known) >= self._limit and not self._make_room():
            CLOSED.labels("no_place").inc()
            return False
        self._known[transport] = connection
        CONNECTIONS.set(len(self._known))
        self.await_head(connection)
        return True

    def _make_room(self) -> bool:
        grown_up = self._clock() - YOUNG_SECONDS
        for waiting in (self._heads, self._idle):
            oldest = next(iter(waiting), None)
            if oldest is not None and oldest.since_seconds < grown_up:
                self._close(oldest, "made_room")
                return True
        return False

    def await_head(self, connection: Connection) -> None:
        """From now on it waits for a request's head."""
        self._idle.pop(connection, None)
        self._wait(connection, self._heads, self._patience.head_seconds)

    def _wait(self, connection: Connection, waiting: dict[Connection, None], seconds: float) -> None:
        connection.idle = waiting is self._idle
        connection.since_seconds = self._clock()
        connection.deadline_seconds = connection.since_seconds + seconds
        waiting[connection] = None

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """While a request is handled its connection is busy, and nobody's to close."""
        connection = self._known.get(cast(asyncio.BaseTransport, request.transport))
        if connection is not None:
            connection.idle = False
            self._heads.pop(connection, None)
            self._idle.pop(connection, None)
        try:
            return await handler(request)
        finally:
            # To take the answer is the peer's matter again: whoever does not is idle, and closed as such.
            if connection is not None and connection.transport in self._known:
                self._wait(connection, self._idle, self._patience.idle_seconds)

    def sweep(self) -> None:
        """Close those whose time is up."""
        now = self._clock()
        for waiting, why in ((self._heads, "head_timeout"), (self._idle, "idle")):
            for connection in [one for one in waiting if one.deadline_seconds <= now]:
                self._close(connection, why)

    def _close(self, connection: Connection, why: str) -> None:
        CLOSED.labels(why).inc()
        self.forget(connection)
        if connection.transport is not None:
            connection.transport.abort()

    def forget(self, connection: Connection) -> None:
        """It is gone, or as good as gone."""
        self._heads.pop(connection, None)
        self._idle.pop(connection, None)
        self._known.pop(cast(asyncio.BaseTransport, connection.transport), None)
        CONNECTIONS.set(len(self._known))


class BoundedRunner(web.AppRunner):
    """aiohttp's runner, whose sites have such connections only; `app` is not running yet."""

    def __init__(self, app: web.Application, connections: Connections, **settings: Any) -> None:
        app.middlewares.insert(0, connections.middleware)
        super().__init__(app, **settings)
        self._connections = connections
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def server(self) -> Any:
        """What a site makes protocols with."""
        inner = super().server
        return None if inner is None else lambda: Connection(inner(), self._connections)

    async def setup(self) -> None:
        """Before a site is started."""
        await super().setup()
        self._sweeping = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._connections.sweep()

    async def cleanup(self) -> None:
        """No longer accept, and end those connections that are there."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        await super().cleanup()
