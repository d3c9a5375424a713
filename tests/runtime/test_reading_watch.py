"""Whether a stage gets on, looked at on real brokers: what is waiting is told from what only looks like it."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
import structlog
from confluent_kafka.admin import NewTopic
from support.brokers import Clients
from support.waiting import DEADLINE_SECONDS, until

from pipeline.local.machine.ports import free_port
from pipeline.runtime.errors import FatalStageError, TopicMadeAnewError
from pipeline.runtime.log_offsets import FirstRecord, is_another
from pipeline.runtime.reading import progress
from pipeline.runtime.reading import watch as watching
from pipeline.runtime.reading.watch import ReadingWatch
from pipeline.runtime.web import serving
from pipeline.runtime.web.serving import MetricsConfig, serve


@pytest.fixture
def watch(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> ReadingWatch:
    """One that looks often, and loses patience soon."""
    monkeypatch.setattr(progress, "STILL_MS", 300)
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.05)
    return ReadingWatch(clients.kafka, "test", "test", structlog.get_logger(), "what is tested").start()


def says(watch: ReadingWatch, words: str) -> None:
    """It comes to say so, and nothing else; "" is that all is well."""
    until(words or "ready", lambda: [words in why for why in watch.why_not()] == ([True] if words else []))


def test_what_waits_is_said_and_markers_do_not(watch: ReadingWatch, clients: Clients) -> None:
    """Unread records, an open transaction, a place behind the end; not the marker at the end, nor what was aborted."""
    topic, other = clients.topic(), clients.topic("other")
    says(watch, "no partition of what is tested is assigned")
    watch.at({(topic, 0): 0})
    says(watch, "")
    writer = clients.producer("writer")
    writer.begin_transaction()
    clients.send(topic, "1", producer=writer)
    writer.commit_transaction(DEADLINE_SECONDS)
    says(watch, "2 records wait, none was read")
    clients.send(other, "1")
    watch.at({(topic, 0): 1, (other, 0): 0})
    says(watch, "other[0]: 1 record waits, none was read")
    writer.begin_transaction()
    clients.send(topic, "2", producer=writer)
    watch.at({(topic, 0): 1, (other, 0): 1})
    says(watch, "an open transaction has held back 1 record for")
    writer.abort_transaction(DEADLINE_SECONDS)
    clients.send(other, "2")
    says(watch, "other[0]: 1 record waits, none was read")
    watch.at({(topic, 0): 50})
    with pytest.raises(FatalStageError, match=r"t\[0\] ends at \d+, before 50: it began anew"):
        until("it gives up", lambda: watch.at({(topic, 0): 50}))


def test_a_topic_made_anew_ends_the_process(
    watch: ReadingWatch, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its log is as long as the other was: known by its id, or by its first record."""
    monkeypatch.setattr(progress, "STILL_MS", 60_000)  # while it is empty it is only shorter
    topic = clients.topic()
    clients.send(topic, "1")
    watch.at({(topic, 0): 1})
    says(watch, "")
    clients.admin.delete_topics([topic])[topic].result(DEADLINE_SECONDS)
    until("it is gone", lambda: topic not in clients.admin.list_topics(timeout=DEADLINE_SECONDS).topics)
    clients.admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(DEADLINE_SECONDS)
    clients.send(topic, "2", producer=clients.producer())
    with pytest.raises(TopicMadeAnewError, match="not the topic that it was"):
        until("it gives up", lambda: watch.at({(topic, 0): 1}))


@pytest.mark.parametrize(
    ("before", "now", "another"),
    [
        (None, (0, 5), False),
        ((0, 5), (0, 5), False),
        ((0, 5), (9, 7), False),  # retention
        ((0, 5), (-1, -1), False),  # all of it
        ((0, 5), (0, 8), True),
        ((9, 7), (0, 8), True),
        ((9, 7), (3, 6), False),  # put back from a snapshot
    ],
)
def test_what_a_log_is_known_by(before: tuple[int, int] | None, now: tuple[int, int], another: bool) -> None:
    """Its first record, which moves on."""
    assert is_another(FirstRecord(*before) if before else None, FirstRecord(*now)) == another


def test_pages(watch: ReadingWatch, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 or 503, with the reasons; a trouble of the stage's own counts; alive is another question."""
    port = free_port()
    serve(MetricsConfig(metrics_port=port), watch.health())

    def get(path: str) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=DEADLINE_SECONDS) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    assert get("/readyz")[0] == 503
    assert get("/healthz")[0] == 200
    watch.at({(clients.topic(), 0): 0})
    until("ready", lambda: get("/health")[0] == 200)
    watch.trouble = lambda: ["it fails"]
    assert (get("/readyz")[0], get("/readyz")[1]["why_not"]) == (503, ["it fails"])
    monkeypatch.setattr(serving, "ALIVE_SECONDS", -1)
    assert (get("/healthz")[0], get("/healthz")[1]["alive"]) == (503, False)
