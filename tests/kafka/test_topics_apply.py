"""`andon topics` on both brokers: what is missing is created, what differs is said and, asked for, altered."""

import pytest
from click.testing import CliRunner, Result
from support.brokers import AnyBroker

from pipeline.access.main import command
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.topic_admin import Difference, Found, TopicAdmin, apply, differences
from pipeline.wire.topics import ALL, EVENTS, PARTIALS

pytestmark = pytest.mark.service


def invoke(broker: AnyBroker, prefix: str, *words: str) -> Result:
    """Run `andon topics …`."""
    where = ["--bootstrap-servers", broker.bootstrap_servers, "--topic-prefix", prefix]
    return CliRunner().invoke(command, [*words, *where])


def test_apply_creates_everything_once(broker: AnyBroker) -> None:
    """The first run creates every topic, the second finds nothing to do."""
    first = invoke(broker, "once.", "apply")
    assert first.exit_code == 0, first.output
    assert [line.split()[1] for line in first.output.splitlines()[:-1]] == ["once." + topic.name for topic in ALL]
    second = invoke(broker, "once.", "apply")
    assert second.exit_code == 0
    assert second.output == f"{len(ALL)} topics are as they should be\n"


def test_dry_run_changes_nothing(broker: AnyBroker) -> None:
    """A dry run names what is missing, fails, and creates nothing."""
    for _ in range(2):
        result = invoke(broker, "dry.", "apply", "--dry-run")
        assert result.exit_code == 1
        assert f"differs  dry.{EVENTS.name}: missing" in result.output


def test_differences_are_said_and_fixed(broker: AnyBroker) -> None:
    """A wrong setting and too few partitions are named line by line; --fix alters both."""
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix="fix.")
    name = "fix." + EVENTS.name
    wrong = EVENTS._replace(partitions=2, config=EVENTS.config | {"retention.ms": "60000"})
    TopicAdmin(kafka).create(wrong, name, 1)
    said = invoke(broker, "fix.", "apply")
    assert said.exit_code == 1
    assert f"{name}: partitions is 2, should be {EVENTS.partitions}  (--fix alters it)" in said.output
    assert f"{name}: retention.ms is 60000, should be {EVENTS.config['retention.ms']}" in said.output
    fixed = invoke(broker, "fix.", "apply", "--fix")
    assert fixed.exit_code == 0, fixed.output
    assert TopicAdmin(kafka).find([name])[name].partitions == EVENTS.partitions


def test_too_few_replicas_are_told_and_not_fixed(broker: AnyBroker) -> None:
    """Asked for, replication is verified; nobody but the brokers' owner can raise it, so --fix does not help."""
    assert invoke(broker, "lone.", "apply", "--replication", "1").exit_code == 0
    for fix in ([], ["--fix"], ["--dry-run"]):
        said = invoke(broker, "lone.", "apply", "--replication", "3", *fix)
        assert said.exit_code == 1
        assert len(said.output.splitlines()) == len(ALL)
        assert f"differs  lone.{EVENTS.name}: a partition has 1 of 3 replicas; kafka-reassign" in said.output
        assert "--fix" not in said.output
    assert invoke(broker, "lone.", "apply").exit_code == 0


def test_creating_twice_is_no_error(broker: AnyBroker) -> None:
    """Two stacks that start at once may both create a topic."""
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix="twice.")
    admin = TopicAdmin(kafka)
    for _ in range(2):
        admin.create(PARTIALS, "twice." + PARTIALS.name, 1)
    assert ("twice." + PARTIALS.name) in admin.find(["twice." + PARTIALS.name])


def test_list_shows_definition_and_state(broker: AnyBroker) -> None:
    """`list` shows each topic with its purpose, and that it is missing."""
    result = invoke(broker, "none.", "list")
    assert result.exit_code == 0
    for topic in ALL:
        assert f"none.{topic.name}: {topic.purpose}" in result.output
    assert result.output.count("missing") == len(ALL)


def test_no_broker_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address where nothing listens ends in one sentence that names it."""
    monkeypatch.setattr("pipeline.runtime.topic_admin.CALL_SECONDS", 0.5)
    with pytest.raises(AndonError, match=r"no Kafka broker answers at 127\.0\.0\.1:1"):
        apply(KafkaConfig(bootstrap_servers="127.0.0.1:1"))


def test_more_partitions_or_replicas_are_no_difference() -> None:
    """An operator may have added partitions; fewer than defined are told, and cannot be taken away."""
    there = {EVENTS.name: Found(EVENTS.partitions + 4, 3, EVENTS.config)}
    assert differences([EVENTS], there) == differences([EVENTS], there, replication=2) == []
    assert not Difference("t", "partitions", "8", "4").fixable
