"""The detector that ships, under the correlator: restored from checkpoints it decides as if nothing had happened."""

import asyncio
import random
from pathlib import Path

import pytest
from support.correlate_world import Clock, Killed, World, correlator, epochs, record
from support.folding import partials_all

from pipeline.bench.latency_load import TrialFleet
from pipeline.correlate.correlator import Correlator
from pipeline.correlate.shipped import ShippedDetectors
from pipeline.runtime.errors import ConfigError
from pipeline.wire.decode import decode_event
from pipeline.wire.partials import encode_partial
from pipeline.wire.spans import MINUTE_MS

START = 1_790_000_000_000
BATCH_MS = 2_000
EVENTS = 400


def rollout() -> list[bytes]:
    """Partials of two minutes of a healthy fleet in which the hosts of update 3 begin to crash."""
    fleet, rng = TrialFleet(hosts=20_000, trials=10), random.Random(5)
    log, host = list[bytes](), 0
    for batch in range(60):
        now = START + batch * BATCH_MS
        raws = []
        for _ in range(EVENTS):
            raws.append(fleet.heartbeat(host % 20_000, now + rng.randrange(BATCH_MS))[1])
            host += 1
        if batch >= 40:
            bad = [rng.randrange(2_000) * 10 + 3 for _ in range(3)]
            raws += [fleet.crash(one, now + rng.randrange(BATCH_MS), "0x50")[1] for one in bad]
        partials = partials_all([decode_event(raw) for raw in raws], now, first_offset=batch * 1000)
        log += [encode_partial(partial) for partial in partials]
    return log


async def live(world: World, keys: Path) -> Correlator:
    """One life with the shipped detector."""
    process = correlator(world, keys, Clock(), ShippedDetectors.from_file(""))
    await process.recover(world.bounds(), dict(world.table))
    for offset in range(process.began(0, world.committed, 0), len(world.log)):
        await process.handle(record(offset, world.log[offset], START + 2 * MINUTE_MS), process.session)
        if offset % 7 == 3:
            await process.checkpoint(0)
    return process


def test_the_shipped_detector_survives_kills(tmp_path: Path) -> None:
    """Killed at seeded moments, it ends in the very state of a calm run, and has halted the guilty update once."""
    partials = rollout()
    calm = World(partials)
    expected = asyncio.run(live(calm, tmp_path)).fleets.by_name["bench"].detector.snapshot()
    assert epochs(calm) == [("bench/acme/agent-3/2.0", 1, ("*",))]
    rng = random.Random(9)
    world, kills = World(partials), 0
    for _ in range(40):
        world.fuse, world.after = rng.randint(15, 40), rng.random() < 0.5
        try:
            process = asyncio.run(live(world, tmp_path))
        except Killed:
            kills += 1
            continue
        break
    else:
        pytest.fail("no life came to the end")
    assert kills > 1
    assert process.fleets.by_name["bench"].detector.snapshot() == expected
    assert epochs(world) == epochs(calm)


def test_a_bad_policy_file_is_a_configuration_error(tmp_path: Path) -> None:
    """It names the key and the file's trouble."""
    path = tmp_path / "policy.toml"
    path.write_text("[default]\nalpha = 7\n", "utf-8")
    for name in (str(path), str(tmp_path / "missing.toml")):
        with pytest.raises(ConfigError, match=r"correlate\.policy_file"):
            ShippedDetectors.from_file(name)
