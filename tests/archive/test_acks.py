"""Acknowledgements on their way through the archive: believed by role, or kept apart."""

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.archive_place import NOW, Place
from support.clickhouse import until_stored
from support.engines import Database
from support.waiting import DEADLINE_SECONDS

from pipeline.halt.signing import SigningKey, load_or_create
from pipeline.halts.main import command
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.runtime.clock import wall_clock_ms
from pipeline.wire.acks import HaltAck, encode_ack
from pipeline.wire.halts import Halt, encode_halt
from pipeline.wire.topics import HALT_ACKS, HALTS


@pytest.fixture
def place(embedded: EmbeddedBroker, database: Database, tmp_path: Path) -> Place:
    """Topics and a database of the test's own."""
    return Place(embedded, database, tmp_path, f"{tmp_path.name}.")


def test_an_acknowledgement_is_stored_when_the_subscriber_s_own_key_signed_it(place: Place, tmp_path: Path) -> None:
    """Forged by a stranger, signed by another subscriber, by the detector or by nobody it is kept apart, with the
    reason; what the subscriber signed is there, and its seconds are counted from the first record of the epoch."""
    keys = tmp_path / "keys"
    detector = load_or_create(keys)
    sccm, intune = subscriber(keys, "sccm"), subscriber(keys, "intune")
    halt = detector.sign(
        Halt(
            action="halt", fleet="acme", vendor="v", product="p", version="1", rings=("*",), epoch=17, issued_at=NOW,
            expires_at=NOW + 1, decided_by="andon", policy="d", reason="r", evidence=None, kid="",
        )
    )  # fmt: skip
    renewed = detector.sign(msgspec.structs.replace(halt, issued_at=NOW + 60_000))
    ack = HaltAck(halt_key=halt.key, epoch=17, subscriber="sccm", status="confirmed", at=NOW + 2_500)
    stranger = SigningKey(Ed25519PrivateKey.generate())
    acks = [sccm.sign_word(ack), *(key.sign_word(ack) for key in (stranger, intune, detector)), ack]
    topic = place.kafka.topic_prefix + HALT_ACKS.name
    for record in (halt, renewed):
        place.producer.produce(place.kafka.topic_prefix + HALTS.name, encode_halt(record), halt.key.encode())
    for each in acks:
        place.producer.produce(topic, encode_ack(each), halt.key.encode())
    assert place.producer.flush(DEADLINE_SECONDS) == 0
    archive = place.archive(trusted_keys_dir=str(keys))
    client = place.client
    until_stored(client, "SELECT count() FROM dead_letters", len(acks) - 1)
    until_stored(client, "SELECT count() FROM halt_acks", 1)
    until_stored(client, "SELECT count() FROM halts", 2)
    assert archive.stop() == 0
    assert client.query("SELECT subscriber, action, status, kid FROM halt_acks").result_rows == [
        ("sccm", "halt", "confirmed", sccm.kid)
    ]
    reasons = client.query("SELECT reason FROM dead_letters ORDER BY source_offset").result_rows
    assert [reason for (reason,) in reasons] == ["unknown_key", "wrong_role", "wrong_role", "bad_signature"]
    took = client.query("SELECT subscriber, status, seconds_to_requested, seconds_to_confirmed FROM obedience")
    assert took.result_rows == [("sccm", "confirmed", None, 2.5)]


def test_a_thousand_subscribers_of_one_halt(place: Place, tmp_path: Path) -> None:
    """Each in its own words, once, in ClickHouse; and on the screens for people, which stay short."""
    keys = tmp_path / "keys"
    detector = load_or_create(keys)
    at = wall_clock_ms()
    halt = detector.sign(
        Halt(
            action="halt", fleet="acme", vendor="v", product="p", version="1", rings=("*",), epoch=1, issued_at=at,
            expires_at=at + 3_600_000, decided_by="andon", policy="d", reason="r", evidence=None, kid="",
        )
    )  # fmt: skip
    place.producer.produce(place.kafka.topic_prefix + HALTS.name, encode_halt(halt), halt.key.encode())
    for number in range(1_000):
        name = f"deployer-{number}"
        ack = HaltAck(halt_key=halt.key, epoch=1, subscriber=name, status="confirmed", at=at + number)
        signed = subscriber(keys, name).sign_word(ack)
        place.producer.produce(place.kafka.topic_prefix + HALT_ACKS.name, encode_ack(signed), halt.key.encode())
    assert place.producer.flush(DEADLINE_SECONDS) == 0
    archive = place.archive(trusted_keys_dir=str(keys))
    until_stored(place.client, "SELECT count() FROM halt_acks", 1_000)
    assert archive.stop() == 0
    count = "SELECT uniqExact(subscriber), max(seconds_to_confirmed) FROM obedience WHERE status = 'confirmed'"
    assert place.client.query(count).result_rows == [(1_000, 0.999)]
    where = "--bootstrap-servers", place.kafka.bootstrap_servers, "--topic-prefix", place.kafka.topic_prefix
    words = *where, "--trusted-keys-dir", str(keys)
    shown = CliRunner().invoke(command, ["show", halt.key, "--json", *words])
    assert len(json.loads(shown.output)["obeyed"]) == 1_000
    why = CliRunner().invoke(command, ["why", "v/p/1", "--fleet", "acme", *words])
    assert (why.exit_code, len(why.output.splitlines()) < 60) == (0, True), why.output


def subscriber(keys: Path, name: str) -> SigningKey:
    """A key of its own, whose public half is trusted as that subscriber's."""
    key = SigningKey(Ed25519PrivateKey.generate())
    pem = key.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (keys / f"subscriber.{name}.{key.kid}.pub.pem").write_bytes(pem)
    return key
