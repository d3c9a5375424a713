"""Whether every partial is read, and whether it goes on."""

import asyncio
from pathlib import Path

import pytest
from support.correlate_world import LOG, Clock, World, correlator, live
from support.correlate_world import record as made

from pipeline.correlate.ports import PartialRecord
from pipeline.correlate.reading import STILL_LOOKS, Reading, Skipped
from pipeline.correlate.records import PARTIALS_LOST
from pipeline.runtime.reading.progress import LOOK_MS, STILL_MS, Standing
from pipeline.wire.verdicts import decode_verdict

NOW = 1_795_000_000_000


def record(offset: int, after: int) -> PartialRecord:
    """Of partition 0."""
    return PartialRecord(0, offset, b"k", b"", NOW, after=after)


def test_what_was_passed_over_is_noticed() -> None:
    """Repeats are fine, and markers between; a record that says that there may be others before it is not."""
    reading = Reading()
    assert not reading.accepts(record(4, 4))
    reading.began(0, 4)
    reading.began(0, 2)
    for offset, after in ((4, 4), (6, 5), (6, 2), (8, 7)):
        assert reading.accepts(record(offset, after))
        reading.taken(record(offset, after))
    with pytest.raises(Skipped, match="began anew"):
        reading.accepts(record(1, 0))
    with pytest.raises(Skipped, match=r"fleet.partials\[0\]: offsets 9 to 11 did not come before 12"):
        reading.accepts(record(12, 12))


def standing(**places: int) -> dict[int, Standing]:
    """Of partition 0: all read, but for what is given."""
    return {0: Standing(**{"position": 10, "committed_end": 10, "written_end": 10} | places)}


@pytest.mark.parametrize(
    ("places", "why"),
    [
        ({}, ""),
        ({"position": 7}, "3 records wait, none was read for 11 s"),
        ({"written_end": 14}, "an open transaction has held back 4 records for 11 s"),
        ({"position": 12}, "it ends at 10, before offset 12, which is read next"),
    ],
)
def test_what_stands_still_is_said(places: dict[str, int], why: str) -> None:
    """Only once it has stood for a while; not when it moves."""
    reading = Reading()
    assert reading.why_not(NOW) == ["no partition of fleet.partials is assigned"]
    reading.began(0, 0)
    assert reading.why_not(NOW) == ["the brokers do not say where fleet.partials ends"]
    reading.look(standing(**places), NOW)
    if "ends" not in why:
        assert reading.why_not(NOW) == []
    later = NOW + STILL_MS + 1_000
    if "it ends" in why:
        with pytest.raises(Skipped, match="it began anew"):
            reading.look(standing(**places), later)
        return
    reading.look(standing(**places), later)
    assert [text.partition(": ")[2] for text in reading.why_not(later)] == ([why] if why else [])
    reading.look(standing(position=11, committed_end=11, written_end=11), later)
    assert reading.why_not(later) == []
    assert reading.why_not(later + LOOK_MS + 1) == ["the brokers do not say where fleet.partials ends"]


@pytest.mark.parametrize("places", [{"committed_end": 12, "written_end": 12}, {"written_end": 12}])
def test_how_long_is_told_from_when_it_began(places: dict[str, int]) -> None:
    """After an hour in which nothing came, a record that waits, or an open transaction, has not done so for an hour."""
    reading = Reading()
    reading.began(0, 0)
    came = NOW + 3_600_000
    reading.look(standing(), NOW)
    reading.look(standing(), came)
    reading.look(standing(**places), came)
    assert reading.why_not(came) == []
    reading.look(standing(**places), came + STILL_MS + 1_000)
    (why,) = reading.why_not(came + STILL_MS + 1_000)
    assert why.endswith("for 11 s")


def test_a_member_without_partitions_asks_once_more() -> None:
    """After a while, and once: not before it has looked, nor while it has some."""
    reading = Reading()
    asked = []
    for seconds, places in enumerate([None, {}, standing(), *[{}] * 30]):
        if places is not None:
            reading.look(places, NOW + seconds * 1000)
        asked += [seconds] * reading.should_rejoin(NOW + seconds * 1000)
    assert asked == [3 + STILL_MS // 1000 + 1]


def test_partials_deleted_unread_flag_what_follows(tmp_path: Path) -> None:
    """For a day, also after a restart; what lies below the log's beginning but is in the state is not lost."""

    async def scene() -> None:
        world, clock = World(LOG), Clock()
        await (await live(world, tmp_path)).checkpoint(0)
        end = len(LOG)
        process = correlator(world, tmp_path, clock)
        await process.recover(world.bounds(), dict(world.table))
        process.began(0, 1, end)
        assert {fleet.lost_at_ms for fleet in process.fleets.by_name.values()} == {0}
        await process.recover(world.bounds(), dict(world.table))
        process.began(0, end, end + 6)
        world.records.clear()
        await process.handle(made(end + 6, LOG[3])._replace(after=end + 6), process.session)
        assert [flags(value) for topic, _, value, _ in world.records if topic == "fleet.verdicts"] == [True]
        await process.checkpoint(0)
        later = correlator(world, tmp_path, clock)
        await later.recover(world.bounds(), dict(world.table))
        assert later.fleets.by_name["acme"].lost_at_ms == clock.now
        assert later.fleets.by_name["zeta"].lost_at_ms == clock.now

    asyncio.run(scene())


def flags(value: bytes) -> bool:
    """Whether a verdict says that partials were lost."""
    return PARTIALS_LOST in decode_verdict(value).flags


@pytest.mark.parametrize("what", ["waits", "unbegun", "recovers"])
def test_what_stands_still_for_long_ends_it(what: str) -> None:
    """Records that wait, a partition whose reading has not begun, a state that is not recovered: said at the last of
    many looks, all of which found the same; not when anything moved in between."""
    reading = Reading()
    if what != "unbegun":
        reading.began(0, 0)
    looks = 0

    def look(position: int) -> str:
        nonlocal looks
        looks += 1
        now = NOW + looks * 2_000
        reading.look(standing(position=position if what == "waits" else 10), now)
        return reading.stands_still(position if what == "recovers" else None, now)

    quiet = 1 + STILL_MS // 2_000 if what == "waits" else 0  # before that it is not said to wait
    first = [look(7) for _ in range(STILL_LOOKS - 1)]
    moved = [look(8) for _ in range(quiet + STILL_LOOKS - 1)] if what != "unbegun" else []
    assert {*first, *moved} == {""}
    words = {
        "waits": "fleet.partials[0] at 8, and more waits",
        "unbegun": "fleet.partials[0]: its reading has not begun",
        "recovers": "the recovery of its state, with 8 entries left",
    }
    assert look(8) == f"nothing moves: {words[what]}"


def test_all_well_never_ends_it() -> None:
    """Quiet for an hour, everything read."""
    reading = Reading()
    reading.began(0, 0)
    for number in range(1_800):
        reading.look(standing(), NOW + number * 2_000)
        assert reading.stands_still(None, NOW + number * 2_000) == ""


def test_one_partition_that_is_not_taken_in_is_said() -> None:
    """Beside another that is."""
    reading = Reading()
    reading.began(0, 0)
    reading.look({**standing(), 1: Standing(10, 10, 10)}, NOW)
    assert reading.why_not(NOW) == ["fleet.partials[1]: its reading has not begun"]
    reading.began(1, 10)
    assert reading.why_not(NOW) == []
