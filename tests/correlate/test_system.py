"""The correlator as a process, on both brokers: aborted input, kills, clean stops, its web view."""

import json
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from support import correlate_worker as support
from support.brokers import AnyBroker, embedded_broker, kafka_only
from support.correlate_worker import CountingDetector, partial
from support.peers import held, is_closed
from support.rollout_world import ANN, BOB, ordered
from support.waiting import DEADLINE_SECONDS

from pipeline.correlate.config import GROUP
from pipeline.correlate.pages import MAX_CONNECTIONS
from pipeline.halt.signing import load_or_create, load_trusted, verify
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.local.machine.ports import free_port
from pipeline.local.machine.process import Process
from pipeline.runtime import waiting
from pipeline.runtime.errors import FatalStageError
from pipeline.runtime.group_offsets import GroupOffsets
from pipeline.runtime.kafka import KafkaConfig, client_config, producer_config
from pipeline.runtime.topic_reader import TopicReader
from pipeline.wire import topics
from pipeline.wire.halts import Halt, decode_halt, encode_halt
from pipeline.wire.partials import Partial, UpdateId, encode_partial
from pipeline.wire.record_keys import is_heartbeat

DYING_PRODUCER = str(Path(__file__).parents[1] / "support" / "contract_producer.py")


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBroker]:
    """A broker of these tests' own: they abort transactions."""
    with embedded_broker() as running:
        yield running


@pytest.fixture
def stage(broker: AnyBroker, tmp_path: Path) -> Iterator["Stage"]:
    """Topics and a place for one correlator."""
    running = Stage(KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix=f"{tmp_path.name}."), tmp_path)
    yield running
    running.kill()


class Stage:
    """A correlator process that can be killed and started again, and clients around it."""

    def __init__(self, kafka: KafkaConfig, directory: Path) -> None:
        self.kafka, self.directory = kafka, directory
        self.port = free_port()
        self.process: Process | None = None
        self.environ: dict[str, str] = {}
        self.make_topics()
        self.take_over()

    def make_topics(self) -> None:
        """All of them, before anything else."""
        admin, prefix = AdminClient(client_config(self.kafka, "test")), self.kafka.topic_prefix
        new = [NewTopic(prefix + t.name, t.partitions, 1, config=t.config) for t in topics.ALL]
        for created in admin.create_topics(new).values():
            created.result(DEADLINE_SECONDS)

    def take_over(self) -> None:
        """A new producer under the same transactional id."""
        more = {"transactional.id": f"{self.kafka.topic_prefix}test"}
        self.producer = Producer(producer_config(self.kafka, "test", **more))
        self.producer.init_transactions(DEADLINE_SECONDS)

    def start(self, checkpoint_seconds: float = 0.3, slow_seconds: float = 0.0) -> None:
        """Run the correlator with the counting detector; slowed down, see `slow_down`."""
        where = [self.kafka.bootstrap_servers, self.kafka.topic_prefix, str(self.directory / "data")]
        argv = [sys.executable, support.__file__, *where, str(self.port), str(checkpoint_seconds), str(slow_seconds)]
        self.process = Process(argv, self.directory / "log", self.environ).start()

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        return self.process.stop(DEADLINE_SECONDS)

    def produce(self, *batch: Partial | bytes, abort: bool = False) -> None:
        """One transaction."""
        self.producer.begin_transaction()
        for one in batch:
            raw = one if isinstance(one, bytes) else encode_partial(one)
            self.producer.produce(self.kafka.topic_prefix + topics.PARTIALS.name, raw, b"fleet")
        self.producer.flush(DEADLINE_SECONDS)
        (self.producer.abort_transaction if abort else self.producer.commit_transaction)(DEADLINE_SECONDS)

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of the view; status 0 when nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, None

    def fleets(self) -> dict[str, Any]:
        """Fleets of the view by name; empty while it is not ready."""
        status, shown = self.get("/state")
        return {fleet["fleet"]: fleet for fleet in shown["fleets"]} if status == 200 and shown["ready"] else {}

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Until it holds, or the deadline fails the test with the process's log."""
        assert waiting.wait_for(condition, DEADLINE_SECONDS), (self.directory / "log").read_text()[-3000:]

    def ready(self) -> bool:
        """Recovered and serving."""
        return self.get("/health")[0] == 200

    def records(self, topic: str) -> list[Any]:
        """All committed records of a topic so far."""
        name = self.kafka.topic_prefix + topic
        with TopicReader(self.kafka, "test") as reader:
            batches = list(reader.start(reader.whole(name)).to_end(DEADLINE_SECONDS))
        return [message for messages in batches for message in messages]

    def last_offset(self) -> int:
        """Of the last partial."""
        return max(message.offset() for message in self.records(topics.PARTIALS.name))

    def committed(self) -> int:
        """Of the partials, by the correlator's group."""
        offsets, place = GroupOffsets(self.kafka, "test"), self.kafka.topic_prefix + topics.PARTIALS.name
        try:
            (found,) = offsets.committed(self.kafka.topic_prefix + GROUP, [TopicPartition(place, 0)], DEADLINE_SECONDS)
        finally:
            offsets.close()
        return int(found.offset)

    def halts(self) -> list[Halt]:
        """All records of fleet.halts, verified."""
        trusted = load_trusted(self.directory / "data" / "keys")
        halts = [decode_halt(message.value()) for message in self.records(topics.HALTS.name)]
        for halt in halts:
            verify(halt, trusted)
        return halts


