"""The fleet of `andon bench soak`: a constant rate of events from a fleet that never stays the same.

Hosts report in turn; each minute a share of them is replaced by new ones. Each product gets a new version every ten
minutes, which reaches its hosts over the five minutes that follow. A few hosts crash, with everyday signatures.
"""

import random
import threading
import time
from typing import NamedTuple

from confluent_kafka import Producer

from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.kafka import KafkaConfig, producer_config
from pipeline.wire import topics

FLEET = "soak"
PRODUCTS = 20
VERSION_MS, SPREAD_MS = 600_000, 300_000
REPLACED_PER_MINUTE = 0.01
CRASHES = 0.0005  # share of events
BOOTS = 0.1
SIGNATURES = 40
SLICE_SECONDS = 0.02
STOP_SECONDS = 30.0


class Churn(NamedTuple):
    """A fleet of so many hosts at a time, which began at `start_ms`."""

    hosts: int
    start_ms: int

    def name(self, host: int, now_ms: int) -> str:
        """The host that stands in this place now: places take turns at being given to a new host."""
        minutes = (now_ms - self.start_ms) / 60_000
        life = int(minutes * REPLACED_PER_MINUTE + (host % 1000) / 1000)
        return f"h-{host:06d}-{life}"

    def update(self, host: int, turn: int, now_ms: int) -> str:
        """One of the host's two products, at the version that has reached it, as JSON."""
        product = (host * 7 + turn * 3) % PRODUCTS
        delay = product * VERSION_MS // PRODUCTS + host % 997 * SPREAD_MS // 997
        version = (now_ms - delay) // VERSION_MS
        return (
            f'{{"vendor":"vendor-{product % 5}","product":"product-{product}","version":"{version}",'
            f'"installed_at":{version * VERSION_MS + delay}}}'
        )

    def event(self, host: int, number: int, kind: str, now_ms: int) -> tuple[str, str]:
        """Key and value; `kind` is the JSON of what tells one kind from another."""
        name = self.name(host, now_ms)
        value = (
            f'{{"v":1,"id":"soak-{self.start_ms}-{number}",{kind},"fleet":"{FLEET}","host":"{name}","ts":{now_ms},'
            f'"ring":"{"canary" if host % 50 == 0 else "broad"}","os":"windows-{host % 3}","model":"model-{host % 8}",'
            f'"region":"eu","site":"site-{host % 101}",'
            f'"updates":[{self.update(host, 0, now_ms)},{self.update(host, 1, now_ms)}]}}'
        )
        return name, value


class SoakLoad(threading.Thread):
    """Produces until it is told to stop. `events` have been handed over, `refused` of them the broker did not take."""

    def __init__(self, kafka: KafkaConfig, hosts: int, events_per_second: int, seed: int) -> None:
        super().__init__(name="soak-load", daemon=True)
        self._churn, self._rate = Churn(hosts, wall_clock_ms()), events_per_second
        self._random = random.Random(seed)
        self._producer = Producer(producer_config(kafka, "bench-soak", **{"linger.ms": 10}))
        self._topic = kafka.topic_prefix + topics.EVENTS.name
        self._stop_asked = threading.Event()
        self.events = 0
        self.refused = 0
        self.error = ""

    def run(self) -> None:
        """Until `stop`, or until it cannot go on: `error` then says why."""
        try:
            self._produce()
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"

    def _produce(self) -> None:
        """Catch up with what is due, sleep for the rest of the slice."""
        start = time.monotonic()
        while not self._stop_asked.is_set():
            due = int((time.monotonic() - start) * self._rate)
            now_ms = wall_clock_ms()
            for _ in range(due - self.events):
                self._one(now_ms)
            self._producer.poll(0)
            self._stop_asked.wait(max(0.0, self.events / self._rate + SLICE_SECONDS - (time.monotonic() - start)))

    def _one(self, now_ms: int) -> None:
        host = self.events % self._churn.hosts
        key, value = self._churn.event(host, self.events, self._kind(now_ms), now_ms)
        self.events += 1
        while True:
            try:
                self._producer.produce(self._topic, value, key, on_delivery=self._delivered)
                return
            except BufferError:
                self._producer.poll(0.05)

    def _kind(self, now_ms: int) -> str:
        draw = self._random.random()
        if draw < CRASHES:
            code = self._random.randrange(SIGNATURES)
            return f'"kind":"crash","signature":{{"code":"0x{code:x}","module":"everyday.sys"}}'
        if draw < BOOTS:
            return f'"kind":"boot","prior":"clean","prior_ended_at":{now_ms - 60_000}'
        return '"kind":"heartbeat"'

    def _delivered(self, error: object, _: object) -> None:
        self.refused += error is not None

    def stop(self) -> int:
        """Stop; how many events the broker has acknowledged."""
        self._stop_asked.set()
        self.join(STOP_SECONDS)
        left = self._producer.flush(STOP_SECONDS)
        return self.events - self.refused - left
