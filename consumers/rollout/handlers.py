"""Where a subscriber's handler runs: in threads, or as coroutines of an event loop. What came of it goes to a queue."""

import asyncio
import logging
import queue
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from consumers.rollout.duties import Status
from consumers.rollout.orders import Order
from pipeline.runtime.logging import printable

WORKERS = 8  # handlers at once
MAX_HANGING = 64  # handlers that were given up and have not returned; past it none is begun
log = logging.getLogger("andon.rollout")


class Done(NamedTuple):
    """What a handler said: a status, or nothing, which is `confirmed`; and words for people."""

    status: Status = "confirmed"
    detail: str = ""


Answer = Done | Status | None
Handler = Callable[[Order], Answer]
AsyncHandler = Callable[[Order], Awaitable[Answer]]
STATUSES = ("requested", "confirmed", "effective", "ignored")


class Ended(NamedTuple):
    """A handler's end; `raised` says what it raised, "" when it returned."""

    order: Order
    done: Done
    raised: str = ""
    again_soon: bool = True  # whether to try again before it is `failed`: not what took its time and failed


def done_of(answer: object) -> Done:
    """What a handler returned.

    Raises:
        TypeError: when it is no answer.
    """
    if answer is None:
        return Done()
    found = answer if isinstance(answer, Done) else Done(answer)  # type: ignore[arg-type]
    if found.status not in STATUSES:
        raise TypeError(f"a handler returns None, Done, or one of {', '.join(STATUSES)}; not {answer!r}")
    return found


class Runner(Protocol):
    """Begins handlers; `ended` has those that have ended."""

    ended: "queue.SimpleQueue[Ended]"

    def begin(self, order: Order) -> None:
        """Run the handler for this order, in its own time."""

    def give_up(self, order: Order) -> None:
        """It takes too long."""


class Threads:
    """Each handler in a thread of its own: one that hangs cannot be stopped, so it is left behind. `woken` is called
    when one has ended."""

    def __init__(self, handler: Handler, woken: Callable[[], None]) -> None:
        self._handler, self._woken = handler, woken
        self.ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()

    def begin(self, order: Order) -> None:
        """Run the handler for this order, in its own time."""
        threading.Thread(target=self._run, args=(order,), name="andon-handler", daemon=True).start()

    def _run(self, order: Order) -> None:
        try:
            self.ended.put(Ended(order, done_of(self._handler(order))))
        except BaseException as error:  # SystemExit, too: a handler's thread must not end unseen
            self.ended.put(Ended(order, Done(), _said(error, order), not isinstance(error, TimeoutError)))
        self._woken()

    def give_up(self, order: Order) -> None:
        """A thread cannot be ended: its answer counts when it comes."""


class Coroutines:
    """Each handler as a task of the loop; one that hangs is cancelled."""

    def __init__(self, handler: AsyncHandler, loop: asyncio.AbstractEventLoop, woken: Callable[[], None]) -> None:
        self._handler, self._loop, self._woken = handler, loop, woken
        self.ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._tasks: dict[object, asyncio.Task[None]] = {}

    def begin(self, order: Order) -> None:
        """Run the handler for this order, in its own time."""
        self._loop.call_soon_threadsafe(self._start, order)

    def _start(self, order: Order) -> None:
        self._tasks[(order.key, order.identity)] = self._loop.create_task(self._run(order))

    async def _run(self, order: Order) -> None:
        try:
            self.ended.put(Ended(order, done_of(await self._handler(order))))
        except asyncio.CancelledError:
            self.ended.put(Ended(order, Done(), "it was cancelled, as it took too long"))
            raise
        except Exception as error:
            self.ended.put(Ended(order, Done(), _said(error, order), not isinstance(error, TimeoutError)))
        finally:
            self._tasks.pop((order.key, order.identity), None)
            self._woken()

    def give_up(self, order: Order) -> None:
        """Cancel it."""
        self._loop.call_soon_threadsafe(self._cancel, order)

    def _cancel(self, order: Order) -> None:
        if (task := self._tasks.get((order.key, order.identity))) is not None:
            task.cancel()

    def cancel_all(self) -> None:
        """At the end; in the loop's thread."""
        for task in list(self._tasks.values()):
            task.cancel()


def _said(error: BaseException, order: Order) -> str:
    trace = "\n".join(map(printable, "".join(traceback.format_exception(error)).splitlines()))
    log.warning("the handler of %s %s raised\n%s", order.action, printable(order.key), trace)
    return printable(f"{type(error).__name__}: {error}")
