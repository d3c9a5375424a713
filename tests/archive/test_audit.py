"""The audit on its way through the archive, and verified from ClickHouse as from Kafka."""

import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from halt.test_chain import chain, digest
from support.archive_place import Place
from support.clickhouse import until_stored
from support.engines import Database
from support.outside import ANDON
from support.rollout_world import ANN, DETECTOR, NOW, STRANGER, TRUSTED
from support.waiting import DEADLINE_SECONDS

from pipeline.audit.check import check
from pipeline.audit.reading import from_clickhouse, from_kafka
from pipeline.halt.signing import load_or_create
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.local.machine.ports import free_port
from pipeline.wire import topics
from pipeline.wire.audit import AuditEntry, encode_entry
from pipeline.wire.audit import Place as Partials


@pytest.fixture
def place(embedded: EmbeddedBroker, database: Database, tmp_path: Path) -> Place:
    """Topics and a database of the test's own."""
    return Place(embedded, database, tmp_path, f"{tmp_path.name}.")


def test_what_is_stored_can_be_verified(place: Place, tmp_path: Path) -> None:
    """Entry by entry as it was signed; what no trusted key signed is kept apart; a row that is gone is found."""
    records = chain(3)
    raw = ANN.says("force", NOW).decode()
    entry = AuditEntry(
        kind="answer", fleet="acme", seq=3, prev=digest(records[-1]), at=NOW, partials=Partials(0, 8), command=raw,
        command_place=Partials(0, 2), outcome="refused", why="too_old", detail="it is older than an hour",
    )  # fmt: skip
    forged = encode_entry(STRANGER.sign_word(entry))
    for value in [*(record.value for record in records), encode_entry(DETECTOR.sign_word(entry)), forged]:
        place.producer.produce(place.kafka.topic_prefix + topics.AUDIT.name, value, b"acme")
    assert place.producer.flush(DEADLINE_SECONDS) == 0
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (keys / f"{DETECTOR.kid}.pub.pem").write_bytes(DETECTOR.public.public_bytes(*form))
    archive = place.archive(trusted_keys_dir=str(keys))
    until_stored(place.client, "SELECT count() FROM audit", 4)
    until_stored(place.client, "SELECT count() FROM dead_letters", 1)
    assert archive.stop() == 0
    told = "SELECT command, operator, outcome, why, halt_key, partials_offset FROM audit WHERE command != ''"
    assert place.client.query(told).result_rows == [("force", "ann", "refused", "too_old", "acme/v/p/1", 8)]
    (kafka,) = check("Kafka", from_kafka(place.kafka), TRUSTED, {})
    assert [fault.kind for fault in kafka.faults] == ["changed"]  # the stranger's
    (stored,) = check("ClickHouse", from_clickhouse(place.client), TRUSTED, {})
    assert (stored.entries, stored.faults, stored.head) == (4, [], kafka.head)
    code, said = verify(place, keys, place.endpoint.server.url)
    assert code == 3  # the stranger's, on the topic
    assert "acme: NOT WHOLE in Kafka: 4 entries" in said
    assert "acme: whole in ClickHouse: 4 entries" in said
    place.client.command("ALTER TABLE audit DELETE WHERE seq = 1 SETTINGS mutations_sync = 1")
    code, said = verify(place, keys, place.endpoint.server.url)
    assert (code, "acme: NOT WHOLE in ClickHouse" in said, ": missing: " in said) == (3, True, True)
    (stored,) = check("ClickHouse", from_clickhouse(place.client), TRUSTED, {"acme": kafka.head})
    assert [fault.kind for fault in stored.faults] == ["missing"]


def test_both_places_are_always_spoken_of(place: Place, tmp_path: Path) -> None:
    """ClickHouse is not looked at because none is named, or does not answer, or was looked at and holds nothing: each
    is said, with `--json` on standard error; what could not be looked at is no success."""
    keys = tmp_path / "keys"
    load_or_create(keys)
    code, said = verify(place, keys)
    assert (code, "ClickHouse: not looked at: none is configured" in said) == (0, True)
    code, said = verify(place, keys, f"http://127.0.0.1:{free_port()}", "--json")
    assert (code, "ClickHouse: not looked at: http://127.0.0.1:" in said) == (1, True)
    code, said = verify(place, keys, place.endpoint.server.url)
    assert (code, "ClickHouse: looked at, and it holds no entry" in said) == (0, True)
    assert "the audit is empty" in said


def verify(place: Place, keys: Path, clickhouse_url: str = "", *options: str) -> tuple[int, str]:
    """Exit code and all that `andon audit verify` says."""
    words = ["--bootstrap-servers", place.kafka.bootstrap_servers, "--topic-prefix", place.kafka.topic_prefix]
    words += ["--trusted-keys-dir", str(keys), *options]
    if clickhouse_url:
        words += ["--clickhouse-url", clickhouse_url, "--database", place.client.database or ""]
    env = os.environ | {"ANDON_CLICKHOUSE_PASSWORD": place.endpoint.password} if clickhouse_url else os.environ
    done = subprocess.run(
        [ANDON, "audit", "verify", *words], capture_output=True, text=True, env=env, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr
