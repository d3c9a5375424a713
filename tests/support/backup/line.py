"""A line that is backed up and lost: its stages as processes, a ClickHouse of its own, and `andon backup` about it."""

import json
import shutil
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pyrage
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from pipeline.bench.faults.stored import wrong_aggregates
from pipeline.cli import andon as commands
from pipeline.correlate.checkpoint import unpack
from pipeline.halt import keyring
from pipeline.halt.signing import load_trusted
from pipeline.local.machine.ports import free_port
from pipeline.local.machine.process import Process, andon
from pipeline.runtime import topic_admin
from pipeline.runtime.kafka import KafkaConfig, producer_config
from pipeline.runtime.topic_reader import TopicReader
from pipeline.runtime.waiting import wait_for
from pipeline.wire.halts import Halt, decode_halt
from pipeline.wire.topics import EVENTS, HALTS
from support.clickhouse import LocalClickHouse, until_stored
from support.secured import options
from support.waiting import DEADLINE_SECONDS, until

POLICY = "[default]\nmax_halts_per_hour = 1000\n"
CHANGELOG = "andon-correlate-state-changelog"


class Vault:
    """Where backups are kept, and the two things that are kept elsewhere: identity, and the key that is believed."""

    def __init__(self, directory: Path) -> None:
        self.store, self.trust = directory / "store", directory / "trust"
        self.identity, self.other_identity = directory / "identity.txt", directory / "other.txt"
        self.key = keyring.make("backup", "nightly", self.trust).private
        secret = pyrage.x25519.Identity.generate()
        self.recipient = str(secret.to_public())
        self.identity.write_text(f"# of the test\n{secret}\n", "utf-8")
        self.other_identity.write_text(str(pyrage.x25519.Identity.generate()), "utf-8")

    @property
    def words(self) -> list[str]:
        """Options of every command."""
        return ["--store-dir", str(self.store), "--trusted-keys-dir", str(self.trust)]

    @property
    def making(self) -> list[str]:
        """Options of `create`."""
        return [*self.words, "--recipients", self.recipient, "--backup-key-file", str(self.key)]


def backup(*words: object, password: str = "") -> Result:
    """`andon backup WORDS`, in this process."""
    environ = {"ANDON_CLICKHOUSE_PASSWORD": password} if password else {}
    return CliRunner().invoke(commands, ["backup", *map(str, words)], env=environ)


