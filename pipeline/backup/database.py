"""ClickHouse's own BACKUP and RESTORE, over a disk that both the server and this command reach."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from consumers.clickhouse.connect import ClickHouseConfig, connect
from pipeline.backup.config import BackupConfig
from pipeline.backup.packed import files_under
from pipeline.runtime.errors import AndonError, ConfigError

LONG_SECONDS = 6 * 3600
# Each part whole in its own folder: a part that the next backup has as well is then known again.
SETTINGS = "SETTINGS deduplicate_files = 0"
DATA = "data"
SCHEMA = "schema"


class Part(NamedTuple):
    """What becomes one piece: files of a backup's folder, each with its name in the piece. `name` "schema": all that is
    in no part."""

    name: str
    files: list[tuple[str, Path]]


class Database:
    """The database of a server, as whoever may BACKUP it."""

    def __init__(self, config: ClickHouseConfig, backup: BackupConfig) -> None:
        if config.cluster:
            raise ConfigError("clickhouse.cluster: of a cluster each shard is backed up by itself, with cluster = ''")
        self.name = config.database
        self._config, self._disk, self._dir = config, backup.clickhouse_disk, backup.disk()

    def folder(self, name: str) -> Path:
        """Where a backup of this name is, or is to be put."""
        return self._dir / name

    def back_up(self, name: str) -> Path:
        """All tables and views as they are at one moment; the folder that holds them.

        Raises:
            AndonError: when the server refuses, or what it wrote is not where this command looks.
        """
        self._run(f"BACKUP DATABASE `{self.name}` TO Disk('{self._disk}', '{name}') {SETTINGS}")
        folder = self.folder(name)
        if not (folder / ".backup").is_file():
            raise AndonError(
                f"ClickHouse has written its backup, and {folder} does not hold it: backup.clickhouse_dir has to be "
                f"the directory of the server's disk {self._disk!r}, readable by this user"
            )
        return folder

    def is_used(self) -> bool:
        """Whether there is such a database, and it holds anything."""
        sql = "SELECT count() FROM system.tables WHERE database = {name:String}"
        return bool(int(self._run(sql)))

    def restore(self, name: str) -> None:
        """From that folder of the disk. What a restore that fails has begun is dropped again.

        Raises:
            AndonError: when the server refuses.
        """
        there = bool(int(self._run("SELECT count() FROM system.databases WHERE name = {name:String}")))
        try:
            self._run(f"RESTORE DATABASE `{self.name}` FROM Disk('{self._disk}', '{name}')")
        except AndonError:
            if not there:
                self.drop()
            raise

    def drop(self) -> None:
        """Of a restore that came to nothing."""
        self._run(f"DROP DATABASE IF EXISTS `{self.name}` SYNC SETTINGS max_table_size_to_drop = 0")

    def clear(self, name: str) -> None:
        """The folder is needed no more."""
        shutil.rmtree(self.folder(name), ignore_errors=True)

    def _run(self, sql: str) -> str:
        from clickhouse_connect.driver.exceptions import Error  # here: help does not wait for it

        try:
            with connect(self._config, timeout_seconds=LONG_SECONDS) as client:
                settings = {"max_execution_time": 0}
                return str(client.command(sql, parameters={"name": self.name}, settings=settings))
        except (Error, OSError) as error:
            raise AndonError(f"ClickHouse at {self._config.url}: {str(error).strip()[:600]}") from None


def parts_of(folder: Path) -> Iterator[Part]:
    """The parts of a backup's folder, and first of all what is in none."""
    by_part: dict[str, list[str]] = {}
    for name in files_under(folder):
        words = name.split("/")
        is_of_part = words[0] == DATA and len(words) > 4  # data/DATABASE/TABLE/PART/file
        by_part.setdefault("/".join(words[:4]) if is_of_part else SCHEMA, []).append(name)
    for part, names in sorted(by_part.items(), key=lambda item: item[0] != SCHEMA):
        within = "" if part == SCHEMA else f"{part}/"
        yield Part(part, [(name.removeprefix(within), folder / name) for name in names])


def rows_of(folder: Path) -> dict[str, int]:
    """By table, as its parts count them."""
    rows = Counter[str]()
    for path in (folder / DATA).glob("*/*/*/count.txt"):
        rows[path.parents[1].name] += int(path.read_text("ascii"))
    return dict(rows)
