"""`andon notify` beside a real Alertmanager: a halt wakes somebody, a resume ends it, whatever was away meanwhile."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.alerting.alertmanager import Alertmanager, Webhook
from support.brokers import Clients
from support.rollout_world import ANN, BOB, Message, beat, halt, instead
from support.waiting import DEADLINE_SECONDS, until

from pipeline.halt.signing import load_or_create
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.local.machine.ports import free_port
from pipeline.local.machine.process import Process, andon
from pipeline.runtime.clock import wall_clock_ms
from pipeline.wire import topics


@pytest.fixture
def broker(embedded: EmbeddedBroker) -> EmbeddedBroker:
    """The one broker that the test needs."""
    return embedded


class Told:
    """A fleet's topics, `andon notify`, an Alertmanager and its webhook."""

    def __init__(self, clients: Clients, directory: Path, webhook: Webhook) -> None:
        self.clients, self.webhook = clients, webhook
        self.alertmanager = Alertmanager(directory, webhook)
        self.key = load_or_create(directory / "keys")
        for operator in (ANN, BOB):
            operator.is_trusted_in(directory / "keys")
        for topic in (topics.HALTS, topics.VERDICTS, topics.HALT_ACKS):
            clients.topic(topic.name)
        self._producer, self.port = clients.producer(), free_port()
        self.notify = Process(
            andon("notify", "--metrics-port", self.port),
            directory / "notify.log",
            {
                "ANDON_KAFKA_BOOTSTRAP_SERVERS": clients.kafka.bootstrap_servers,
                "ANDON_KAFKA_TOPIC_PREFIX": clients.kafka.topic_prefix,
                "ANDON_TRUST_KEYS_DIR": str(directory / "keys"),
                "ANDON_NOTIFY_ALERTMANAGER_URLS": self.alertmanager.url,
            },
        )

    def put(self, *messages: Message) -> float:
        """The brokers have them when it returns: when that was."""
        for topic, name, value in messages:
            self._producer.produce(self.clients.kafka.topic_prefix + topic, value, name)
        assert self._producer.flush(DEADLINE_SECONDS) == 0
        return time.monotonic()

    def halt(self, epoch: int, action: str = "halt", **other: Any) -> Message:
        """A record of now."""
        now = wall_clock_ms()
        return halt(epoch, action, key=self.key, **{"issued_at": now, "expires_at": now + 3_600_000} | other)

    def beat(self) -> Message:
        """A heartbeat of now."""
        return beat(wall_clock_ms(), key=self.key)

    def page(self, path: str) -> tuple[int, str]:
        """Status and body of an answer of its own server; 0 for none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""


@pytest.fixture
def told(clients: Clients, tmp_path: Path) -> Iterator[Told]:
    """Nothing of it runs yet."""
    with Webhook() as webhook:
        made = Told(clients, tmp_path, webhook)
        with made.alertmanager, made.notify:
            yield made


def test_a_halt_arrives_and_a_resume_resolves_it(told: Told) -> None:
    """Though Alertmanager was away when it came, and `andon notify` was when it was lifted."""
    told.put(told.halt(1), told.beat())
    told.notify.start()
    until("it says that it cannot tell", lambda: "does not answer" in told.page("/readyz")[1])
    assert told.page("/readyz")[0] == 503
    assert told.page("/healthz")[0] == 200
    told.alertmanager.start()
    (first,) = until("the halt arrives", lambda: told.webhook.named("AndonHalt", "firing"))
    assert first["annotations"]["description"].startswith("crowdstrike/falcon-content/291 halted in acme, ring *, ")
    until("it is ready", lambda: told.page("/readyz")[0] == 200)
    assert told.notify.stop() == 0
    told.put(told.halt(2, "resume"), told.beat())
    told.notify.start()
    (last,) = until("it is resolved", lambda: told.webhook.named("AndonHalt", "resolved"))
    assert last["labels"] == first["labels"]
    assert told.webhook.named("AndonHaltPending", "firing") == []


def test_each_halt_is_told_within_moments_and_once(told: Told) -> None:
    """And an erased record, or a forged one, ends no alert."""
    told.alertmanager.start()
    told.put(told.beat())
    told.notify.start()
    until("it is ready", lambda: told.page("/readyz")[0] == 200)
    seconds = []
    for version in ("a", "b", "c"):
        sent = told.put(told.halt(1, version=version))
        arrived = until("it arrives", lambda version=version: of(told.webhook, version))  # type: ignore[misc]
        seconds.append(arrived[0]["arrived"] - sent)
    print(json.dumps({"halt_to_webhook_seconds": [round(each, 3) for each in seconds]}))
    assert max(seconds) < DEADLINE_SECONDS / 10  # 0.2 s on an idle machine
    told.put(instead(told.halt(1, version="a"), None), halt(2, "resume", version="b"))
    told.put(told.halt(1, version="d"))  # what came before it has been read
    until("it arrives", lambda: of(told.webhook, "d"))
    assert [each["status"] for each in told.webhook.told] == ["firing"] * 4
    assert len(told.alertmanager.alerts() or ()) == 4
    assert 'andon_notifications_total{status="firing"} 4.0' in told.page("/metrics")[1]


def of(webhook: Webhook, version: str) -> list[dict[str, Any]]:
    """What was told of a version."""
    return [each for each in webhook.told if each["labels"]["version"] == version]
