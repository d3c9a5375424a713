"""The local ClickHouse of tests, the same that benches use, and waiting for what it stores."""

from clickhouse_connect.driver.client import Client

from pipeline.bench.clickhouse import LocalClickHouse, value
from support.waiting import until

__all__ = ["LocalClickHouse", "until_stored", "value"]


def until_stored(client: Client, sql: str, wanted: int) -> None:
    """Wait until `sql` gives at least `wanted`."""
    until(f"{sql} gives {wanted}", lambda: (value(client, sql) or 0) >= wanted)