def version(number: int) -> UpdateId:
    """An update."""
    return UpdateId("v", "p", str(number))


def test_kills_lose_nothing_and_repeat_nothing(stage: Stage) -> None:
    """Killed -9 at seeded moments while partials flow, also while it recovers: the state equals an undisturbed run's,
    and every halt is there once per epoch."""
    rng = random.Random(7)
    reference = {fleet: CountingDetector(fleet) for fleet in ("acme", "zeta")}
    produced = 0

    def flow(count: int) -> None:
        nonlocal produced
        for _ in range(count):
            time.sleep(0.01)  # the pace, not a wait: some 50 partials a second
            batch = [partial(rng.choice(["acme", "zeta"]), rng.randint(1, 9), (version(rng.randint(0, 19)),), produced)]
            abort = rng.random() < 0.05
            stage.produce(*batch, abort=abort)
            produced += 1
            for one in batch if not abort else []:
                reference[one.fleet].step(one)

    for life in range(5):
        stage.start()
        if life % 2 == 0:
            stage.wait_for(stage.ready)  # odd lives are killed while they start and recover
        flow(rng.randint(15, 75))
        stage.kill()
    stage.start()
    stage.wait_for(lambda: all(_same(stage.fleets().get(name), one) for name, one in reference.items()))
    assert stage.stop() == 0
    halts = stage.halts()
    spoken = [(halt.key, halt.epoch) for halt in halts]
    assert len(spoken) == len(set(spoken))
    for fleet, detector in reference.items():
        for name, total in detector.sums.items():
            mine = [halt for halt in halts if (halt.fleet, halt.version) == (fleet, name)]
            assert len(mine) == (total >= 50) + (total >= 100)
            assert [halt.epoch for halt in mine] == list(range(1, len(mine) + 1))
    assert produced > 100


def _same(shown: dict[str, Any] | None, reference: CountingDetector) -> bool:
    return shown is not None and (shown["events"], shown["digest"]) == (reference.events, reference.digest.hex())


def test_aborted_partials_are_never_seen(stage: Stage) -> None:
    """What a producer aborted does not count, before, between and after committed partials."""
    stage.start()
    stage.produce(partial("acme", 1000, (version(1),)), abort=True)
    stage.produce(partial("acme", 1, (version(1),)))
    stage.produce(partial("acme", 1000, (version(1),)), abort=True)
    stage.produce(partial("acme", 2, (version(1),)))
    stage.wait_for(lambda: stage.fleets().get("acme", {}).get("partials") == 2)
    assert stage.fleets()["acme"]["events"] == 3
    assert stage.halts() == []


