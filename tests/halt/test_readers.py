"""Every reader of signed records believes the same ones: what a key of the right role signed, byte for byte."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.rollout_world import ASKED, DETECTOR, NOW, STRANGER, TRUSTED, Message, beat, gate_of, halt, verdict

from consumers.clickhouse.archive.records import Record, record_rows
from pipeline.correlate.halt_watch import judged
from pipeline.correlate.ports import HaltRecord
from pipeline.halt.believe import TrustedKey
from pipeline.halt.register import HaltRegister
from pipeline.halt.safety import SafetyRecord
from pipeline.halt.signing import SigningKey
from pipeline.wire import topics
from pipeline.wire.acks import HaltAck, encode_ack
from pipeline.wire.halts import Halt
from pipeline.wire.record_keys import MAX_EPOCH

OPERATOR, SUBSCRIBER, REVOKED = (SigningKey(Ed25519PrivateKey.generate()) for _ in range(3))
KEYS = TRUSTED | {
    OPERATOR.kid: TrustedKey(OPERATOR.public, "operator", "ann"),
    SUBSCRIBER.kid: TrustedKey(SUBSCRIBER.public, "subscriber", "sccm"),
}
Believes = Callable[[Message], bool]


def by_safety_record(message: Message) -> bool:
    """`andon status`, `andon doctor`, the gate's memory, subscribers, `andon replay --obey`, the demo."""
    record = SafetyRecord(KEYS)
    take = record.take_halt if message[0] == topics.HALTS.name else record.take_word
    return take(message[1], message[2]) == ""


def by_archive(message: Message) -> bool:
    """`andon archive`: no dead letter."""
    rows = record_rows(message[0], [Record(0, 1, NOW, message[1], message[2], ())], KEYS)
    return not rows.refused


def by_gate(message: Message) -> bool:
    """A gate that is told this alone, beside a fresh heartbeat and a clearance: a resume of another epoch is in order,
    a halt is seen, and whatever else stands on the key is doubt."""
    gate = gate_of(beat(), verdict(), message)
    return gate.decide(ASKED, NOW).rule in ("resumed", "halted")


def by_correlator(message: Message) -> bool:
    """Its watch over the topic, and what it reads at its start."""
    return isinstance(judged(HaltRecord(message[1], message[2]), KEYS).said, Halt)


HALT_READERS = [by_safety_record, by_archive, by_gate, by_correlator]
WORD_READERS = [by_safety_record, by_archive]


def ack(key: SigningKey = SUBSCRIBER, **other: Any) -> Message:
    """An acknowledgement of the update's halt."""
    fields = {"halt_key": ASKED.halt_key, "epoch": 1, "subscriber": "sccm", "status": "confirmed", "at": NOW}
    said = key.sign_word(HaltAck(**fields | other))
    return topics.HALT_ACKS.name, said.halt_key.encode(), encode_ack(said)


def resigned(message: Message, key: SigningKey, **other: Any) -> Message:
    """The record with other members, signed as it then is: what a key's owner could write by hand."""
    fields = json.loads(message[2] or b"") | other | {"kid": key.kid}
    fields.pop("sig", None)
    signed = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    sig = base64.b64encode(key._private.sign(signed))
    after = b',"' + min(name for name in fields if name > "sig").encode() + b'"'
    at = signed.index(after, signed.index(b',"rings"' if b',"rings"' in signed else b',"kid"'))
    return message[0], message[1], signed[:at] + b',"sig":"' + sig + b'"' + signed[at:]


RECORDS: list[tuple[str, Callable[..., Message], list[Believes], SigningKey]] = [
    ("halt", lambda key: halt(key=key), HALT_READERS, DETECTOR),
    ("resume", lambda key: halt(2, "resume", key=key), HALT_READERS, DETECTOR),
    ("verdict", lambda key: verdict(key=key), WORD_READERS, DETECTOR),
    ("heartbeat", lambda key: beat(key=key), WORD_READERS, DETECTOR),
    ("acknowledgement", lambda key: ack(key), [by_archive], SUBSCRIBER),
]
NAMES = [name for name, *_ in RECORDS]


@pytest.mark.parametrize(("name", "make", "readers", "right"), RECORDS, ids=NAMES)
def test_only_the_right_role_is_believed(
    name: str, make: Callable[..., Message], readers: list[Believes], right: SigningKey
) -> None:
    """Of each reader: the right role's key, and neither another role's, nor a revoked key, nor a stranger's."""
    for reader in readers:
        assert reader(make(right)), reader
        for wrong in {DETECTOR, OPERATOR, SUBSCRIBER, REVOKED, STRANGER} - {right}:
            assert not reader(make(wrong)), (reader, KEYS.get(wrong.kid))


