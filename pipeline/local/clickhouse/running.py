"""A statement on its way through the engine: in the threads of its account, and no longer than its client stays."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import suppress
from typing import Any

from pipeline.local.clickhouse.engine import Answer, Engine, Request
from pipeline.local.clickhouse.places import Places

CANCEL_SECONDS = 1.0  # until one that should have ended is told so again: it may not have begun when it was


class Running:
    """A context manager: of the places one is taken, and given back once nothing runs any more. When the task that
    waits for it is cancelled, what reads is cancelled in the engine; an insert ends as it would."""

    def __init__(self, engine: Engine, places: Places, request: Request) -> None:
        self._engine, self._places, self._request = engine, places, request
        self._answer: Answer | None = None
        self._first: bytes | memoryview | None = None

    async def __aenter__(self) -> Answer:
        """Run up to the first bytes: an error that comes before them still gets its own status.

        Raises:
            EngineError: when there is no place, or it fails.
        """
        self._places.take()
        try:
            answer: Answer = await self._run(self._start)
            return answer
        except BaseException:
            await self.__aexit__()
            raise

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._answer and isinstance(self._answer.chunks, Generator):  # frees its connection, cancels what runs
                await self._run(self._answer.chunks.close)
        finally:
            self._places.leave()

    def _start(self) -> Answer:
        self._answer = self._engine.run(self._request)
        self._first = next(self._answer.chunks, None)
        return self._answer

    async def chunks(self) -> AsyncIterator[bytes | memoryview]:
        """Of the answer, as they come.

        Raises:
            EngineError: when it fails on the way.
        """
        chunk = self._first
        while chunk is not None and self._answer:
            if len(chunk):
                yield chunk
            chunk = await self._run(next, self._answer.chunks, None)

    async def _run(self, function: Callable[..., Any], *args: Any) -> Any:
        thread = self._places.submit(function, *args)
        future = asyncio.wrap_future(thread)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not thread.cancel():
                await self._until_ended(future)
            raise

    async def _until_ended(self, future: asyncio.Future[Any]) -> None:
        reads = self._request.statement.kind != "INSERT"
        while not future.done():
            if reads:
                await asyncio.to_thread(self._engine.cancel_reads, self._request.mark)
            await asyncio.wait({future}, timeout=CANCEL_SECONDS if reads else None)
        with suppress(Exception):  # nobody is left to be told
            future.result()
