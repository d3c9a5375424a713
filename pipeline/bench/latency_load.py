"""The fleet of `andon bench latency`: healthy heartbeats at a steady rate, and crashing hosts one at a time.

Every host lists one of many updates on trial (host number modulo their number), so each is on an equal small share of
the fleet, plus one that all have had for long. Hosts report in turn; no host reports twice before all have.
"""

import random
import threading
import time
from typing import NamedTuple

import orjson
from confluent_kafka import Producer

from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.kafka import KafkaConfig, producer_config
from pipeline.wire import topics
from pipeline.wire.partials import UpdateId
from pipeline.wire.spans import HOUR_MS

FLEET = "bench"
SLICE_SECONDS = 0.01
BACKGROUND_CRASHES = 0.0002  # share of events: what a healthy fleet has anyway


class TrialFleet(NamedTuple):
    """How large, and how many updates are on trial in it."""

    hosts: int
    trials: int

    def update(self, trial: int) -> UpdateId:
        """The update on trial: each its own product, so that none supersedes another."""
        return UpdateId("acme", f"agent-{trial}", "2.0")

    def heartbeat(self, host: int, now_ms: int) -> tuple[bytes, bytes]:
        """Key and value."""
        return self._event(host, now_ms, {"kind": "heartbeat"})

    def crash(self, host: int, now_ms: int, code: str) -> tuple[bytes, bytes]:
        """Key and value."""
        return self._event(host, now_ms, {"kind": "crash", "signature": {"code": code, "module": "agent.sys"}})

    def _event(self, host: int, now_ms: int, special: dict[str, object]) -> tuple[bytes, bytes]:
        name = f"h-{host:07d}"
        vendor, product, version = self.update(host % self.trials)
        new = {"vendor": vendor, "product": product, "version": version, "installed_at": now_ms - HOUR_MS}
        old = {"vendor": "globex", "product": "firmware", "version": "7.1", "installed_at": now_ms - 60 * HOUR_MS}
        fields: dict[str, object] = {
            "v": 1,
            "id": f"{name}-{now_ms}-{special['kind']}",
            "fleet": FLEET,
            "host": name,
            "ts": now_ms,
            "ring": "canary" if host % 97 < 5 else "broad",
            "os": "windows-10.0.22631",
            "model": f"latitude-{host % 7}",
            "region": "eu",
            "site": f"site-{host % 1009}",
            "updates": [new, old],
        }
        return name.encode(), orjson.dumps(fields | special)


class Background(threading.Thread):
    """Produces the healthy fleet's events in slices of 10 ms until it is told to stop."""

    def __init__(self, kafka: KafkaConfig, fleet: TrialFleet, events_per_second: int, seed: int) -> None:
        super().__init__(name="background", daemon=True)
        self._fleet, self._rate = fleet, events_per_second
        self._random = random.Random(seed)
        self._producer = Producer(producer_config(kafka, "bench-background", **{"linger.ms": 5}))
        self._topic = kafka.topic_prefix + topics.EVENTS.name
        self._stop_asked = threading.Event()
        self.events = 0
        self.seconds = 0.0

    def run(self) -> None:
        """Catch up with what is due, sleep for the rest of the slice."""
        start = time.monotonic()
        while not self._stop_asked.is_set():
            self.seconds = time.monotonic() - start
            for _ in range(int(self.seconds * self._rate) - self.events):
                self._one()
            self._producer.poll(0)
            time.sleep(max(0.0, self.events / self._rate + SLICE_SECONDS - (time.monotonic() - start)))

    def _one(self) -> None:
        host, now = self.events % self._fleet.hosts, wall_clock_ms()
        if self._random.random() < BACKGROUND_CRASHES:
            key, value = self._fleet.crash(host, now, f"0x{self._random.randrange(40):x}")
        else:
            key, value = self._fleet.heartbeat(host, now)
        while True:
            try:
                self._producer.produce(self._topic, value, key)
                break
            except BufferError:
                self._producer.poll(0.05)
        self.events += 1

    def stop(self) -> None:
        """Stop and wait for the last acknowledgement."""
        self._stop_asked.set()
        self.join(10)
        self._producer.flush(10)
