"""A key is believed for what its role may say, and for nothing else."""

from pathlib import Path
from typing import get_args

import msgspec
import pytest
from support.rollout_world import halt

from pipeline.halt.believe import Role, TrustedKey, believed_ack, believed_halt
from pipeline.halt.errors import BadSignature, UnknownKey, UntrustedRecord, WrongKey, WrongRole
from pipeline.halt.signing import SigningKey, load_or_create, load_trusted
from pipeline.runtime.errors import ConfigError
from pipeline.wire.acks import AckStatus, HaltAck, encode_ack

ROLES = get_args(Role)


def named(key_dir: Path, role: str, name: str) -> SigningKey:
    """A new key in this directory, believed as that of somebody in a role; the private half stays elsewhere."""
    key = load_or_create(key_dir.with_name(f"{role}-{name}"))
    load_or_create(key_dir)
    own = key_dir.with_name(f"{role}-{name}") / f"{key.kid}.pub.pem"
    (key_dir / f"{role}.{name}.{key.kid}.pub.pem").write_bytes(own.read_bytes())
    return key


def an_ack(status: AckStatus = "confirmed", subscriber: str = "sccm") -> HaltAck:
    return HaltAck(halt_key="acme/v/p/1", epoch=1, subscriber=subscriber, status=status, at=1_795_000_000_000)


@pytest.mark.parametrize("role", ROLES)
def test_only_a_detector_halts(tmp_path: Path, role: Role) -> None:
    """A halt that an operator or a subscriber signed is none."""
    key = named(tmp_path / "keys", role, "alice")
    _, update, record = halt(key=key)
    assert record is not None
    trusted = load_trusted(tmp_path / "keys")
    assert trusted[key.kid] == TrustedKey(trusted[key.kid].public, role, "alice")
    if role == "detector":
        assert believed_halt(update, record, trusted).kid == key.kid
        return
    with pytest.raises(WrongRole, match=role):
        believed_halt(update, record, trusted)


@pytest.mark.parametrize("role", ROLES)
def test_only_the_subscriber_itself_acknowledges(tmp_path: Path, role: Role) -> None:
    """Its own key, under the halt's key, byte for byte; neither a detector's nor another subscriber's."""
    key = named(tmp_path / "keys", role, "sccm")
    trusted = load_trusted(tmp_path / "keys")
    ack = key.sign_word(an_ack())
    if role != "subscriber":
        with pytest.raises(WrongRole):
            believed_ack(b"acme/v/p/1", encode_ack(ack), trusted)
        return
    assert believed_ack(b"acme/v/p/1", encode_ack(ack), trusted) == ack
    other = key.sign_word(an_ack(subscriber="intune"))
    with pytest.raises(WrongRole, match="intune"):
        believed_ack(b"acme/v/p/1", encode_ack(other), trusted)
    with pytest.raises(WrongKey):
        believed_ack(b"acme/v/p/2", encode_ack(ack), trusted)
    for flipped in range(len(encode_ack(ack))):
        raw = bytearray(encode_ack(ack))
        raw[flipped] ^= 1
        with pytest.raises(UntrustedRecord):
            believed_ack(b"acme/v/p/1", bytes(raw), trusted)


def test_a_revoked_key_is_believed_no_more(tmp_path: Path) -> None:
    """Though its public half still lies there; others are not touched by it."""
    key, other = (named(tmp_path / "keys", "subscriber", name) for name in ("sccm", "intune"))
    (tmp_path / "keys" / f"{key.kid}.revoked").touch()
    trusted = load_trusted(tmp_path / "keys")
    with pytest.raises(UnknownKey):
        believed_ack(b"acme/v/p/1", encode_ack(key.sign_word(an_ack())), trusted)
    assert believed_ack(b"acme/v/p/1", encode_ack(other.sign_word(an_ack(subscriber="intune"))), trusted)


@pytest.mark.parametrize("name", ["operator.{kid}", "admin.alice.{kid}", "operator.Alice.{kid}", "operator.a/b.{kid}"])
def test_a_key_is_named_for_its_role_and_owner(tmp_path: Path, name: str) -> None:
    """What is named otherwise is refused, not taken for a detector's."""
    key = load_or_create(tmp_path / "keys")
    path = tmp_path / "keys" / (name.format(kid=key.kid).replace("/", "%2F") + ".pub.pem")
    (tmp_path / "keys" / f"{key.kid}.pub.pem").rename(path)
    with pytest.raises(ConfigError, match=r"ROLE\.NAME\."):
        load_trusted(tmp_path / "keys")


def test_a_key_has_one_role(tmp_path: Path) -> None:
    """The same key as a detector's and as a subscriber's is refused: which of both would hold?"""
    key = load_or_create(tmp_path / "keys")
    own = tmp_path / "keys" / f"{key.kid}.pub.pem"
    (tmp_path / "keys" / f"subscriber.sccm.{key.kid}.pub.pem").write_bytes(own.read_bytes())
    with pytest.raises(ConfigError, match="one role"):
        load_trusted(tmp_path / "keys")


def test_what_the_signature_does_not_cover_is_not_believed(tmp_path: Path) -> None:
    """Another status under the same signature."""
    key = named(tmp_path / "keys", "subscriber", "sccm")
    ack = msgspec.structs.replace(key.sign_word(an_ack("failed")), status="effective")
    with pytest.raises(BadSignature):
        believed_ack(b"acme/v/p/1", encode_ack(ack), load_trusted(tmp_path / "keys"))
