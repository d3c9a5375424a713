"""The gateway when the broker stalls, dies and returns, when its buffer is full, and when it is told to stop."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient  # type: ignore[attr-defined]
from support.brokers import memory
from support.collect_gateway import Gateway, Reader, event, make_topics, run_broker, run_gateway
from support.waiting import DEADLINE_SECONDS, until

from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.local.machine.ports import free_port
from pipeline.local.machine.process import Process, andon
from pipeline.runtime.kafka import client_config
from pipeline.wire import topics

pytestmark = pytest.mark.service


@contextmanager
def stalled(broker: EmbeddedBroker) -> Iterator[None]:
    """The broker answers nothing inside the block, and goes on after it."""
    broker.process.freeze()
    try:
        yield
    finally:
        broker.process.thaw()


def batch(count: int, name: str) -> bytes:
    """`count` events whose ids begin with `name`."""
    return b"\n".join(event(n, id=f"{name}-{n}") for n in range(count))


def buffered(gateway: Gateway, count: int) -> bool:
    """Whether so many events wait for the broker."""
    answer = gateway.ask("/health")
    return bool(answer.body["buffered_events"] == count)


def test_full_buffer_asks_to_come_back(tmp_path: Path) -> None:
    """While the bounded buffer is full the answer is 429 with Retry-After, at once; what was taken is delivered."""
    bounds = [
        "--max-buffered-events",
        "10",
        "--sender-share",
        "1",
        "--delivery-timeout-seconds",
        str(int(DEADLINE_SECONDS)),
    ]
    with run_broker() as broker, run_gateway(broker.bootstrap_servers, tmp_path, *bounds) as gateway:
        assert gateway.post(batch(3, "warm")).status == 202
        assert gateway.post(batch(11, "more than ever fits")).status == 413
        with ThreadPoolExecutor(1) as pool:
            with stalled(broker):
                held = pool.submit(gateway.post, batch(8, "held"))
                until("all wait", lambda: buffered(gateway, 8))
                refused = gateway.post(batch(3, "refused"))
                assert (refused.status, refused.body["error"]) == (429, "buffer_full")
                assert int(refused.headers["Retry-After"]) >= 1
            assert held.result(DEADLINE_SECONDS).body == {"accepted": 8, "rejected": []}
        assert gateway.post(batch(3, "refused")).status == 202


def test_too_many_requests_at_once(tmp_path: Path) -> None:
    """Requests under way are bounded: bodies that never end cannot pile up in memory, and are given up in time."""
    bounds = ["--max-requests", "1", "--read-timeout-seconds", "5"]
    with run_broker() as broker, run_gateway(broker.bootstrap_servers, tmp_path, *bounds) as gateway:
        head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.token}\r\n"
        head += "Content-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n{"
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=DEADLINE_SECONDS) as slow:
            slow.sendall(head.encode())
            until("it is busy", lambda: gateway.post(event(1)).status == 429)
            assert slow.recv(4096).startswith(b"HTTP/1.1 408 ")
        until("it takes events again", lambda: gateway.post(event(1)).status == 202)


def test_dead_broker_is_said_and_its_return_noticed(tmp_path: Path) -> None:
    """Killed broker: 503 with Retry-After after the delivery timeout, /health says so; once it is back, 202 again."""
    with memory() as directory, ExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker(directory / "first"))
        make_topics(broker.bootstrap_servers)
        hurried = run_gateway(broker.bootstrap_servers, tmp_path, "--delivery-timeout-seconds", "1")
        gateway = stack.enter_context(hurried)
        until("it takes events", lambda: gateway.post(batch(5, "before")).status == 202)
        broker.process.kill()
        lost = gateway.post(batch(5, "during"))
        assert (lost.status, lost.body["error"]) == (503, "broker_unavailable")
        assert int(lost.headers["Retry-After"]) >= 1
        until("it says that it is ill", lambda: gateway.ask("/health").status == 503)
        with EmbeddedBroker(directory / "second", broker.port) as again:
            make_topics(again.bootstrap_servers)
            until("it takes events again", lambda: gateway.post(batch(5, "after")).status == 202)
            until("it says that it is well", lambda: gateway.ask("/health").status == 200)


def test_stop_finishes_what_was_begun(tmp_path: Path) -> None:
    """SIGTERM during a delivery: the listener closes, the request is answered 202 and its events are on the topic."""
    with run_broker() as broker, run_gateway(broker.bootstrap_servers, tmp_path) as gateway:
        assert gateway.post(batch(3, "warm")).status == 202
        reader = Reader(broker.bootstrap_servers, topics.EVENTS)
        with ThreadPoolExecutor(1) as pool:
            with stalled(broker):
                held = pool.submit(gateway.post, batch(8, "held"))
                until("all wait", lambda: buffered(gateway, 8))
                gateway.process.send_signal(signal.SIGTERM)
                until("it stops", lambda: "stopping" in gateway.process.log.read_text("utf-8"))
                with pytest.raises(OSError, match="refused"):
                    socket.create_connection(("127.0.0.1", gateway.port), timeout=DEADLINE_SECONDS)
            assert held.result(DEADLINE_SECONDS).status == 202
        assert gateway.process.wait(DEADLINE_SECONDS) == 0
        reader.wait_until(lambda m: b"held-" in (m.value() or b""), count=8)
        reader.close()


def test_missing_topics_are_said(tmp_path: Path) -> None:
    """A cluster that loses one of our topics is not healthy, and the answer says which is missing. Started there, the
    gateway ends with 2, not to be started again, and one line that says what to run."""
    with run_broker() as broker:
        with run_gateway(broker.bootstrap_servers, tmp_path) as gateway:
            assert gateway.ask("/health").status == 200
            admin = AdminClient(client_config(broker.client_options(), "test"))
            admin.delete_topics([topics.EVENTS.name])[topics.EVENTS.name].result(DEADLINE_SECONDS)
            until("it says so", lambda: topics.EVENTS.name in gateway.ask("/health").body["status"])
            assert gateway.ask("/health").status == 503
        where = ("--tokens-file", tmp_path / "tokens.toml", "--bootstrap-servers", broker.bootstrap_servers)
        with Process(andon("collect", "--port", 0, *where), tmp_path / "again.log") as again:
            assert again.start().wait(DEADLINE_SECONDS) == 2
            assert f"topics missing: {topics.EVENTS.name}; run `andon topics apply`" in again.last_words()


def test_a_gateway_starts_without_brokers(tmp_path: Path) -> None:
    """They may answer later: it listens, and says that it is ill."""
    with run_gateway(f"127.0.0.1:{free_port()}", tmp_path) as gateway:
        assert "broker unreachable" in gateway.ask("/health").body["status"]


def test_a_hangup_ends_it_at_no_moment() -> None:
    """SIGHUP before anything of the command is loaded, long before its handler is."""
    code = (
        "import importlib, os, signal, sys\n"
        "from pipeline import cli\n"
        "load = importlib.import_module\n"
        "importlib.import_module = lambda name: (os.kill(os.getpid(), signal.SIGHUP), load(name))[1]\n"
        "sys.argv = ['andon', 'collect', '--help']\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("Usage: andon collect")) == (0, 1), done.stderr
