"""What Andon thinks of an update in a ring, the alarm of a fleet that crashes for no known reason, and the heartbeat
that says that it still thinks.

All are signed like halts (canonical.py). Records of versions before that have no `sig`: they read, and prove nothing.
"""

from typing import Literal

import msgspec

from pipeline.wire.canonical import canonical_json
from pipeline.wire.record_keys import alarm_key, heartbeat_key, is_alarm, is_heartbeat, verdict_key

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
    followed for ten minutes (0: it spreads, or that is unknown), `last_install` the newest (0: unknown). With the flag
    `doubtful`, `doubted_for` are the updates (vendor/product/version) that later evidence speaks for instead."""

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
    doubted_for: tuple[str, ...] = ()
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


class AlarmSignature(msgspec.Struct, frozen=True):
    """So many of the crashed hosts reported it; "" and "" is none."""

    code: str
    module: str
    hosts: int


class AlarmRing(msgspec.Struct, frozen=True):
    """So many of the crashed hosts are in it."""

    ring: str
    hosts: int


class Suspect(msgspec.Struct, frozen=True):
    """An update (vendor/product/version) that cannot be named as the culprit: so many of the crashed hosts list it, and
    its own evidence."""

    update: str
    hosts: int
    log10_evidence: float


class FleetAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """Key fleet/-/alarm: the fleet crashes far more than it ever did, and no update can be named for it. It stops
    nothing: it is no halt, and names no update to be halted. Times in unix ms, of the events.

    `crashed_hosts` since `since`, without those that a halted update explains, where `usual` would be as many as in the
    fleet's worst usual hour; more than `tolerated_rise` times as many are no chance (`log10_evidence` of `threshold`).
    `ended` says why it is `over`: as many as `usual` again, `named` by a halt, or `lasting` for a day. `flags`:
    `no_history` when nothing was known of the fleet and `usual` is what few fleets exceed.
    """

    v: Literal[1] = 1
    kind: Literal["alarm"] = "alarm"
    fleet: str
    state: Literal["sounding", "over"]
    at: int
    since: int
    over_at: int = 0
    ended: Literal["", "usual", "named", "lasting"] = ""
    crashed_hosts: int
    usual: float
    tolerated_rise: float
    log10_evidence: float
    threshold: float
    signatures: tuple[AlarmSignature, ...] = ()
    rings: tuple[AlarmRing, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    flags: tuple[str, ...] = ()
    kid: str = ""
    sig: str = ""

    @property
    def key(self) -> str:
        """The record's Kafka key."""
        return alarm_key(self.fleet)

    @property
    def rise(self) -> float:
        """How many times as many as usual; at most 10,000."""
        return min(self.crashed_hosts / max(self.usual, 1e-9), 10_000.0)


Word = Verdict | FleetHeartbeat | FleetAlarm  # what `fleet.verdicts` holds

STREAM_TIME_AHEAD = "stream_time_ahead"
HALT_RECORDS_UNREAD = "halt_records_unread"  # the correlator could not read fleet.halts for half a minute
CLOCKS_AHEAD = "clocks_ahead"  # many hosts' clocks are: what they install is no evidence, however green all looks
UNATTRIBUTED_ALARM = "unattributed_alarm"  # the fleet's alarm sounds, whether or not its own record is there
MANY_CLOCKS = 10  # hosts
AHEAD_MS = 60_000  # past what a bucket waits for: crashes of now then count as late ones, and of yesterday not at all


def heartbeat_flags(stream_time_ms: int, at_ms: int) -> tuple[str, ...]:
    """What a reader of a heartbeat should know: `stream_time_ahead` when stream time has run ahead of the clock."""
    return (STREAM_TIME_AHEAD,) if stream_time_ms > at_ms + AHEAD_MS else ()


def power_of_ten(log10: float) -> str:
    """Evidence for people: 10^6.3, and never 10^-0.0."""
    return f"10^{round(log10, 1) + 0.0:.1f}"


def encode_verdict(record: Word) -> bytes:
    """JSON in canonical form, so that a reader may verify it by removing `sig`."""
    return canonical_json(msgspec.to_builtins(record))


_verdict = msgspec.json.Decoder(Verdict)
_heartbeat = msgspec.json.Decoder(FleetHeartbeat)
_alarm = msgspec.json.Decoder(FleetAlarm)


def decode_verdict(raw: bytes) -> Verdict:
    """Raises msgspec.DecodeError."""
    return _verdict.decode(raw)


def decode_heartbeat(raw: bytes) -> FleetHeartbeat:
    """Raises msgspec.DecodeError."""
    return _heartbeat.decode(raw)


def decode_alarm(raw: bytes) -> FleetAlarm:
    """Raises msgspec.DecodeError."""
    return _alarm.decode(raw)


def decode_record(key: bytes | None, raw: bytes) -> Word:
    """A record of `fleet.verdicts`: which of the three it is, its key says.

    Raises:
        msgspec.DecodeError: when it is none, or stands under another's key.
    """
    decode = decode_heartbeat if is_heartbeat(key) else decode_alarm if is_alarm(key) else decode_verdict
    record: Word = decode(raw)
    if key is not None and key != record.key.encode():
        raise msgspec.ValidationError("its key is another's")
    return record
