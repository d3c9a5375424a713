"""Leaves state behind, to be run under the version that it is of: `PYTHONPATH=tests:. python -m support.upgrade.leave
VERSION`. A fleet of 400 hosts lives for three hours; an update that crashes its hosts is halted; two operators lift
that, one halts another update; then comes a third, whose crashes the next version is to count."""

import asyncio
import random
import sys
import tempfile
from pathlib import Path

import msgspec

from consumers.clickhouse.archive.intent import Intent, Range, encode_intent
from consumers.clickhouse.schema.migration import shipped
from pipeline.collect.tokens import add_token
from pipeline.wire import topics
from pipeline.wire.events import AnyEvent, Crash, Heartbeat, Signature, Update
from pipeline.wire.partials import UpdateId, encode_partial
from pipeline.wire.spans import HOUR_MS, MINUTE_MS
from support.correlate_world import Clock, World
from support.folding import partials_all
from support.rollout_world import sent
from support.upgrade import left as state
from support.upgrade.left import FLEET, SEAL, Facts, Left

ROOT = Path(__file__).parents[3]
T0 = 1_721_361_600_000
HOSTS = 400
OLD = Update("google", "chrome", "126", T0 - 5 * HOUR_MS)
GUILTY = Update("crowdstrike", "falcon-content", "291", T0)
NEXT = Update("zoom", "workplace", "7", T0 + 31 * MINUTE_MS)
UPDATES = tuple(UpdateId(each.vendor, each.product, each.version) for each in (OLD, GUILTY, NEXT))
UPGRADED_MS, END_MS = T0 + 32 * MINUTE_MS, T0 + 52 * MINUTE_MS
UNSAVED = 4  # partials that were read and are in no checkpoint


def event(host: int, ts: int, signature: Signature | None = None) -> AnyEvent:
    """A heartbeat or a crash, with what is installed by then."""
    have = [OLD] if host % 2 else []
    have += [GUILTY] if host % 4 == 0 and ts >= GUILTY.installed_at else []
    have += [NEXT] if host % 4 == 1 and ts >= NEXT.installed_at else []
    common = {
        "v": 1, "id": f"{host}-{ts}", "fleet": FLEET, "host": f"h{host}", "ts": ts, "updates": tuple(have),
        "ring": ("canary", "broad", "broad")[host // 4 % 3], "os": "os", "model": f"m{host // 12 % 2}",
        "site": f"s{host % 40}",
    }  # fmt: skip
    return Heartbeat(**common) if signature is None else Crash(**common, signature=signature)


def life() -> list[AnyEvent]:
    """Everything that the hosts report, in order."""
    draw = random.Random(5)
    found = [
        event(host, ts)
        for host in range(HOSTS)
        for ts in range(T0 - 3 * HOUR_MS + host * 8_999, END_MS, 20 * MINUTE_MS)
    ]
    usual, fault = Signature("0x1a", "memory.sys"), Signature("0x50", "csagent.sys")
    found += [event(draw.randrange(HOSTS), draw.randrange(T0 - 3 * HOUR_MS, END_MS), usual) for _ in range(60)]
    found += [event(4 * n, T0 + (5 + n % 15) * MINUTE_MS + n * 700, fault) for n in range(40)]
    found += [
        event(4 * n + 1, T0 + (33 + n % 15) * MINUTE_MS + n * 700, Signature("0x7e", "zoom.sys")) for n in range(50)
    ]
    return sorted(found, key=lambda each: each.ts)


def batches() -> list[list[AnyEvent]]:
    """Of a minute each."""
    found: dict[int, list[AnyEvent]] = {}
    for each in life():
        found.setdefault(each.ts // MINUTE_MS, []).append(each)
    return list(found.values())


def folded(batch: list[AnyEvent], number: int) -> bytes:
    """As the combiner writes it, sealed."""
    (partial,) = partials_all(batch, batch[-1].ts, first_offset=number * 1_000)
    return SEAL.sealed(encode_partial(partial))


async def left_by(version: str, keys: Path) -> Left:
    """The story up to the upgrade, and the same version's own end of it."""
    cut = batches()
    log = [folded(batch, number) for number, batch in enumerate(cut)]
    upto = next(number for number, batch in enumerate(cut) if batch[0].ts >= UPGRADED_MS)
    world = World(log)
    process = await state.begun(world, keys)
    await state.read_on(process, world, upto - 12)
    await commands(world, keys)
    await process.obey()
    first = upto - UNSAVED
    for offset in range(upto - 12, upto):
        if offset == first:
            await process.checkpoint(0)
        await process.handle(state.record(offset, log[offset]), process.session)
    before = state.facts_of(process, world, UPDATES)
    kept = [(topic, key, value) for topic, key, value, _ in world.records]
    about = (version, dict(world.table), kept, [each.value for each in world.commands], world.committed)
    again = await state.begun(world, keys)
    await state.read_on(again, world)
    following = state.facts_of(again, world, UPDATES)
    raws = [[msgspec.json.encode(each) for each in batch] for batch in cut[upto:]]
    return Left(*about, first, upto, log[first:], raws, before, following, *definitions())


async def commands(world: World, keys: Path) -> None:
    """Two operators lift the halt for a time, and one halts the browser in a ring."""
    ann, bob = (state.operator(name, keys) for name in ("ann", "bob"))
    now, about = Clock().now, {"vendor": GUILTY.vendor, "product": GUILTY.product, "version": GUILTY.version}
    epoch = state.newest_epoch(world, GUILTY.version)
    lift = ann.says("resume", now, **about, epoch=epoch, expires_at=now + HOUR_MS)
    force = bob.says("force", now, **dict(zip(about, UPDATES[0], strict=True)), epoch=0, rings=("canary",))
    raws = (lift, bob.approves(lift, now), force)
    world.commands = [sent(raw, offset, now) for offset, raw in enumerate(raws)]
    world.sent = len(world.commands)


def definitions() -> tuple[object, ...]:
    """What else the version has promised: topics, migrations, what the archive commits, files that people wrote."""
    intent = Intent(rows=7, ranges=(Range(0, 10, 14, T0), Range(3, 5, 8, T0 + 1)))
    with tempfile.TemporaryDirectory() as place:
        tokens = Path(place) / "tokens.toml"
        token = add_token(tokens, FLEET)
        return (
            [(topic.name, topic.key, topic.partitions, dict(topic.config)) for topic in topics.ALL],
            [(each.number, each.name, each.checksum) for each in shipped()],
            (encode_intent(intent), intent.token("fleet.events")),
            tokens.read_text("utf-8"),
            token,
            (ROOT / "deploy" / "andon.toml").read_text("utf-8"),
            (ROOT / "deploy" / "policy.toml").read_text("utf-8"),
        )


def main() -> None:
    """Write the file, and say what is in it."""
    (version,) = sys.argv[1:]
    path = ROOT / "tests" / "upgrade" / f"left_by_{version}.zst"
    with tempfile.TemporaryDirectory() as place:
        keys = Path(place) / "keys"
        state.detector_key(keys)
        found = asyncio.run(left_by(version, keys))
    state.write(found, path)
    told: tuple[Facts, ...] = (found.before, found.following)
    print(*told, path.stat().st_size, sep="\n")


if __name__ == "__main__":
    main()
