"""What Andon thinks of an update in a ring, and the heartbeat that says that it still thinks."""

from typing import Literal

import msgspec

State = Literal["watching", "halted", "cleared", "resumed", "pending", "shadow_halted"]
Basis = Literal["concurrent", "historical"]


class Explanation(msgspec.Struct, frozen=True):
    """The reading of the evidence that weighs most: all strata, a ring, a stratum, a signature, or history."""

    kind: Literal["pooled", "ring", "stratum", "signature", "history"]
    code: str = ""
    module: str = ""
    strata: tuple[str, ...] = ()


class Conditional(msgspec.Struct, frozen=True):
    """Evidence on the hosts that do not have `on_without` (a vendor/product/version)."""

    on_without: str
    log10_evidence: float


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Key fleet/vendor/product/version/ring; the newest record of a key is the whole truth. Times in unix ms."""

    v: Literal[1] = 1
    fleet: str
    vendor: str
    product: str
    version: str
    ring: str
    state: State
    at: int
    log10_evidence: float
    threshold: float
    basis: Basis
    observed: int
    expected: float
    relative_risk: tuple[float, float]
    crashed_hosts: int
    exposed_trials: int
    explanation: Explanation
    conditional: tuple[Conditional, ...] = ()
    needs_trials: int = 0
    flags: tuple[str, ...] = ()


class FleetHeartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """Key fleet/-/heartbeat, every 10 s: the detector lives, and how far it has read. Silence is never safety."""

    v: Literal[1] = 1
    kind: Literal["heartbeat"] = "heartbeat"
    fleet: str
    at: int
    stream_time: int
    live_updates: int
    events: int
    offset: int
    flags: tuple[str, ...] = ()


STREAM_TIME_AHEAD = "stream_time_ahead"
AHEAD_MS = 60_000  # past what a bucket waits for: crashes of now then count as late ones, and of yesterday not at all


def heartbeat_flags(stream_time_ms: int, at_ms: int) -> tuple[str, ...]:
    """What a reader of a heartbeat should know: `stream_time_ahead` when stream time has run ahead of the clock."""
    return (STREAM_TIME_AHEAD,) if stream_time_ms > at_ms + AHEAD_MS else ()


def power_of_ten(log10: float) -> str:
    """Evidence for people: 10^6.3, and never 10^-0.0."""
    return f"10^{round(log10, 1) + 0.0:.1f}"


def encode_verdict(record: Verdict | FleetHeartbeat) -> bytes:
    """JSON."""
    return msgspec.json.encode(record)


_verdict = msgspec.json.Decoder(Verdict)
_heartbeat = msgspec.json.Decoder(FleetHeartbeat)


def decode_verdict(raw: bytes) -> Verdict:
    """Raises msgspec.DecodeError."""
    return _verdict.decode(raw)


def decode_heartbeat(raw: bytes) -> FleetHeartbeat:
    """Raises msgspec.DecodeError."""
    return _heartbeat.decode(raw)
