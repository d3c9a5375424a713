"""Records of both topics as the correlator signs them, for one update of acme in one ring; and those of a stranger; and
operators with keys of their own, and what they sign."""

from itertools import count
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consumers.rollout.gate import Knowledge, Question, Shadow
from pipeline.correlate.ports import CommandRecord
from pipeline.halt.believe import TrustedKey
from pipeline.halt.signing import SigningKey
from pipeline.wire import topics
from pipeline.wire.commands import Command, command_digest, decode_command, encode_command
from pipeline.wire.halts import Halt, encode_halt
from pipeline.wire.verdicts import (
    AlarmRing,
    AlarmSignature,
    Explanation,
    FleetAlarm,
    FleetHeartbeat,
    StandingHalt,
    Suspect,
    Verdict,
    encode_verdict,
)

NOW = 1_721_362_140_000  # 2024-07-19T04:09:00Z
ASKED = Question("acme", "crowdstrike", "falcon-content", "291", "broad")
NAMES = dict(zip(("fleet", "vendor", "product", "version"), ASKED[:4], strict=True))

_ids = count(1)


class Operator:
    """A person with a key."""

    def __init__(self, name: str, directory: Path | None = None) -> None:
        self.name = name
        self.key = SigningKey(Ed25519PrivateKey.generate())
        if directory is not None:
            self.is_trusted_in(directory)

    def is_trusted_in(self, directory: Path) -> None:
        """Put the public half into a directory of trust."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        path = directory / f"operator.{self.name}.{self.key.kid}.pub.pem"
        path.write_bytes(self.key.public.public_bytes(*form))
        path.chmod(0o644)

    def write_private(self, path: Path) -> None:
        """The key file, which only its owner reads."""
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(self.key._private.private_bytes(*form))
        path.chmod(0o600)

    @property
    def trusted(self) -> dict[str, TrustedKey]:
        """The entry of a table of trust."""
        return {self.key.kid: TrustedKey(self.key.public, "operator", self.name)}

    def says(self, kind: str, at: int, **fields: Any) -> bytes:
        """A signed command about acme's v/p/1, unless told otherwise."""
        about = {"fleet": "acme", "vendor": "v", "product": "p", "version": "1", "rings": ("*",), "epoch": 1}
        words = {"id": f"c{next(_ids)}", "reason": "a false alarm", "operator": self.name, "at": at}
        return encode_command(self.key.sign_word(Command(**{"kind": kind, **about, **words, **fields})))

    def approves(self, raw: bytes, at: int, **fields: Any) -> bytes:
        """The approval of a proposal."""
        proposed = decode_command(raw)
        same = {name: getattr(proposed, name) for name in ("fleet", "vendor", "product", "version", "rings", "epoch")}
        return self.says("approve", at, **same | {"approves": proposed.id, "digest": command_digest(raw)} | fields)


ANN, BOB, CAROL = Operator("ann"), Operator("bob"), Operator("carol")
OPERATORS = ANN.trusted | BOB.trusted | CAROL.trusted


def ordered(resume: Halt, *by: Operator) -> Halt:
    """The resume with the orders of two operators, unsigned."""
    first, second = by or (ANN, BOB)
    about = {"fleet": resume.fleet, "vendor": resume.vendor, "product": resume.product, "version": resume.version}
    same: dict[str, Any] = {**about, "rings": resume.rings, "epoch": resume.epoch - 1}
    raw = first.says("resume", resume.issued_at, **same, expires_at=resume.expires_at)
    orders = raw.decode(), second.approves(raw, resume.issued_at).decode()
    return resume.__class__(**{**{f: getattr(resume, f) for f in resume.__struct_fields__}, "orders": orders})


def sent(raw: bytes, offset: int, appended_at_ms: int) -> CommandRecord:
    """A record of `fleet.commands` under its own key; junk under that of acme's v/p/1."""
    try:
        key = decode_command(raw).key
    except ValueError:
        key = "acme/v/p/1"
    return CommandRecord(0, offset, key.encode(), raw, appended_at_ms)


