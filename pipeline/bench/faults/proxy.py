"""A TCP proxy that can be cut as a cable is: nothing passes, nobody is told, and connections that wait outlive it."""

import asyncio
import contextlib
import socket
import threading
from types import TracebackType

from pipeline.local.machine.ports import LOOPBACK, bind_free
from pipeline.runtime.errors import AndonError

READ_BYTES = 256 << 10
CALL_SECONDS = 10.0


class Proxies:
    """One per server, each on a port of its own; `connect_to` says where they lead. A context manager."""

    def __init__(self, count: int) -> None:
        self._sockets = [bind_free() for _ in range(count)]
        self.ports = tuple(int(listening.getsockname()[1]) for listening in self._sockets)
        self._targets: dict[int, int] = {}
        self._loop = asyncio.new_event_loop()
        self._whole = asyncio.Event()
        self._whole.set()
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)

    def __enter__(self) -> "Proxies":
        self._thread.start()
        for listening in self._sockets:
            asyncio.run_coroutine_threadsafe(self._serve(listening), self._loop).result(CALL_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(CALL_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_SECONDS)
        self._loop.close()

    def connect_to(self, ports: tuple[int, ...]) -> None:
        """Where each proxy leads, in their order."""
        if len(ports) != len(self.ports):
            raise AndonError(f"{len(self.ports)} proxies, {len(ports)} servers")
        self._targets = dict(zip(self.ports, ports, strict=True))

    def cut(self) -> None:
        """From now on nothing passes."""
        self._loop.call_soon_threadsafe(self._whole.clear)

    def heal(self) -> None:
        """What was held back arrives, late."""
        self._loop.call_soon_threadsafe(self._whole.set)

    async def _serve(self, listening: socket.socket) -> None:
        port = int(listening.getsockname()[1])

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None, "a coroutine of a server runs in a task"
            self._tasks.add(task)
            try:
                await self._join(port, reader, writer)
            finally:
                self._tasks.discard(task)
                writer.close()

        self._servers.append(await asyncio.start_server(connected, sock=listening))

    async def _join(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._whole.wait()
        with contextlib.suppress(OSError):
            onward_reader, onward_writer = await asyncio.open_connection(LOOPBACK, self._targets[port])
            try:
                pumps = (self._pump(reader, onward_writer), self._pump(onward_reader, writer))
                both = [asyncio.ensure_future(pump) for pump in pumps]
                try:
                    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for one in both:
                        one.cancel()
                    await asyncio.gather(*both, return_exceptions=True)
            finally:
                onward_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(READ_BYTES):
            await self._whole.wait()
            writer.write(data)
            await writer.drain()

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
