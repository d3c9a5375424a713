"""The line under test in one scenario: its own topics, its stages, its load, and those who watch."""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

import msgspec
from confluent_kafka import IsolationLevel, KafkaException

from pipeline.bench.faults.ledger import Ledger, by_id, expected_in_partials, judge, unaccounted
from pipeline.bench.faults.load import Rate, SteadyLoad
from pipeline.bench.faults.schedule import Kill, looks
from pipeline.bench.faults.setup import Figures, Setup
from pipeline.bench.faults.stages import Stages
from pipeline.bench.faults.watch import Broker, Halts, Partials
from pipeline.combine.config import GROUP as COMBINE_GROUP
from pipeline.local.machine.process import Process
from pipeline.runtime import topic_admin
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.wire.topics import EVENTS, PARTIALS

DRAIN_SECONDS = 120.0
SHORT_BATCH_MS = 100  # half of the transactions: three brokers share a small machine with all the rest
LOOKS = 400  # for the moment that a kill is aimed at; then it kills anyway
UNDER_WAY_SECONDS = 0.05  # what a broker was asked for is done by then
POLICY = "[default]\nmax_halts_per_hour = 10000\n"  # more halts in a minute than a person should let through in a year


class LineUnderTest(Stages):
    """A context manager. Stages end with it."""

    def __init__(self, setup: Setup, scenario: str) -> None:
        kafka = msgspec.structs.replace(setup.kafka, topic_prefix=f"{scenario}.")
        super().__init__(scenario, kafka, setup.logs / scenario)
        self.setup = setup
        self.directory = setup.directory / scenario
        for needed in (self.directory, self.logs):
            needed.mkdir(parents=True, exist_ok=True)
        self.broker = Broker(self.kafka)
        self.ledger = Ledger()
        self.inside = 0  # kills at the moment that was aimed at, or there by chance
        self._looks = iter(looks(setup.seed, scenario, 10_000))
        self._stack = ExitStack()
        self._load: SteadyLoad | None = None

    def __enter__(self) -> "LineUnderTest":
        topic_admin.apply(self.kafka)
        (self.directory / "policy.toml").write_text(POLICY, "utf-8")
        self.partials = Partials(self.kafka)
        self.halts = Halts(self.kafka)
        for tail in (self.partials, self.halts):
            tail.start()
            self._stack.callback(tail.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        self._stack.close()

    def with_prefix(self, prefix: str) -> KafkaConfig:
        """The same brokers, other topics."""
        return msgspec.structs.replace(self.setup.kafka, topic_prefix=prefix)

    # -- stages

    def combiner(self, slot: int = 0) -> Process:
        """Started, and it has its partitions."""
        pace = ("--batch-ms", SHORT_BATCH_MS) if self.setup.short else ()
        return self.stage("combine", "--slot", slot, *pace, ready="partitions assigned")

    def tend(self) -> None:
        """See Stages."""
        super().tend()
        self.partials.check()
        self.halts.check()

    # -- load

    def begin(self) -> None:
        """The load starts."""
        self._load = SteadyLoad(self.kafka, Rate(self.setup.events_per_second, self.setup.seed), self.ledger)
        self._load.start()

    def finish(self) -> None:
        """The load ends; returns when the brokers have acknowledged it. Raises AndonError when they have not."""
        if self._load is None:
            raise AndonError("there is no load")
        load, self._load = self._load, None
        load.ask_to_stop()
        self.until("the load is acknowledged", lambda: not load.is_alive(), DRAIN_SECONDS)
        load.check()

    def combined(self) -> None:
        """Returns when the combiner has committed everything and all its partials have been read."""
        self.until("the combiner has no lag", lambda: self.lag(COMBINE_GROUP) == 0, DRAIN_SECONDS)
        self.until("all partials are read", self._all_partials_read, DRAIN_SECONDS)
        self.partials.pulse.stop()

    def lag(self, group: str) -> int:
        """Events that the group has not committed; -1 when the brokers do not say."""
        try:
            ends = self.broker.ends(EVENTS.name, EVENTS.partitions, IsolationLevel.READ_COMMITTED)
            places = self.broker.committed(group, EVENTS.name, EVENTS.partitions)
        except (KafkaException, TimeoutError):
            return -1
        return sum(end - max(0, place.offset) for end, place in zip(ends, places, strict=True))

    def _all_partials_read(self) -> bool:
        try:
            (committed,) = self.broker.ends(PARTIALS.name, 1, IsolationLevel.READ_COMMITTED)
            (written,) = self.broker.ends(PARTIALS.name, 1, IsolationLevel.READ_UNCOMMITTED)
        except (KafkaException, TimeoutError):
            return False
        return committed == written <= self.partials.position

    # -- kills

    def kill(self, stage: Process, kill: Kill, inside: Callable[[], bool], pace: float = 1.0) -> None:
        """Kill it, at the time or, when aimed, at the first moment after it at which `inside` holds and goes on to: a
        broker may be doing what it was asked for before. While one looks, the stage stands still: the slower the look,
        the longer the `pace` between two."""
        self.run_for(kill.after_seconds)
        for _ in range(LOOKS if kill.aim == "inside" else 0):
            stage.freeze()
            if inside():
                time.sleep(UNDER_WAY_SECONDS)
                if inside():
                    break
            stage.thaw()
            time.sleep(pace * next(self._looks))
            self.tend()
        stage.kill()
        self.inside += inside()

    # -- the account

    def account(self) -> Figures:
        """Events in the partials against the ledger, and the ledger against the topic."""
        events = self.ledger.events()
        found = judge(expected_in_partials(events), self.partials.seen)
        if wrong := unaccounted(self.partials.events_by_fleet, self.partials.seen):
            raise AndonError(f"by fleet, events counted in partials that show as no trial and no crash: {wrong}")
        return self.figures() | {
            "events": len(events),
            "seen": found.seen,
            "lost": found.lost,
            "repeated": found.repeated,
            "longest_stall_seconds": round(self.partials.pulse.longest_seconds, 2),
        } | self.topic_account()  # fmt: skip

    def topic_account(self) -> Figures:
        """What the brokers themselves lost or hold twice of what they had acknowledged."""
        stored = by_id(json.loads(m.value() or b"{}") for m in self.broker.read(EVENTS.name))
        found = judge(by_id(self.ledger.events()), stored)
        return {"lost_by_brokers": found.lost, "repeated_by_brokers": found.repeated}
