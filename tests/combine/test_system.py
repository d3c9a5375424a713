"""`andon combine` as a process, on both brokers: killed, fenced, flooded, stopped, it counts each event once."""

import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from support.brokers import AnyBroker, embedded_broker, kafka_only
from support.waiting import DEADLINE_SECONDS, until

from pipeline.combine.batch import Batch
from pipeline.combine.config import CombineConfig
from pipeline.combine.memory import Memory
from pipeline.combine.sink import MAX_LETTER_BYTES
from pipeline.combine.source import Source
from pipeline.combine.stage import Combiner
from pipeline.combine.transaction import Record, TransactionalProducer
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.local.machine.ports import free_port
from pipeline.local.machine.process import Process, andon
from pipeline.runtime.errors import FatalStageError
from pipeline.runtime.kafka import (
    KafkaConfig,
    client_config,
    consumer_config,
    producer_config,
)
from pipeline.runtime.lifecycle import StopSignal
from pipeline.runtime.logging import configure
from pipeline.runtime.quiet import QuietConsumer
from pipeline.runtime.topic_admin import apply
from pipeline.runtime.waiting import Deadline
from pipeline.wire import topics
from pipeline.wire.events import MAX_MESSAGE_BYTES
from pipeline.wire.learned import LearnedDecoder
from pipeline.wire.partials import decode_partial
from pipeline.wire.reasons import MalformedMessage
from pipeline.wire.seal import Seal
from pipeline.wire.spans import HOUR_MS

READER_PATIENCE_SECONDS = 5.0


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBroker]:
    """A broker of these tests' own: they fence producers."""
    with embedded_broker() as running:
        yield running


class Line:
    """Topics under a prefix of their own, combiners on them, and everything that they have committed."""

    def __init__(self, broker: AnyBroker, prefix: str, log_dir: Path) -> None:
        self.kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix=prefix)
        self._log_dir = log_dir
        self._producer = Producer(producer_config(self.kafka, "test"))
        self._processes: list[Process] = []
        self._readers: dict[str, Consumer] = {}
        self._read: dict[str, list[Message]] = {}
        self._patience: dict[str, Deadline] = {}

    def combiner(self, slot: str = "0", **environ: str) -> Process:
        """Start one; its log is a file."""
        where = ("--bootstrap-servers", self.kafka.bootstrap_servers, "--topic-prefix", self.kafka.topic_prefix)
        log = self.log(len(self._processes))
        self._processes.append(Process(andon("combine", "--slot", slot, *where), log, environ).start())
        return self._processes[-1]

    def log(self, number: int) -> Path:
        """The log of the process that was started as this number."""
        return self._log_dir / f"combine-{number}.log"

    def recreate(self) -> None:
        """`fleet.events` is another topic of that name."""
        name = self.kafka.topic_prefix + topics.EVENTS.name
        admin = AdminClient(client_config(self.kafka, "test"))
        admin.delete_topics([name])[name].result(DEADLINE_SECONDS)
        until("it is gone", lambda: name not in admin.list_topics(timeout=DEADLINE_SECONDS).topics)
        apply(self.kafka, replication=1)
        self._producer = Producer(producer_config(self.kafka, "test"))  # the old one is out of sequence

    def produce(self, values: list[bytes]) -> None:
        """To `fleet.events`, acknowledged."""
        for number, value in enumerate(values):
            self._producer.produce(self.kafka.topic_prefix + topics.EVENTS.name, value, f"k{number % 97}".encode())
        assert self._producer.flush(DEADLINE_SECONDS) == 0

    def committed(self, topic: topics.Topic) -> list[Message]:
        """All committed records of a topic with one partition, so far.

        A live reader on the embedded broker may stand still once a transaction was aborted: it is replaced.
        """
        read = self._read.setdefault(topic.name, [])
        if topic.name in self._readers and self._patience[topic.name].has_passed:
            self._readers.pop(topic.name).close()
        if topic.name not in self._readers:
            self._readers[topic.name] = Consumer(consumer_config(self.kafka, "test", "test", topic.name))
            onward = read[-1].offset() + 1 if read else OFFSET_BEGINNING
            self._readers[topic.name].assign([TopicPartition(self.kafka.topic_prefix + topic.name, 0, onward)])
        new = self._readers[topic.name].consume(500, 0.05 if read else 0.3)
        if new or topic.name not in self._patience or self._patience[topic.name].has_passed:
            self._patience[topic.name] = Deadline(READER_PATIENCE_SECONDS)
        read += new
        return read

    def counted(self) -> int:
        """Sum of the events in committed partials."""
        return sum(decode_partial(message.value() or b"").events for message in self.committed(topics.PARTIALS))

    def close(self) -> None:
        """Stop what still runs."""
        for process in self._processes:
            process.kill()
        for reader in self._readers.values():
            reader.close()


