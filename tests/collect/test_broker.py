"""The gateway when the broker stalls, dies and returns, when its buffer is full, and when it is told to stop."""

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.brokers import embedded_broker, memory
from support.collect_gateway import Gateway, Reader, event, make_topics, run_broker, run_gateway
from support.waiting import DEADLINE_SECONDS, until

from pipeline.local.kafka.embedded import EmbeddedBroker
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
    with (
        memory() as directory,
        EmbeddedBroker(directory / "first") as broker,
        run_gateway(broker.bootstrap_servers, tmp_path, "--delivery-timeout-seconds", "1") as gateway,
    ):
        make_topics(broker.bootstrap_servers)
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


def test_health_names_missing_topics(tmp_path: Path) -> None:
    """A cluster without our topics is not healthy, and the answer says which are missing."""
    with embedded_broker() as broker, run_gateway(broker.bootstrap_servers, tmp_path) as gateway:
        answer = gateway.ask("/health")
        assert answer.status == 503
        assert topics.EVENTS.name in answer.body["status"]
