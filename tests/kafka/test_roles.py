"""Every role of deploy/acls.toml on an Apache Kafka with ACLs: what it may, and that all the rest is refused."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from support.secured import options
from support.waiting import DEADLINE_SECONDS, until

from pipeline.access.main import command
from pipeline.access.roles import Roles, parse, read_roles, rights_of
from pipeline.local.kafka.cluster import KafkaCluster
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.kafka import KafkaConfig, client_config, consumer_config, producer_config
from pipeline.wire import topics

FILE = Path(__file__).parents[2] / "deploy" / "acls.toml"
PREFIX = "roles."
ROLES = read_roles(FILE)
NAMES = [topic.name for topic in topics.ALL]


def apply(kafka: KafkaConfig, *words: str) -> Result:
    """`andon topics apply --acls …` under an account."""
    environ = {"ANDON_KAFKA_SASL_PASSWORD": kafka.sasl_password}
    where = ["apply", *options(kafka), "--topic-prefix", PREFIX, "--acls"]
    return CliRunner().invoke(command, [*where, *(words or [str(FILE)])], env=environ)


def own(roles: Roles) -> str:
    """The roles with users of this module's own, as a file."""
    text = FILE.read_text("utf-8")
    for role in roles.values():
        for user in role.users:
            text = text.replace(f'users = ["{user}"]', f'users = ["roles-{user}"]')
    return text


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its name."""
    path = tmp_path_factory.mktemp("roles") / "acls.toml"
    path.write_text(own(ROLES), "utf-8")
    return path


@pytest.fixture(scope="module")
def accounts(sasl_kafka: KafkaCluster, file: Path) -> dict[str, KafkaConfig]:
    """By role an account that has the file's rights, granted by the command."""
    done = apply(sasl_kafka.client_options(), str(file))
    assert done.exit_code == 0, done.output
    return {
        name: sasl_kafka.security.add_user(sasl_kafka.bootstrap_servers, role.users[0])
        for name, role in read_roles(file).items()
    }


def may_write(kafka: KafkaConfig) -> set[str]:
    """The topics that a record gets onto; from every other the account is turned away by name."""
    producer = Producer(producer_config(kafka, "test", **{"enable.idempotence": False}))
    outcomes: dict[str, KafkaError | None] = {}

    def told(error: KafkaError | None, message: Message) -> None:
        outcomes[(message.topic() or "").removeprefix(PREFIX)] = error

    for name in NAMES:
        producer.produce(PREFIX + name, b"x", b"k", on_delivery=told)
    assert producer.flush(DEADLINE_SECONDS) == 0
    refused = {name: error.code() for name, error in outcomes.items() if error is not None}
    assert set(refused.values()) <= {KafkaError.TOPIC_AUTHORIZATION_FAILED}, refused
    return outcomes.keys() - refused.keys()


def may_read(kafka: KafkaConfig, group: str) -> set[str]:
    """The topics whose end is reached; of every other the account is told that it may not."""
    consumer = Consumer(consumer_config(kafka, "test", group, "test") | {"enable.partition.eof": True})
    told = {name: consumer.list_topics(PREFIX + name, DEADLINE_SECONDS).topics[PREFIX + name].error for name in NAMES}
    hidden = {name for name, error in told.items() if error is not None}  # of which librdkafka says nothing later
    assert all(error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED for error in told.values() if error is not None)
    consumer.assign([TopicPartition(PREFIX + name, 0, OFFSET_BEGINNING) for name in NAMES if name not in hidden])
    seen = dict.fromkeys(hidden, False)

    def all_told() -> bool:
        message = consumer.poll(0.1)
        error = message.error() if message is not None else None
        if message is not None and error is not None and error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
            assert error.code() in (KafkaError._PARTITION_EOF, KafkaError.TOPIC_AUTHORIZATION_FAILED), error
            seen[(message.topic() or "").removeprefix(PREFIX)] = error.code() == KafkaError._PARTITION_EOF
        return seen.keys() >= set(NAMES)

    until("every topic was read or refused", all_told)
    consumer.close()
    return {name for name, is_read in seen.items() if is_read}


def allowed(role: str, operation: str) -> set[str]:
    """What the file says of a role."""
    rights = [right for right in rights_of(ROLES[role]) if (right.kind, right.operation) == ("topic", operation)]
    return {name for name in NAMES for right in rights if right.is_about(name)}


def test_each_role_does_its_work_and_nothing_else(accounts: dict[str, KafkaConfig]) -> None:
    """Every role writes to and reads from every topic: what the file allows it is done, all the rest refused."""
    groups = {"combine": "andon-combine", "correlate": "andon-correlate", "archive": "andon-archive"}
    groups |= {"subscriber": "rollout-1", "deadletter": "andon-deadletter"}

    def tried(role: str) -> tuple[set[str], set[str]]:
        return may_write(accounts[role]), may_read(accounts[role], PREFIX + groups.get(role, "andon-status"))

    with ThreadPoolExecutor(len(ROLES)) as pool:
        found = dict(zip(ROLES, pool.map(tried, ROLES), strict=True))
    assert found == {role: (allowed(role, "write"), allowed(role, "read")) for role in ROLES}


