"""The consumer that rests on the embedded broker: it asks for little, and is never deaf."""

import json
import random
import time
import uuid
from collections.abc import Iterator
from statistics import median
from typing import Any

import pytest
from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]
from support.brokers import Clients, embedded_broker, memory, values
from support.waiting import DEADLINE_SECONDS, until

from pipeline.local.kafka.cluster import KafkaCluster
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.runtime import quiet
from pipeline.runtime.kafka import consumer_config
from pipeline.runtime.quiet import REST_SECONDS, QuietConsumer
from pipeline.runtime.topic_reader import TopicReader
from pipeline.runtime.waiting import Deadline

STATISTICS_MS = 100
QUIET_REQUESTS = 6  # in that time; one that does not rest fetches hundreds of times, and a busy machine hardly a tenth


class Watched(QuietConsumer):
    """With all that it read, and the requests that it made, as librdkafka counts them."""

    def __init__(self, clients: Clients, group: str = "reader", instance: str = "reader", **more: Any) -> None:
        told = {"statistics.interval.ms": STATISTICS_MS, "stats_cb": self._count}
        self.read: list[Message] = []
        self.requests: list[dict[str, int]] = []
        super().__init__(consumer_config(clients.kafka, "test", group, instance, **told, **more))

    def _count(self, text: str) -> None:
        brokers = json.loads(text)["brokers"].values()
        kinds = {kind for broker in brokers for kind in broker["req"]}
        self.requests.append({kind: sum(broker["req"][kind] for broker in brokers) for kind in kinds})

    def take(self, seconds: float = 0.05) -> None:
        """Read as a stage does."""
        self.read += [message for message in self.consume(1_000, seconds) if message.error() is None]

    def made(self, kind: str, looks: int = 5) -> int:
        """Requests of this kind in the last so many times."""
        return self.requests[-1].get(kind, 0) - self.requests[-1 - looks].get(kind, 0)

    def settle(self) -> None:
        """Until it rests: for half a second hardly anything was fetched."""

        def rests() -> bool:
            self.take()
            return len(self.requests) > 5 and self.made("Fetch") < QUIET_REQUESTS

        self.requests.clear()
        until("it rests", rests)

    def wait_for(self, count: int) -> list[str]:
        """The values of the first so many records, once they have come; in order by partition."""
        until(f"{count} records", lambda: (self.take(), len(self.read) >= count)[1])
        return values(self.read)


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBroker]:
    """A broker of these tests' own: what others do to it would be counted."""
    with embedded_broker() as running:
        yield running


@pytest.fixture
def place(embedded: EmbeddedBroker) -> Iterator[Clients]:
    """Topics of a test's own, on the embedded broker."""
    made = Clients(embedded, f"quiet-{uuid.uuid4().hex[:6]}.")
    yield made
    made.close()


def started(place: Clients, topic: str, *offsets: int) -> Watched:
    """It reads the partitions of the topic from there on, and has come to rest."""
    reader = Watched(place)
    reader.assign([TopicPartition(topic, number, offset) for number, offset in enumerate(offsets)])
    reader.settle()
    return reader


def test_at_rest_it_asks_for_little(place: Clients) -> None:
    """Some fifty questions for the ends in a second, where a plain consumer fetches a thousand times."""
    reader = started(place, place.topic(partitions=4), 0, 0, 0, 0)
    assert 0 < reader.made("ListOffsets") <= 2 * 5 * STATISTICS_MS / 20
    reader.close()


