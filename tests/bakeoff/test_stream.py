"""The bake-off's events as columns are what the combiner would have made of the events themselves."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from pipeline.bakeoff.crashes import FRIDAY_MS
from pipeline.bakeoff.spec import Family, Fault, Fleet, Push, Telling
from pipeline.bakeoff.stream import FLEET, Stream
from pipeline.bakeoff.world import CRASH, Events, World, make
from pipeline.combine.emit import partials_of
from pipeline.combine.event_batch import EventBatch
from pipeline.combine.memory import Memory
from pipeline.wire.cells import BOOT, kind_of, stratum_of
from pipeline.wire.events import AnyEvent, Boot, Heartbeat, Update
from pipeline.wire.partials import EXPOSURE_COLUMNS, TRIAL_COLUMNS, Partial

FLEET_OF_300 = Family(
    "compared",
    "test",
    Fleet(300, crashes_a_day=0.3),
    (Push("guilty", over_minutes=60, fault=Fault(crash_share=0.2)), Push("again", at=1.0, removed_at=3.0)),
    telling=Telling(duplicates=0.2, disorder_minutes=3, skew_minutes=2),
    hours=4,
)


def events_of(world: World, stream: Stream, chunk: Events, first: int) -> list[AnyEvent]:
    """The same events as objects."""
    made: list[AnyEvent] = []
    for place in range(chunk.sent.size):
        host, at = int(chunk.host[place]), int(chunk.at[place]) + FRIDAY_MS
        _, rows = stream.listed(np.array([host]), np.array([at]), chunk.kind[place : place + 1])
        updates = tuple(
            Update(
                *world.updates[world.installs.update[row]],
                int(world.installs.at[row, host] + world.skew_ms[host]) + FRIDAY_MS,
            )
            for row in rows.tolist()
        )
        like = stream.crash(chunk, place, updates)
        if chunk.kind[place] >= CRASH:
            made.append(like)
            continue
        same: dict[str, Any] = {name: getattr(like, name) for name in like.__struct_fields__ if name != "signature"}
        same = {name: value for name, value in same.items() if name not in ("ts", "prior", "prior_ended_at")}
        made.append(Boot(**same, ts=at, prior="clean") if chunk.kind[place] == BOOT else Heartbeat(**same, ts=at))
    return made


def content(partials: list[Partial]) -> tuple[Any, ...]:
    """What partials say, by names, whatever numbers stand for them."""
    trials: Counter[Any] = Counter()
    exposures: Counter[Any] = Counter()
    crashes, samples, totals = [], set(), np.zeros(3, np.int64)
    for partial in partials:
        strata, updates = partial.strata, partial.updates
        totals += (partial.events, partial.repeats, partial.undated)
        for bucket, cell, number in np.frombuffer(partial.trials, "<i4").reshape(-1, TRIAL_COLUMNS).tolist():
            trials[bucket, strata[stratum_of(cell)], kind_of(cell)] += number
        rows = np.frombuffer(partial.exposures, "<i4").reshape(-1, EXPOSURE_COLUMNS).tolist()
        for bucket, cell, update, exposed, excluded in rows:
            exposures[bucket, strata[stratum_of(cell)], kind_of(cell), updates[update]] += (
                exposed + 1_000_000 * excluded
            )
        for crash in partial.crashes:
            listed = (frozenset(updates[u] for u in crash.exposed), frozenset(updates[u] for u in crash.excluded))
            what = (crash.at, crash.host, strata[crash.stratum], crash.code, crash.module, crash.site)
            crashes.append((*what, *listed, crash.offset, crash.undated))
        for sample in partial.samples:
            named = frozenset(updates[u] for u in sample.exposed)
            samples.add((sample.minute, strata[stratum_of(sample.cell)], kind_of(sample.cell), sample.host_hash, named))
    return trials, exposures, sorted(crashes, key=repr), samples, totals.tolist()


HALF_BLIND: dict[str, Any] = {"bare_heartbeats": True, "bare_crashes": True, "moving_system": True, "spellings": 3}


@pytest.mark.parametrize("told", [{"by": "both"}, {"by": "boot"}, {"by": "undated"}, HALF_BLIND], ids=str)
def test_columns_fold_to_the_partials_of_the_events(told: dict[str, Any]) -> None:
    """Trials, exposures, crashes, samples and totals are the same, partial by partial, also with duplicates, disorder
    and clocks that are off, and half-blind telemetry."""
    family = FLEET_OF_300._replace(telling=FLEET_OF_300.telling._replace(**told))
    world = make(family, 3)
    stream, memory, first = Stream(world, 600_000), Memory(1 << 16), 0
    ours, theirs = list(stream.partials()), []
    for last in stream.cuts():
        chunk = Events(*(column[first:last] for column in world.events))
        batch = EventBatch(memory)
        batch.add(events_of(world, stream, chunk, first), lambda index, first=first: (0, first + index))  # type: ignore[misc]
        fold = batch.fold()
        memory.commit(fold)
        theirs += partials_of(fold, FLEET, int(chunk.sent[-1]) + FRIDAY_MS)
        first = last
    assert len(ours) == len(theirs) > 20
    assert sum(len(partial.crashes) for partial in ours) > 50
    for mine, of_events in zip(ours, theirs, strict=True):
        assert content([mine]) == content([of_events])


def test_the_cut_changes_no_count() -> None:
    """Cut at crashes or every 100 s, the partials add up to the same."""
    world = make(FLEET_OF_300, 5)
    at_crashes, by_time = (content(list(Stream(world, cut).partials())) for cut in (0, 100_000))
    assert at_crashes[:2] == by_time[:2]
    assert at_crashes[4] == by_time[4]