@pytest.mark.parametrize(("name", "make", "readers", "right"), RECORDS, ids=NAMES)
def test_no_flipped_byte_is_believed(
    name: str, make: Callable[..., Message], readers: list[Believes], right: SigningKey
) -> None:
    """Each bit of each byte by the first reader, a bit of each byte by the others."""
    topic, key, value = make(right)
    assert value is not None
    for place in range(len(value)):
        for reader in readers:
            for bit in range(8) if reader is readers[0] else (place % 8,):
                raw = bytearray(value)
                raw[place] ^= 1 << bit
                assert not reader((topic, key, bytes(raw))), (reader, place, bit, bytes(raw))


def spelled(message: Message, old: bytes, new: bytes) -> Message:
    """The same meaning in other bytes."""
    assert message[2] is not None
    assert message[2].count(old) == 1, (old, message[2])
    return message[0], message[1], message[2].replace(old, new)


@pytest.mark.parametrize("spelling", [b"2.0", b"2e0", b"02", b"+2", b'"2"', b"2 ", b'2,"epoch":2', b'1,"epoch":2'])
def test_a_number_has_one_spelling(spelling: bytes) -> None:
    """An epoch as a float, as text, with room, twice: no reader believes it, though it may mean the same."""
    for made, readers in ((halt(2), HALT_READERS), (halt(2, "resume"), HALT_READERS), (ack(epoch=2), [by_archive])):
        for reader in readers:
            assert not reader(spelled(made, b'"epoch":2', b'"epoch":' + spelling)), reader


@pytest.mark.parametrize("spelling", [b"6", b"6.00", b"6e0", b"0.6e1", b"60.0e-1", b'6.0,"threshold":6.0'])
def test_a_float_has_one_spelling(spelling: bytes) -> None:
    """The same figure otherwise written is not what was signed."""
    for reader in WORD_READERS:
        assert reader(verdict())
        assert not reader(spelled(verdict(), b'"threshold":6.0', b'"threshold":' + spelling)), reader


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"action":"resume"', b'"action":"resume","action":"resume"'),
        (b'"action":"resume"', b'"action":"halt","action":"resume"'),
        (b'"action":"resume"', b'"Action":1,"action":"resume"'),
        (b'{"action"', b'{"_":0,"action"'),
        (b'{"action"', b' {"action"'),
        (b',"sig":"', b',"sig":"","sig":"'),
        (b',"sig":"', b',"kid":"","sig":"'),
    ],
)
def test_no_member_comes_twice_or_besides(old: bytes, new: bytes) -> None:
    """Whatever a parser makes of it: bytes that nobody signed."""
    for reader in HALT_READERS:
        assert reader(halt(2, "resume"))
        assert not reader(spelled(halt(2, "resume"), old, new)), reader


@pytest.mark.parametrize("epoch", [0, -1, MAX_EPOCH + 1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**400])
def test_no_epoch_beyond_its_limits_is_believed(epoch: int) -> None:
    """Not even of the right key: a parser of another language would take it for its neighbour, or fail."""
    limited = [(halt(2), HALT_READERS), (halt(2, "resume"), HALT_READERS)]
    for message, readers in limited:
        for reader in readers:
            assert not reader(resigned(message, DETECTOR, epoch=epoch)), reader
    assert not by_archive(resigned(ack(), SUBSCRIBER, epoch=epoch))


@pytest.mark.parametrize("epoch", [1, MAX_EPOCH])
def test_epochs_at_their_limits_are_believed(epoch: int) -> None:
    """Signed by hand as well as by Andon: so the test above fails for the epoch alone."""
    for reader in HALT_READERS:
        assert reader(resigned(halt(2), DETECTOR, epoch=epoch)), reader
    assert by_archive(resigned(ack(), SUBSCRIBER, epoch=epoch))


def test_the_register_is_not_led_astray_by_an_epoch() -> None:
    """Records that are believed or not: the next epoch of the key stays one that readers accept; and a number that no
    encoder takes is refused, not fatal."""
    register = HaltRegister(KEYS)
    for epoch in (0, -1, MAX_EPOCH, MAX_EPOCH + 1, 2**64):
        claimed = Halt(**json.loads(halt()[2] or b"") | {"epoch": epoch, "rings": ("*",)})
        register.pass_epoch(claimed)
        assert register.learn(claimed) == "bad_signature"
    assert register.floor(ASKED.halt_key) == 0