DETECTOR = SigningKey(Ed25519PrivateKey.generate())
STRANGER = SigningKey(Ed25519PrivateKey.generate())
TRUSTED = {DETECTOR.kid: TrustedKey(DETECTOR.public)} | OPERATORS
HOUR_MS = 3_600_000

Message = tuple[str, bytes, bytes | None]  # topic, key, value


def halt(epoch: int = 1, action: str = "halt", key: SigningKey = DETECTOR, **other: Any) -> Message:
    """A record of the update on fleet.halts; `issued_at` is NOW, it stands for an hour."""
    fields: dict[str, Any] = {
        "action": action, "rings": ("*",), "epoch": epoch, "issued_at": NOW, "expires_at": NOW + HOUR_MS,
        "decided_by": "andon" if action == "halt" else "operator:ann, operator:bob", "policy": "", "kid": "",
        "reason": "5 hosts crashed", "evidence": None,
    }  # fmt: skip
    record = Halt(**NAMES | fields | other)
    record = key.sign(ordered(record) if action == "resume" and "orders" not in other else record)
    return topics.HALTS.name, record.key.encode(), encode_halt(record)


def verdict(state: str = "cleared", key: SigningKey | None = DETECTOR, **other: Any) -> Message:
    """The verdict on the update in the ring."""
    fields: dict[str, Any] = {
        "ring": ASKED.ring, "state": state, "at": NOW, "log10_evidence": 0.3, "threshold": 6.0, "basis": "concurrent",
        "observed": 3, "expected": 2.5, "relative_risk": (0.4, 3.1), "crashed_hosts": 3, "exposed_trials": 9_120,
        "explanation": Explanation("pooled"),
    }  # fmt: skip
    record = Verdict(**NAMES | fields | other)
    record = record if key is None else key.sign_word(record)
    return topics.VERDICTS.name, record.key.encode(), encode_verdict(record)


def alarm(key: SigningKey | None = DETECTOR, **other: Any) -> Message:
    """The fleet's alarm, which sounds."""
    fields: dict[str, Any] = {
        "fleet": "acme", "state": "sounding", "at": NOW, "since": NOW - HOUR_MS, "crashed_hosts": 152, "usual": 12.0,
        "tolerated_rise": 3.0, "log10_evidence": 9.0, "threshold": 6.158,
        "signatures": (AlarmSignature("0x50", "csagent.sys", 140),), "rings": (AlarmRing("broad", 120),),
        "suspects": (Suspect("v/p/1", 90, 3.1),),
    }  # fmt: skip
    record = FleetAlarm(**fields | other)
    record = record if key is None else key.sign_word(record)
    return topics.VERDICTS.name, record.key.encode(), encode_verdict(record)


def beat(at: int = NOW, *standing: tuple[str, int], key: SigningKey = DETECTOR, **other: Any) -> Message:
    """A heartbeat of the fleet that names what stands halted."""
    named = tuple(StandingHalt(*each) for each in standing)
    figures = {"stream_time": at, "live_updates": 1, "events": 9, "offset": 3, "standing_total": len(named)}
    record = key.sign_word(FleetHeartbeat(**{"fleet": "acme", "at": at, **figures, "standing": named} | other))
    return topics.VERDICTS.name, record.key.encode(), encode_verdict(record)


def instead(message: Message, value: bytes | None) -> Message:
    """Another value under the same key."""
    return message[0], message[1], value


def altered(message: Message, old: bytes, new: bytes) -> Message:
    """The record with other words under its old signature."""
    return instead(message, (message[2] or b"").replace(old, new))


def gate_of(*messages: Message, shadow: Shadow = "watching", read: bool = True) -> Knowledge:
    """A gate that has read these."""
    gate = Knowledge(TRUSTED, shadow)
    for message in messages:
        feed(gate, message)
    if read:
        gate.caught_up()
    return gate


def feed(gate: Knowledge, message: Message) -> None:
    """One record more."""
    topic, key, value = message
    (gate.take_halt if topic == topics.HALTS.name else gate.take_word)(key, value)
