"""Who may run how many statements at once, and how many may wait: nobody takes the places of another account."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pipeline.local.clickhouse.failure import EngineError

READERS = 3  # statements of one account that read, side by side
WRITERS = 2  # inserts, and whatever the writer asks before one
MAX_WAITING = 16  # of each, beside those that run


class Places:
    """Threads for statements of one kind."""

    def __init__(self, name: str, size: int) -> None:
        self._pool = ThreadPoolExecutor(size, f"clickhouse-{name}")
        self._most = size + MAX_WAITING
        self._taken = 0

    def take(self) -> None:
        """One of them, or one to wait in.

        Raises:
            EngineError: 202 when all are taken; other accounts have their own.
        """
        if self._taken >= self._most:
            text = f"{self._taken} statements of this user run or wait already"
            raise EngineError.named(202, "TOO_MANY_SIMULTANEOUS_QUERIES", text)
        self._taken += 1

    def leave(self) -> None:
        """Give it back, once nothing runs any more."""
        self._taken -= 1

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """To one of the threads."""
        return self._pool.submit(function, *args)

    def close(self, cancel: bool) -> None:
        """Let what runs end; what waits is dropped or has its turn."""
        self._pool.shutdown(cancel_futures=cancel)
