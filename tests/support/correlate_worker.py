"""A tiny deterministic detector, partials for it, and a worker process: support for the correlator's tests.

Run as a script it is the correlator with this detector: arguments BOOTSTRAP PREFIX DATA_DIR PORT CHECKPOINT_SECONDS
SLOW_SECONDS, and the account of a secured cluster, if it is one, in the environment as JSON.
"""

import asyncio
import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from pipeline.correlate.config import CorrelateConfig
from pipeline.correlate.ports import OutRecord
from pipeline.decide.orders import Brief, Decisions, HaltOrder, Ruling, Stance
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.web.serving import MetricsConfig
from pipeline.wire.halts import Evidence
from pipeline.wire.partials import PARTIAL_VERSION, Partial, UpdateId
from pipeline.wire.spans import DAY_MS
from pipeline.wire.verdicts import Explanation, FleetAlarm, Verdict

STREAM_START = 1_790_000_000_000
ACCOUNT = "CORRELATE_WORKER_ACCOUNT"


class CountingDetector:
    """Sums events, chains a digest over all it sees, and orders a halt of each update when its sum comes to 50.

    From 100 on it orders every ring, and it repeats its orders at every step, as a replay would.
    """

    def __init__(self, fleet: str, events: int = 0, digest: bytes = b"", sums: dict[str, int] | None = None) -> None:
        self.fleet, self.events, self.digest, self.sums = fleet, events, digest, sums or {}
        self.clocks_ahead, self.alarmed = 0, False

    def step(self, partial: Partial) -> Decisions:
        """Count."""
        self.clocks_ahead = len(partial.notes.clocks_ahead)
        self.events += partial.events
        self.digest = hashlib.sha256(self.digest + msgspec.msgpack.encode(partial)).digest()
        halts = []
        for update in partial.updates:
            self.sums[update.version] = self.sums.get(update.version, 0) + partial.events
            if self.sums[update.version] >= 50:
                rings = ("*",) if self.sums[update.version] >= 100 else ("canary",)
                halts.append(self._order(update, rings))
        self.alarmed |= any(update.vendor == "alarmed" for update in partial.updates)
        alarm = self._alarm() if self.alarmed else None
        return Decisions(tuple(self._verdict(update) for update in partial.updates), tuple(halts), alarm)

    def step_briefly(self, partial: Partial) -> Brief:
        """The same."""
        decided = self.step(partial)
        return Brief(
            {UpdateId(v.vendor, v.product, v.version): v.log10_evidence for v in decided.verdicts}, decided.halts
        )

    def _order(self, update: UpdateId, rings: tuple[str, ...]) -> HaltOrder:
        evidence = Evidence(
            log10_evidence=7.0,
            threshold=6.0,
            basis="concurrent",
            observed=9,
            expected=0.5,
            relative_risk=(3.0, 30.0),
            crashed_hosts=9,
            exposed_trials=100,
            explanation=Explanation("pooled"),
            flags=("after_resume",) if f"{update.version} resumed" in self.sums else (),
            stream_time=STREAM_START,
        )
        mode = update.vendor if update.vendor in ("shadow", "pending") else "enforce"
        return HaltOrder(mode, self.fleet, *update, rings, "digest", "counted \x1b[31m", evidence)

    def _alarm(self) -> FleetAlarm:
        return FleetAlarm(
            fleet=self.fleet,
            state="sounding",
            at=STREAM_START,
            since=STREAM_START,
            crashed_hosts=152,
            usual=12.0,
            tolerated_rise=3.0,
            log10_evidence=9.0,
            threshold=6.2,
        )

    def _verdict(self, update: UpdateId) -> Verdict:
        return Verdict(
            fleet=self.fleet,
            vendor=update.vendor,
            product=update.product,
            version=update.version,
            ring="canary",
            state="watching",
            at=STREAM_START,
            log10_evidence=0.0,
            threshold=6.0,
            basis="concurrent",
            observed=0,
            expected=0.0,
            relative_risk=(0.0, 0.0),
            crashed_hosts=0,
            exposed_trials=self.sums[update.version],
            explanation=Explanation("pooled"),
        )

    def rule(self, ruling: Ruling) -> Decisions:
        """Chained as partials are; a resume begins the sum anew."""
        self.digest = hashlib.sha256(self.digest + msgspec.msgpack.encode(ruling)).digest()
        if ruling.effect == "resumed":
            self.sums[ruling.update.version] = 0
            self.sums[f"{ruling.update.version} resumed"] = 1
        known = ruling.update.version in self.sums
        return Decisions((self._verdict(ruling.update),) if known else (), ())

    def stance(self, update: UpdateId) -> Stance:
        """What is in a vendor's name of `pending` waits once it is ordered."""
        ordered = update.vendor == "pending" and self.sums.get(update.version, 0) >= 50
        return Stance("digest", 7 * DAY_MS, self._order(update, ("*",)) if ordered else None)

    def snapshot(self) -> bytes:
        """Everything, padded with noise that does not compress, so that a checkpoint has several chunks."""
        noise = hashlib.shake_256(self.digest).digest(450_000)
        return msgspec.msgpack.encode([self.events, self.digest, self.sums, noise])

    def summary(self) -> dict[str, Any]:
        """What the view shows."""
        updates = [{"version": version, "sum": total} for version, total in sorted(self.sums.items())]
        return {
            "stream_time": STREAM_START,
            "live_updates": len(updates),
            "updates_unwatched": 0,
            "updates": updates,
            "digest": self.digest.hex(),
            "clocks_ahead": {"hosts": self.clocks_ahead},
            "alarm": {"sounds": self.alarmed},
        }


