"""The gateway against senders who mean it ill: half-sent heads, idle connections, bodies that trickle, garbage."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.collect_gateway import Gateway, event, run_broker, run_gateway
from support.peers import HALF_A_HEAD, connect, held, is_closed
from support.waiting import until

from pipeline.collect.tokens import add_token
from pipeline.local.kafka.embedded import EmbeddedBroker

PLACES, HEAD_SECONDS, IDLE_SECONDS, REQUESTS = 12, 4.0, 2.0, 4
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
OTHER = "other"


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """One broker for all of these tests."""
    with run_broker() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway, with small bounds."""
    bounds = ["--max-connections", PLACES, "--head-timeout-seconds", HEAD_SECONDS, "--max-requests", REQUESTS]
    words = [*map(str, bounds), "--idle-timeout-seconds", str(IDLE_SECONDS)]
    with run_gateway(broker.bootstrap_servers, tmp_path_factory.mktemp("gateway"), *words) as running:
        yield running


def test_half_a_head_is_given_up(gateway: Gateway) -> None:
    """A head that does not end is closed in time, whether it comes first or on a connection that was kept."""
    for before in (b"", HEALTH):
        started = time.monotonic()
        with connect(gateway.port, before + HALF_A_HEAD) as peer:
            until("it is closed", lambda at=peer: is_closed(at))
        assert time.monotonic() - started < HEAD_SECONDS + IDLE_SECONDS + 60


def test_an_idle_connection_is_given_up(gateway: Gateway) -> None:
    """A connection that was kept alive and says nothing more is closed."""
    with connect(gateway.port, HEALTH) as peer:
        assert peer.recv(65536).startswith(b"HTTP/1.1 200 ")
        until("it is closed", lambda: is_closed(peer))


def test_half_heads_leave_room_for_who_means_it(gateway: Gateway) -> None:
    """Many more half heads than there are places: a true request is answered meanwhile, for the oldest make room."""
    with held(gateway.port, 10 * PLACES, HALF_A_HEAD) as peers:
        started = time.monotonic()
        until("a true one is answered", lambda: answered(gateway))
        assert time.monotonic() - started < HEAD_SECONDS, "one that had its time-out must not have made the room"
        assert any(map(is_closed, peers))


def answered(gateway: Gateway) -> bool:
    """Whether an event is taken just now; a gateway without a place closes the connection."""
    try:
        return gateway.post(event(1)).status == 202
    except OSError:
        return False


def test_one_token_takes_no_others_share(gateway: Gateway) -> None:
    """Bodies of one token that trickle fill its share and no more: another fleet's events are taken meanwhile."""
    other = add_token(gateway.process.log.parent / "tokens.toml", OTHER)
    until("it is known", lambda: gateway.post(event(1, fleet=OTHER), token=other).status == 202)
    head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.token}\r\n"
    head += "Content-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n{"
    with held(gateway.port, REQUESTS + 2, head.encode()):
        refused = until("its share is taken", lambda: (found := gateway.post(event(1))).status == 429 and found)
        assert refused.body["error"] == "token_quota"
        assert int(refused.headers["Retry-After"]) >= 1
        assert gateway.post(event(2, fleet=OTHER), token=other).status == 202
    until("the share is free again", lambda: gateway.post(event(1)).status == 202)


def test_garbage_does_not_write_the_log(gateway: Gateway) -> None:
    """Hundreds of senders of no HTTP: now and then a line of the log for all of them, and no traceback."""
    for number in range(200):
        with connect(gateway.port, b"GET /%d HTTP/1.1\r\nno header\r\n\r\n" % number) as peer:
            until("it is answered", lambda at=peer: is_closed(at))
    assert "Traceback" not in gateway.process.heard()
    assert 1 <= gateway.process.count("Error handling request") <= 10, "by this and the tests before"


def test_an_emptied_tokens_file_changes_nothing(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """It is refused as at a start: what was in force stays, loudly; SIGHUP looks at it at once and stops nothing."""
    with run_gateway(broker.bootstrap_servers, tmp_path) as gateway:
        file = tmp_path / "tokens.toml"
        kept = file.read_bytes()
        file.write_bytes(b"")
        gateway.process.send_signal(signal.SIGHUP)
        until("it is unusable", lambda: gateway.ask("/health").body["tokens_file"] == "unusable")
        assert gateway.post(event(1)).status == 202
        assert "the tokens file is not usable" in gateway.process.heard()
        file.write_bytes(kept)
        until("it is usable", lambda: gateway.ask("/health").body["tokens_file"] == "ok")
        gateway.process.send_signal(signal.SIGHUP)
        until("it is read again", lambda: gateway.process.count("tokens read again") == 2)


def test_few_files_are_few_connections(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """With `ulimit -n 128` it starts with fewer places, says so, and half-sent heads cost it neither its log nor a
    true request."""
    with run_gateway(broker.bootstrap_servers, tmp_path, files=128) as gateway:
        assert "fewer connections than collect.max_connections" in gateway.process.heard()
        with held(gateway.port, 150, HALF_A_HEAD):
            until("a true one is answered", lambda: answered(gateway))
        assert "Traceback" not in gateway.process.heard()