@pytest.fixture
def line(broker: AnyBroker, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Line]:
    """A line for one test."""
    made = Line(broker, request.node.name[5:25] + ".", tmp_path)
    apply(made.kafka, replication=1)
    yield made
    made.close()


def events(count: int, **more: Any) -> list[bytes]:
    """Heartbeats of distinct hosts."""
    now = int(time.time() * 1000)
    update = {"vendor": "v", "product": "p", "version": "1", "installed_at": now - 1000}
    common = {"v": 1, "kind": "heartbeat", "fleet": "acme", "ts": now, "ring": "r", "os": "o", "model": "m"}
    common |= {"updates": [update]} | more
    return [orjson.dumps({"id": f"e-{n}", "host": f"h-{n}", **common}) for n in range(count)]


def test_partials_carry_the_seal_of_the_secret(line: Line) -> None:
    """Without a secret, which it says, they have none."""
    for secret in ("", "s" * 32):
        process = line.combiner(ANDON_PARTIALS_SECRET=secret)
        before = line.counted()
        line.produce(events(10))
        until("they are counted", lambda before=before: line.counted() == before + 10)
        assert process.stop() == 0
        assert process.said("partials are not sealed") == (not secret)
    *unsealed, sealed = [message.value() or b"" for message in line.committed(topics.PARTIALS)]
    Seal(["s" * 32]).check(sealed)
    with pytest.raises(MalformedMessage, match="carries no MAC"):
        Seal(["s" * 32]).check(unsealed[0])


def test_killed_combiners_lose_and_repeat_nothing(line: Line) -> None:
    """Killed with -9 three times amid the stream, the committed partials add up to exactly what was produced."""
    produced = 0
    for round_number in range(3):
        process = line.combiner()
        for _ in range(4):
            line.produce(events(1_500))
            produced += 1_500
        enough = round_number * 6_000 + 2_000
        until("enough is counted", partial(lambda least: line.counted() > least, enough))
        process.kill()
    line.combiner()
    until("all are counted", lambda: line.counted() >= produced)
    line.produce(events(100))
    until("all are counted", lambda: line.counted() >= produced + 100)
    assert line.counted() == produced + 100


class FaultyProducer:
    """The real producer, whose first transactions also get a record too large to send: they abort on the broker."""

    def __init__(self, real: TransactionalProducer, faults: int) -> None:
        self._real, self._faults = real, faults

    def write(self, records: Iterable[Record], offsets: list[TopicPartition], group_metadata: Any) -> None:
        """As the real one."""
        if self._faults:
            self._faults -= 1
            records = [*records, ("unused", None, bytes(MAX_LETTER_BYTES + 1), [])]
        self._real.write(records, offsets, group_metadata)


@kafka_only("readers on the embedded broker may stand still when a transaction aborts while they read")
def test_aborted_transactions_lose_and_repeat_nothing(line: Line) -> None:
    """Two aborted batches are read again from the committed offset: every event counts once, every trial too."""
    stop = StopSignal()
    combiner = Combiner(line.kafka, CombineConfig(), stop, configure("combine"))
    combiner.sink.producer = FaultyProducer(combiner.sink.producer, 2)  # type: ignore[assignment]
    running = threading.Thread(target=combiner.run)
    running.start()
    try:
        line.produce([*events(500, kind="boot", prior="clean"), b"x" * 100_000, *events(500, fleet="zeta")])
        until("batch and letter are there", lambda: line.counted() >= 1_000 and bool(line.committed(topics.DEADLETTER)))
        line.produce(events(100))
        until("what follows is counted", lambda: line.counted() >= 1_100 and bool(line.committed(topics.DEADLETTER)))
    finally:
        stop.set()
        running.join(DEADLINE_SECONDS)
    found = [decode_partial(message.value() or b"") for message in line.committed(topics.PARTIALS)]
    assert (sum(each.events for each in found), sum(each.repeats for each in found)) == (1_100, 0)
    (letter,) = line.committed(topics.DEADLETTER)  # cut, because the abort was for a record's size
    assert len(letter.value() or b"") == MAX_MESSAGE_BYTES
    assert dict(letter.headers() or [])["detail"].startswith(b"cut from 100000 bytes")


