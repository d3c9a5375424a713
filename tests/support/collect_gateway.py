"""A gateway in its own process before an embedded broker, and a client for it: used by the tests of `collect`."""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, Message
from confluent_kafka.admin import AdminClient, NewTopic

from pipeline.collect.tokens import add_token
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.local.machine.process import Process, andon
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.topic_reader import TopicReader
from pipeline.wire import topics
from support.brokers import embedded_broker
from support.waiting import DEADLINE_SECONDS, until

FLEET = "acme"


class Answer(NamedTuple):
    """What the gateway said."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


class Gateway:
    """One running gateway."""

    def __init__(self, process: Process, token: str) -> None:
        self.process = process
        (port,) = re.findall(r"listening.* port=(\d+)", process.heard())
        self.port = int(port)
        self.url = f"http://127.0.0.1:{port}"
        self.token = token

    def post(self, body: bytes, encoding: str = "", kind: str = "application/x-ndjson", token: str = "") -> Answer:
        """POST /v1/events."""
        headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": kind}
        if encoding:
            headers["Content-Encoding"] = encoding
        return self.ask("/v1/events", body, headers)

    def ask(self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """Any request."""
        request = urllib.request.Request(self.url + path, body, headers or {})
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as response:
                return Answer(response.status, dict(response.headers), json.loads(response.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), json.loads(error.read()))


@contextmanager
def run_gateway(bootstrap_servers: str, scratch: Path, *more: str, files: int = 0) -> Iterator[Gateway]:
    """`andon collect` with a token for FLEET; stopped by SIGTERM, and it must leave with exit code 0. It may open as
    many files as we, or so many."""
    tokens_file = scratch / "tokens.toml"
    token = add_token(tokens_file, FLEET)
    words = ("--port", 0, "--tokens-file", tokens_file, *more, "--bootstrap-servers", bootstrap_servers)
    argv = andon("collect", *words)
    if files:
        argv = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *argv]
    with Process(argv, scratch / "gateway.log", ready="listening") as process:
        yield Gateway(process.start(), token)
        assert process.stop(DEADLINE_SECONDS) == 0, process.last_words()


@contextmanager
def run_broker() -> Iterator[EmbeddedBroker]:
    """An embedded broker that has the gateway's topics."""
    with embedded_broker() as broker:
        make_topics(broker.bootstrap_servers)
        yield broker


def make_topics(bootstrap_servers: str) -> None:
    """The two topics that the gateway writes; the embedded broker makes one by itself when it is written to before."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    wanted = [NewTopic(t.name, t.partitions, 1, config=t.config) for t in (topics.EVENTS, topics.DEADLETTER)]
    for created in admin.create_topics(wanted).values():
        if (error := created.exception(DEADLINE_SECONDS)) is not None:
            assert error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS, error


class Reader:
    """Reads one topic from its beginning, forwards only."""

    def __init__(self, bootstrap_servers: str, topic: topics.Topic) -> None:
        self._reader = TopicReader(KafkaConfig(bootstrap_servers), "test")
        self._reader.start(self._reader.whole(topic.name))
        self._held: list[Message] = []

    def wait_until(self, wanted: Callable[[Message], bool], count: int = 1) -> list[Message]:
        """The messages that are wanted, once there are `count` of them."""

        def look() -> list[Message] | None:
            self._held += self._reader.poll(0.1)
            found = [message for message in self._held if wanted(message)]
            return found if len(found) >= count else None

        return until(f"there are {count} such messages", look) or []

    def close(self) -> None:
        """Leave."""
        self._reader.close()


def event(number: int, **changed: object) -> bytes:
    """A heartbeat in wire format; `changed` fields win."""
    fields: dict[str, object] = {
        "v": 1,
        "id": f"e-{number}",
        "kind": "heartbeat",
        "fleet": FLEET,
        "host": f"h-{number:06d}",
        "ts": int(time.time() * 1000),
        "ring": "canary",
        "os": "windows-10.0.22631",
        "model": "latitude-7440",
        "updates": [],
    }
    return json.dumps(fields | changed).encode()
