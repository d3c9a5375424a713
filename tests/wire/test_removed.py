"""What was taken off again: there until then, gone after it, and never a reason to lose the event."""

from typing import Any

import orjson
import pytest

from consumers.clickhouse.archive.events import EventRows
from pipeline.wire.decode import decode_event
from pipeline.wire.events import ANCIENT_MS, MAX_UPDATES, Update
from pipeline.wire.learned import LearnedDecoder
from pipeline.wire.mending import Mends
from pipeline.wire.noted import Noted

T = 1_764_000_000_000
OLD = {"vendor": "v", "product": "p", "version": "1", "installed_at": T - 90_000}
NEW = OLD | {"version": "2", "installed_at": T - 60_000}


def event(kind: str, removed_at: Any, **more: Any) -> dict[str, Any]:
    """Of a host that has version 1, and had version 2 until then."""
    place = {"v": 1, "id": "e", "kind": kind, "fleet": "acme", "host": "h", "ts": T, "ring": "r", "os": "o"}
    return place | {"model": "m", "updates": [OLD], "removed": [NEW | {"removed_at": removed_at}]} | more


HEARTBEAT = event("heartbeat", T - 30_000)
CRASH = {"signature": {"code": "0x1", "module": ""}}
BOOT = {"prior": "crash", "prior_ended_at": T - 40_000}


def read(fields: dict[str, Any]) -> tuple[tuple[Update, ...], Mends]:
    """The updates of an event, and what was noted of it."""
    mends: Mends = {}
    return decode_event(orjson.dumps(fields), mends).updates, mends


@pytest.mark.parametrize(
    ("fields", "there"),
    [
        (HEARTBEAT, False),
        (event("crash", T + 60_000, **CRASH), True),
        (event("crash", T - 30_000, **CRASH), False),
        (event("boot", T - 30_000, **BOOT), True),
        (event("boot", T - 50_000, **BOOT), False),
    ],
    ids=["heartbeat", "crash before it", "crash after it", "session ended before it", "session ended after it"],
)
def test_it_is_there_until_it_was_removed(fields: dict[str, Any], there: bool) -> None:
    """By the moment of which the report lists updates."""
    installed_at = NEW["installed_at"] if there else ANCIENT_MS
    expected = (Update(**OLD), Update("v", "p", "2", installed_at))
    assert read(fields) == (expected, {} if there else {Noted.UPDATES_REMOVED: 1})


def test_every_decoder_reads_it_alike() -> None:
    """One that has learned the words of a fleet sees a removal all the same, and says so."""
    decoder, plain = LearnedDecoder(), {name: value for name, value in HEARTBEAT.items() if name != "removed"}
    raws = [orjson.dumps(each) for each in (plain, HEARTBEAT)]
    for _ in range(80):
        decoder.decode_all([raws[0]] * 4, lambda *_: None)
    noted: list[int] = []
    found = decoder.decode_all(raws, lambda *_: None, lambda index, *_: noted.append(index))
    assert decoder.words
    assert (found, noted) == ([decode_event(raw) for raw in raws], [1])


@pytest.mark.parametrize(
    ("removed", "words"),
    [
        (None, set()),
        ("all", set()),
        ([7], {Noted.UPDATES_UNUSABLE}),
        ([NEW], {Noted.REMOVED_AT_UNUSABLE, Noted.UPDATES_REMOVED}),
        ([NEW | {"removed_at": (T - 30_000) // 1_000}], {Noted.TIME_FORM, Noted.UPDATES_REMOVED}),
    ],
    ids=["null", "text", "a number", "no time", "seconds"],
)
def test_what_cannot_be_read_of_it_is_mended(removed: Any, words: set[Noted]) -> None:
    """The host's other updates stay as they are."""
    updates, mends = read(HEARTBEAT | {"removed": removed})
    assert updates[0] == Update(**OLD)
    assert set(mends) == words


def test_what_is_listed_as_well_is_gone_unless_it_came_again() -> None:
    """A sender that goes on listing what it removed, and one that installed it a second time."""
    again = NEW | {"installed_at": T - 10_000}
    gone, _ = read(HEARTBEAT | {"updates": [OLD, NEW]})
    back, _ = read(HEARTBEAT | {"updates": [OLD, again]})
    assert gone == (Update(**OLD), Update("v", "p", "2", ANCIENT_MS))
    assert Update(**again) in back


def test_there_are_never_more_than_a_list_may_have() -> None:
    """A partial is refused that says otherwise of a host."""
    many = [OLD | {"product": f"p{number}"} for number in range(MAX_UPDATES)]
    updates, mends = read(HEARTBEAT | {"updates": many})
    assert len(updates) == MAX_UPDATES
    assert mends[Noted.UPDATES_CUT] == 1


def test_clickhouse_stores_what_was_there() -> None:
    """Its aggregates count what a report lists: a version that was gone is not listed, one that was there is."""
    crash = event("crash", T + 60_000, **CRASH)
    stored = EventRows()([orjson.dumps(HEARTBEAT), orjson.dumps(crash)], [T, T]).tables["events"]
    assert stored.column("updates.version").to_pylist() == [["1"], ["1", "2"]]
