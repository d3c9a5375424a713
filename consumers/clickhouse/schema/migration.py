"""The schema as numbered SQL files, and what a database says it has of them. Pure, but for reading the files."""

import hashlib
import re
from importlib import resources
from typing import NamedTuple

from pipeline.runtime.errors import AndonError

STATUS_TABLE = "schema_migrations"
OBJECTS_TABLE = "schema_objects"

# One row per step done; the newest of a number is where it stands.
CREATE_STATUS = f"""
CREATE TABLE {STATUS_TABLE}
(
    number UInt32,
    name String,
    checksum FixedString(64),
    steps_done UInt32,
    steps UInt32,
    at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(steps_done) ORDER BY number
COMMENT 'internal: how far the schema has been migrated; doctor and migrate --status read it'
"""

# What every table and view was once this migration and all before it had been applied; the newest of a name counts.
CREATE_OBJECTS = f"""
CREATE TABLE {OBJECTS_TABLE}
(
    migration UInt32,
    name String,
    statement String,
    at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(at) ORDER BY (migration, name)
COMMENT 'internal: what each table and view was when it was made; doctor and migrate --status read it'
"""

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_CREATES = re.compile(r"CREATE (?:TABLE|VIEW|MATERIALIZED VIEW|DICTIONARY) (\w+)")
_DROPS = re.compile(r"DROP (?:TABLE|VIEW) (\w+)")
_DROPS_COLUMN = re.compile(r"ALTER TABLE .* DROP COLUMN (\w+)")
_ADDS_COLUMN = re.compile(r"ALTER TABLE .* ADD COLUMN (\w+)")
_BACKFILL = re.compile(r"BACKFILL (\w+)(?: FROM (\w+))?")  # the one step that is no SQL
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)
_TEXT = r"'(?:[^'\\]|\\.|'')*'"
_ONLY_COMMENTS = re.compile(
    rf"ALTER (?:TABLE|VIEW) \w+\s+(?:(?:MODIFY COMMENT|COMMENT COLUMN [`\w.]+)\s+{_TEXT}(?:,\s*|\Z))+", re.DOTALL
)


class MigrationError(AndonError):
    """The schema of the database is not one that this version can go on from."""


class Migration(NamedTuple):
    """One file: its steps are statements, each ended by ";" at the end of a line."""

    number: int
    name: str
    checksum: str
    steps: tuple[str, ...]


class Backfill(NamedTuple):
    """A table that is filled: from the raw events, or from another table, the columns that both have."""

    table: str
    source: str | None


class Applied(NamedTuple):
    """What the database says of a migration."""

    number: int
    name: str
    checksum: str
    steps_done: int
    steps: int


def parse(file_name: str, text: str) -> Migration:
    """Raises MigrationError for a file that is not named NNNN_name.sql or holds nothing."""
    found = _FILE.fullmatch(file_name)
    steps = tuple(
        filter(None, (step.strip() for step in re.split(r";\s*$", _COMMENT.sub("", text), flags=re.MULTILINE)))
    )
    if found is None or not steps:
        raise MigrationError(f"{file_name}: a migration is named NNNN_name.sql and holds statements")
    return Migration(int(found[1]), found[2], hashlib.sha256(text.encode()).hexdigest(), steps)


def shipped() -> list[Migration]:
    """The migrations of this version, in order.

    Raises:
        MigrationError: when numbers are missing or used twice.
    """
    files = resources.files("consumers.clickhouse.schema").joinpath("migrations").iterdir()
    found = sorted(parse(file.name, file.read_text("utf-8")) for file in files if file.name.endswith(".sql"))
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise MigrationError(f"migrations are not numbered 1 to {len(found)}: {[m.number for m in found]}")
    return found


def created(step: str) -> str | None:
    """The name of what a step creates."""
    match = _CREATES.match(step)
    return match[1] if match else None


def dropped(step: str) -> str | None:
    """The name of what a step drops."""
    match = _DROPS.match(step)
    return match[1] if match else None


def dropped_column(step: str) -> str | None:
    """The name of the column that a step drops."""
    match = _DROPS_COLUMN.match(step)
    return match[1] if match else None


def added_column(step: str) -> str | None:
    """The name of the column that a step adds."""
    match = _ADDS_COLUMN.match(step)
    return match[1] if match else None


def only_comments(step: str) -> bool:
    """Whether it changes nothing but what tables, views and columns say of themselves: it may be given any number of
    times, with the same end."""
    return _ONLY_COMMENTS.fullmatch(step) is not None


def backfilled(step: str) -> Backfill | None:
    """What a step fills, and from where."""
    match = _BACKFILL.fullmatch(step)
    return Backfill(match[1], match[2]) if match else None


def pending(migrations: list[Migration], applied: list[Applied]) -> list[tuple[Migration, int]]:
    """What is left to do: migrations, each with the number of its steps that are done already.

    Raises:
        MigrationError: on drift: the database has a migration that differs from ours, or one that we do not know.
    """
    known = {migration.number: migration for migration in migrations}
    for row in applied:
        ours = known.get(row.number)
        if ours is None:
            raise MigrationError(f"the database has migration {row.number:04d}_{row.name}: it is newer than this Andon")
        if ours.checksum != row.checksum:
            raise MigrationError(
                f"migration {row.number:04d}_{ours.name} was changed after it was applied "
                f"(applied {row.checksum[:12]}, here {ours.checksum[:12]}): add a new migration instead"
            )
    done = {row.number: row.steps_done for row in applied}
    return [(m, done.get(m.number, 0)) for m in migrations if done.get(m.number, 0) < len(m.steps)]
