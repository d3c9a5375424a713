"""Refused messages: a flood of them, the stage that stops, and `andon deadletter` that looks and sends again."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Message, Producer
from hypothesis import given
from hypothesis import strategies as st
from support.waiting import DEADLINE_SECONDS, until

from pipeline.bench.combine_load import EventLoad, messages
from pipeline.combine.guard import RejectGuard
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.local.machine.process import Process, andon
from pipeline.runtime.kafka import KafkaConfig, producer_config
from pipeline.runtime.topic_admin import apply
from pipeline.runtime.topic_reader import TopicReader
from pipeline.wire import topics
from pipeline.wire.deadletter import DeadLetter
from pipeline.wire.partials import decode_partial
from pipeline.wire.reasons import Reason

HOSTILE = b"\x1b[2J\xff\x00 <b>"


def test_guard_says_why_and_only_past_the_share() -> None:
    """Nothing before the window is full; nothing at the share itself; a reason with the figures past it."""
    guard = RejectGuard(0.5, 100)
    assert guard.judge(99, 99) is None
    assert guard.judge(99, 0) is None
    why = guard.judge(100, 51)
    assert why is not None
    assert "51 of the last 100 messages" in why
    assert all(RejectGuard(1.0, 1).judge(n, n) is None for n in (1, 10))


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), max_size=60), st.integers(1, 200))
def test_guard_judges_the_newest_messages_only(batches: list[tuple[int, float]], window: int) -> None:
    """It says what a plain count over the fewest newest batches that make a window says."""
    guard, seen = RejectGuard(0.5, window), []
    for messages_, share in batches:
        seen.append((messages_, int(messages_ * share)))
        said = guard.judge(*seen[-1])
        total = rejected = 0
        for count, bad in reversed(seen):
            total, rejected = total + count, rejected + bad
            if total >= window:
                break
        assert (said is not None) == (total >= window and rejected > 0.5 * total)


class Place:
    """A broker with the topics; what is on them; `andon` against it."""

    def __init__(self, servers: str, directory: Path) -> None:
        self.kafka = KafkaConfig(bootstrap_servers=servers)
        self.producer = Producer(producer_config(self.kafka, "test"))
        self.directory = directory
        self.processes: list[Process] = []

    def andon(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """A command."""
        argv = [sys.executable, "-m", "pipeline", *arguments, "--bootstrap-servers", self.kafka.bootstrap_servers]
        return subprocess.run(argv, capture_output=True, timeout=DEADLINE_SECONDS, check=False)

    def combiner(self, **options: object) -> Process:
        """Start one; its log is a file."""
        words: list[object] = ["--bootstrap-servers", self.kafka.bootstrap_servers]
        for name, value in options.items():
            words += [f"--{name.replace('_', '-')}", value]
        self.processes.append(Process(andon("combine", *words), self.directory / "combine.log").start())
        return self.processes[-1]

    def committed(self, topic: topics.Topic) -> list[Message]:
        """All committed records of a topic."""
        with TopicReader(self.kafka, "test") as reader:
            batches = list(reader.start(reader.held(topic.name)).to_end(DEADLINE_SECONDS))
        return [message for batch in batches for message in batch]

    def refused(self, value: bytes, reason: Reason, topic: str = topics.EVENTS.name, detail: str = "why") -> None:
        """A record, and the letter that a stage writes of it."""
        written: list[Message] = []
        self.producer.produce(topic, value, b"h-1", partition=0, on_delivery=lambda _, message: written.append(message))
        assert self.producer.flush(DEADLINE_SECONDS) == 0
        self.letter(value, reason, topic, detail, (0, written[0].offset() or 0))

    def letter(
        self,
        value: bytes,
        reason: Reason,
        topic: str = topics.EVENTS.name,
        detail: str = "why",
        at: tuple[int, int] = (2, 17),
    ) -> None:
        """A letter alone."""
        letter = DeadLetter(value, b"h-1", reason, detail, topic, *at, "combine")
        self.producer.produce(topics.DEADLETTER.name, letter.value, letter.key, headers=letter.headers())
        assert self.producer.flush(DEADLINE_SECONDS) == 0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Fresh for each test."""
    with EmbeddedBroker(tmp_path / "broker") as broker:
        apply(KafkaConfig(bootstrap_servers=broker.bootstrap_servers), replication=1)
        running = Place(broker.bootstrap_servers, tmp_path)
        yield running
        for process in running.processes:
            process.kill()