def test_poison_goes_to_the_dead_letter_and_the_stream_goes_on(line: Line) -> None:
    """A flood of malformed messages among good ones: each is kept byte for byte, all good ones count."""
    poison = [b"\x00\xff junk %d" % n for n in range(2_000)] + [b"x" * 900_000, b""]
    good = events(2_000)
    line.produce([value for pair in zip(poison, good, strict=False) for value in pair] + poison[2_000:])
    line.combiner()
    until(
        "all is counted or refused",
        lambda: line.counted() >= 2_000 and len(line.committed(topics.DEADLETTER)) >= len(poison),
    )
    letters = line.committed(topics.DEADLETTER)
    assert sorted(letter.value() or b"" for letter in letters) == sorted(poison)
    headers: dict[str, Any] = dict(letters[0].headers() or [])
    assert headers["reason"] == b"invalid_json"
    assert headers["topic"].decode() == line.kafka.topic_prefix + topics.EVENTS.name
    assert headers["stage"] == b"combine"
    places = {(dict(letter.headers() or [])["partition"], dict(letter.headers() or [])["offset"]) for letter in letters}
    assert len(places) == len(poison)
    assert line.counted() == 2_000


def test_the_future_is_refused(line: Line) -> None:
    """An event an hour ahead of its ingestion is refused with its reason; its neighbours count."""
    line.produce(events(10) + events(3, ts=int(time.time() * 1000) + 3_600_000) + events(10))
    line.combiner()
    until("all is counted or refused", lambda: line.counted() >= 20 and len(line.committed(topics.DEADLETTER)) >= 3)
    reasons = [dict(letter.headers() or [])["reason"] for letter in line.committed(topics.DEADLETTER)]
    assert reasons == [b"future_timestamp"] * 3
    assert line.counted() == 20


def test_sigterm_commits_and_ends_with_zero(line: Line) -> None:
    """Stopped amid a backlog it exits 0; its successor goes on where it stopped."""
    line.produce(events(20_000))
    process = line.combiner()
    until("some are counted", lambda: line.counted() > 0)
    assert process.stop(DEADLINE_SECONDS) == 0
    assert b"Traceback" not in line.log(0).read_bytes()
    line.combiner()
    until("all are counted", lambda: line.counted() >= 20_000)
    assert line.counted() == 20_000


def test_a_second_slot_takes_its_share(line: Line) -> None:
    """When another slot joins amid the stream, partitions move and nothing is lost or repeated."""
    line.combiner("0")
    line.produce(events(5_000))
    until("some are counted", lambda: line.counted() > 0)
    line.combiner("1")
    produced = 5_000

    def slots() -> set[str]:
        return {decode_partial(message.value() or b"").slot for message in line.committed(topics.PARTIALS)}

    while slots() != {"0", "1"}:
        line.produce(events(500))
        produced += 500
        assert produced < 500_000, "the second slot never wrote"
    until("all are counted", lambda: line.counted() >= produced)
    assert line.counted() == produced


def test_an_impostor_of_the_same_slot_fences_the_first(line: Line) -> None:
    """Two processes of one slot never both count: the first ends with 70, and the sum is right."""
    first = line.combiner()
    line.produce(events(1_000))
    until("all are counted", lambda: line.counted() == 1_000)
    line.combiner()
    produced = 1_000
    deadline = Deadline(DEADLINE_SECONDS)
    while first.poll() is None and not deadline.has_passed:
        line.produce(events(100))
        produced += 100
        line.counted()
    assert first.poll() == 70
    until("all are counted", lambda: line.counted() >= produced)
    assert line.counted() == produced


def test_a_slot_taken_over_in_silence_ends_the_first(line: Line) -> None:
    """Without any events too a process whose slot another one took ends with 70: it would wait for ever. It says which
    slot that is, and where who has it runs."""
    first = line.combiner()
    until("it has its partitions", lambda: b"partitions assigned" in line.log(0).read_bytes())
    line.combiner()
    assert first.wait(DEADLINE_SECONDS) == 70
    assert "slot 0 is taken: the process at 127.0.0.1 is member andon-combine-0 of group " in line.log(0).read_text()


