"""Heartbeats: of every fleet, that its detector lives, how far it has read, and what stands halted; and what of that is
shown as metrics. Times in unix ms."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from pipeline.correlate.config import STAGE
from pipeline.correlate.fleets import FleetProgress, Fleets
from pipeline.correlate.halt_keeper import HaltKeeper
from pipeline.correlate.ports import OutRecord, Ports
from pipeline.runtime import metrics
from pipeline.runtime.logging import printable
from pipeline.wire import topics
from pipeline.wire.verdicts import (
    CLOCKS_AHEAD,
    MANY_CLOCKS,
    UNATTRIBUTED_ALARM,
    FleetHeartbeat,
    encode_verdict,
    heartbeat_flags,
)


class Heartbeats:
    """One per process."""

    def __init__(
        self,
        fleets: Fleets,
        halts: HaltKeeper,
        ports: Ports,
        clock: Callable[[], int],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self.ahead: set[str] = set()  # fleets whose stream time was ahead of the clock at the last heartbeat
        self.clocks: dict[str, int] = {}  # hosts whose clocks are ahead, of fleets with many, as of the same
        self._fleets, self._halts, self._ports, self._clock, self._log = fleets, halts, ports, clock, log
        self._noted: Counter[str] = Counter()  # as the last heartbeat showed it
        self._blind: Counter[str] = Counter()  # the same

    async def beat(self, is_ready: Callable[[], bool]) -> None:
        """One of each fleet, signed."""
        now = self._clock()
        live, newest, unwatched, clocks = 0, 0, 0, 0
        baselines: dict[tuple[str, str], float] = {}
        noted = Counter(dict.fromkeys(self._noted, 0))  # what was shown before goes back to nothing
        blind = Counter(dict.fromkeys(self._blind, 0))
        for fleet in list(self._fleets.by_name.values()):
            if not is_ready():
                return  # what stands halted is not known yet, and must not be signed
            summary = fleet.detector.summary()
            live, newest = live + summary["live_updates"], max(newest, summary["stream_time"])
            unwatched += summary["updates_unwatched"]
            noted.update(summary.get("noted", {}))
            reasons = summary.get("half_blind", {}).get("reasons", {})
            blind.update({reason: each["updates"] for reason, each in reasons.items()})
            clocks += _clocks_of(summary)
            self._look_at_clocks(fleet.name, _clocks_of(summary))
            baselines |= {(fleet.name, ring): rate for ring, rate in summary.get("baseline", {}).items()}
            self._look_at_time(fleet, summary, now)
            await self._ports.publish(heartbeat_record(fleet, summary, now, self._halts.complete))
        self._show_fleets(baselines)
        metrics.LIVE_UPDATES.set(live)
        metrics.UNWATCHED_UPDATES.set(unwatched)
        metrics.CLOCKS_AHEAD.set(clocks)
        self._noted, self._blind = noted, blind
        for what, times in noted.items():
            metrics.NOTED.labels(what).set(times)
        for reason, updates in blind.items():
            metrics.HALF_BLIND.labels(reason).set(updates)
        metrics.STREAM_TIME.labels(STAGE).set(newest / 1000)

    def _show_fleets(self, baselines: Mapping[tuple[str, str], float]) -> None:
        metrics.put(metrics.BASELINE, [(tuple(map(printable, of)), rate) for of, rate in sorted(baselines.items())])
        reports = ((fleet.name, fleet.reports) for fleet in self._fleets.by_name.values())
        metrics.put(
            metrics.FLEET_REPORTS,
            [((printable(name), kind), times) for name, found in reports for kind, times in found.items()],
        )

    def show_sizes(self) -> None:
        """Of the fleets' newest checkpoints; the largest first."""
        fleets = sorted(self._fleets.by_name.values(), key=lambda fleet: -fleet.state_bytes)
        metrics.put(metrics.STATE_BYTES, [((printable(each.name),), each.state_bytes) for each in fleets])

    def _look_at_time(self, fleet: FleetProgress, summary: Mapping[str, Any], now_ms: int) -> None:
        if not flags_of(summary, now_ms):
            self.ahead.discard(fleet.name)
        elif fleet.name not in self.ahead:
            self.ahead.add(fleet.name)
            ahead_seconds = (summary["stream_time"] - now_ms) // 1000
            self._log.error("stream time is ahead of the clock", fleet=fleet.name, ahead_seconds=ahead_seconds)

    def _look_at_clocks(self, fleet: str, hosts: int) -> None:
        if hosts < MANY_CLOCKS:
            self.clocks.pop(fleet, None)
            return
        if fleet not in self.clocks:
            self._log.warning("clocks of hosts are ahead: what they install is no evidence", fleet=fleet, hosts=hosts)
        self.clocks[fleet] = hosts


def _clocks_of(summary: Mapping[str, Any]) -> int:
    """Hosts whose clocks are ahead."""
    hosts: int = summary.get("clocks_ahead", {}).get("hosts", 0)
    return hosts


def flags_of(summary: Mapping[str, Any], now_ms: int) -> tuple[str, ...]:
    """Of the heartbeat that says so."""
    return heartbeat_flags(summary["stream_time"], now_ms)


def _more_flags(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """What a reader should know of the fleet, that makes its detector no worse."""
    said = {
        CLOCKS_AHEAD: _clocks_of(summary) >= MANY_CLOCKS,
        UNATTRIBUTED_ALARM: summary.get("alarm", {}).get("sounds", False),
    }
    return tuple([flag for flag, holds in said.items() if holds])


def heartbeat_record(
    fleet: FleetProgress,
    summary: Mapping[str, Any],
    now_ms: int,
    complete: Callable[[FleetHeartbeat], FleetHeartbeat],
) -> OutRecord:
    """For `fleet.verdicts` too; `summary` is its detector's. `complete` adds what it says of halts, and signs it."""
    beat = FleetHeartbeat(
        fleet=fleet.name,
        at=now_ms,
        stream_time=summary["stream_time"],
        live_updates=summary["live_updates"],
        events=fleet.events,
        offset=fleet.offset,
        flags=flags_of(summary, now_ms) + _more_flags(summary),
        audit_seq=fleet.audit.seq,
        audit_digest=fleet.audit.digest,
    )
    return OutRecord(topics.VERDICTS.name, beat.key.encode(), encode_verdict(complete(beat)))
