"""Faust's word that its tables are recovered, taken where it is true.

When partitions change hands again before a table is read, Faust says that it is recovered though nothing was read of
it; and what Faust called then still runs when it calls again: the older of the two would go on with an empty state.
"""

import asyncio
from typing import Any

import faust

from pipeline.runtime.errors import AndonError
from pipeline.runtime.waiting import Deadline

READ_SECONDS = 10.0  # the next recovery comes in moments
POLL_SECONDS = 0.1


class Recoveries:
    """Of one app: the newest alone goes on, with tables that were read to their ends."""

    def __init__(self, app: faust.App) -> None:
        self._app = app
        self._newest: asyncio.Task[Any] | None = None

    async def begin(self) -> None:
        """The task that calls is the newest recovery: one before that still runs is cancelled. Returns when the tables
        were read to their ends.

        Raises:
            AndonError: when they were not in time, and no newer recovery came.
        """
        before, self._newest = self._newest, asyncio.current_task()
        if before is not None:
            before.cancel()
            await asyncio.wait([before])
        deadline = Deadline(READ_SECONDS)
        while unread := self._unread():
            if deadline.has_passed:
                raise AndonError(f"said to be recovered, but not read to the end: {', '.join(unread)}")
            await asyncio.sleep(POLL_SECONDS)

    def drop(self) -> None:
        """Partitions go: what was found of them is not to be gone on with. Another recovery follows."""
        if self._newest is not None:
            self._newest.cancel()

    def left(self) -> int:
        """How many entries of the tables are still to be read, as far as is known."""
        return sum(left for left in self._left().values() if left is not None)

    def _unread(self) -> list[str]:
        return [f"{tp.topic}[{tp.partition}]" for tp, left in self._left().items() if left is None or left > 0]

    def _left(self) -> dict[Any, int | None]:
        """By partition of a table's changelog; None where its end is not known. Faust gives the last offset, and -1 or
        None for none."""
        recovery = self._app.tables.recovery
        last, read = recovery.active_highwaters, recovery.active_offsets
        return {tp: _left(last.get(tp), read.get(tp)) for tp in recovery.active_tps}


def _left(last: int | None, read: int | None) -> int | None:
    return None if last is None else last - (-1 if read is None else read)