def test_a_producer_killed_amid_a_transaction_does_not_silence_it(stage: Stage) -> None:
    """Killed with -9 while the correlator follows: all of its successor under the same id is heard. On the
    embedded broker other live readers hear nothing of it (see fetching.py)."""
    stage.start()
    stage.produce(partial("acme", 1))
    stage.wait_for(lambda: "acme" in stage.fleets())
    transactional_id, topic = f"{stage.kafka.topic_prefix}test", f"{stage.kafka.topic_prefix}{topics.PARTIALS.name}"
    where = [stage.kafka.bootstrap_servers, transactional_id, topic, "6000"]
    with subprocess.Popen([sys.executable, DYING_PRODUCER, *where], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.kill()
    stage.take_over()
    for number in range(50):
        stage.produce(partial("acme", 1, at=1 + number))
    stage.wait_for(lambda: stage.fleets()["acme"]["partials"] == 51)
    assert stage.fleets()["acme"]["events"] == 51


@pytest.mark.parametrize("committed", [False, True])
def test_what_comes_while_it_gets_ready_counts(stage: Stage, committed: bool) -> None:
    """Partials that arrive between the recovery and the first one taken in, with and without a committed offset."""
    if committed:
        stage.produce(partial("acme", 1))
        stage.start()
        stage.wait_for(lambda: stage.fleets().get("acme", {}).get("partials") == 1)
        assert stage.stop() == 0
    stage.start(slow_seconds=1.5)
    produced = 0

    def ready_after_one_more() -> bool:
        nonlocal produced
        stage.produce(partial("acme", 1, at=produced))
        produced += 1
        return stage.ready()

    stage.wait_for(ready_after_one_more)
    stage.produce(*(partial("acme", 1, at=produced + number) for number in range(100)))
    stage.wait_for(lambda: stage.fleets().get("acme", {}).get("offset", 0) >= stage.last_offset())
    assert stage.fleets()["acme"]["events"] == produced + 100 + committed


def stop_cleanly(stage: Stage) -> None:
    """Exit code 0 before Faust has to be given up, and not a word that sounds like a failure."""
    assert stage.stop() == 0
    log = (stage.directory / "log").read_text("utf-8")
    assert not [word for word in ("thread ended", "was destroyed", "did not stop", "Traceback") if word in log]


def test_bad_input_view_and_clean_stop(stage: Stage) -> None:
    """A malformed partial becomes a dead letter and the stream goes on; the view is JSON, hostile text or not; SIGTERM
    exits 0, and the next life starts from the last partial without reading any again."""
    stage.start(checkpoint_seconds=3600)
    hostile = "<script>\x1b[31m'; DROP TABLE"
    stage.produce(b"garbage", partial(hostile, 60, (UpdateId(hostile, "p", "1"),)))
    stage.wait_for(lambda: bool(stage.fleets().get(hostile, {}).get("halts")))  # acknowledged after the fleet is seen
    rebound = urllib.request.Request(f"http://127.0.0.1:{stage.port}/state", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="421"):
        urllib.request.urlopen(rebound, timeout=DEADLINE_SECONDS)
    with held(stage.port, MAX_CONNECTIONS + 1) as peers:
        stage.wait_for(lambda: any(map(is_closed, peers)))
    with urllib.request.urlopen(f"http://127.0.0.1:{stage.port}/state", timeout=DEADLINE_SECONDS) as answer:
        assert answer.headers["Content-Type"].startswith("application/json")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    (letter,) = stage.records(topics.DEADLETTER.name)
    assert letter.value() == b"garbage"
    assert dict(letter.headers())["reason"] == b"malformed_partial"
    shown = stage.fleets()[hostile]
    assert shown["halts"][0]["epoch"] == 1
    stage.wait_for(lambda: any(b"heartbeat" in message.key() for message in stage.records(topics.VERDICTS.name)))
    stop_cleanly(stage)
    before = len(stage.records(topics.VERDICTS.name))
    stage.start(checkpoint_seconds=3600)
    stage.wait_for(lambda: hostile in stage.fleets())
    again = stage.fleets()[hostile]
    assert {key: again[key] for key in ("offset", "partials", "digest", "halts")} == {
        key: shown[key] for key in ("offset", "partials", "digest", "halts")
    }
    verdicts = [m for m in stage.records(topics.VERDICTS.name)[before:] if b"heartbeat" not in m.key()]
    assert verdicts == []
    stop_cleanly(stage)
    assert b"\x1b" not in (stage.directory / "log").read_bytes()


def test_a_halt_that_is_erased_or_lost_comes_back(stage: Stage) -> None:
    """A tombstone on its key, then the topic deleted and made anew: within seconds the halt stands there again, at a
    higher epoch, signed, and heartbeats say that something was wrong. The second is of another update: what was put
    back and has not been seen since is put back again after six seconds."""
    stage.start()
    stage.produce(partial("acme", 60, (version(1),)), partial("acme", 60, (version(2),), at=1))
    stage.wait_for(lambda: len(stage.halts()) == 2)
    halt, other = stage.halts()
    name = stage.kafka.topic_prefix + topics.HALTS.name
    anybody = Producer(producer_config(stage.kafka, "anybody"))
    anybody.produce(name, None, halt.key)
    assert anybody.flush(DEADLINE_SECONDS) == 0
    erased_at = time.monotonic()
    stage.wait_for(lambda: stage.records(topics.HALTS.name)[-1].value() is not None)
    assert time.monotonic() - erased_at < 10
    back = decode_halt(stage.records(topics.HALTS.name)[-1].value())
    verify(back, load_trusted(stage.directory / "data" / "keys"))
    assert (back.action, back.rings, back.epoch) == ("halt", halt.rings, halt.epoch + 1)
    admin = AdminClient(client_config(stage.kafka, "test"))
    admin.delete_topics([name])[name].result(DEADLINE_SECONDS)

    def made_anew() -> bool:
        try:
            admin.create_topics([NewTopic(name, 1, 1, config=topics.HALTS.config)])[name].result(DEADLINE_SECONDS)
        except KafkaException:  # the old one is still being deleted
            return False
        return True

    stage.wait_for(made_anew)
    stage.wait_for(lambda: [h.epoch for h in stage.halts() if h.key == other.key] == [other.epoch + 1])
    beats = [m.value() for m in stage.records(topics.VERDICTS.name) if is_heartbeat(m.key())]
    assert b"halt_records_disturbed" in beats[-1]


def test_a_revoked_key_is_believed_no_more_while_it_runs(stage: Stage) -> None:
    """Another detector's resume is believed while its key is; once that is revoked, the halt stands again under the
    correlator's own key. Its own key revoked, it ends, and does not start again with it."""
    keys, name = stage.directory / "data" / "keys", stage.kafka.topic_prefix + topics.HALTS.name
    stage.start()
    stage.produce(partial("acme", 60, (version(1),)))
    stage.wait_for(lambda: len(stage.halts()) == 1)
    (halt,) = stage.halts()
    other = load_or_create(stage.directory / "other")
    public = f"{other.kid}.pub.pem"
    (keys / public).write_bytes((stage.directory / "other" / public).read_bytes())
    for operator in (ANN, BOB):
        operator.is_trusted_in(keys)
    resume = other.sign(ordered(msgspec.structs.replace(halt, action="resume", epoch=2)))
    producer = Producer(producer_config(stage.kafka, "other"))
    producer.produce(name, encode_halt(resume), halt.key)
    assert producer.flush(DEADLINE_SECONDS) == 0
    stage.wait_for(lambda: stage.fleets()["acme"]["halts"][0]["action"] == "resume")
    assert len(stage.records(topics.HALTS.name)) == 2
    (keys / f"{other.kid}.revoked").touch()
    stage.wait_for(lambda: len(stage.records(topics.HALTS.name)) == 3)
    back = decode_halt(stage.records(topics.HALTS.name)[-1].value())
    assert (back.action, back.epoch, back.kid, back.rings) == ("halt", 3, halt.kid, halt.rings)
    verify(back, load_trusted(keys))
    (keys / "nobody.revoked").touch()  # nobody knows what it means: said, and no reason to end
    stage.wait_for(lambda: "not to be trusted" in (stage.directory / "log").read_text("utf-8"))
    assert stage.ready()
    (keys / "nobody.revoked").unlink()
    (keys / f"{halt.kid}.revoked").touch()
    stage.wait_for(lambda: stage.process is not None and stage.process.own_end() == FatalStageError.exit_code)
    stage.start()
    stage.wait_for(lambda: stage.process is not None and stage.process.own_end() == 2)
    assert f"{halt.kid}, which is revoked" in (stage.directory / "log").read_text("utf-8")


def test_a_slot_that_is_taken_is_said_as_by_the_other_stages(stage: Stage, tmp_path: Path) -> None:
    """A second process of the same name: the one that is thrown out says which slot it was, and who has it."""
    stage.start()
    stage.produce(partial("acme", 1))
    stage.wait_for(lambda: stage.fleets().get("acme", {}).get("partials") == 1)
    first, log = stage.process, stage.directory / "log"
    assert first is not None
    stage.port, stage.directory = free_port(), tmp_path / "second"
    stage.directory.mkdir()
    stage.start()
    stage.wait_for(lambda: first.own_end() == FatalStageError.exit_code)
    said = log.read_text("utf-8")
    group = stage.kafka.topic_prefix + GROUP
    assert f"slot 0 is taken: the process at 127.0.0.1 is member {GROUP}-0 of group {group}. A slot is one" in said
    assert "stop one of them, or give it another --slot (" in said
    stage.wait_for(lambda: stage.fleets().get("acme", {}).get("partials") == 1)


def test_partials_deleted_unread_are_said(stage: Stage) -> None:
    """Retention is faster than the correlator: it ends, says how much may be lost, flags what follows, and reads on."""
    stage.start()
    stage.produce(partial("acme", 1, (version(1),)))
    stage.wait_for(lambda: stage.committed() == stage.last_offset() + 1)  # there is a checkpoint
    assert stage.process is not None
    stage.process.freeze()
    for number in range(20):
        stage.produce(partial("acme", 1, (version(1),), at=1 + number))
    place = TopicPartition(stage.kafka.topic_prefix + topics.PARTIALS.name, 0, stage.last_offset() - 3)  # two are left
    admin = AdminClient(client_config(stage.kafka, "test"))
    admin.delete_records([place])[place].result(DEADLINE_SECONDS)
    stage.process.thaw()
    stage.wait_for(lambda: stage.process.own_end() == FatalStageError.exit_code)
    assert "did not come before" in (stage.directory / "log").read_text()
    stage.start()
    stage.wait_for(lambda: stage.fleets().get("acme", {}).get("events") == 3)
    assert "partials deleted before they were read" in (stage.directory / "log").read_text()
    stage.produce(partial("acme", 60, (version(1),), at=30))
    stage.wait_for(lambda: any(b"partials_lost" in message.value() for message in stage.records(topics.VERDICTS.name)))


@kafka_only("the embedded broker makes a deleted topic again as soon as a reader asks for it")
@pytest.mark.parametrize("gone_for_a_while", [False, True])
def test_partials_made_anew_are_all_taken_in(stage: Stage, gone_for_a_while: bool) -> None:
    """The topic is deleted and created again under it: it ends, or is assigned the new one; all of that is taken in.
    Also when the group had been balanced without it: a static member is given back what it had then."""
    stage.start()
    for number in range(30):
        stage.produce(partial("acme", 1, at=number))
    stage.wait_for(lambda: stage.committed() == stage.last_offset() + 1)  # what is in no checkpoint goes with the topic
    name, admin = stage.kafka.topic_prefix + topics.PARTIALS.name, AdminClient(client_config(stage.kafka, "test"))
    admin.delete_topics([name])[name].result(DEADLINE_SECONDS)
    stage.wait_for(lambda: name not in admin.list_topics(timeout=DEADLINE_SECONDS).topics)
    if gone_for_a_while:
        stage.wait_for(lambda: stage.process is not None and stage.process.own_end() == FatalStageError.exit_code)
    again = NewTopic(name, topics.PARTIALS.partitions, 1, config=topics.PARTIALS.config)
    admin.create_topics([again])[name].result(DEADLINE_SECONDS)
    stage.take_over()
    for number in range(3):
        stage.produce(partial("acme", 1, at=30 + number))

    def all_taken_in() -> bool:
        if stage.process is not None and stage.process.own_end() == FatalStageError.exit_code:
            stage.start()
        return stage.fleets().get("acme", {}).get("partials") == 33

    stage.wait_for(all_taken_in)
    stage.produce(partial("acme", 1, at=33))
    stage.wait_for(lambda: stage.fleets()["acme"]["partials"] == 34)


@pytest.mark.parametrize("first", [5, 2])
def test_partials_made_anew_are_known_though_they_are_as_many(stage: Stage, first: int) -> None:
    """The new log ends where the place in the other was, or before it, and is longer when it is read: it is known
    by its id, or its first record, and all of it is taken in."""
    stage.start()
    stage.produce(*(partial("acme", 1, at=number) for number in range(5)))
    stage.wait_for(lambda: stage.committed() == stage.last_offset() + 1)
    stage.stop()
    stage.start()
    stage.wait_for(stage.ready)  # it has looked at the log
    assert stage.process is not None
    stage.process.freeze()
    name, admin = stage.kafka.topic_prefix + topics.PARTIALS.name, AdminClient(client_config(stage.kafka, "test"))
    admin.delete_topics([name])[name].result(DEADLINE_SECONDS)
    stage.wait_for(lambda: name not in admin.list_topics(timeout=DEADLINE_SECONDS).topics)
    again = NewTopic(name, topics.PARTIALS.partitions, 1, config=topics.PARTIALS.config)
    admin.create_topics([again])[name].result(DEADLINE_SECONDS)
    stage.take_over()
    stage.produce(*(partial("acme", 1, at=5 + number) for number in range(first)))
    stage.process.thaw()
    stage.wait_for(lambda: stage.process is not None and stage.process.own_end() == FatalStageError.exit_code)
    stage.produce(*(partial("acme", 1, at=5 + number) for number in range(first, 8)))
    stage.start()
    stage.wait_for(lambda: stage.fleets().get("acme", {}).get("partials") == 13)


def test_no_topics_is_said_in_a_line(broker: AnyBroker, tmp_path: Path) -> None:
    """Started on a cluster without topics it exits 2, for to start it again does not help, and names what to do."""
    argv = [sys.executable, support.__file__, broker.bootstrap_servers, "none.", str(tmp_path), "6067", "1", "0"]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert ended.returncode == 2
    assert "andon topics apply" in ended.stderr
    assert "Traceback" not in ended.stderr
