"""`andon replay`: to files and to a broker, with the halts that it obeys."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zstandard
from click.testing import CliRunner
from confluent_kafka import Producer
from support.brokers import embedded_broker
from support.rollout_world import NOW, gate_of, halt

from consumers.rollout.orders import Orders
from pipeline.halt import keyring
from pipeline.halt.believe import believed_ack
from pipeline.halt.signing import load_or_create, load_trusted
from pipeline.runtime import topic_admin
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.topic_reader import TopicReader
from pipeline.simulate import scenario as scenarios
from pipeline.simulate.replay import command
from pipeline.simulate.run import Run, shift_ms
from pipeline.simulate.scenario import FASTEST
from pipeline.simulate.simulation import Simulation
from pipeline.wire.decode import decode_event
from pipeline.wire.halts import Halt, encode_halt
from pipeline.wire.partials import UpdateId
from pipeline.wire.verdicts import FleetHeartbeat, encode_verdict

pytest.importorskip("noida_db", reason="needs the embedded broker")

GUILTY = UpdateId("crowdstrike", "falcon-content", "291")


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    """An embedded broker with the topics; its address."""
    with embedded_broker() as running:
        topic_admin.apply(KafkaConfig(bootstrap_servers=running.bootstrap_servers), replication=1)
        yield running.bootstrap_servers


def replay(*args: str) -> str:
    """Run the command; it succeeds; what it said."""
    result = CliRunner().invoke(command, list(args))
    assert result.exit_code == 0, result.output
    return result.output


def read_all(bootstrap_servers: str) -> list[tuple[int, bytes, bytes]]:
    """Every record of fleet.events: (partition, key, value)."""
    with TopicReader(KafkaConfig(bootstrap_servers), "test") as reader:
        batches = list(reader.start(reader.whole("fleet.events")).to_end(30))
    return [(m.partition() or 0, m.key() or b"", m.value() or b"") for messages in batches for m in messages]


def test_files_keep_the_scenarios_times_in_every_compression(tmp_path: Path) -> None:
    """Plain, gzip and zstd files hold the same lines, with event times of July 2024; what is there is not written over,
    nor a link followed, without --force."""
    contents = []
    for name in ("a.ndjson", "a.ndjson.gz", "a.ndjson.zst"):
        replay("crowdstrike-2024-07-19", "--hosts", "300", "--seed", "4", "--out", str(tmp_path / name))
        raw = (tmp_path / name).read_bytes()
        if name.endswith(".gz"):
            raw = gzip.decompress(raw)
        elif name.endswith(".zst"):
            raw = zstandard.ZstdDecompressor().stream_reader(raw).read()
        contents.append(raw)
    assert contents[0] == contents[1] == contents[2]
    kept = (tmp_path / "kept").resolve()
    kept.write_bytes(b"mine")
    (tmp_path / "link").symlink_to(kept)
    (tmp_path / "dangling").symlink_to(tmp_path / "elsewhere")
    words = ["crowdstrike-2024-07-19", "--hosts", "300", "--seed", "4", "--out"]
    for name in ("kept", "link", "dangling"):
        refused = CliRunner().invoke(command, [*words, str(tmp_path / name)])
        assert isinstance(refused.exception, ConfigError)
        assert "--force" in str(refused.exception)
    assert (kept.read_bytes(), (tmp_path / "elsewhere").exists()) == (b"mine", False)
    replay(*words, str(kept), "--force")
    assert kept.read_bytes() == contents[0]
    loaded = scenarios.load("crowdstrike-2024-07-19")
    times = [decode_event(line).ts for line in contents[0].splitlines()]
    assert scenarios.unix_ms(loaded.starts) <= min(times)
    assert max(times) < scenarios.unix_ms(loaded.ends)


def test_a_live_replay_ends_now_and_lies_in_the_past(broker: str) -> None:
    """Every event arrives once, never before its own time, the last of them about now; keys decide the partition."""
    began_ms = wall_clock_ms()
    replay(
        "crowdstrike-2024-07-19", "--hosts", "400", "--speed", "max", "--fleet", "live", "--bootstrap-servers", broker
    )
    records = [(p, key, decode_event(value)) for p, key, value in read_all(broker)]
    loaded = scenarios.load("crowdstrike-2024-07-19", hosts=400, fleet="live")
    simulation = Simulation(loaded, 0)
    expected = simulation.advance(simulation.end_ms)
    assert len(records) == len(expected) == len({event.id for _, _, event in records})
    newest = max(event.ts for _, _, event in records)
    assert began_ms - 120_000 < newest <= wall_clock_ms()
    assert {key.decode() for _, key, _ in records} == {event.host for _, _, event in records}
    homes = {(key, partition) for partition, key, _ in records}
    assert len(homes) == len({key for key, _ in homes})


def test_times_are_shifted_so_that_nothing_comes_from_the_future() -> None:
    """At any speed the scenario ends when its replay does, and its start lies in the past."""
    loaded = scenarios.load("quiet-week")
    span_ms = scenarios.unix_ms(loaded.ends) - scenarios.unix_ms(loaded.starts)
    for speed in (FASTEST, 1.0, 60.0):
        shift = shift_ms(loaded, speed, now_ms=10**13)
        assert scenarios.unix_ms(loaded.ends) + shift == 10**13 + (round(span_ms / speed) if speed else 0)
        assert scenarios.unix_ms(loaded.starts) + shift <= 10**13


def halt_of(fleet: str, epoch: int = 1) -> Halt:
    """An unsigned halt of the guilty update in every ring."""
    return Halt(
        action="halt",
        fleet=fleet,
        vendor=GUILTY.vendor,
        product=GUILTY.product,
        version=GUILTY.version,
        rings=("*",),
        epoch=epoch,
        issued_at=0,
        expires_at=0,
        decided_by="andon",
        policy="",
        reason="",
        evidence=None,
        kid="",
    )


def replayed(broker: str, keys: Path, fleet: str, *args: str) -> str:
    """What is said of a short story that obeys."""
    where = ("--fleet", fleet, "--obey", str(keys), "--bootstrap-servers", broker)
    return replay("crowdstrike-2024-07-19", "--hosts", "300", "--speed", "12000", *where, *args)


def test_the_replay_obeys_a_signed_halt_on_the_topic(broker: str, tmp_path: Path) -> None:
    """A halt that a trusted key signed stops the rollout before its release: nobody is lost, and who is named says so.
    Of another key's record nobody is told, for it is no record of this fleet."""
    key = load_or_create(tmp_path)
    own = keyring.make("subscriber", "deployer", tmp_path)
    producer = Producer({"bootstrap.servers": broker, "log_level": 0})
    said = key.sign(halt_of("stopped"))
    producer.produce("fleet.halts", encode_halt(said), "another/key")
    producer.produce("fleet.halts", encode_halt(said), said.key)
    assert producer.flush(60) == 0
    output = replayed(broker, tmp_path, "stopped", "--acknowledge", str(own.private))
    assert "crowdstrike/falcon-content/291 crashed 0 hosts" in output
    assert "halted: crowdstrike/falcon-content/291 in *" in output
    assert "doubt" not in output
    with TopicReader(KafkaConfig(broker), "test") as reader:
        records = [m for some in reader.start(reader.whole("fleet.halt-acks")).to_end(30) for m in some]
    (ack,) = (believed_ack(m.key(), m.value() or b"", load_trusted(tmp_path)) for m in records)
    assert (ack.halt_key, ack.subscriber, ack.status) == (said.key, "deployer", "confirmed")
    assert "no halt" not in output


