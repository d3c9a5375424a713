"""The compatibility promise: what an earlier version left behind, this one takes up. `left_by_abbb064.zst` was written
under commit abbb064 by tests/support/upgrade/leave.py; a release adds such a file (docs/releasing.md)."""

import asyncio
from pathlib import Path

import pytest
from docs.test_config import SECTIONS
from msgspec import structs
from support.correlate_world import World
from support.folding import partials_all
from support.upgrade import left as state
from support.upgrade.leave import GUILTY, NEXT, OLD, UPDATES
from support.upgrade.left import FLEET, SEAL, Left

from consumers.clickhouse.archive.intent import decode_intent
from consumers.clickhouse.schema.migration import shipped
from pipeline.collect.tokens import TokenTable
from pipeline.correlate.correlator import Correlator
from pipeline.decide.policy import load_policies
from pipeline.halt.chain import AuditRecord, examined
from pipeline.halt.signing import load_trusted, verify
from pipeline.runtime.config import load
from pipeline.wire import topics
from pipeline.wire.commands import decode_command
from pipeline.wire.decode import decode_event
from pipeline.wire.halts import decode_halt
from pipeline.wire.partials import decode_partial
from pipeline.wire.record_keys import is_heartbeat, update_key
from pipeline.wire.verdicts import decode_verdict

FILES = sorted(Path(__file__).parent.glob("left_by_*.zst"))


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def left(request: pytest.FixtureRequest) -> Left:
    """By each version that left something."""
    return state.read(request.param)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The correlator's directory of that time: its own key, and two operators'."""
    place = tmp_path / "keys"
    state.detector_key(place)
    for name in ("ann", "bob"):
        state.operator(name, place)
    return place


def key(update: object) -> str:
    """Of the fleet's halt of an update."""
    return update_key(FLEET, *(getattr(update, name) for name in ("vendor", "product", "version")))


def test_a_correlator_goes_on_where_the_earlier_one_was_killed(left: Left, keys: Path) -> None:
    """Counts are exact to the event and the crashed host, nothing is said twice, what was halted, lifted and forced
    stands at its epoch; and the update whose crashes come after the upgrade is halted as the version itself did."""
    world, upto = state.world_of(left), left.upto

    async def scene() -> Correlator:
        process = await state.begun(world, keys)
        said = len(world.halts())
        await state.read_on(process, world, upto)
        assert state.facts_of(process, world, UPDATES) == left.before
        assert len(world.halts()) == said
        await state.read_on(process, world)
        return process

    process = asyncio.run(scene())
    found = state.facts_of(process, world, UPDATES)
    assert found == left.following
    assert found.halts.keys() == {key(OLD), key(GUILTY), key(NEXT)}
    assert [action for _, action in (found.halts[key(each)] for each in (OLD, GUILTY, NEXT))] == [
        "halt", "resume", "halt",
    ]  # fmt: skip
    chain = [AuditRecord(name, value) for topic, name, value, _ in world.records if topic == "fleet.audit"]
    assert examined(FLEET, chain, load_trusted(keys)).faults == []


def test_a_combiner_makes_of_the_same_events_the_same_partials(left: Left) -> None:
    """To the last count: combiners of both versions may run side by side while they are exchanged. What is new, where a
    sampled host is, an earlier one does not say."""
    for number, raws in enumerate(left.events, left.upto):
        events = [decode_event(raw) for raw in raws]
        (made,) = partials_all(events, events[-1].ts, first_offset=number * 1_000)
        made = structs.replace(made, samples=tuple([structs.replace(each, place=0) for each in made.samples]))
        assert made == decode_partial(left.partials[number - left.first])


def test_every_record_is_read_and_believed(left: Left, keys: Path) -> None:
    """Halts, resumes with their orders, verdicts, heartbeats, commands, and the seal on partials."""
    trusted = load_trusted(keys)
    seen = set[str]()
    for topic, name, value in left.records:
        seen.add(topic)
        if topic == topics.HALTS.name:
            verify(decode_halt(value), trusted)
        elif topic == topics.VERDICTS.name and not is_heartbeat(name):
            assert decode_verdict(value).fleet == FLEET
    assert seen == {topics.HALTS.name, topics.VERDICTS.name, topics.AUDIT.name}
    assert [decode_command(raw).kind for raw in left.commands] == ["resume", "approve", "force"]
    for raw in left.partials:
        SEAL.check(raw)


def test_topics_are_those_of_before(left: Left) -> None:
    """None is gone, keyed otherwise, or cleaned up otherwise; there are no fewer partitions; nothing is kept for a
    shorter time. `andon topics apply` on a cluster of before only ever adds."""
    now = {topic.name: topic for topic in topics.ALL}
    for name, by, partitions, config in left.topics:
        topic = now[name]
        assert (topic.key, topic.config["cleanup.policy"]) == (by, config["cleanup.policy"])
        assert topic.partitions >= partitions
        for setting in ("retention.ms", "retention.bytes"):
            assert _least(topic.config, setting) >= _least(config, setting)


def _least(config: dict[str, str], name: str) -> float:
    kept = float(config.get(name, -1))
    return kept if kept >= 0 else float("inf")


def test_migrations_are_those_of_before_and_more(left: Left) -> None:
    """No file that has shipped was changed: a database of before is taken on from where it stands. That every step
    keeps what is stored: tests/schema/test_upgrade.py."""
    assert [(each.number, each.name, each.checksum) for each in shipped()][: len(left.migrations)] == left.migrations


def test_a_batch_that_was_announced_is_known_by_its_token(left: Left) -> None:
    """The archive of before died between insert and commit: this one repeats the batch, and ClickHouse drops it."""
    committed, token = left.intent
    intent = decode_intent(committed)
    assert intent is not None
    assert intent.token(topics.EVENTS.name) == token


def test_what_people_wrote_is_still_understood(left: Left, tmp_path: Path) -> None:
    """Tokens, settings, policies."""
    path = tmp_path / "tokens.toml"
    path.write_text(left.tokens_file, "utf-8")
    sender = TokenTable(path).sender_of(f"Bearer {left.token}")
    assert sender is not None
    assert sender.fleet == FLEET
    settings = tmp_path / "andon.toml"
    settings.write_text(left.settings_file, "utf-8")
    for section, cls in SECTIONS.items():
        load(cls, section, file=settings, environ={}, options={})
    assert load_policies(left.policy_file).for_update(UPDATES[1]).mode in ("enforce", "shadow")


def test_facts_can_differ(left: Left, keys: Path) -> None:
    """A state that lost a partial is seen: the comparison above is one."""
    world: World = state.world_of(left)
    world.log[-1] = b""

    async def scene() -> None:
        process = await state.begun(world, keys)
        await state.read_on(process, world)
        assert state.facts_of(process, world, UPDATES) != left.following

    asyncio.run(scene())
