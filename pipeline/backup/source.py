"""What a backup is made of, as it is configured."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from consumers.clickhouse.connect import ClickHouseConfig
from pipeline.backup.config import BackupConfig
from pipeline.backup.database import Database
from pipeline.backup.packed import files_under
from pipeline.backup.sealed import recipients_of
from pipeline.backup.topics import Logs
from pipeline.runtime.kafka import KafkaConfig


class Source(NamedTuple):
    """What is backed up, and to whom it is sealed: `recipients` as their texts, and as what seals."""

    database: Database
    logs: Logs
    files: list[tuple[str, Path]]
    keys_dir: Path
    recipients: tuple[str, ...]
    sealing: list[Any]


@contextmanager
def source_of(
    backup: BackupConfig,
    clickhouse: ClickHouseConfig,
    kafka: KafkaConfig,
    keys_dir: Path,
    kept: Sequence[Path],
    recipients: Sequence[str],
) -> Iterator[Source]:
    """What is configured. Raises ConfigError for what can be known to be wrong."""
    sealing, database = recipients_of(recipients), Database(clickhouse, backup)
    with closing(Logs(kafka)) as logs:
        yield Source(database, logs, list(files_of(kept)), keys_dir, tuple(recipients), sealing)


def files_of(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Every file of these, by the name that it has in a piece: its path from the root."""
    for path in paths:
        found = [path / name for name in files_under(path)] if path.is_dir() else [path]
        yield from ((str(each).lstrip("/"), each) for each in found)