class CountingDetectors:
    """Makes them."""

    def new(self, fleet: str) -> CountingDetector:
        """Fresh."""
        return CountingDetector(fleet)

    def restore(self, fleet: str, raw: bytes) -> CountingDetector:
        """From a snapshot."""
        events, digest, sums, _ = msgspec.msgpack.decode(raw, type=tuple[int, bytes, dict[str, int], bytes])
        return CountingDetector(fleet, events, digest, sums)


def partial(fleet: str, events: int, updates: tuple[UpdateId, ...] = (), at: int = 0) -> Partial:
    """A partial that is all totals."""
    return Partial(
        version=PARTIAL_VERSION,
        fleet=fleet,
        slot="t",
        events=events,
        repeats=0,
        undated=0,
        ingested_at_ms=STREAM_START + at,
        updates=updates,
        strata=(),
        trials=b"",
        exposures=b"",
        crashes=(),
        cut=b"",
        cut_exposures=b"",
        samples=(),
    )


def slow_down(seconds: float) -> None:
    """Let time pass where much can go wrong: between Faust's seek to the committed offset and its resuming the flow,
    and, shorter, at each partial."""
    from pipeline.correlate.client.driver import ReadCommittedConsumer
    from pipeline.correlate.correlator import Correlator

    _delay(ReadCommittedConsumer, "seek_to_committed", seconds)
    _delay(Correlator, "handle", seconds / 50)


def _delay(of: type, name: str, seconds: float) -> None:
    act = getattr(of, name)

    async def slow(*args: Any) -> Any:
        found = await act(*args)
        await asyncio.sleep(seconds)
        return found

    setattr(of, name, slow)


def die_when_told(order: Path) -> None:
    """Killed -9 `before` or `after` the next record of a topic is on it: the file says both, and is gone then."""
    from pipeline.correlate.app import FaustPorts

    publish = FaustPorts.publish

    def obey(record: OutRecord, when: str) -> None:
        if order.exists() and order.read_text("utf-8") == f"{when} {record.topic}":
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    async def mortal(ports: FaustPorts, record: OutRecord) -> None:
        obey(record, "before")
        await publish(ports, record)
        obey(record, "after")

    FaustPorts.publish = mortal  # type: ignore[method-assign]


if __name__ == "__main__":
    from pipeline.correlate.main import run
    from pipeline.runtime.errors import AndonError

    bootstrap, prefix, data_dir, port, seconds, slow_seconds = sys.argv[1:7]
    if float(slow_seconds):
        slow_down(float(slow_seconds))
    die_when_told(Path(data_dir).with_name("die"))
    account = json.loads(os.environ.get(ACCOUNT, "{}"))
    kafka = KafkaConfig(**{"bootstrap_servers": bootstrap, "topic_prefix": prefix} | account)
    config = CorrelateConfig(
        data_dir=data_dir, web_port=int(port), checkpoint_seconds=float(seconds), heartbeat_seconds=0.5
    )
    try:
        run(config, kafka, MetricsConfig(), CountingDetectors())
    except AndonError as error:
        print(f"andon: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
