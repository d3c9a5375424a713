"""What tests of secured clusters share: rights, and stages as processes under their accounts. As a program it writes
the roles of deploy/acls.toml into deploy/README.md."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pipeline.access import acls
from pipeline.access.roles import Grant, Names, read_roles
from pipeline.local.machine.process import Process, andon
from pipeline.runtime.kafka import KafkaConfig

ROOT = Path(__file__).parents[2]
PAGE, DATA = ROOT / "deploy" / "README.md", ROOT / "deploy" / "acls.toml"
BEGIN, END = "<!-- roles: begin -->\n", "<!-- roles: end -->\n"


def roles_table() -> str:
    """A row for each role."""
    rows = ["| role | user | topics | groups and transactional ids | for |", "|---|---|---|---|---|"]
    for name, role in read_roles(DATA).items():
        others = "; ".join(filter(None, (cell(role.groups), cell(role.transactional_ids))))
        users = ", ".join(f"`{user}`" for user in role.users)
        rows.append(f"| `{name}` | {users} | {cell(role.topics)} | {others} | {role.purpose} |")
    return "\n".join(rows) + "\n"


def cell(names: Names) -> str:
    """By operation, what it is allowed on; operations on the same names together."""
    by_names: dict[tuple[str, ...], list[str]] = {}
    for operation, given in names.items():
        by_names.setdefault(given, []).append(operation.replace("_", " "))
    return "; ".join(
        f"{', '.join(does)}: {' '.join(f'`{name}`' for name in given)}" for given, does in by_names.items()
    )


def roles_shown() -> str:
    """What deploy/README.md has between its two marks."""
    return PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]


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


if __name__ == "__main__":
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + roles_table() + END + rest.partition(END)[2], "utf-8")