def test_what_cannot_be_believed_stops_it_and_is_said(broker: str, tmp_path: Path) -> None:
    """Somebody who may write the topic, but has no key, can hold a rollout up, never let it go on."""
    key, stranger = load_or_create(tmp_path / "ours"), load_or_create(tmp_path / "theirs")
    producer = Producer({"bootstrap.servers": broker, "log_level": 0})
    for fleet, record in (("forged", encode_halt(stranger.sign(halt_of("forged")))), ("erased", None)):
        producer.produce("fleet.halts", encode_halt(key.sign(halt_of("erased"))), halt_of("erased").key)
        producer.produce("fleet.halts", record, halt_of(fleet).key)
    assert producer.flush(60) == 0
    for fleet, why in (("forged", "a key that is not trusted"), ("erased", "was erased")):
        output = replayed(broker, tmp_path / "ours", fleet)
        assert "crowdstrike/falcon-content/291 crashed 0 hosts" in output
        assert "in doubt: its halt record cannot be trusted: " in output
        assert why in output


def test_a_key_of_the_wrong_name_acknowledges_nothing(tmp_path: Path) -> None:
    """A subscriber's name stands in its file's; and who obeys nothing has nothing to acknowledge."""
    load_or_create(tmp_path)
    words = ["quiet-week", "--acknowledge", str(tmp_path / "signing.key.pem")]
    for args, said in (([], "--obey"), (["--obey", str(tmp_path)], "subscriber.NAME.KID.key.pem")):
        refused = CliRunner().invoke(command, [*words, *args])
        assert isinstance(refused.exception, ConfigError)
        assert said in str(refused.exception)


