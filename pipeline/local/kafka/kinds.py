"""The broker of a local line: the embedded one, or one Apache Kafka. A data directory belongs to one of them for good,
for offsets that one kind gave out would mean other records, or none, to the other."""

from pathlib import Path
from typing import Literal

from pipeline.local.kafka import embedded as broker
from pipeline.local.kafka.classes import prepared_jars
from pipeline.local.kafka.node import command_line, configure, format_storage
from pipeline.local.kafka.properties import Node
from pipeline.local.kafka.security import Open, Sasl, Security
from pipeline.local.machine.files import write_private
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.say import say

BrokerKind = Literal["embedded", "kafka"]
KIND_FILE = "kind"
ACCOUNT = "andon"  # of the line and whoever belongs to it


def security_of(kind: BrokerKind, password_file: Path) -> Security:
    """Apache Kafka lets nobody in without this password; the embedded broker cannot ask for one."""
    return Sasl(ACCOUNT, password_file.read_text("ascii").strip()) if kind == "kafka" else Open()


def prepare(
    kind: BrokerKind, folder: Path, port: int, controller_port: int, security: Security | None = None
) -> list[str]:
    """The command that runs the broker in the foreground; what it needs is there afterwards. The first time on a
    machine this fetches Apache Kafka.

    Raises:
        ConfigError: when the folder belongs to the other kind.
        AndonError: naming what is missing to run it.
    """
    if kind == "embedded":
        _claim(folder, kind)
        return broker.command_line(folder, port)
    jars = prepared_jars(lambda words: say(f"andon: {words}", err=True))
    _claim(folder, kind)
    node = Node(1, port, controller_port, folder / "kafka", port)
    configure(node, [node], security or Open(), {})
    format_storage(jars, [node])
    return command_line(jars, node)


def _claim(folder: Path, kind: BrokerKind) -> None:
    mark = folder / KIND_FILE
    is_new = not mark.exists() and not any(folder.iterdir())
    if is_new:
        write_private(mark, kind + "\n")
        return
    owner = mark.read_text("ascii").strip() if mark.exists() else "embedded"  # before there was a choice
    if owner != kind:
        raise ConfigError(
            f"up.broker = {kind!r}: {folder.parent} holds a line whose broker is {owner!r}; "
            "name another --data-dir, or remove this one"
        )
