"""The load of `andon bench faults`: a steady stream to the brokers, every event of a host of its own.

Fleets of two kinds. In the *audit* fleets a new model, and so a new stratum, begins every BLOCK events: what is missing
or repeated shows by block. In the *halt* fleets one update after another turns bad, so that there is always a halt due.
"""

import random
import threading
import time
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Producer

from pipeline.bench.faults.ledger import Ledger
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, producer_config
from pipeline.wire import topics
from pipeline.wire.spans import HOUR_MS

SLICE_SECONDS = 0.01
BLOCK = 100
AUDIT_FLEETS = ("audit-0",)
HALT_FLEETS = ("halt-0", "halt-1")
SHARE_OF_HALT_FLEETS = 0.4
AUDIT_CRASHES, AUDIT_BOOTS = 0.1, 0.2
TRIALS = 100  # updates on trial in each halt fleet; each on an equal share of it
FIRST_BAD_SECONDS = 4.0  # healthy before
BAD_EVERY_SECONDS = 2.0  # an update turns bad, in one halt fleet after the other
BAD_FOR_SECONDS = 8.0
CRASH_EVERY_SECONDS = 0.2
FLUSH_SECONDS = 120.0


class Rate(NamedTuple):
    """How much."""

    events_per_second: int
    seed: int


class SteadyLoad(threading.Thread):
    """Produces until it is told to stop. The ledger is whole once the thread has ended and `check` is content."""

    def __init__(self, kafka: KafkaConfig, rate: Rate, ledger: Ledger) -> None:
        super().__init__(name="load", daemon=True)
        more = {"linger.ms": 5, "message.timeout.ms": int(FLUSH_SECONDS * 1000)}  # no fault here lasts so long
        self._producer = Producer(producer_config(kafka, "bench-load", **more))
        self._topic = kafka.topic_prefix + topics.EVENTS.name
        self._rate, self._ledger = rate, ledger
        self._random = random.Random(rate.seed)
        self._stop_asked = threading.Event()
        self._bad_crashes = 0
        self._failure: Exception | None = None
        self.seconds = 0.0

    def run(self) -> None:
        """Catch up with what is due, sleep for the rest of the slice."""
        try:
            self._run()
            self._producer.flush(FLUSH_SECONDS)
        except Exception as error:
            self._failure = error

    def _run(self) -> None:
        start = time.monotonic()
        made = 0
        while not self._stop_asked.is_set():
            self.seconds = time.monotonic() - start
            for _ in range(int(self.seconds * self._rate.events_per_second) - made):
                self._produce(self._healthy(made))
                made += 1
            for trial in self._due_crashes():
                self._produce(self._bad_crash(trial))
            self._producer.poll(0)
            self._stop_asked.wait(SLICE_SECONDS)

    def _produce(self, event: dict[str, Any]) -> None:
        value = orjson.dumps(event)
        self._ledger.add(value)
        while True:
            try:
                self._producer.produce(self._topic, value, event["host"].encode(), on_delivery=self._ledger.answered)
                return
            except BufferError:
                self._producer.poll(0.05)

    def _healthy(self, number: int) -> dict[str, Any]:
        draw = self._random.random()
        if draw < SHARE_OF_HALT_FLEETS:
            return event(
                number, HALT_FLEETS[number % len(HALT_FLEETS)], f"model-{number % 5}", number % TRIALS, "heartbeat"
            )
        fleet = AUDIT_FLEETS[number % len(AUDIT_FLEETS)]
        draw = self._random.random()
        kind = "crash" if draw < AUDIT_CRASHES else "boot" if draw < AUDIT_CRASHES + AUDIT_BOOTS else "heartbeat"
        return event(number, fleet, f"block-{number // BLOCK}", number % 7, kind)

    def _due_crashes(self) -> list[int]:
        """The bad updates, once for each of their crashes that is due by now."""
        due = int(max(0.0, self.seconds - FIRST_BAD_SECONDS) / CRASH_EVERY_SECONDS)
        result: list[int] = []
        while self._bad_crashes < due:
            at = self._bad_crashes * CRASH_EVERY_SECONDS
            newest = int(at / BAD_EVERY_SECONDS)
            oldest = max(0, int((at - BAD_FOR_SECONDS) / BAD_EVERY_SECONDS) + 1)
            result += range(oldest, newest + 1)
            self._bad_crashes += 1
        return result

    def _bad_crash(self, trial: int) -> dict[str, Any]:
        number = len(self._ledger.values) + 1_000_000_000  # a host that no other event has
        fleet, update = HALT_FLEETS[trial % len(HALT_FLEETS)], trial // len(HALT_FLEETS) % TRIALS
        return event(number, fleet, f"model-{number % 5}", update, "crash", f"0xbad{trial}")

    def ask_to_stop(self) -> None:
        """Stop; the thread ends when the brokers have answered for everything."""
        self._stop_asked.set()

    def check(self) -> None:
        """After the thread's end.

        Raises:
            AndonError: when the brokers have not acknowledged all: then nobody knows what was produced.
        """
        if self._failure is not None:
            raise AndonError(f"the load failed: {self._failure!r}") from self._failure
        missing = len(self._ledger.values) - self._ledger.acknowledged
        if missing:
            why = self._ledger.failed[0] if self._ledger.failed else "no answer"
            raise AndonError(f"{missing} events were not acknowledged by the brokers: {why}")


def event(number: int, fleet: str, model: str, trial: int, kind: str, code: str = "0x1") -> dict[str, Any]:
    now = wall_clock_ms()
    new = {"vendor": "acme", "product": f"agent-{trial}", "version": "2.0", "installed_at": now - HOUR_MS}
    old = {"vendor": "globex", "product": "firmware", "version": "7.1", "installed_at": now - 60 * HOUR_MS}
    special: dict[str, Any] = {"prior": "clean"} if kind == "boot" else {}
    if kind == "crash":
        special = {"signature": {"code": code, "module": "agent.sys"}}
    return {
        "v": 1,
        "id": f"{fleet}-{number}",
        "kind": kind,
        "fleet": fleet,
        "host": f"h-{number}",
        "ts": now,
        "ring": "canary" if number % 97 < 5 else "broad",
        "os": "windows-10.0.22631",
        "model": model,
        "region": "eu",
        "site": f"site-{number % 1009}",
        "updates": [new, old],
        **special,
    }
