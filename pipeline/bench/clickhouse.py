"""A local ClickHouse with Andon's schema, and what benches ask it."""

import time
from pathlib import Path
from typing import Any, Self

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from consumers.clickhouse.connect import ClickHouseConfig, connect
from consumers.clickhouse.schema.migrate import Migrator
from consumers.clickhouse.schema.migration import shipped
from pipeline.local.clickhouse.process import ClickHouseProcess
from pipeline.runtime.errors import AndonError
from pipeline.runtime.waiting import wait_for


class LocalClickHouse(ClickHouseProcess):
    """With the schema in place; `server` is how its owner comes in."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.server = ClickHouseConfig(self.url, password=self.password)

    def __enter__(self) -> Self:
        super().__enter__()
        Migrator(connect(self.server), self.server.database).up(shipped())
        return self

    def client(self) -> Client:
        """The owner's; its database is Andon's."""
        return connect(self.server, database=self.server.database)


def value(client: Client, sql: str) -> Any:
    """The first column of the first row; None while the server cannot say."""
    try:
        return client.query(sql).result_rows[0][0]
    except (Error, OSError):
        return None


def wait_until(client: Client, sql: str, wanted: int, timeout_seconds: float) -> float:
    """Poll until `sql` gives at least `wanted`; the monotonic time of that.

    Raises:
        AndonError: when it does not in time.
    """
    if not wait_for(lambda: (value(client, sql) or 0) >= wanted, timeout_seconds):
        raise AndonError(f"{sql} gave {value(client, sql)} after {timeout_seconds} s, not {wanted}")
    return time.monotonic()
