"""Makes a cluster's topics what `pipeline.wire.topics` says, and says one by one where they differ."""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, client_config
from pipeline.runtime.kafka_log import Errors, meaning
from pipeline.runtime.metadata import CALL_SECONDS as ANSWER_SECONDS
from pipeline.runtime.metadata import list_topics
from pipeline.runtime.waiting import Deadline
from pipeline.wire.topics import ALL, Topic

CALL_SECONDS = 15.0
LOOK_SECONDS = 0.1


class Found(NamedTuple):
    """A topic as the cluster has it."""

    partitions: int
    replicas: int
    config: Mapping[str, str]


class Difference(NamedTuple):
    """One thing that is not as it should be; `key` is "" for a missing topic, "partitions", "replicas", or a topic
    setting."""

    topic: str
    key: str
    found: str
    wanted: str

    @property
    def fixable(self) -> bool:
        """Whether Kafka can change it in place: partitions can be added, never taken away. Which brokers are to hold a
        replica is for whoever runs them to say."""
        if self.key == "replicas":
            return False
        return self.key != "partitions" or int(self.found) < int(self.wanted)

    @property
    def is_choice(self) -> bool:
        """Fewer bytes kept than defined: the disk's owner decides that, as the local line does for a small machine.
        It breaks nothing, and is not lifted: the disk may not hold what is defined."""
        return self.key == "retention.bytes" and 0 < int(self.found or 0) < int(self.wanted)

    def __str__(self) -> str:
        if not self.key:
            return f"{self.topic}: missing"
        if self.is_choice:
            return f"{self.topic}: {self.key} is {self.found}, below the {self.wanted} that are defined"
        if self.key == "replicas":
            how = "kafka-reassign-partitions.sh adds the others, and says on which brokers"
            return f"{self.topic}: a partition has {self.found} of {self.wanted} replicas; {how}"
        return f"{self.topic}: {self.key} is {self.found or 'unset'}, should be {self.wanted}"


def differences(
    topics: Iterable[Topic], found: Mapping[str, Found], prefix: str = "", replication: int = -1
) -> list[Difference]:
    """Where the cluster is not as the definitions say, or a partition has fewer than `replication` replicas. More
    partitions or replicas are someone's choice, and fine."""
    result: list[Difference] = []
    for topic in topics:
        name = prefix + topic.name
        if name not in found:
            result.append(Difference(name, "", "", ""))
            continue
        there = found[name]
        if there.partitions < topic.partitions:
            result.append(Difference(name, "partitions", str(there.partitions), str(topic.partitions)))
        if there.replicas < replication:
            result.append(Difference(name, "replicas", str(there.replicas), str(replication)))
        result += [
            Difference(name, key, there.config.get(key, ""), wanted)
            for key, wanted in topic.config.items()
            if there.config.get(key) != wanted
        ]
    return result


class TopicAdmin:
    """The cluster's topics. Every call is bounded in time; AndonError says what failed."""

    def __init__(self, kafka: KafkaConfig) -> None:
        self._kafka, self._errors = kafka, Errors()
        self._admin = AdminClient(client_config(kafka, "andon-topics") | self._errors.settings)

    def find(self, names: Iterable[str], created: Iterable[str] = ()) -> dict[str, Found]:
        """Those of the topics that exist. The brokers learn one after another of those that were just `created`."""
        wanted, fresh = list(names), set(created)
        deadline = Deadline(CALL_SECONDS)
        while not fresh <= (found := self._find(wanted)).keys() and not deadline.has_passed:
            time.sleep(LOOK_SECONDS)
        return found

    def _find(self, names: Iterable[str]) -> dict[str, Found]:
        known = list_topics(self._admin, self._errors, self._kafka, ANSWER_SECONDS)
        there = [name for name in names if name in known and known[name].error is None]
        resources = {name: ConfigResource(ResourceType.TOPIC, name) for name in there}
        configs = self._admin.describe_configs(list(resources.values()), request_timeout=CALL_SECONDS) if there else {}
        result = {}
        for name, resource in resources.items():
            entries = _outcome(configs[resource], f"describe {name}", accept=KafkaError.UNKNOWN_TOPIC_OR_PART)
            if entries is None:
                continue  # another broker knows it, this one not yet
            partitions = known[name].partitions
            replicas = min((len(each.replicas) for each in partitions.values()), default=0)
            result[name] = Found(len(partitions), replicas, {key: entry.value or "" for key, entry in entries.items()})
        return result

    def create(self, topic: Topic, name: str, replication: int) -> None:
        """Create; that somebody else was faster is no error."""
        new = NewTopic(name, topic.partitions, replication, config=dict(topic.config))
        future = self._admin.create_topics([new], operation_timeout=CALL_SECONDS, request_timeout=CALL_SECONDS)[name]
        _outcome(future, f"create {name}", accept=KafkaError.TOPIC_ALREADY_EXISTS)

    def fix(self, difference: Difference) -> None:
        """Change one setting, or add partitions."""
        what = f"alter {difference.topic}: {difference.key}"
        if difference.key == "partitions":
            more = NewPartitions(difference.topic, int(difference.wanted))
            _outcome(self._admin.create_partitions([more], request_timeout=CALL_SECONDS)[difference.topic], what)
            return
        entry = ConfigEntry(difference.key, difference.wanted, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, difference.topic, incremental_configs=[entry])
        altered = self._admin.incremental_alter_configs([resource], request_timeout=CALL_SECONDS)
        _outcome(altered[resource], what)


def _outcome(future: "Future[Any]", what: str, accept: int | None = None) -> Any:
    try:
        return future.result(CALL_SECONDS)
    except KafkaException as exception:
        error = exception.args[0]
        if error.code() != accept:
            raise AndonError(f"cannot {what}: {meaning(error)}") from None
    except TimeoutError:
        raise AndonError(f"cannot {what}: no answer within {CALL_SECONDS:.0f} s") from None


class Applied(NamedTuple):
    """What `apply` did, what is still different, and what is smaller by choice."""

    created: list[str]
    fixed: list[Difference]
    remaining: list[Difference]
    chosen: list[Difference]


def apply(kafka: KafkaConfig, *, replication: int = -1, fix: bool = False, dry_run: bool = False) -> Applied:
    """Create what is missing, alter what differs if `fix`; `replication` -1 is the cluster's default, and not verified.

    Raises:
        AndonError: when the cluster cannot be reached or refuses.
    """
    admin = TopicAdmin(kafka)
    names = {kafka.topic_prefix + topic.name: topic for topic in ALL}
    before = differences(ALL, admin.find(names), kafka.topic_prefix, replication)
    if dry_run:
        return _applied([], [], before)
    created = [difference.topic for difference in before if not difference.key]
    for name in created:
        admin.create(names[name], name, replication)
    fixed = [
        difference
        for difference in before
        if fix and difference.key and difference.fixable and not difference.is_choice
    ]
    for difference in fixed:
        admin.fix(difference)
    changed, deadline = {(each.topic, each.key) for each in fixed}, Deadline(CALL_SECONDS)
    while True:  # the brokers learn one after another of what was altered, too
        after = differences(ALL, admin.find(names, created), kafka.topic_prefix, replication)
        if deadline.has_passed or changed.isdisjoint((each.topic, each.key) for each in after):
            return _applied(created, fixed, after)
        time.sleep(LOOK_SECONDS)


def _applied(created: list[str], fixed: list[Difference], after: list[Difference]) -> Applied:
    chosen = [difference for difference in after if difference.is_choice]
    return Applied(created, fixed, [difference for difference in after if not difference.is_choice], chosen)
