"""What a restore refuses, and that nothing is half done then; what a backup refuses; and what is not written twice."""

import copy
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer
from support.backup.line import Vault, backup, done
from support.clickhouse_data import events, insert
from support.engines import Database
from support.secured import options

from consumers.clickhouse.connect import connect
from pipeline.halt import keyring
from pipeline.halt.signing import load_or_create
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.runtime import topic_admin
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, producer_config
from pipeline.wire.topics import COMMANDS

EVENTS = 200


class Place:
    """A database, topics, keys and a policy; no stage runs."""

    def __init__(self, database: Database, kafka: KafkaConfig, directory: Path) -> None:
        self.database, self.kafka, self.directory = database, kafka, directory
        self.vault = Vault(directory / "vault")
        self.data, self.root = directory / "data", directory / "root"
        load_or_create(self.data / "keys")
        (directory / "policy.toml").write_text('[default]\nmode = "shadow"\n', "utf-8")
        topic_admin.apply(kafka, replication=1)
        insert(database.client(), events(EVENTS, seed=1))

    @property
    def where(self) -> list[str]:
        """Options that say where everything is."""
        endpoint = self.database.endpoint
        disk = endpoint.directory / "clickhouse" / "backups"
        mine = ["--clickhouse-url", endpoint.url, "--database", self.database.name, "--clickhouse-dir", str(disk)]
        return [*options(self.kafka), *mine]

    def run(self, *words: object) -> Result:
        """`andon backup …` as the owner."""
        return backup(*words, password=self.database.endpoint.password)

    def create(self, *words: object) -> Any:
        """A backup."""
        policy = ["--data-dir", self.data, "--policy-file", self.directory / "policy.toml", "--json"]
        return json.loads(done(self.run("create", *self.vault.making, *self.where, *policy, *words)))

    def restore(self, *words: object, fate: str = "survived", identity: Path | None = None) -> Result:
        """The newest backup, its files below a root of its own."""
        mine = ["--identity", identity or self.vault.identity, "--kafka", fate, "--root", self.root]
        return self.run("restore", *mine, *self.vault.words, *self.where, *words)

    @property
    def client(self) -> Client:
        """The owner's."""
        return connect(self.database.endpoint.server)

    def drop(self) -> None:
        """The database is lost."""
        self.client.command(f"DROP DATABASE IF EXISTS {self.database.name} SYNC")

    def remains(self) -> list[str]:
        """What a restore that was refused has left: nothing."""
        found = ["a database"] if self.client.command(f"EXISTS DATABASE {self.database.name}") else []
        disk = self.database.endpoint.directory / "clickhouse" / "backups"
        return found + [str(path) for place in (self.root, disk) if place.exists() for path in place.rglob("*")]

    def object_of(self, kind: str) -> Path:
        """The object of a piece of the newest backup."""
        (path,) = (self.vault.store / "backups").glob("*.json")
        piece = next(each for each in json.loads(path.read_bytes())["pieces"] if each["kind"] == kind)
        return self.vault.store / "objects" / piece["object"][:2] / piece["object"]