@pytest.mark.service
def test_list_and_show(place: Place) -> None:
    """Filtered, bounded, the newest first kept, and nothing in it can drive a terminal."""
    place.letter(HOSTILE, Reason.INVALID_JSON, detail="\x1b]0;pwned\x07\x9b1m\u202e")
    for number in range(20):
        place.letter(b"{%d}" % number, Reason.MISSING_FIELD)
    listed = place.andon("deadletter", "list", "--limit", "3")
    assert listed.returncode == 0, listed.stderr
    assert b"21 letters: 20 missing_field, 1 invalid_json" in listed.stdout
    assert listed.stdout.count(b"fleet.events[2]@17") == 3
    only = place.andon("deadletter", "list", "--reason", "invalid_json")
    assert b"\x1b" not in only.stdout
    assert b"\\x1b]0;pwned" in only.stdout
    as_json = place.andon("deadletter", "list", "--reason", "invalid_json", "--json").stdout
    assert json.loads(as_json)["place"] == "0:0"
    assert json.loads(as_json)["detail"] == "\x1b]0;pwned\x07\x9b1m\u202e"
    assert as_json.strip().isascii(), "nothing in it can drive a terminal"
    shown = place.andon("deadletter", "show", "0:0")
    assert b"\x1b" not in shown.stdout
    assert b"\\x1b[2J\\xff\\x00 <b>" in shown.stdout
    assert place.andon("deadletter", "show", "0:0", "--raw").stdout == HOSTILE
    for nowhere in ("0:99", "7:0"):
        lost = place.andon("deadletter", "show", nowhere)
        assert (lost.returncode, lost.stderr.count(b"no letter at")) == (1, 1)
    assert place.andon("deadletter", "show", "x").returncode == 2
    misspelt = place.andon("deadletter", "list", "--reason", "invalid_jsn", "--stage", "combine")
    assert misspelt.stderr.startswith(b"warning: no reason of ours is called invalid_jsn; did you mean invalid_json?")


@pytest.mark.service
def test_retry_sends_the_same_bytes_once(place: Place) -> None:
    """To its topic under its key; not twice unless told so; what has no topic of ours, or was cut, is refused."""
    place.refused(HOSTILE, Reason.INVALID_JSON)
    place.refused(b"{}", Reason.MISSING_FIELD)
    place.letter(b"{", Reason.INVALID_JSON, topic=topics.HALTS.name)
    place.letter(b"{", Reason.INVALID_JSON, topic="/v1/events")
    place.letter(b"{", Reason.OVERSIZED, detail="cut from 99999 bytes; oversized")
    assert place.andon("deadletter", "retry").returncode == 2
    dry = place.andon("deadletter", "retry", "--all", "--dry-run")
    assert dry.stdout == b"2 would be sent\n"
    first = place.andon("deadletter", "retry", "--reason", "invalid_json")
    assert (first.returncode, first.stdout) == (1, b"1 sent again\n")
    assert first.stderr.count(b"which no stage reads") == 2
    rest = place.andon("deadletter", "retry", "--all")
    assert (rest.returncode, rest.stdout) == (1, b"1 sent again\n")
    assert b"1 not: retried before" in rest.stderr
    again = place.andon("deadletter", "retry", "0:0", "--again")
    assert (again.returncode, again.stdout) == (0, b"1 sent again\n")
    marker = place.committed(topics.DEADLETTER)[5].offset()
    lost = place.andon("deadletter", "retry", "0:0", "9:9", "0:99999", f"0:{marker}", "--again", "--dry-run")
    assert (lost.returncode, lost.stdout) == (1, b"1 would be sent\n")
    for nowhere in (b"9:9", b"0:99999", b"0:%d" % marker):
        assert b"1 not: no such letter at %s: " % nowhere in lost.stderr
    other = place.andon("deadletter", "retry", "0:1", "--reason", "invalid_json", "--again", "--dry-run")
    assert (other.returncode, other.stdout) == (1, b"0 would be sent\n")
    assert other.stderr == b"1 not: 0:1 has reason missing_field, stage combine\n"
    found = place.committed(topics.EVENTS)
    assert sorted((message.value(), message.key()) for message in found) == sorted(
        [(HOSTILE, b"h-1")] * 3 + [(b"{}", b"h-1")] * 2  # each once as it came, and once for each retry
    )
    assert place.committed(topics.HALTS) == []
    assert b"invalid_json (retried)" in place.andon("deadletter", "list").stdout


