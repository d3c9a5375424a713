"""The correlator's state as JSON for people and for `andon status`. Pure. Hostile text stays inside JSON strings."""

from typing import Any

from pipeline.correlate.correlator import Correlator
from pipeline.correlate.fleets import FleetProgress
from pipeline.wire.halts import Halt

NAMED = 10  # fleets, of those that have a trouble


def health(correlator: Correlator, now_ms: int) -> dict[str, Any]:
    """Ready once state is recovered, and while it reads: `why_not` says why it does not, or may not; and what an
    operator has to know as of the newest heartbeat."""
    why_not = correlator.reading.why_not(now_ms) if correlator.ready else ["its state is being recovered"]
    return {
        "ready": not why_not,
        "why_not": why_not,
        "fleets": len(correlator.fleets.by_name),
        "at": now_ms,
        "stream_time_ahead": sorted(correlator.beats.ahead)[:NAMED],
        "clocks_ahead": dict(sorted(correlator.beats.clocks.items())[:NAMED]),
        "partials_sealed": correlator.partials.seal is not None,
        "partials_unsealed": correlator.partials.unsealed,
    }


def state(correlator: Correlator, started_ms: int, now_ms: int) -> dict[str, Any]:
    """Everything: fleets with what their detectors watch, halts, and what the changelog costs."""
    uptime_seconds = max(0.001, (now_ms - started_ms) / 1000)
    written = correlator.changelog_bytes
    return {
        "ready": correlator.ready,
        "at": now_ms,
        "uptime_seconds": uptime_seconds,
        "changelog_bytes_total": written,
        "changelog_bytes_per_second": written / uptime_seconds,
        "fleets": [_fleet(fleet, correlator, now_ms) for _, fleet in sorted(correlator.fleets.by_name.items())],
    }


def _fleet(fleet: FleetProgress, correlator: Correlator, now_ms: int) -> dict[str, Any]:
    return {
        "fleet": fleet.name,
        "partition": fleet.partition,
        "offset": fleet.offset,
        "partials": fleet.partials,
        "events": fleet.events,
        **fleet.detector.summary(),
        "halts": [_halt(halt, now_ms) for halt in correlator.issuer.register.of_fleet(fleet.name)],
    }


def _halt(halt: Halt, now_ms: int) -> dict[str, Any]:
    return {
        "vendor": halt.vendor,
        "product": halt.product,
        "version": halt.version,
        "action": halt.action,
        "rings": halt.rings,
        "epoch": halt.epoch,
        "issued_at": halt.issued_at,
        "expires_at": halt.expires_at,
        "expired": now_ms >= halt.expires_at,
        "decided_by": halt.decided_by,
        "reason": halt.reason,
    }
