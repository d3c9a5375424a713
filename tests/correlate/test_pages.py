"""Faust's web server, bounded: half-sent heads are closed in time, and keep nobody out."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from typing import Any

import faust
import pytest
from support.peers import HALF_A_HEAD, connect, held, is_closed
from support.waiting import until

from pipeline.correlate import pages
from pipeline.correlate.config import CorrelateConfig
from pipeline.local.machine.ports import free_port
from pipeline.runtime.web.connections import Patience

pytestmark = pytest.mark.service  # Faust asks the machine what it is

HEAD_SECONDS = 4.0


def test_half_a_head_is_given_up_and_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than there are places leave room for a true request; one that is left alone is closed in time."""
    monkeypatch.setattr(pages, "MAX_CONNECTIONS", 8)
    monkeypatch.setattr(pages, "PATIENCE", Patience(HEAD_SECONDS, 1.0))

    made = 0

    def view() -> tuple[bool, dict[str, Any]]:
        nonlocal made
        made += 1
        return True, {"ready": True}

    async def scene() -> None:
        port = free_port()
        config = CorrelateConfig(web_port=port)
        app = faust.App("bounded", web_bind="127.0.0.1", web_port=port)
        pages.bound(app.web, config)
        app.page("/state", name="state")(pages.page(view, config))
        app.web.init_server()
        app.finalize()
        await app.web.start_server()
        try:
            await asyncio.to_thread(attack, port)
            monkeypatch.setattr(pages, "FRESH_SECONDS", 3600.0)
            before = made
            for _ in range(5):
                assert await asyncio.to_thread(answered, port)
            assert made == before, "what is asked for all the time is not made each time"
        finally:
            await app.web.stop_server()

    asyncio.run(scene())


@pytest.mark.parametrize("path", ["/", "/metrics", "/nothing"])
def test_other_paths_say_which_there_are(path: str) -> None:
    """404: Faust's own page at / says that all is well, whatever is."""

    async def scene() -> tuple[int, Any]:
        config = CorrelateConfig(web_port=free_port())
        app = faust.App("paths", web_bind="127.0.0.1", web_port=config.web_port)
        pages.bound(app.web, config)
        app.page("/state", name="state")(pages.page(lambda: (True, {"ready": True}), config))
        app.web.init_server()
        app.finalize()
        await app.web.start_server()
        try:
            return await asyncio.to_thread(fetch, f"http://127.0.0.1:{config.web_port}{path}")
        finally:
            await app.web.stop_server()

    status, told = asyncio.run(scene())
    assert status == 404
    assert "/state" in told["detail"]
    assert "metrics.metrics_port" in told["detail"]


def fetch(url: str) -> tuple[int, Any]:
    """Status and JSON."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def attack(port: int) -> None:
    """As whoever reaches the port can."""
    with held(port, 80) as peers:
        started = time.monotonic()
        until("a true one is answered", lambda: answered(port))
        assert time.monotonic() - started < HEAD_SECONDS, "one that had its time-out must not have made the room"
        assert any(map(is_closed, peers))
    with connect(port, HALF_A_HEAD) as peer:
        until("it is closed", lambda: is_closed(peer))


def answered(port: int) -> bool:
    """Whether the page is there just now."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/state", timeout=HEAD_SECONDS) as answer:
            return bool(answer.read() == b'{"ready":true}')
    except OSError:
        return False