def done(result: Result) -> str:
    """What it said, when it went well."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


class Line:
    """One cluster's worth of topics, a ClickHouse, and stages. Everything that it keeps is below `directory`."""

    def __init__(self, kafka: KafkaConfig, directory: Path, ledger: list[bytes]) -> None:
        self.kafka, self.directory, self.ledger = kafka, directory, ledger
        directory.mkdir(parents=True, exist_ok=True)
        self.data = directory / "data"
        self.clickhouse = LocalClickHouse(directory / "engine")
        self.port = free_port()
        self._stages: list[Process] = []

    @property
    def policy(self) -> Path:
        """Of its detector."""
        return self.data / "policy.toml"

    # -- life

    def begin(self, schema: Path, policy: str) -> None:
        """Topics, an engine with the schema, a policy, and the stages."""
        topic_admin.apply(self.kafka, replication=1)
        (self.directory / "engine").mkdir()
        shutil.copytree(schema, self.directory / "engine" / "clickhouse", symlinks=True)
        self.clickhouse.start()
        self.data.mkdir()
        self.policy.write_text(policy, "utf-8")
        self.start()

    def start(self) -> None:
        """Combiner, correlator and archive; the archive has its partitions."""
        where = options(self.kafka)
        log = self.directory / "log"
        self._stages += [
            Process(andon("combine", *where), log, name="combine", ready="partitions assigned"),
            Process(
                andon("correlate", *where, "--data-dir", self.data / "correlate", "--policy-file", self.policy,
                      "--web-port", self.port, "--checkpoint-seconds", 0.3, "--heartbeat-seconds", 1),
                log, name="correlate",
            ),
        ]  # fmt: skip
        for stage in self._stages:
            stage.start(wait=False)
        self._stages.append(self.clickhouse.archive(self.kafka.bootstrap_servers, self.kafka.topic_prefix))
        until("the detector works", self._works)

    def _works(self) -> bool:
        for stage in self._stages:
            assert stage.is_running, stage.last_words()
        return bool(self.fleets())

    def kill(self) -> None:
        """All stages, and the engine, as a power cut would."""
        for stage in self._stages:
            stage.kill()
        self._stages.clear()
        self.clickhouse.stage.kill()

    def lose(self) -> None:
        """ClickHouse's directory, and every stage's, are gone; an empty engine stands in the place of the old one."""
        self.kill()
        shutil.rmtree(self.directory / "engine")
        shutil.rmtree(self.data)
        self.empty()

    def empty(self) -> None:
        """An engine without a schema."""
        (self.directory / "engine").mkdir(parents=True)
        self.clickhouse.start()

    # -- what it is given, and what it says

    def produce(self, events: Iterable[bytes]) -> None:
        """Acknowledged when this returns, and written down."""
        producer = Producer(producer_config(self.kafka, "test"))
        for event in events:
            producer.produce(self.kafka.topic_prefix + EVENTS.name, event, json.loads(event)["host"].encode())
            self.ledger.append(event)
        assert producer.flush(DEADLINE_SECONDS) == 0

    def put(self, topic: str, key: str, value: bytes) -> None:
        """One record, acknowledged."""
        producer = Producer(producer_config(self.kafka, "test"))
        producer.produce(self.kafka.topic_prefix + topic, value, key)
        assert producer.flush(DEADLINE_SECONDS) == 0

    def fleets(self) -> dict[str, Any]:
        """Of the detector's state, by name; empty while it is not ready."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/state", timeout=2) as answer:
                found = json.load(answer)
        except OSError:
            return {}
        return {"": None} | {each["fleet"]: each for each in found["fleets"]} if found["ready"] else {}

    def counted(self) -> dict[str, int]:
        """Events by fleet, as the detector has counted them."""
        return {name: each["events"] for name, each in self.fleets().items() if name}

    def saved(self) -> dict[str, int]:
        """The same as its changelog has it, from which a recovery begins."""
        table = {key or b"": value or b"" for key, value in self.records(CHANGELOG)}
        return {found.header.fleet: found.state.events for found in unpack(table) if found.state is not None}

    def written(self) -> dict[str, int]:
        """The same as the ledger has it."""
        found: dict[str, int] = {}
        for event in self.ledger:
            fleet = json.loads(event)["fleet"]
            found[fleet] = found.get(fleet, 0) + 1
        return found

    def wrong(self) -> dict[str, int]:
        """Wrong cells by table of ClickHouse, once all is stored; events that are missing or twice."""
        client = self.clickhouse.client()
        until_stored(client, "SELECT count() FROM events_once", len(self.ledger))
        wait_for(lambda: not self._differ(), DEADLINE_SECONDS)  # rows are seen a moment before their aggregates
        return self._differ()

    def _differ(self) -> dict[str, int]:
        client = self.clickhouse.client()
        events = [json.loads(event) for event in self.ledger]
        found = wrong_aggregates(events, client)
        rows = client.query("SELECT id FROM events_once ORDER BY id").result_rows
        found["events"] = int([row[0] for row in rows] != sorted(event["id"] for event in events))
        last: dict[tuple[str, str], int] = {}
        for event in events:
            place = event["fleet"], event["host"]
            last[place] = max(event["ts"], last.get(place, 0))
        sql = "SELECT fleet, host, toUnixTimestamp64Milli(last_seen) FROM hosts FINAL"
        found["hosts"] = int({(fleet, host): ts for fleet, host, ts in client.query(sql).result_rows} != last)
        return {table: count for table, count in found.items() if count}

    def records(self, topic: str) -> list[tuple[bytes | None, bytes | None]]:
        """Key and value of all that the topic holds."""
        with TopicReader(self.kafka, "test") as reader:
            reader.start(reader.held(self.kafka.topic_prefix + topic))
            read = [message for some in reader.to_end(DEADLINE_SECONDS) for message in some]
        return [(message.key(), message.value()) for message in read]  # type: ignore[misc]

    def halts(self) -> dict[str, Halt]:
        """The newest record of each key."""
        found: dict[str, Halt] = {}
        for _, value in self.records(HALTS.name):
            halt = decode_halt(value or b"")
            found[halt.key] = max(halt, found.get(halt.key, halt), key=lambda each: each.rank)
        return found

    def trusted(self) -> Any:
        """Whom readers of this line believe."""
        return load_trusted(self.data / "correlate" / "keys")

    # -- backups

    @property
    def where(self) -> list[str]:
        """Options that say where the line is."""
        return [
            *options(self.kafka), "--clickhouse-url", self.clickhouse.url,
            "--clickhouse-dir", str(self.directory / "engine" / "clickhouse" / "backups"),
        ]  # fmt: skip

    def create(self, vault: Vault) -> Any:
        """A backup; its manifest and what was new."""
        words = ["--data-dir", self.data / "correlate", "--policy-file", self.policy, "--json"]
        return json.loads(done(backup("create", *vault.making, *self.where, *words, password=self.clickhouse.password)))

    def restore(self, vault: Vault, *words: object, identity: Path | None = None) -> Result:
        """The newest backup, into this line."""
        mine = ["--identity", identity or vault.identity, "--json", *words]
        return backup("restore", *mine, *vault.words, *self.where, password=self.clickhouse.password)


def under(kafka: KafkaConfig, prefix: str) -> KafkaConfig:
    """The same brokers, other topics."""
    return msgspec.structs.replace(kafka, topic_prefix=prefix)
