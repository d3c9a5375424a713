"""`Halts` and `AsyncHalts`: every halt and resume that holds is handed to a handler until it is done with, and what the
handler says is acknowledged."""

import asyncio
import threading
from types import TracebackType
from typing import Self

from consumers.rollout.acknowledging import Subscriber
from consumers.rollout.duties import Pace
from consumers.rollout.follower import Source
from consumers.rollout.handlers import AsyncHandler, Coroutines, Handler, Threads
from consumers.rollout.settings import load_settings
from consumers.rollout.subscriber import Working

PACE = Pace()


class _Halts:
    """How both are made, and what can be asked of them."""

    def __init__(self, source: Source, subscriber: Subscriber | None, pace: Pace = PACE) -> None:
        """Without a subscriber nothing is acknowledged, and each start hands everything over anew.

        Raises:
            ConfigError: for settings that no client can be made with.
        """
        self._working = Working(source, subscriber, pace)

    @classmethod
    def configured(cls, fleets: str = "") -> Self:
        """From the environment (`ANDON_…`, docs/rollout.md); `fleets`, comma-separated, if given, instead of the
        setting.

        Raises:
            ConfigError: naming key, value, source and what would be right.
        """
        settings = load_settings()
        return cls(settings.source(fleets), settings.config.subscriber(settings.trusted), settings.config.pace())

    def why_not(self) -> list[str]:
        """Why it is not obeying as it should (brokers away, handlers that hang); empty when it is."""
        return self._working.why_not()

    def still_seconds(self) -> float:
        """For how long its work has not turned, whatever handlers do; a minute is a hang."""
        return self._working.still_seconds()

    def stop(self) -> None:
        """Ask for the end, from any thread or a signal's handler."""
        self._working.stop()


class Halts(_Halts):
    """For plain functions. `run(handler)` works in the caller's thread until `stop`; `start(handler)` and `close()` in
    one of its own. A handler takes an `Order`; it returns None or "confirmed" when what is ordered holds, "requested"
    when that is still to come, "effective" when hosts no longer get the update, "ignored" when it is none of its
    business, or `Done(status, words)`. Handlers of different updates run side by side, in threads of their own.
    """

    _thread: threading.Thread | None = None

    def run(self, handler: Handler) -> None:
        """Obey until `stop`; once only.

        Raises:
            ConfigError: for settings that no client can be made with.
        """
        self._working.run(Threads(handler, self._working.follower.wake))

    def start(self, handler: Handler) -> Self:
        """Obey in a thread of its own; once only."""
        self._thread = threading.Thread(target=self.run, args=(handler,), name="andon-halts", daemon=True)
        self._thread.start()
        return self

    def settle(self, seconds: float) -> bool:
        """Wait until all that holds by now is done with and acknowledged, for so many seconds at most; whether it is.
        For a program that ends: what it has not read when it ends is handed over when it starts again."""
        return self._working.settle(seconds)

    def close(self) -> None:
        """Stop, and wait until what is under way is acknowledged, or for some seconds."""
        self.stop()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncHalts(_Halts):
    """For coroutines: as `Halts`, but the handler is awaited in the caller's event loop, and one that takes too long is
    cancelled. `async with AsyncHalts.configured() as halts: await halts.run(handler)`."""

    async def run(self, handler: AsyncHandler) -> None:
        """Obey until `stop`, or until this is cancelled; once only.

        Raises:
            ConfigError: for settings that no client can be made with.
        """
        loop = asyncio.get_running_loop()
        runner = Coroutines(handler, loop, self._working.follower.wake)
        ended: asyncio.Future[None] = loop.create_future()

        def work() -> None:
            try:
                self._working.run(runner)
            except BaseException as error:
                loop.call_soon_threadsafe(_set, ended, error)
            else:
                loop.call_soon_threadsafe(_set, ended, None)

        threading.Thread(target=work, name="andon-halts", daemon=True).start()
        try:
            await asyncio.shield(ended)
        finally:
            self.stop()
            runner.cancel_all()
            await asyncio.shield(ended)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _set(ended: "asyncio.Future[None]", error: BaseException | None) -> None:
    if ended.done():
        return
    if error is None:
        ended.set_result(None)
    else:
        ended.set_exception(error)