@pytest.fixture(scope="module")
def made(
    module_database: Database, embedded: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """Backed up once, and the database lost."""
    name = module_database.name
    kafka = KafkaConfig(bootstrap_servers=embedded.bootstrap_servers, topic_prefix=f"{name}.")
    place = Place(module_database, kafka, tmp_path_factory.mktemp("backup"))
    place.create()
    place.drop()
    yield place
    place.client.command(f"CREATE DATABASE {name} ENGINE = Atomic")  # whoever made it drops it


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Iterator[Place]:
    """The same with a store and a root of the test's own."""
    place = copy.copy(made)
    place.vault, place.root = copy.copy(made.vault), tmp_path / "root"
    for name in ("store", "trust"):
        copied = tmp_path / name
        shutil.copytree(getattr(made.vault, name), copied)
        setattr(place.vault, name, copied)
    yield place
    place.drop()


def refused(result: Result, *words: str) -> None:
    """It ended with an error that says these words."""
    assert isinstance(result.exception, AndonError), result.output
    for word in words:
        assert word in str(result.exception)


def cut(path: Path) -> None:
    """An object lost its end."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)


def alter(path: Path) -> None:
    """One bit of an object is another."""
    raw = bytearray(path.read_bytes())
    raw[-20] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [(cut, "bytes, and had"), (alter, "its bytes have changed"), (os.unlink, "No such file")],
    ids=["cut", "altered", "missing"],
)
def test_an_object_that_is_not_what_it_was(place: Place, spoil: Callable[[Path], None], why: str) -> None:
    """Of whatever kind it is: it is found before anything is touched, by `verify` as well."""
    for kind in ("part", "schema", "files"):
        path = place.object_of(kind)
        raw = path.read_bytes()
        spoil(path)
        refused(place.restore(), why)
        refused(place.run("verify", *place.vault.words), why)
        path.write_bytes(raw)
    assert place.remains() == []
    done(place.run("verify", *place.vault.words, "--identity", place.vault.identity))


def test_another_identity_opens_nothing(place: Place) -> None:
    """Nor does a file that holds none; and nothing of it is said."""
    refused(place.restore(identity=place.vault.other_identity), "cannot be decrypted")
    secret = place.vault.other_identity.read_text("utf-8")
    broken = place.root.with_name("broken")
    broken.write_text(secret[:-1] + "!", "utf-8")
    result = place.restore(identity=broken)
    refused(result, "holds a secret key of age that is none")
    assert secret[20:40] not in str(result.exception)
    assert place.remains() == []


def test_a_manifest_that_nobody_signed(place: Place) -> None:
    """One that was altered, or is by a key that is not believed for backups, is restored from by nobody; and `prune`
    takes nothing away, for nobody knows what it needs."""
    (path,) = (place.vault.store / "backups").glob("*.json")
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b'"rows":{', b'"rows":{"x":1,'))
    refused(place.restore(), "not believed")
    refused(place.run("prune", *place.vault.words), "not believed")
    path.write_bytes(raw)
    for public in place.vault.trust.glob("*.pub.pem"):
        public.unlink()
    keyring.make("operator", "ann", place.vault.trust)
    refused(place.restore(), "no trusted key")
    assert place.remains() == []


def test_a_used_place(place: Place) -> None:
    """A second restore into the same place, a file that differs, a topic with records: each is said, and nothing
    that is there is touched."""
    done(place.restore())
    assert place.database.client().command("SELECT count() FROM events_once") == EVENTS
    refused(place.restore(), "holds tables")
    assert place.database.client().command("SELECT count() FROM events_once") == EVENTS
    place.drop()
    policy = place.root / str(place.directory / "policy.toml").lstrip("/")
    policy.write_text("[default]\n", "utf-8")
    refused(place.restore(), "policy.toml is there")
    assert policy.read_text("utf-8") == "[default]\n"
    policy.unlink()
    producer = Producer(producer_config(place.kafka, "test"))
    producer.produce(place.kafka.topic_prefix + COMMANDS.name, b"x", b"k")
    assert producer.flush(30) == 0
    refused(place.restore(fate="lost"), "holds records")
    assert not place.client.command(f"EXISTS DATABASE {place.database.name}")


def test_a_step_that_fails_takes_back_what_was_begun(place: Place) -> None:
    """Where files cannot be put, ClickHouse's database, which had been restored by then, is gone again."""
    place.root.mkdir()
    (place.root / str(place.directory).split("/")[1]).write_text("a file in the place of a directory", "utf-8")
    refused(place.restore(), "--root")
    assert not place.client.command(f"EXISTS DATABASE {place.database.name}")


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """This process can write no file that is larger, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk(place: Place) -> None:
    """Of a restore nothing remains, and of a backup that could not be written the store has none."""
    with files_of_at_most(2_000):
        refused(place.restore(), "File too large")
    assert place.remains() == []
    done(place.restore())
    insert(place.database.client(), events(EVENTS, seed=2))
    before = sorted(path.name for path in place.vault.store.rglob("*") if path.is_file())
    with files_of_at_most(2_000):
        policy = ["--data-dir", place.data, "--policy-file", place.directory / "policy.toml"]
        refused(place.run("create", *place.vault.making, *place.where, *policy), "File too large")
    done(place.run("verify", *place.vault.words))
    left = sorted(path.name for path in place.vault.store.rglob("*") if path.is_file())
    assert [name for name in left if name.endswith(".json")] == [name for name in before if name.endswith(".json")]


def test_what_is_there_is_not_written_again(place: Place) -> None:
    """A second backup of the same data seals anew at most what says when it was made; one of more data what is new; it
    can be restored whole; and nothing of a key is readable without an identity."""
    done(place.restore())
    place.create()
    assert place.create()["new_objects"] <= 1
    insert(place.database.client(), events(EVENTS, seed=2))
    more = place.create()
    assert 0 < more["new_objects"] < len(more["manifest"]["pieces"])
    place.drop()
    shutil.rmtree(place.root)
    done(place.run("verify", *place.vault.words, "--identity", place.vault.identity))
    done(place.restore())
    assert place.database.client().command("SELECT count() FROM events_once") == 2 * EVENTS
    key = (place.data / "keys" / "signing.key.pem").read_bytes()
    for path in place.vault.store.rglob("*"):
        assert not path.is_file() or key[30:80] not in path.read_bytes()


def test_a_key_that_nobody_believes_signs_no_backup(place: Place) -> None:
    """It would be restored by nobody: it is said before anything is made, and so is a path that is not there."""
    stranger = keyring.make("backup", "other", place.directory / "elsewhere").private
    policy = ["--data-dir", place.data]
    words = [*place.vault.words, "--recipients", place.vault.recipient, "--backup-key-file", stranger]
    refused(place.run("create", *words, *place.where, *policy), "would believe what it signs")
    missing = [*place.vault.making, *place.where, *policy, "--paths", str(place.directory / "nothing")]
    refused(place.run("create", *missing), "there is no")
    refused(place.run("create", *place.vault.making, *place.where, "--data-dir", place.directory), "signing.key.pem")
