"""`andon backup restore`."""

from pathlib import Path

import click

from consumers.clickhouse.connect import ClickHouseConfig
from pipeline.backup.config import BackupConfig, trusted_keys
from pipeline.backup.report import KafkaFate, lines
from pipeline.backup.verifying import identity_option
from pipeline.correlate.config import CorrelateConfig
from pipeline.halt.trust import TrustConfig
from pipeline.runtime.config import configured
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.say import say, say_json

UNUSED = ("recipients", "key_file", "paths", "keep_daily", "keep_weekly", "cluster", "timeout_seconds")
OF_CORRELATE = (
    "slot", "data_dir", "policy_file", "web_host", "web_port", "web_names", "checkpoint_seconds", "heartbeat_seconds",
)  # fmt: skip


@click.command("restore")
@click.argument("backup_id", metavar="ID", default="latest")
@identity_option
@click.option(
    "--kafka",
    "fate",
    type=click.Choice(["survived", "lost"]),
    required=True,
    help="Whether Kafka has what it had, or a new one is to be filled.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/"),
    show_default=True,
    help="Put before the paths of files.",
)
@click.option(
    "--replication", type=int, default=-1, help="Of topics that are made; the cluster's default unless given."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@configured(
    ("backup", BackupConfig),
    ("clickhouse", ClickHouseConfig),
    ("kafka", KafkaConfig),
    ("correlate", CorrelateConfig),
    ("trust", TrustConfig),
    unused=(*UNUSED, *OF_CORRELATE),
)
def command(
    backup_id: str,
    identity: Path | None,
    fate: KafkaFate,
    root: Path,
    replication: int,
    as_json: bool,
    backup: BackupConfig,
    clickhouse: ClickHouseConfig,
    kafka: KafkaConfig,
    correlate: CorrelateConfig,
    trust: TrustConfig,
) -> None:
    """Bring backup ID (the latest) back, with every stage stopped: ClickHouse's database, files, and what Kafka needs.

    All of it is read, unsealed and looked at before anything is touched, and nothing is written over: not a table, not
    a file, not a topic. What a step that fails has begun is taken back.
    """
    from pipeline.backup.asked import Asked, restored  # here: help does not wait for it

    if identity is None:
        raise ConfigError("--identity is missing: the file with the secret key of age that this backup is sealed to")
    lifetime_ms = int(correlate.halt_lifetime_seconds * 1000)
    asked = Asked(backup, clickhouse, kafka, trusted_keys(trust), identity, root.absolute(), lifetime_ms, replication)
    report = restored(asked, backup_id, fate)
    if as_json:
        say_json(report)
        return
    for line in lines(report):
        say(line)
    say("start the stages: the archive catches up, and `andon doctor` and `andon audit verify` say whether all is well")
