"""Faust's recoveries, taken at their word where it is true: what it calls for one assignment while another follows."""

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from pipeline.correlate.checkpoint import FleetState, pack, place_entry, reached
from pipeline.correlate.client import recoveries
from pipeline.correlate.client.recoveries import Recoveries
from pipeline.correlate.ports import Bounds
from pipeline.runtime.errors import AndonError
from pipeline.runtime.reading.progress import Standstill

LOG = TP("andon-correlate-state-changelog", 0)


def app(last: int | None, read: int | None) -> Any:
    """As much of Faust's as is looked at: the last offset of the one changelog, and the last that was read."""
    recovery = SimpleNamespace(active_tps={LOG}, active_highwaters=Counter({LOG: last}), active_offsets={LOG: read})
    return SimpleNamespace(tables=SimpleNamespace(recovery=recovery))


async def finished(recovery: Recoveries, found: list[str], name: str) -> None:
    """What a recovery does: it begins, takes its time, and goes on."""
    await recovery.begin()
    await asyncio.sleep(0.05)  # its way, not a wait
    found.append(name)


def test_of_two_at_once_the_newest_goes_on() -> None:
    """Faust lets go of the first without ending it; it must not come to its end after, or before, the second."""

    async def both() -> list[str]:
        of, found = Recoveries(app(last=4, read=4)), list[str]()
        first = asyncio.ensure_future(finished(of, found, "first"))
        await asyncio.sleep(0.01)
        await asyncio.ensure_future(finished(of, found, "second"))
        assert first.cancelled()
        await asyncio.ensure_future(finished(of, found, "third"))
        return found

    assert asyncio.run(both()) == ["second", "third"]


def test_what_is_not_read_is_waited_for() -> None:
    """Said to be recovered with nothing read of it: nobody goes on before it is, though the log was read in between."""

    async def wait() -> list[str]:
        unread, found = app(last=4, read=None), list[str]()
        of = Recoveries(unread)
        assert of.left() == 5
        waiting = asyncio.ensure_future(finished(of, found, "read"))
        await asyncio.sleep(0.02)
        assert found == []
        unread.tables.recovery.active_offsets[LOG] = 4
        assert of.left() == 0
        await waiting
        return found

    assert asyncio.run(wait()) == ["read"]


@pytest.mark.parametrize(("last", "read"), [(4, 3), (4, None), (None, 4)])
def test_what_is_never_read_ends_it(monkeypatch: pytest.MonkeyPatch, last: int | None, read: int | None) -> None:
    """Going on would mean to begin with an empty state; nor does anybody know it to be read whose end is not known."""
    monkeypatch.setattr(recoveries, "READ_SECONDS", 0.2)
    with pytest.raises(AndonError, match=r"not read to the end: andon-correlate-state-changelog\[0\]"):
        asyncio.run(Recoveries(app(last, read)).begin())


def test_an_empty_table_is_read() -> None:
    """Its last offset is -1."""
    asyncio.run(Recoveries(app(last=-1, read=None)).begin())


def test_partitions_that_go_take_their_recovery_with_them() -> None:
    """It is cancelled where it stands; the next one is not."""

    async def drop() -> list[str]:
        of, found = Recoveries(app(last=4, read=4)), list[str]()
        of.drop()
        first = asyncio.ensure_future(finished(of, found, "first"))
        await asyncio.sleep(0.01)
        of.drop()
        await asyncio.wait([first])
        await asyncio.ensure_future(finished(of, found, "second"))
        return found

    assert asyncio.run(drop()) == ["second"]


def test_a_fleet_that_was_reached_in_another_log_is_not_waited_for() -> None:
    """Who recovers asks the brokers again while the log ends before what was read of it. What was read of the topic of
    that name before does not count, also beside a place in this one."""
    state = FleetState(1, "acme", 0, 30, 31, 31, (), b"", log_id="old")
    checkpoint = pack(state, "A")
    table = dict([*checkpoint.chunks, checkpoint.header, place_entry(0, 0, "new")])
    now = Bounds(0, 6, "new")
    assert [now.is_behind(place) for place in reached(table)] == [False, False]
    before = Bounds(0, 6, "old")
    assert [before.is_behind(place) for place in reached(table)] == [False, True]
    assert [Bounds(0, 31, "old").is_behind(place) for place in reached(table)] == [False, False]


def test_only_what_stands_still_for_long_is_said_to() -> None:
    """Seen alike so often in a row; nothing that waits, or another thing, begins the count anew."""
    still = Standstill(3)
    assert [still.look(mark) for mark in ("a", "a", "b", "b", "b", "b", None, None, None, "b", "b", "a")] == [
        *(False, False, False, False, True, True),
        *(False, False, False, False, False, False),
    ]
