"""What became no evidence, as an operator sees it: per fleet in /state, summed in the metrics."""

import asyncio
from pathlib import Path

from msgspec.structs import replace
from support.correlate_worker import partial
from support.correlate_world import Clock, World, correlator, record
from support.folding import partials_all

from pipeline.bench.latency_load import TrialFleet
from pipeline.correlate.shipped import ShippedDetectors
from pipeline.correlate.view import state
from pipeline.runtime import metrics
from pipeline.wire.decode import decode_event
from pipeline.wire.partials import Notes, encode_partial

NOW = 1_790_000_000_000


def test_refused_events_make_no_fleet(tmp_path: Path) -> None:
    """Only a note of a clock, of a fleet that nobody has heard of: no detector, no heartbeat. A known one has it."""
    raw = TrialFleet(hosts=1_000, trials=10).heartbeat(1, NOW)[1]
    (heard,) = partials_all([decode_event(raw)], NOW)
    note = replace(partial("unheard", 0), tail=Notes({}, {"h1": 7_200_000}))
    log = [encode_partial(each) for each in (note, heard, replace(note, fleet=heard.fleet))]

    async def scene() -> None:
        world = World(log)
        process = correlator(world, tmp_path, Clock(), ShippedDetectors.from_file(""))
        await process.recover(world.bounds(), {})
        process.began(0, None, 0)
        for offset, value in enumerate(log):
            await process.handle(record(offset, value, NOW), process.session)
        (shown,) = state(process, NOW, NOW)["fleets"]
        assert (shown["fleet"], shown["clocks_ahead"]["hosts"]) == (heard.fleet, 1)
        assert process.fleets.commit_offset(0) == 1  # the first is done with

    asyncio.run(scene())


def test_notes_reach_state_and_metrics(tmp_path: Path) -> None:
    """Of two fleets each has its own; the metrics are their sums."""
    raw = TrialFleet(hosts=1_000, trials=10).heartbeat(1, NOW)[1]
    (one,) = partials_all([decode_event(raw)], NOW)
    notes = {"a": Notes({"updates_cut": 3}, {"h1": 7_200_000}), "b": Notes({"updates_cut": 4, "null_text": 1})}
    log = [encode_partial(replace(one, fleet=fleet, tail=noted)) for fleet, noted in notes.items()]

    async def scene() -> None:
        world = World(log)
        process = correlator(world, tmp_path, Clock(), ShippedDetectors.from_file(""))
        await process.recover(world.bounds(), {})
        process.began(0, None, 0)
        for offset, value in enumerate(log):
            await process.handle(record(offset, value, NOW), process.session)
        await process.heartbeat()
        shown = {fleet["fleet"]: fleet for fleet in state(process, NOW, NOW)["fleets"]}
        assert {name: fleet["noted"] for name, fleet in shown.items()} == {n: each.counts for n, each in notes.items()}
        assert shown["a"]["clocks_ahead"]["furthest"] == [{"host": "h1", "ahead_seconds": 7_200}]
        assert (noted()["updates_cut"], noted()["null_text"]) == (7, 1)
        assert metrics.CLOCKS_AHEAD.collect()[0].samples[0].value == 1
        await process.recover({}, {})  # another has the partitions now
        await process.heartbeat()
        assert (noted()["updates_cut"], noted()["null_text"]) == (0, 0)

    asyncio.run(scene())


def noted() -> dict[str, float]:
    """What the metric shows."""
    return {labels["what"]: value for _, labels, value, *_ in metrics.NOTED.collect()[0].samples}
