"""Partials and what people decided between them: a backtest comes to the state that the correlator has."""

import asyncio
from collections import defaultdict
from pathlib import Path

import pytest
from correlate.test_commands import SCHEDULE, SENT, commanded, entries, state_of, world_with
from support.correlate_worker import CountingDetector, partial
from support.correlate_world import UPDATE, World, record
from support.rollout_world import ANN, BOB, CAROL

from pipeline.backtest import judging
from pipeline.backtest.judging import Judging
from pipeline.backtest.recorded import Log, Recorded, Ruled, halts_then
from pipeline.correlate.ports import PartialRecord
from pipeline.decide.policy import PolicySet
from pipeline.wire.audit import AuditEntry
from pipeline.wire.partials import encode_partial
from pipeline.wire.seal import Seal


@pytest.fixture
def lived(tmp_path: Path) -> tuple[World, dict[str, tuple[int, bytes]]]:
    """A world in which people commanded, and the state that its correlator came to."""
    for operator in (ANN, BOB, CAROL):
        operator.is_trusted_in(tmp_path)
    world = world_with(*(raw for _, raw in SENT))
    process = asyncio.run(commanded(world, tmp_path, SCHEDULE))
    return world, state_of(process)


def counting(monkeypatch: pytest.MonkeyPatch) -> dict[str, CountingDetector]:
    """The detectors of a run, by fleet: those that the world's correlator has."""
    made: dict[str, CountingDetector] = {}

    def new(fleet: str, _: PolicySet) -> CountingDetector:
        return made.setdefault(fleet, CountingDetector(fleet))

    monkeypatch.setattr(judging, "Detector", new)
    return made


def chains(world: World) -> dict[str, list[AuditEntry]]:
    """The audit of each fleet."""
    found = defaultdict(list)
    for entry in entries(world):
        found[entry.fleet].append(entry)
    return dict(found)


def records(world: World) -> list[PartialRecord]:
    """What stands on `fleet.partials`."""
    return [record(offset, raw) for offset, raw in enumerate(world.log)]


def test_it_comes_to_the_live_state(
    lived: tuple[World, dict[str, tuple[int, bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each ruling at the place that its answer names, in order, however the partials come; what is no partial is
    counted, as live."""
    world, live = lived
    for at_once in (1, 3, 100):
        made = counting(monkeypatch)
        run = Recorded(Judging(PolicySet()), chains(world), {0: Log("", len(world.log))})
        all_records = records(world)
        batches = [all_records[at : at + at_once] for at in range(0, len(all_records), at_once)]
        found = [each for batch in batches for each in run.take(batch)] + [*run.finish()]
        assert {fleet: (detector.events, detector.digest) for fleet, detector in made.items()} == live
        ruled = [each for each in found if isinstance(each, Ruled)]
        told = sorted((e.fleet, e.seq, e.effect) for chain in chains(world).values() for e in chain if e.effect)
        assert sorted((each.entry.fleet, each.entry.seq, each.ruling.effect) for each in ruled) == told
        assert {each.offset == each.entry.partials.offset for each in ruled} == {True}
        assert run.judging.rulings == len(told) > 2
        assert run.judging.notes.refused.total() == 1
    assert set(halts_then(chains(world))) == {("acme", *UPDATE), ("zeta", *UPDATE)}


def test_without_what_people_decided_it_is_another_state(
    lived: tuple[World, dict[str, tuple[int, bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the test above can fail."""
    world, live = lived
    made = counting(monkeypatch)
    run = Recorded(Judging(PolicySet()), {}, {0: Log("", len(world.log))})
    assert [each for each in [*run.take(records(world)), *run.finish()] if isinstance(each, Ruled)] == []
    assert {fleet: (detector.events, detector.digest) for fleet, detector in made.items()} != live


def test_what_is_not_to_be_believed_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partial without the seal, and one on another partition than its fleet's."""
    made = counting(monkeypatch)
    seal = Seal(["s" * 32])
    good = seal.sealed(encode_partial(partial("acme", 5)))
    run = Recorded(Judging(PolicySet()), {}, {0: Log("", 3), 1: Log("", 1)}, seal)
    taken = [record(0, good), record(1, encode_partial(partial("acme", 7))), record(0, good)._replace(partition=1)]
    assert [*run.take(taken), *run.finish()] == []
    assert made["acme"].events == 5
    assert dict(run.judging.notes.refused) == {"unsealed_partial": 1, "malformed_partial": 1}
