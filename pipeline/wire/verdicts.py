"""What Andon thinks of an update in a ring, and the heartbeat that says that it still thinks.

Both are signed like halts (canonical.py). Records of versions before that have no `sig`: they read, and prove nothing.
"""

from typing import Literal

import msgspec

from pipeline.wire.canonical import canonical_json
from pipeline.wire.record_keys import heartbeat_key, is_heartbeat, verdict_key

MAX_STANDING = 1_000
MAX_STANDING_BYTES = 200_000  # of their keys: a name of 128 characters may take 1,536 bytes, percent-encoded

State = Literal["watching", "halted", "cleared", "resumed", "pending", "shadow_halted"]
Basis = Literal["concurrent", "historical"]


class Explanation(msgspec.Struct, frozen=True):
    """The reading of the evidence that weighs most: all strata, a ring, a stratum, a signature, history, or hosts that
    fell silent, of which it is inferred that they had the update."""

    kind: Literal["pooled", "ring", "stratum", "signature", "history", "silence"]
    code: str = ""
    module: str = ""
    strata: tuple[str, ...] = ()


class Conditional(msgspec.Struct, frozen=True):
    """Evidence on the hosts that do not have `on_without` (a vendor/product/version)."""

    on_without: str
    log10_evidence: float


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Key fleet/vendor/product/version/ring; the newest record of a key is the whole truth. Times in unix ms. A
    `cleared` that no trusted key signed clears nothing.

    Of a halted update: `spreading_hosts_per_minute` is how many hosts a minute still installed it within the last five
    minutes, since the halt and as far as reported (None: unknown); `flat_since` the last installation once none has
    followed for ten minutes (0: it spreads, or that is unknown), `last_install` the newest (0: unknown)."""

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
    spreading_hosts_per_minute: float | None = None
    flat_since: int = 0
    last_install: int = 0
    kid: str = ""
    sig: str = ""

    @property
    def key(self) -> str:
        """The record's Kafka key."""
        return verdict_key(self.fleet, self.vendor, self.product, self.version, self.ring)


class StandingHalt(msgspec.Struct, frozen=True):
    """A halt that no resume has lifted, by its key and epoch."""

    key: str
    epoch: int


class FleetHeartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """Key fleet/-/heartbeat, every 10 s: the detector lives, how far it has read, and the digest of what stands halted.
    Silence is never safety.

    `standing` names the fleet's halts that no resume has lifted, the newest first, as many as MAX_STANDING allows; None
    when the record does not say (it is of an older version). `standing_total` is how many there are. `flags` is what a
    reader must know of the detector. `audit_seq` and `audit_digest` name an entry that the fleet's audit must hold.
    """

    v: Literal[1] = 1
    kind: Literal["heartbeat"] = "heartbeat"
    fleet: str
    at: int
    stream_time: int
    live_updates: int
    events: int
    offset: int
    standing: tuple[StandingHalt, ...] | None = None
    standing_total: int = 0
    flags: tuple[str, ...] = ()
    audit_seq: int = -1
    audit_digest: str = ""
    kid: str = ""
    sig: str = ""

    @property
    def key(self) -> str:
        """The record's Kafka key."""
        return heartbeat_key(self.fleet)


STREAM_TIME_AHEAD = "stream_time_ahead"
HALT_RECORDS_UNREAD = "halt_records_unread"  # the correlator could not read fleet.halts for half a minute
CLOCKS_AHEAD = "clocks_ahead"  # many hosts' clocks are: what they install is no evidence, however green all looks
MANY_CLOCKS = 10  # hosts
AHEAD_MS = 60_000  # past what a bucket waits for: crashes of now then count as late ones, and of yesterday not at all


def heartbeat_flags(stream_time_ms: int, at_ms: int) -> tuple[str, ...]:
    """What a reader of a heartbeat should know: `stream_time_ahead` when stream time has run ahead of the clock."""
    return (STREAM_TIME_AHEAD,) if stream_time_ms > at_ms + AHEAD_MS else ()


def power_of_ten(log10: float) -> str:
    """Evidence for people: 10^6.3, and never 10^-0.0."""
    return f"10^{round(log10, 1) + 0.0:.1f}"


def encode_verdict(record: Verdict | FleetHeartbeat) -> bytes:
    """JSON in canonical form, so that a reader may verify it by removing `sig`."""
    return canonical_json(msgspec.to_builtins(record))


_verdict = msgspec.json.Decoder(Verdict)
_heartbeat = msgspec.json.Decoder(FleetHeartbeat)


def decode_verdict(raw: bytes) -> Verdict:
    """Raises msgspec.DecodeError."""
    return _verdict.decode(raw)


def decode_heartbeat(raw: bytes) -> FleetHeartbeat:
    """Raises msgspec.DecodeError."""
    return _heartbeat.decode(raw)


def decode_record(key: bytes | None, raw: bytes) -> Verdict | FleetHeartbeat:
    """A record of `fleet.verdicts`: which of the two it is, its key says.

    Raises:
        msgspec.DecodeError: when it is none, or stands under another's key.
    """
    record = decode_heartbeat(raw) if is_heartbeat(key) else decode_verdict(raw)
    if key is not None and key != record.key.encode():
        raise msgspec.ValidationError("its key is another's")
    return record
