"""The sender of `andon bench collect`: a process of its own, kept-alive connections, bodies made before the clock."""

import gzip
import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

import zstandard

from pipeline.wire.spans import HOUR_MS

HOSTS = 1_000_000
LIVE_VERSIONS = 150
UPDATE_COUNTS = (1, 2, 3)
RINGS = ("canary", "early", "broad", "broad", "broad")
VENDORS = (("crowdstrike", "falcon-content"), ("microsoft", "windows-defender"), ("lenovo", "dock-firmware"))
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": lambda body: gzip.compress(body, 1),
    "zstd": zstandard.compress,
}


class HttpLoad(NamedTuple):
    """What to send, and how."""

    url: str
    token: str
    fleet: str
    events: int
    batch: int
    connections: int
    encoding: str
    seed: int
    now_ms: int


class Sent(NamedTuple):
    """What came of it. Times in seconds."""

    accepted: int
    refused_requests: int
    wall_seconds: float
    request_seconds: list[float]
    body_bytes: int


def event(index: int, load: HttpLoad, rng: random.Random) -> bytes:
    """One heartbeat as an endpoint writes it; its id is its index."""
    versions = [rng.randrange(LIVE_VERSIONS) for _ in range(rng.choice(UPDATE_COUNTS))]
    updates = [
        {
            "vendor": VENDORS[version % 3][0],
            "product": VENDORS[version % 3][1],
            "version": f"7.{version}",
            "installed_at": load.now_ms - HOUR_MS * (1 + version % 48),
        }
        for version in versions
    ]
    fields = {
        "v": 1,
        "id": f"{index:012d}",
        "kind": "heartbeat",
        "fleet": load.fleet,
        "host": f"h-{rng.randrange(HOSTS):07d}",
        "ts": load.now_ms - rng.randrange(30_000),
        "ring": rng.choice(RINGS),
        "os": "windows-10.0.22631",
        "model": "latitude-7440",
        "region": "eu",
        "site": f"ber-{rng.randrange(40)}",
        "updates": updates,
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def bodies(load: HttpLoad) -> list[bytes]:
    """Every request's body, compressed."""
    rng = random.Random(load.seed)
    compress = COMPRESS[load.encoding]
    starts = range(0, load.events, load.batch)
    return [
        compress(b"\n".join(event(i, load, rng) for i in range(start, min(start + load.batch, load.events))))
        for start in starts
    ]


def send_all(load: HttpLoad) -> Sent:
    """Run the load; a refused request (429, 503) is not sent again, so that what is lost shows."""
    waiting = bodies(load)
    size_bytes = sum(map(len, waiting))
    sent: list[tuple[int, int, float]] = []  # (status, accepted, seconds)
    threads = [threading.Thread(target=_send, args=(load, waiting, sent)) for _ in range(load.connections)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall_seconds = time.perf_counter() - started
    accepted = sum(count for _, count, _ in sent)
    refused = sum(1 for status, _, _ in sent if status != 202)
    return Sent(accepted, refused, wall_seconds, [seconds for _, _, seconds in sent], size_bytes)


def _send(load: HttpLoad, waiting: list[bytes], sent: list[tuple[int, int, float]]) -> None:
    address = urlsplit(load.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    headers = {"Authorization": f"Bearer {load.token}", "Content-Type": "application/x-ndjson"}
    if load.encoding != "identity":
        headers["Content-Encoding"] = load.encoding
    while waiting:
        try:
            body = waiting.pop()
        except IndexError:
            break
        started = time.perf_counter()
        connection.request("POST", "/v1/events", body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        sent.append((response.status, answer.get("accepted", 0), time.perf_counter() - started))
    connection.close()