def test_one_that_is_fenced_as_it_loses_its_partitions_is_told(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss, then the fatal error, in one call of the client, as after a long freeze: what came with a loss was left
    out, nothing else ever came, and it lived on, deaf. (The client is made to say both: brokers do so by chance.)"""
    lost: list[Callable[[Any, list[TopicPartition]], None]] = []

    def consume(*_: object) -> list[Message]:
        lost[0](None, [])
        return [Message(error=KafkaError(KafkaError._FATAL, "fenced"))]

    monkeypatch.setattr(QuietConsumer, "subscribe", lambda *_, on_lost, **__: lost.append(on_lost))
    monkeypatch.setattr(QuietConsumer, "consume", consume)
    source = Source(line.kafka, CombineConfig(slot="0"), structlog.get_logger(), lambda _: None)
    source.open(on_revoke=lambda: None, on_lost=lambda _: None)
    with pytest.raises(FatalStageError, match="fenced"):
        source.fill(Batch(LearnedDecoder(), Memory(1 << 10), 72 * HOUR_MS))
    source.close()


def test_one_frozen_for_longer_than_its_session_reads_on_or_ends(line: Line) -> None:
    """Stopped until the group has given it up, and woken: it counts on, or ends with 70 to be started again; it once
    lived on, ready to nobody, and read nothing."""
    first = line.combiner()
    line.produce(events(1_000))
    until("all are counted", lambda: line.counted() == 1_000)
    first.send_signal(signal.SIGSTOP)
    line.produce(events(1_000))
    session = Deadline(2 * 12)  # the embedded broker does not tell of a group's members
    until("its session has ended", lambda: session.has_passed)
    first.send_signal(signal.SIGCONT)
    until("it counts on, or has ended", lambda: line.counted() == 2_000 or first.poll() is not None)
    if first.poll() is not None:
        assert first.poll() == 70
        line.combiner()
        until("all are counted", lambda: line.counted() >= 2_000)
    assert line.counted() == 2_000


def test_missing_topics_are_said(broker: AnyBroker, tmp_path: Path) -> None:
    """Without its topics the combiner ends with 2, not to be started again, and one line that says what to run."""
    bare = Line(broker, "nothing-here.", tmp_path)
    try:
        assert bare.combiner().wait(DEADLINE_SECONDS) == 2
        assert "run `andon topics apply`" in bare.log(0).read_text("utf-8")
    finally:
        bare.close()


def test_a_log_made_anew_is_read_from_its_beginning(line: Line) -> None:
    """The topic deleted and created again: the combiner asks to be started anew rather than begin anew unsaid; all of
    the new log counts, once, whether or not the broker forgot the group's offsets with the old one."""
    combiner = line.combiner()
    line.produce(events(500))
    until("all are counted", lambda: line.counted() == 500)
    line.recreate()
    line.produce(events(40))
    assert until("it ends", combiner.own_end) == FatalStageError.exit_code
    assert any(words in combiner.last_words() for words in ("Offset out of range", "not the topic that it was"))
    line.combiner()
    until("the new ones are counted", lambda: line.counted() >= 540)
    line.produce(events(5))
    until("and so on", lambda: line.counted() >= 545)
    assert line.counted() == 545


def test_a_log_made_anew_is_known_though_it_is_as_long(line: Line) -> None:
    """Its place is at the end of the new log as it was at that of the other: all of the new one counts."""
    port = free_port()
    line.produce(events(500))  # before it begins, so that its first look finds what it is to know the log by
    lives = [line.combiner(ANDON_METRICS_METRICS_PORT=str(port))]
    until("all are counted, and it has looked", lambda: line.counted() == 500 and is_ready(port))
    lives[-1].freeze()
    line.recreate()
    line.produce(events(500))
    lives[-1].thaw()

    def all_counted() -> bool:
        if lives[-1].own_end() == FatalStageError.exit_code:
            lives.append(line.combiner(ANDON_METRICS_METRICS_PORT=str(port)))
        return line.counted() >= 1_000 and is_ready(port)

    until("the new ones are counted", all_counted)
    assert line.counted() == 1_000


def is_ready(port: int) -> bool:
    """Whether the combiner that serves its metrics there says so."""
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
        return bool(answer.status == 200)
    return False


def test_partitions_added_are_read(line: Line) -> None:
    """Within seconds; the client by itself looks every five minutes only."""
    line.combiner()
    line.produce(events(50))
    until("all are counted", lambda: line.counted() == 50)
    topic, count = line.kafka.topic_prefix + topics.EVENTS.name, topics.EVENTS.partitions + 2
    admin = AdminClient(client_config(line.kafka, "test"))
    admin.create_partitions([NewPartitions(topic, count)])[topic].result(DEADLINE_SECONDS)
    producer = Producer(producer_config(line.kafka, "test"))
    for partition, event in enumerate(events(count)):
        producer.produce(topic, event, partition=partition)
    assert producer.flush(DEADLINE_SECONDS) == 0
    until("those of the new partitions are counted", lambda: line.counted() == 50 + count, 40)
