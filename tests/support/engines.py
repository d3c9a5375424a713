"""ClickHouse for tests: one endpoint for the whole run with a database for each test, or an engine of a test's own.

Nobody waits for migrations: they run once, in an engine whose directory is then copied, and whose tables and views
are then made again, as they are in the end, in each new database.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from clickhouse_connect.driver.client import Client

from consumers.clickhouse.connect import ClickHouseConfig, connect
from support.clickhouse import LocalClickHouse

_OBJECTS = """
SELECT create_table_query FROM system.tables WHERE database = {database:String}
ORDER BY indexOf(['View', 'MaterializedView'], engine), name
"""
_RECORDS = ("schema_migrations", "schema_objects")  # what a database says of its schema


@dataclass(frozen=True)
class Database:
    """A database of a test's own at the endpoint of the whole run, its schema in place."""

    endpoint: LocalClickHouse
    name: str

    @property
    def server(self) -> ClickHouseConfig:
        """The endpoint, as the owner of everything, in this database."""
        return msgspec.structs.replace(self.endpoint.server, database=self.name)

    def client(self) -> Client:
        """A client whose database this is."""
        return connect(self.server, database=self.name)

    def as_grafana(self) -> Client:
        """The same for the account of dashboards and of Grafana's rules."""
        password = self.endpoint.grafana_password
        account = msgspec.structs.replace(self.server, user="andon_grafana", password=password)
        return connect(account, database=self.name)


class Databases:
    """Makes databases at one endpoint, as the migrations made the one that it was started with."""

    def __init__(self, endpoint: LocalClickHouse) -> None:
        self.endpoint = endpoint
        self._client, model = endpoint.client(), endpoint.server.database
        self._model = re.compile(rf"(?<![\w.]){model}\.")
        self._objects = [row[0] for row in self._client.query(_OBJECTS, parameters={"database": model}).result_rows]
        self._records = {table: self._client.query(f"SELECT * FROM {table}").result_rows for table in _RECORDS}
        self._client = connect(endpoint.server)
        self._client.command(f"DROP DATABASE {model} SYNC")  # so that nobody uses it in place of his own
        self._names: set[str] = set()

    @contextmanager
    def new(self, name: str) -> Iterator[Database]:
        """A database of about this name; gone afterwards."""
        name = self._free(re.sub(r"\W", "_", name)[:60])
        self._client.command(f"CREATE DATABASE {name} ENGINE = Atomic")
        for statement in self._objects:
            self._client.command(self._moved(statement, name))
        for table, rows in self._records.items():
            moved = [[self._moved(value, name) for value in row] for row in rows]
            self._client.insert(table, moved, database=name)
        yield Database(self.endpoint, name)
        self._client.command(f"DROP DATABASE {name} SYNC")

    def _moved(self, value: Any, name: str) -> Any:
        return self._model.sub(f"{name}.", value) if isinstance(value, str) else value

    def _free(self, name: str) -> str:
        """Names in the run are different, also of tests that are called alike."""
        free, number = name, 1
        while free in self._names:
            number += 1
            free = f"{name}_{number}"
        self._names.add(free)
        return free


@contextmanager
def clickhouse_in(directory: Path, schema: Path) -> Iterator[LocalClickHouse]:
    """An engine and endpoint in this directory, the schema in place in the database "andon"."""
    shutil.copytree(schema, directory / "clickhouse", symlinks=True)
    with LocalClickHouse(directory) as running:
        yield running


@pytest.fixture(scope="session")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an engine in which all migrations have run; made once, whichever worker comes first."""
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "schema"
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            with LocalClickHouse(made.with_suffix(".making")):
                pass
            (made.with_suffix(".making") / "clickhouse").rename(made)
    return made


@pytest.fixture(scope="session")
def databases(schema: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """Makes databases at the one ClickHouse endpoint of the whole run: none of its accounts, its processes or its
    configuration is a test's to touch."""
    with clickhouse_in(tmp_path_factory.mktemp("clickhouse"), schema) as running:
        yield Databases(running)


@pytest.fixture
def database(databases: Databases, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database of the test's own, migrated and empty."""
    with databases.new(request.node.originalname) as made:
        yield made


@pytest.fixture(scope="module")
def module_database(databases: Databases, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database that the tests of a module share."""
    with databases.new("_".join(Path(request.node.path).with_suffix("").parts[-2:])) as made:
        yield made


@pytest.fixture
def own_clickhouse(schema: Path, tmp_path: Path) -> Iterator[LocalClickHouse]:
    """An engine of the test's own, to kill, to hold up, or for its accounts; the schema is in the database "andon"."""
    with clickhouse_in(tmp_path, schema) as running:
        yield running
