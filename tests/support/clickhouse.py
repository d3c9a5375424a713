"""The local ClickHouse of tests, the same that benches use, and waiting for what it stores."""

from clickhouse_connect.driver.client import Client

from pipeline.bench.clickhouse import LocalClickHouse, value
from pipeline.runtime import waiting

__all__ = ["LocalClickHouse", "value", "wait_for"]


def wait_for(client: Client, sql: str, wanted: int, timeout_seconds: float) -> None:
    """Until `sql` gives at least `wanted`."""
    found = waiting.wait_for(lambda: (value(client, sql) or 0) >= wanted, timeout_seconds)
    assert found, f"{sql} gave {value(client, sql)} after {timeout_seconds} s, not {wanted}"
