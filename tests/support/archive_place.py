"""An archive between a broker and a ClickHouse, and whether everything that was produced is there, once."""

import json
import re
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, ClassVar

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.bench.combine_load import EventLoad, messages
from pipeline.local.clickhouse.accounts import WRITER
from pipeline.local.machine.process import Process, andon
from pipeline.runtime import topic_admin
from pipeline.runtime.kafka import KafkaConfig, client_config, consumer_config, producer_config
from pipeline.wire.decode import decode_event
from pipeline.wire.topics import EVENTS
from support.brokers import AnyBroker
from support.clickhouse import until_stored
from support.engines import Database
from support.waiting import DEADLINE_SECONDS, until

NOW = 1_795_000_000_000
QUICK = {"batch_ms": 50, "batch_rows": 1000}


class Place:
    """A broker with the topics, a database with the schema, and what was produced.

    The archive comes as the user who may only insert, and that in the database "andon" alone: elsewhere as the owner.
    """

    started: ClassVar[list[Process]] = []  # by any of them; tests/archive/conftest.py ends them

    def __init__(self, broker: AnyBroker, database: Database, directory: Path, prefix: str = "") -> None:
        self.kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix=prefix)
        topic_admin.apply(self.kafka, replication=1)
        self.events_topic = prefix + EVENTS.name
        self.endpoint, self.client = database.endpoint, database.client()
        self._log, self._database = directory / "archive.log", database.name
        is_own = database.name == database.endpoint.server.database
        self._user = WRITER if is_own else database.endpoint.server.user
        self.password = database.endpoint.write_password if is_own else database.endpoint.password
        self.producer = Producer(producer_config(self.kafka, "test"))
        self.events: list[bytes] = []
        self.metrics_port = 0  # of an archive; none unless set

    def produce(self, count: int, seed: int) -> None:
        """Events onto the topic, one in a hundred followed by one that is none."""
        for number, (key, event) in enumerate(messages(EventLoad(count, 5000, 30, 600.0, NOW, seed))):
            self.producer.produce(self.events_topic, event, key)
            self.events.append(event)
            if number % 100 == 0:
                self.producer.produce(self.events_topic, b"{" + event[:20], key)
        assert self.producer.flush(DEADLINE_SECONDS) == 0

    def make_anew(self) -> None:
        """The topic of the events is another of that name."""
        admin = AdminClient(client_config(self.kafka, "test"))
        admin.delete_topics([self.events_topic])[self.events_topic].result(DEADLINE_SECONDS)
        until("it is gone", lambda: self.events_topic not in admin.list_topics(timeout=DEADLINE_SECONDS).topics)
        topic_admin.apply(self.kafka, replication=1)
        self.producer = Producer(producer_config(self.kafka, "test"))  # the old one is out of sequence

    def health(self) -> tuple[int, Any]:
        """Status and JSON of the archive's `/readyz`; status 0 when nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/readyz", timeout=2) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, None

    def lagging(self) -> set[int]:
        """Partitions of the events that the archive shows its lag of."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=2) as answer:
            shown = answer.read().decode()
        pattern = rf'andon_lag_messages\{{partition="(\d+)",stage="archive",topic="{EVENTS.name}"\}}'
        return {int(number) for number in re.findall(pattern, shown)}

    def archive(self, **options: int | str) -> Process:
        """An archive with small batches, so that much can go wrong; it has its partitions when this returns."""
        given = {
            "bootstrap_servers": self.kafka.bootstrap_servers,
            "topic_prefix": self.kafka.topic_prefix,
            "clickhouse_url": self.endpoint.server.url,
            "clickhouse_user": self._user,
            "database": self._database,
            "metrics_port": self.metrics_port,
        }
        words = [
            word for key, each in (given | QUICK | options).items() for word in ("--" + key.replace("_", "-"), each)
        ]
        environ = {"ANDON_CLICKHOUSE_PASSWORD": self.password}
        archive = Process(andon("archive", *words), self._log, environ, ready=f"topic={self.events_topic}")
        self.started.append(archive)
        return archive.start()

    def all_there(self) -> None:
        """Every produced event is in the table, once, and in every aggregate."""
        client = self.client
        until_stored(client, "SELECT count() FROM events", len(self.events))
        self.settled()
        events = [decode_event(raw) for raw in self.events]
        stored = Counter(row[0] for row in client.query("SELECT id FROM events").result_rows)
        assert stored == Counter(event.id for event in events)
        crashes = [event for event in events if event.__class__.__name__ == "Crash"]
        totals = "uniqExactMerge(crashes), uniqExactMerge(crashed_hosts), uniqCombinedMerge(hosts)"
        hosts = len({event.host for event in events})
        for table in ("stratum_minutes", "stratum_hours", "stratum_days"):
            found = client.query(f"SELECT {totals} FROM {table}").first_row
            assert found[:2] == (len(crashes), len({event.host for event in crashes}))
            assert found[2] == pytest.approx(hosts, rel=0.01)
        assert client.command("SELECT sum(events) FROM strata_by_minute") == len(events)
        assert client.command("SELECT count() FROM hosts FINAL") == hosts
        assert client.command("SELECT count() FROM crashes FINAL") == len(crashes)
        listed: dict[str, set[str]] = defaultdict(set)
        crashed = Counter[str]()
        for event in events:
            for update in event.updates:
                listed[update.version].add(event.host)
        for event in crashes:
            crashed.update({update.version for update in event.updates})
        for table in ("update_minutes", "update_hours", "update_days"):
            found = client.query(f"SELECT version, uniqExactMerge(crashes) FROM {table} GROUP BY version")
            assert Counter(dict(found.result_rows)) == crashed
        found = client.query("SELECT version, hosts FROM crash_rate_by_update")
        assert dict(found.result_rows) == pytest.approx({name: len(hosts) for name, hosts in listed.items()}, rel=0.01)

    def settled(self) -> None:
        """Wait until nothing is under way: rows are seen in `events` a moment before they are in its aggregates."""
        until("nothing is under way", lambda: not self.promised())

    def promised(self) -> bool:
        """Whether a batch of events is under way, as the broker knows."""
        return any(partition.metadata for partition in self.committed())

    def committed(self) -> list[TopicPartition]:
        """What the archive's group has committed for the events."""
        reader = Consumer(consumer_config(self.kafka, "test", "andon-archive", "test"))
        wanted = [TopicPartition(self.events_topic, number) for number in range(EVENTS.partitions)]
        found = reader.committed(wanted, timeout=DEADLINE_SECONDS)
        reader.close()
        return list(found)
