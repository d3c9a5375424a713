"""What a gate reads of Kafka: to the committed end of both topics, then on; of a long topic only what it needs."""

import pytest
from support.brokers import Clients
from support.rollout_world import ASKED, NOW, STRANGER, TRUSTED, Message, beat, halt, instead, verdict
from support.waiting import DEADLINE_SECONDS, until

from consumers.rollout.backlog import MAX_FLEETS, MAX_WORDS, Backlog
from consumers.rollout.gate import Knowledge
from consumers.rollout.reading import GateReader
from pipeline.runtime.errors import AndonError
from pipeline.wire import topics


def put(clients: Clients, *messages: Message) -> None:
    """Acknowledged when it returns."""
    producer = clients.producer()
    for topic, key, value in messages:
        producer.produce(clients.kafka.topic_prefix + topic, value, key)
    assert producer.flush(DEADLINE_SECONDS) == 0


def made(clients: Clients) -> None:
    """Both topics."""
    for topic in (topics.HALTS, topics.VERDICTS):
        clients.topic(topic.name, cleanup_policy="compact")


def test_it_reads_to_the_end_and_then_what_comes(clients: Clients) -> None:
    """Nothing is said before; then what is there, a halt that comes, and the resume that lifts it."""
    made(clients)
    put(clients, beat(), verdict("watching"), verdict())
    gate = Knowledge(TRUSTED)
    with GateReader(clients.kafka, gate, Backlog(ASKED)) as reader:
        assert gate.decide(ASKED, NOW).rule == "unread"
        reader.read()
        assert gate.decide(ASKED, NOW).rule == "cleared"
        for message, rule in ((halt(), "halted"), (halt(2, "resume"), "resumed"), (instead(halt(), None), "doubtful")):
            put(clients, message)

            def has_come(wanted: str = rule) -> bool:
                reader.follow(0.05)
                return gate.decide(ASKED, NOW).rule == wanted

            until(f"the gate says {rule}", has_come)


def test_what_is_not_committed_is_not_read(clients: Clients) -> None:
    """A clearance in somebody's open transaction counts when it is committed, and no sooner."""
    made(clients)
    put(clients, beat())
    producer = clients.producer("writer")
    producer.begin_transaction()
    topic, key, value = verdict()
    producer.produce(clients.kafka.topic_prefix + topic, value, key)
    producer.flush(DEADLINE_SECONDS)
    gate = Knowledge(TRUSTED)
    with GateReader(clients.kafka, gate, Backlog(ASKED)) as reader:
        reader.read()
        assert gate.decide(ASKED, NOW).rule == "unseen"
    producer.commit_transaction(DEADLINE_SECONDS)
    with GateReader(clients.kafka, gate, Backlog(ASKED)) as reader:
        reader.read()
        assert gate.decide(ASKED, NOW).rule == "cleared"


def test_topics_that_are_not_there_are_said(clients: Clients) -> None:
    """And nothing is taken for read."""
    gate = Knowledge(TRUSTED)
    with (
        GateReader(clients.kafka, gate, Backlog(ASKED)) as reader,
        pytest.raises(AndonError, match="andon topics apply"),
    ):
        reader.read()
    assert gate.decide(ASKED, NOW).state == "DETECTOR_SILENT"


def passed(log: list[Message]) -> tuple[Knowledge, int, int]:
    """A gate fed through a backlog; how many records came out of each topic."""
    backlog, gate = Backlog(ASKED), Knowledge(TRUSTED)
    for topic, key, value in log:
        (backlog.put_halt if topic == topics.HALTS.name else backlog.put_word)(key, value)
    words, halts = list(backlog.words()), list(backlog.halts())
    for key, value in words:
        gate.take_word(key, value)
    for key, value in halts:
        gate.take_halt(key, value)
    gate.caught_up()
    return gate, len(words), len(halts)


def test_of_a_long_topic_it_takes_what_it_needs() -> None:
    """Of many heartbeats and others' verdicts only the newest of its own keys are verified, of its halts all."""
    others = [verdict(version=f"v-{n}", key=None) for n in range(500)]
    beats = [beat(NOW - 10_000 * n) for n in range(300, -1, -1)]
    fleets = [beat(fleet=f"fleet-{n % 30}") for n in range(90)]
    gate, words, halts = passed([*others, *fleets, *beats, verdict(), halt(version="290"), halt(1), halt(2, "resume")])
    assert (words, halts) == (MAX_WORDS + 1 + MAX_FLEETS, 2)
    assert gate.decide(ASKED, NOW).rule == "resumed"


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        ([], "cleared"),
        ([beat(key=STRANGER)], "cleared"),
        ([verdict("pending", ring="canary")], "pending"),
        ([halt(3), halt(2, "resume")], "halted"),
        ([instead(halt(3), None)], "doubtful"),
    ],
)
def test_leaving_out_changes_no_answer(more: list[Message], rule: str) -> None:
    """As the gate that has read everything."""
    log = [verdict("watching", at=NOW - 1), *(beat(NOW - 10_000 * n) for n in range(100, -1, -1)), verdict(), *more]
    gate, _, _ = passed(log)
    assert gate.decide(ASKED, NOW).rule == rule