def test_a_halt_for_another_fleet_changes_nothing() -> None:
    """The rollout of one fleet does not listen to another's halts."""

    class Nowhere:
        def send(self, key: bytes, value: bytes) -> None: ...
        def serve(self) -> None: ...
        def settle(self) -> None: ...

    loaded = scenarios.load("crowdstrike-2024-07-19", hosts=300)
    for fleet, obeyed in (("other", 0), ("acme", 1)):
        held = Orders(gate_of(halt(fleet=fleet)).record, [fleet]).changes(NOW)
        waiting = [order for orders in held.values() for order in orders]
        run = Run(Simulation(loaded), Nowhere(), lambda waiting=waiting: [waiting.pop()] if waiting else [])  # type: ignore[misc]
        run.until(run.simulation.end_ms)
        assert len(run.obeyed) == obeyed
        assert (run.simulation.ledger.lost(GUILTY) == 0) is bool(obeyed)


def test_a_story_takes_three_minutes_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """By whatever span of its own; and `max` says what it is not for."""
    began: list[float] = []
    monkeypatch.setattr("pipeline.simulate.sinks.KafkaSink", lambda _: None)
    monkeypatch.setattr("pipeline.simulate.progress.play", lambda run, speed, stop: began.append(speed))
    monkeypatch.setattr(Run, "settle", lambda _: None)
    monkeypatch.setattr("pipeline.simulate.aftermath.sentences", lambda *_: ())
    for name in ("quiet-week", "crowdstrike-2024-07-19"):
        loaded = scenarios.load(name)
        assert CliRunner().invoke(command, [name, "--hosts", "10"]).exit_code == 0
        span_seconds = (scenarios.unix_ms(loaded.ends) - scenarios.unix_ms(loaded.starts)) / 1000
        assert span_seconds / began.pop() == pytest.approx(180.0)
    said = CliRunner().invoke(command, ["quiet-week", "--hosts", "10", "--speed", "max"]).output
    assert "--speed max: it decides worse" in said


def test_a_replay_that_nobody_halts_says_so(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And why that may be; a story in which nothing is at fault says that, too, and one that is halted what by. Without
    a story's name all are listed, and one is played."""
    monkeypatch.setattr("pipeline.simulate.aftermath.HALT_SECONDS", 0.2)
    monkeypatch.setattr("pipeline.simulate.aftermath.BEATS_MS", 3_600_000)  # no detector is there, nor looked for
    where = ["--speed", "max", "--fleet", "alone", "--bootstrap-servers", broker]
    small = replay("--hosts", "300", *where)
    assert all(name in small for name in scenarios.names())
    assert "crowdstrike-2024-07-19 is played" in small
    assert re.search(r"no halt of crowdstrike/falcon-content/291 was issued: it crashed \d+ of 300 hosts", small)
    fast = replay("crowdstrike-2024-07-19", "--hosts", "2000", *where)
    assert "was issued: with --speed max the story is over" in fast
    assert "no halt was issued, as it should be" in replay("quiet-week", "--hosts", "10", *where)
    halt = msgspec.structs.replace(halt_of("alone"), issued_at=wall_clock_ms() + 600_000)
    producer = Producer({"bootstrap.servers": broker, "log_level": 0})
    producer.produce("fleet.halts", encode_halt(halt), halt.key)
    assert producer.flush(60) == 0
    assert "halt issued: crowdstrike/falcon-content/291 in *" in replay("--hosts", "9", *where)


def test_why_none_was_issued_looks_at_the_line_first(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A halt that stands already; a detector that is silent or behind; only then too small a
    fleet is to blame."""
    monkeypatch.setattr("pipeline.simulate.aftermath.HALT_SECONDS", 0.1)
    monkeypatch.setattr("pipeline.simulate.aftermath.BEATS_MS", 0)
    where = ["--speed", "max", "--hosts", "300", "--bootstrap-servers", broker, "--fleet"]
    assert "its detector has said nothing since the replay began: look with `andon status`" in replay(*where, "deaf")
    now_ms = wall_clock_ms()
    beat = FleetHeartbeat(
        fleet="late", at=now_ms + 600_000, stream_time=now_ms - 7_200_000, live_updates=0, events=0, offset=0
    )
    halt = msgspec.structs.replace(halt_of("halted"), issued_at=now_ms - 600_000, epoch=3)
    producer = Producer({"bootstrap.servers": broker, "log_level": 0})
    producer.produce("fleet.verdicts", encode_verdict(beat), beat.key)
    producer.produce("fleet.halts", encode_halt(halt), halt.key)
    assert producer.flush(60) == 0
    assert "has taken in events up to 120 min before now only: a stage is down" in replay(*where, "late")
    assert "it stands halted since before (epoch 3 by andon)" in replay(*where, "halted")


@pytest.mark.parametrize("speed", ["0", "0.5", "-1", "nan", "fast"])
def test_a_speed_is_refused_as_the_error_says(speed: str) -> None:
    """What the sentence leaves out is not let through."""
    refused = CliRunner().invoke(command, ["quiet-week", "--speed", speed])
    assert refused.exit_code == 2
    assert f"'{speed}': a number from 1 to 1000000, or max" in refused.output
