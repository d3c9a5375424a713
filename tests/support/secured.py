"""What tests of secured clusters share: the grants of deploy/README.md, stages as processes under their accounts."""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from pipeline.local.machine.process import Process, andon
from pipeline.runtime.kafka import KafkaConfig, client_config

PAGE = Path(__file__).parents[2] / "deploy" / "README.md"
KINDS = {
    "--topic": ResourceType.TOPIC,
    "--group": ResourceType.GROUP,
    "--transactional-id": ResourceType.TRANSACTIONAL_ID,
}
PATTERNS = {"literal": ResourcePatternType.LITERAL, "prefixed": ResourcePatternType.PREFIXED}


def grant_lines() -> list[str]:
    """The kafka-acls commands of deploy/README.md, without the part that is the same in all."""
    return re.findall(r"^\$acl (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)


def bindings(line: str) -> list[AclBinding]:
    """What one such command grants."""
    words = shlex.split(line)
    given: dict[str, list[str]] = {}
    for option, word in zip(words[::2], words[1::2], strict=True):
        given.setdefault(option, []).append(word)
    (principal,) = given.pop("--allow-principal")
    operations = given.pop("--operation")
    (pattern,) = given.pop("--resource-pattern-type", ["literal"])
    assert given.keys() <= KINDS.keys(), line
    return [
        AclBinding(
            KINDS[option],
            name,
            PATTERNS[pattern],
            principal,
            "*",
            AclOperation[re.sub(r"(?<=[a-z])([A-Z])", r"_\1", operation).upper()],
            AclPermissionType.ALLOW,
        )
        for option, names in given.items()
        for name in names
        for operation in operations
    ]


def principals() -> set[str]:
    """The accounts that deploy/README.md names."""
    return {name for line in grant_lines() for name in re.findall(r"User:(\S+)", line)}


def grant(admin_options: KafkaConfig, *lines: str) -> None:
    """Run such commands."""
    wanted = [binding for line in lines for binding in bindings(line)]
    admin = AdminClient(client_config(admin_options, "test"))
    for future in admin.create_acls(wanted).values():
        future.result(15)


def options(kafka: KafkaConfig) -> list[str]:
    """The command line options of a `[kafka]` section; its password goes into the environment."""
    changed = {key: value for key, value in msgspec.structs.asdict(kafka).items() if key != "sasl_password" and value}
    return [word for key, value in changed.items() for word in ("--" + key.replace("_", "-"), str(value))]


def alive(process: Process) -> bool:
    """Raises AssertionError with its last words when it has ended."""
    assert process.is_running, process.last_words()
    return True


def start(kafka: KafkaConfig, log: Path, *words: str, **environ: str) -> Process:
    """`andon WORDS` in a process, its log in a file."""
    password = {"ANDON_KAFKA_SASL_PASSWORD": kafka.sasl_password}
    return Process(andon(*words, *options(kafka)), log, password | environ).start()


@contextmanager
def stage(kafka: KafkaConfig, log: Path, *words: str, **environ: str) -> Iterator[Process]:
    """Runs inside the block, and must end well at its end."""
    with start(kafka, log, *words, **environ) as process:
        yield process
        assert process.stop() == 0, process.last_words()