@pytest.mark.service
def test_a_forged_letter_is_not_sent_on(place: Place) -> None:
    """What does not stand where a letter says, or is gone, goes one by one and with --force only; a partial never goes
    with others."""
    place.refused(b"{1}", Reason.INVALID_JSON)
    place.letter(b"{2}", Reason.INVALID_JSON, at=(0, 0))
    place.letter(b"{3}", Reason.INVALID_JSON, at=(2, 17))
    place.refused(b"{4}", Reason.INVALID_JSON, topics.PARTIALS.name)
    place.letter(b"{5}", Reason.INVALID_JSON, topics.PARTIALS.name, at=(0, 0))
    found = place.andon("deadletter", "retry", "--all")
    assert (found.returncode, found.stdout) == (1, b"1 sent again\n")
    for count, why in ((1, b"differs from"), (1, b"is gone, or never was"), (2, b"is a partial")):
        assert b"%d not: " % count in found.stderr
        assert why in found.stderr
    assert [m.value() for m in place.committed(topics.PARTIALS)] == [b"{4}"]
    together = place.andon("deadletter", "retry", "0:3", "0:4")
    assert (together.returncode, together.stdout) == (1, b"0 sent again\n")
    assert place.andon("deadletter", "retry", "--all", "--force").returncode == 2
    assert place.andon("deadletter", "retry", "0:1", "0:2", "--force").returncode == 2
    for at, options, sent in (("0:1", (), 0), ("0:1", ("--force",), 1), ("0:3", (), 1), ("0:4", (), 0)):
        assert place.andon("deadletter", "retry", at, *options).stdout == b"%d sent again\n" % sent
    assert sorted(m.value() or b"" for m in place.committed(topics.EVENTS)) == [b"{1}", b"{1}", b"{2}"]
    assert [m.value() for m in place.committed(topics.PARTIALS)] == [b"{4}", b"{4}"]


@pytest.mark.service
def test_half_garbage_costs_no_valid_event(place: Place) -> None:
    """Of a stream that is half garbage, some of it large, every event is counted and memory stays bounded."""
    valid = [value for _, value in messages(EventLoad(20_000, 500, 20, 600.0, int(time.time() * 1000), 1))]
    for number, value in enumerate(valid):
        garbage = b"x" * 60_000 if number % 100 == 0 else value[: 20 + number % 200]
        for sent in (value, garbage):
            place.producer.produce(topics.EVENTS.name, sent, b"%d" % (number % 97))
        place.producer.poll(0)
    assert place.producer.flush(DEADLINE_SECONDS) == 0
    combiner = place.combiner(rejected_window=1000)
    until("all of the garbage is refused", lambda: len(place.committed(topics.DEADLETTER)) == len(valid))
    assert combiner.stop() == 0
    partials = place.committed(topics.PARTIALS)
    assert sum(decode_partial(message.value() or b"").events for message in partials) == len(valid)
    assert combiner.peak_rss_bytes() < 400 << 20


@pytest.mark.service
def test_past_the_share_the_stage_stops_and_says_why(place: Place) -> None:
    """Nothing but garbage: exit code 70, a reason in the log, and no more letters than the window allows."""
    for number in range(20_000):
        place.producer.produce(topics.EVENTS.name, b"garbage", b"%d" % (number % 97))
    assert place.producer.flush(DEADLINE_SECONDS) == 0
    combiner = place.combiner(max_rejected_share=0.8, rejected_window=3000, batch_messages=500)
    assert combiner.wait(DEADLINE_SECONDS) == 70
    said = (place.directory / "combine.log").read_text("utf-8")
    assert "messages cannot be used, more than max_rejected_share = 0.8 of them" in said
    assert len(place.committed(topics.DEADLETTER)) <= 3000
