"""What tests of secured clusters share: rights, and stages as processes under their accounts."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pipeline.access import acls
from pipeline.access.roles import Grant
from pipeline.local.machine.process import Process, andon
from pipeline.runtime.kafka import KafkaConfig


def grant(admin_options: KafkaConfig, wanted: Iterable[Grant]) -> None:
    """Give these rights."""
    assert acls.apply(admin_options, list(wanted)).lacking == []


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