def test_who_commands_what() -> None:
    """The lines that people rely on, spelled out: halts are the correlator's alone, commands the operators', and what
    subscribers did theirs."""
    writers = {name: {role for role in ROLES if name in allowed(role, "write")} for name in NAMES}
    assert writers[topics.HALTS.name] == writers[topics.VERDICTS.name] == {"correlate"}
    assert writers[topics.COMMANDS.name] == {"operator"}
    assert writers[topics.HALT_ACKS.name] == {"subscriber"}
    assert writers[topics.PARTIALS.name] == {"combine", "deadletter"}
    assert "operator" not in {role for name in NAMES if name != topics.COMMANDS.name for role in writers[name]}


def test_a_second_time_finds_nothing_to_do(sasl_kafka: KafkaCluster, accounts: object, file: Path) -> None:
    """Nothing is granted, nothing said but that all is there."""
    again = apply(sasl_kafka.client_options(), str(file))
    assert again.exit_code == 0
    assert "granted" not in again.output
    assert f"{len(ROLES)} users have what {len(ROLES)} roles need" in again.output


def test_what_is_beyond_is_said_and_left(sasl_kafka: KafkaCluster, accounts: object, tmp_path: Path) -> None:
    """Another's right on a topic of ours, a wildcard, a denial to a user of ours: each in a line, and still there
    afterwards. What a dry run would grant is not granted."""
    admin = AdminClient(client_config(sasl_kafka.client_options(), "test"))
    others = [
        (ResourceType.TOPIC, PREFIX + topics.HALTS.name, "User:mallory", AclOperation.WRITE, AclPermissionType.ALLOW),
        (ResourceType.TOPIC, "*", "User:backup", AclOperation.READ, AclPermissionType.ALLOW),
        (ResourceType.GROUP, "else", "User:roles-andon-watch", AclOperation.READ, AclPermissionType.DENY),
        (ResourceType.TOPIC, "orders", "User:shop", AclOperation.READ, AclPermissionType.ALLOW),
    ]
    bindings = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, who, "*", what, how)
        for kind, name, who, what, how in others
    ]
    for made in admin.create_acls(bindings).values():
        made.result(DEADLINE_SECONDS)
    more = tmp_path / "acls.toml"
    more.write_text(
        own(ROLES).replace('write = ["fleet.halt-acks"]', 'write = ["fleet.halt-acks", "fleet.events"]'), "utf-8"
    )
    for _ in range(2):
        dry = apply(sasl_kafka.client_options(), str(more), "--dry-run")
        assert dry.exit_code == 1
        assert f"lacks    User:roles-rollout write topic {PREFIX}fleet.events" in dry.output.splitlines()
        said = [line for line in dry.output.splitlines() if line.startswith("beyond")]
        assert f"beyond   User:mallory write topic {PREFIX}fleet.halts; left as it is" in said
        assert "beyond   User:backup read topic *; left as it is" in said
        assert "beyond   User:roles-andon-watch is DENIED read group else; left as it is" in said
        assert not any("shop" in line for line in said)
    for binding in bindings:
        for gone in admin.delete_acls([binding_filter(binding)]).values():
            assert len(gone.result(DEADLINE_SECONDS)) == 1, "it was still there"


def binding_filter(binding: AclBinding) -> AclBindingFilter:
    """That finds this one alone."""
    parts = ("restype", "name", "resource_pattern_type", "principal", "host", "operation", "permission_type")
    return AclBindingFilter(*(getattr(binding, part) for part in parts))


def test_who_may_not_grant_is_told_so(accounts: dict[str, KafkaConfig], file: Path) -> None:
    """The account that makes topics is no administrator of rights."""
    with pytest.raises(AndonError, match="Describe and Alter on the cluster"):
        CliRunner().invoke(
            command,
            ["apply", *options(accounts["topics"]), "--topic-prefix", PREFIX, "--acls", str(file)],
            env={"ANDON_KAFKA_SASL_PASSWORD": accounts["topics"].sasl_password},
            catch_exceptions=False,
        )


def test_a_cluster_that_asks_nobody_is_named(kafka: KafkaCluster) -> None:
    """Without an authorizer rights hold nobody back: an error, not a success."""
    with pytest.raises(AndonError, match="has no authorizer"):
        CliRunner().invoke(
            command,
            ["apply", "--bootstrap-servers", kafka.bootstrap_servers, "--topic-prefix", PREFIX, "--acls", str(FILE)],
            catch_exceptions=False,
        )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[x]\npurpose = ''\nusers = []", "has no users"),
        ("[x]\npurpose = ''\nusers = ['a']\ntopics = { read = ['fleet.halt'] }", r"no such topic.*fleet\.halts"),
        ("[x]\npurpose = ''\nusers = ['a']\ntopics = { reed = ['fleet.halts'] }", "reed"),
        ("[x]\nuser = ['a']", "user"),
        ("x", "acls.toml"),
    ],
)
def test_a_file_that_is_wrong_says_where(text: str, words: str) -> None:
    """A role without users, a topic, an operation or a key that there is not, no TOML at all."""
    with pytest.raises(ConfigError, match=words):
        parse(text, "acls.toml")