def test_in_a_lull_it_asks_for_less(place: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some twenty questions a second once nothing has come for long; and what comes then wakes it all the same."""
    monkeypatch.setattr(quiet, "LULL_SECONDS", 0.0)
    topic = place.topic()
    reader = started(place, topic, 0)
    assert 0 < reader.made("ListOffsets") <= 2 * 5 * STATISTICS_MS / 50
    producer = place.producer()
    producer.produce(topic, "a")
    assert producer.flush(DEADLINE_SECONDS) == 0
    assert reader.wait_for(1) == ["a"]
    reader.close()


def test_no_other_broker_is_asked(kafka: KafkaCluster) -> None:
    """Apache Kafka waits before it gives an empty answer: nothing is paused there, and nothing more is asked."""
    clients = Clients(kafka, f"quiet-{uuid.uuid4().hex[:6]}.")
    reader = Watched(clients)
    topic = clients.topic()
    reader.assign([TopicPartition(topic, 0, 0)])
    until("it has looked for a while", lambda: (reader.take(), len(reader.requests) > 10)[1])
    before = reader.requests[-1]["ListOffsets"]
    reader.requests.clear()
    until("it has looked for longer", lambda: (reader.take(), len(reader.requests) > 10)[1])
    assert reader.requests[-1]["ListOffsets"] == before
    assert reader.made("Fetch") > QUIET_REQUESTS
    reader.close()


def test_what_comes_wakes_it_at_once(place: Clients) -> None:
    """Each time, on whichever partition; long before the client's own second, or the rest's own end."""
    topic = place.topic(partitions=3)
    reader = started(place, topic, 0, 0, 0)
    producer, waited = place.producer(), []
    for number in range(15):
        reader.settle()
        producer.produce(topic, str(number), partition=number % 3)
        assert producer.flush(DEADLINE_SECONDS) == 0
        begun = time.monotonic()
        assert reader.wait_for(number + 1)[number] == str(number)
        waited.append(time.monotonic() - begun)
    assert median(waited) < 0.4
    reader.close()


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_missed_at_any_pace(place: Clients, seed: int) -> None:
    """Records, plain ones and those of transactions, come while it falls asleep, sleeps and wakes: each once, in
    order, and none is left for the end of a rest."""
    pace = random.Random(seed)
    topic = place.topic(partitions=2)
    reader = started(place, topic, 0, 0)
    plain, transactional = place.producer(), place.producer("writer")
    sent: list[str] = []
    for number in range(60):
        sent.append(f"{number}")
        producer = transactional if pace.random() < 0.5 else plain
        if producer is transactional:
            producer.begin_transaction()
        producer.produce(topic, sent[-1], partition=0)
        if producer is transactional:
            producer.commit_transaction(DEADLINE_SECONDS)
        assert producer.flush(DEADLINE_SECONDS) == 0
        pause = Deadline(pace.choice((0.0, 0.001, 0.01, 0.02, 0.03, 0.05, 0.1)))
        while not pause.has_passed:
            reader.take(min(0.05, pause.left_seconds))
    begun = time.monotonic()
    assert reader.wait_for(len(sent)) == sent
    assert time.monotonic() - begun < REST_SECONDS / 2
    reader.settle()
    assert values(reader.read) == sent
    reader.close()


def test_an_open_transaction_lets_it_rest(place: Clients) -> None:
    """What is not committed yet is no reason to be awake, and its commit is one to wake."""
    topic = place.topic()
    reader = started(place, topic, 0)
    producer = place.producer("writer")
    producer.begin_transaction()
    place.send(topic, "a", producer=producer)
    reader.settle()
    assert not reader.read
    producer.commit_transaction(DEADLINE_SECONDS)
    assert reader.wait_for(1) == ["a"]
    reader.settle()
    assert reader.position([TopicPartition(topic, 0)])[0].offset == 2
    reader.close()


def test_an_assignment_ends_a_rest(place: Clients) -> None:
    """A rewind is read from where it leads to, at once; so is what was never part of the rest."""
    topic = place.topic(partitions=2)
    place.send(topic, *"ab")
    place.send(other := place.topic("other"), "c")
    reader = started(place, topic, 0, 0)
    assert sorted(values(reader.read)) == ["a", "b"]
    reader.read.clear()
    reader.assign([TopicPartition(topic, number, 0) for number in (0, 1)])
    assert sorted(reader.wait_for(2)) == ["a", "b"]
    reader.settle()
    reader.assign([TopicPartition(other, 0, 0)])
    assert reader.wait_for(3)[2:] == ["c"]
    reader.settle()
    reader.assign([TopicPartition(topic, number, 0) for number in (0, 1)])
    assert sorted(reader.wait_for(5)[3:]) == ["a", "b"]
    reader.close()


def test_what_the_caller_pauses_stays_paused(place: Clients) -> None:
    """A rest, and its end, leave the caller's own pause alone; what is resumed is read."""
    topic = place.topic(partitions=2)
    reader = started(place, topic, 0, 0)
    held = TopicPartition(topic, 0)
    reader.pause([held])
    producer = place.producer()
    for number in (0, 1):
        producer.produce(topic, str(number), partition=number)
    assert producer.flush(DEADLINE_SECONDS) == 0
    assert reader.wait_for(1) == ["1"]
    reader.settle()
    assert values(reader.read) == ["1"]
    reader.resume([held])
    assert reader.wait_for(2) == ["1", "0"]
    reader.pause([held, TopicPartition(topic, 1)])
    producer.produce(topic, "2", partition=1)
    assert producer.flush(DEADLINE_SECONDS) == 0
    reader.settle()
    assert len(reader.read) == 2
    reader.resume([held, TopicPartition(topic, 1)])
    assert reader.wait_for(3)[2] == "2"
    reader.close()


def test_partitions_that_come_and_go(place: Clients) -> None:
    """Of two members at rest: one takes partitions from the other, and more are added. All are read by one of them."""
    topic = place.topic(partitions=2)
    members: list[Watched] = []

    def join() -> Watched:
        more = {"topic.metadata.refresh.interval.ms": 500}
        members.append(member := Watched(place, "g", f"slot-{len(members)}", **more))
        member.subscribe([topic], on_assign=lambda consumer, partitions: consumer.assign(partitions))
        return member

    def each_has(partitions: int) -> bool:
        for each in members:
            each.take()
        return all(len(each.assignment()) == partitions for each in members)

    def all_is_read(*names: str) -> bool:
        for each in members:
            each.take()
        return {value for each in members for value in values(each.read)} == {*names}  # none is committed: again

    def send(*names: str) -> None:
        producer = place.producer()
        for number, name in enumerate(names):
            producer.produce(topic, name, partition=number)
        assert producer.flush(DEADLINE_SECONDS) == 0

    first = join()
    until("it has both", lambda: each_has(2))
    first.settle()
    join()
    until("each has one", lambda: each_has(1))
    send("a", "b")
    until("both are read", lambda: all_is_read("a", "b"))
    first.settle()
    place.admin.create_partitions([NewPartitions(topic, 4)])[topic].result(DEADLINE_SECONDS)
    until("each has two", lambda: each_has(2))
    send("c", "d", "e", "f")
    until("all are read", lambda: all_is_read(*"abcdef"))
    for each in members:
        each.close()


@pytest.mark.service
@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_broker_that_is_gone_for_a_while(how: str) -> None:
    """It was at rest when the broker went: once that is back, it reads what comes, and rests again."""
    with memory() as directory, EmbeddedBroker(directory) as broker:
        place = Clients(broker)
        topic = place.topic()
        reader = started(place, topic, 0)
        place.send(topic, "before")
        reader.wait_for(1)
        reader.settle()
        getattr(broker.process, how)()
        reader.take()
        broker.process.start()
        until("the topic is there", lambda: topic in place.admin.list_topics(timeout=5).topics)
        before = place.ends(topic)[1]
        place.send(topic, "after")
        if before:  # killed, it may have forgotten the record, and the new one stands in its place
            assert reader.wait_for(2)[1] == "after"
        reader.settle()
        reader.close()
        place.close()


def test_ends_are_told_before_a_rest(place: Clients) -> None:
    """Whoever waits for the end of a partition gets word of it, whatever there is to read, again and again."""
    topic = place.topic(partitions=3)
    with TopicReader(place.kafka, "test") as reader:
        for number in range(5):
            deadline = Deadline(REST_SECONDS / 2)
            found = [each for records in reader.start(reader.whole(topic)).to_end(REST_SECONDS) for each in records]
            assert len(found) == number
            assert not deadline.has_passed
            place.send(topic, str(number))


def test_a_reader_that_looks_in_now_and_then_rests_between(place: Clients) -> None:
    """`andon status` reads for a moment each second; meanwhile nothing is fetched, and what came is there at once."""
    topic = place.topic()
    counted: list[int] = []
    settings = {
        "statistics.interval.ms": STATISTICS_MS,
        "stats_cb": lambda text: counted.append(sum(b["req"]["Fetch"] for b in json.loads(text)["brokers"].values())),
    }
    with TopicReader(place.kafka, "test", settings=settings) as reader:
        reader.start(reader.whole(topic))
        until("its end is reached", lambda: (reader.poll(0.02), reader.at_end)[1])
        for _ in range(3):
            reader.poll(0.02)
        counted.clear()
        until("a second has passed", lambda: (time.sleep(0.5), reader.poll(0.02), len(counted) > 15)[2])
        assert counted[-1] - counted[0] < 10 * QUIET_REQUESTS
        place.send(topic, "a")
        assert values(reader.poll(0.02)) == ["a"]
